//! The operation log as a file, and what its operations add up to.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use spec::{Digest, SubagentName};

use crate::end::LogEnd;
use crate::operation::{Change, HeadMove, Operation, TagMove};
use crate::{Store, StoreError, persist};

/// What all operations together say.
#[derive(Clone, Debug, Default)]
pub(crate) struct State {
    /// In order; `seq` is the index plus one.
    pub(crate) operations: Vec<Arc<Operation>>,
    /// Whether each of them was undone.
    pub(crate) undone: Vec<bool>,
    /// Where names point, and since which operation.
    pub(crate) heads: BTreeMap<SubagentName, (Digest, Arc<Operation>)>,
    /// Where tags point.
    pub(crate) tags: BTreeMap<(SubagentName, String), Digest>,
    /// Every version that a name ever had, undone ones and tagged ones included.
    pub(crate) versions: BTreeMap<SubagentName, BTreeSet<Digest>>,
    /// The version that was published last under a name, undone or not; else its first tagged one.
    pub(crate) last: BTreeMap<SubagentName, Digest>,
}

impl State {
    /// Adds the next operation.
    ///
    /// # Errors
    /// Why it cannot be the next one.
    pub(crate) fn apply(&mut self, operation: Operation) -> Result<(), String> {
        let previous = self.operations.last();
        if operation.seq != self.operations.len() as u64 + 1 {
            return Err(format!("it has the number {}", operation.seq));
        }
        if operation.previous != previous.map(|previous| previous.id) {
            return Err("it does not follow the operation before it".to_owned());
        }
        if let Change::Undo { seq, moves, tags } = &operation.change {
            let (expected_moves, expected_tags) = self.reversed(*seq)?;
            if *moves != expected_moves || *tags != expected_tags {
                return Err(format!("it is not the reverse of operation {seq}"));
            }
        }
        let heads = operation.change.head_moves();
        for one in &heads {
            let found = self.head(&one.name);
            if found != one.from {
                return Err(format!("it moves `{}` from where it was not", one.name));
            }
        }
        for one in operation.change.tag_moves() {
            let key = (one.name.clone(), one.tag.clone());
            if self.tags.get(&key).copied() != one.from {
                return Err(format!(
                    "it moves `{}:{}` from where it was not",
                    one.name, one.tag
                ));
            }
        }
        self.accept(operation, heads);
        Ok(())
    }

    fn accept(&mut self, operation: Operation, heads: Vec<HeadMove>) {
        let operation = Arc::new(operation);
        let is_undo = matches!(operation.change, Change::Undo { .. });
        for HeadMove { name, to, .. } in heads {
            match to {
                Some(to) => {
                    self.versions.entry(name.clone()).or_default().insert(to);
                    // An undo goes back to an older one.
                    if !is_undo {
                        self.last.insert(name.clone(), to);
                    }
                    self.heads.insert(name, (to, Arc::clone(&operation)));
                }
                None => {
                    self.heads.remove(&name);
                }
            }
        }
        for TagMove { name, tag, to, .. } in operation.change.tag_moves() {
            let key = (name.clone(), tag.clone());
            match to {
                Some(to) => {
                    self.versions.entry(name.clone()).or_default().insert(*to);
                    self.last.entry(name.clone()).or_insert(*to);
                    self.tags.insert(key, *to);
                }
                None => {
                    self.tags.remove(&key);
                }
            }
        }
        if let Change::Undo { seq, .. } = operation.change
            && let Some(undone) = index(seq).and_then(|at| self.undone.get_mut(at))
        {
            *undone = true;
        }
        self.operations.push(operation);
        self.undone.push(false);
    }

    /// Where a name points.
    pub(crate) fn head(&self, name: &SubagentName) -> Option<Digest> {
        self.heads.get(name).map(|(digest, _)| *digest)
    }

    /// The last operation that is in effect, of one name or of all, as the next undo takes it.
    pub(crate) fn last_in_effect(&self, name: Option<&SubagentName>) -> Option<&Arc<Operation>> {
        self.in_effect(0)
            .rev()
            .find(|operation| name.is_none_or(|name| operation.change.touches(name)))
    }

    /// Publishes and tags from an index on that were not undone, oldest first.
    fn in_effect(&self, from: usize) -> impl DoubleEndedIterator<Item = &Arc<Operation>> {
        self.operations[from..]
            .iter()
            .zip(&self.undone[from..])
            .filter(|(operation, undone)| {
                !**undone && !matches!(operation.change, Change::Undo { .. })
            })
            .map(|(operation, _)| operation)
    }

    /// An operation in effect after the target that moved something that the target moved.
    pub(crate) fn later(&self, target: &Operation) -> Option<(&Arc<Operation>, SubagentName)> {
        let heads = target.change.head_moves();
        let tags = target.change.tag_moves();
        // The number of an operation is the index of the next one.
        let next = index(target.seq).map_or(self.operations.len(), |at| at + 1);
        self.in_effect(next).find_map(|later| {
            let mut moved = later.change.head_moves().into_iter();
            let by_head = moved.find(|moved| heads.iter().any(|one| one.name == moved.name));
            let mut moved = later.change.tag_moves().iter();
            let same = |a: &TagMove, b: &TagMove| a.name == b.name && a.tag == b.tag;
            let by_tag = moved.find(|moved| tags.iter().any(|one| same(one, moved)));
            let name = by_head
                .map(|one| one.name)
                .or_else(|| by_tag.map(|one| one.name.clone()));
            Some((later, name?))
        })
    }

    /// The moves that undo an operation.
    ///
    /// # Errors
    /// Why it cannot be undone, as the log's reader says it.
    pub(crate) fn reversed(&self, seq: u64) -> Result<(Vec<HeadMove>, Vec<TagMove>), String> {
        let target = index(seq)
            .filter(|at| self.undone.get(*at) == Some(&false))
            .and_then(|at| self.operations.get(at))
            .filter(|target| !matches!(target.change, Change::Undo { .. }))
            .ok_or_else(|| format!("it undoes operation {seq}, which cannot be undone"))?;
        if let Some((later, name)) = self.later(target) {
            return Err(format!(
                "it undoes operation {seq}, but operation {} moved `{name}` after it",
                later.seq
            ));
        }
        let heads = target.change.head_moves().into_iter().map(|one| HeadMove {
            name: one.name,
            from: one.to,
            to: one.from,
        });
        let tags = target.change.tag_moves().iter().map(|one| TagMove {
            name: one.name.clone(),
            tag: one.tag.clone(),
            from: one.to,
            to: one.from,
        });
        Ok((heads.collect(), tags.collect()))
    }
}

/// The index of the operation with this number.
fn index(seq: u64) -> Option<usize> {
    usize::try_from(seq.checked_sub(1)?).ok()
}

/// What was read of the log last, so that an unchanged log is not read again.
#[derive(Debug, Default)]
pub(crate) struct HistoryCache(Mutex<Option<Cached>>);

#[derive(Clone, Debug)]
struct Cached {
    state: Arc<State>,
    /// Bytes of the whole lines.
    end: u64,
    /// Where the last whole line begins.
    last_line: u64,
    /// Whether its line feed is there.
    is_ended: bool,
    stamp: Stamp,
}

/// Tells whether a file changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
}

impl Stamp {
    fn of(file: &File) -> io::Result<Self> {
        let metadata = file.metadata()?;
        Ok(Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
        })
    }
}

/// One line of the log that is whole.
pub(crate) struct Line<'a> {
    /// Its number in the file, from 1.
    pub(crate) number: usize,
    /// Where it begins in the file.
    pub(crate) begin: usize,
    /// Its bytes without the line feed.
    pub(crate) bytes: &'a [u8],
    /// Whether the line feed is there.
    pub(crate) is_ended: bool,
}

/// Cuts a log into lines; a torn end is left out.
pub(crate) fn lines(bytes: &[u8]) -> impl Iterator<Item = Line<'_>> {
    let mut begin = 0;
    bytes
        .split_inclusive(|byte| *byte == b'\n')
        .enumerate()
        .map(move |(at, line)| {
            let found = Line {
                number: at + 1,
                begin,
                bytes: line.strip_suffix(b"\n").unwrap_or(line),
                is_ended: line.ends_with(b"\n"),
            };
            begin += line.len();
            found
        })
        .filter(|line| line.is_ended || !Operation::is_torn(line.bytes))
}

impl Store {
    /// What the log says now.
    pub(crate) fn state(&self) -> Result<Arc<State>, StoreError> {
        let path = &self.layout.log;
        let known_end = LogEnd::read(&self.layout)?;
        let mut file = persist::open_regular(path).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => StoreError::corrupt(path, "it is missing"),
            _ => StoreError::read("open", path, source),
        })?;
        let state = self.history.refresh(path, &mut file)?.state;
        self.check_end(known_end, &state.operations)?;
        Ok(state)
    }

    /// Appends one operation, decided by `decide` on the state that it will follow.
    ///
    /// When this returns the operation is on disk; when it fails nothing was changed.
    pub(crate) fn append(
        &self,
        at: Timestamp,
        decide: impl FnOnce(&State) -> Result<Change, StoreError>,
    ) -> Result<Operation, StoreError> {
        let path = &self.layout.log;
        let _locked = persist::lock(&self.layout.lock)?;
        // Never created here: a log that vanished must not begin anew unnoticed.
        let mut file = persist::append_handle(path, false).map_err(|error| match error {
            StoreError::Io { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                StoreError::corrupt(path, "it is missing")
            }
            other => other,
        })?;
        let Cached {
            state,
            end,
            is_ended,
            ..
        } = self.history.refresh(path, &mut file)?;
        // Nothing is appended to a log that was cut: that would begin another history.
        self.check_end(LogEnd::read(&self.layout)?, &state.operations)?;
        let last = state.operations.last().map(Arc::as_ref);
        let (operation, line) = Operation::after(last, at, decide(&state)?)?;
        // Let go, so that the cache can grow in its place.
        drop(state);
        // What this operation names must not be less durable than the operation.
        persist::sync_directory(&self.layout.blobs)?;
        persist::sync_directory(&self.layout.runs)?;
        let new_end = LogEnd::of(&operation).stage(&self.layout)?;
        write_line(&mut file, end, is_ended, &line)
            .map_err(|source| StoreError::write("append to", path, source))?;
        // The line is on disk and may have been read. If only this fails it stays, and the next
        // append makes up for it.
        drop(new_end.persist(&self.layout.log_end()));
        // It is done, whatever becomes of the cache: a failure empties it, and the next reader tells.
        drop(self.history.refresh(path, &mut file));
        Ok(operation)
    }
}

/// Puts a line in the place of whatever a dead writer left after the last whole one.
fn write_line(file: &mut File, end: u64, is_ended: bool, line: &str) -> io::Result<()> {
    file.set_len(end)?;
    // A writer that died between a line and its line feed leaves that to us.
    let owed = if is_ended { "" } else { "\n" };
    let written = file
        .write_all(format!("{owed}{line}\n").as_bytes())
        .and_then(|()| file.sync_all());
    if written.is_err() {
        // The caller is told that nothing changed, so nothing may stay.
        file.set_len(end)?;
        file.sync_all()?;
    }
    written
}

impl HistoryCache {
    /// Brings the cache up to what the file holds now.
    fn refresh(&self, path: &Path, file: &mut File) -> Result<Cached, StoreError> {
        let error = |source| StoreError::read("read", path, source);
        let mut cache = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let stamp = Stamp::of(file).map_err(error)?;
        let is_current = |cached: &&Cached| cached.stamp == stamp && cached.end == stamp.size;
        if let Some(cached) = cache.as_ref().filter(is_current) {
            return Ok(cached.clone());
        }
        // Bad news is not kept: the next caller looks again.
        let known = cache.take();
        let grown = match known.filter(|known| known.can_grow_to(stamp)) {
            Some(known) => extend(known, path, file, stamp)?,
            None => None,
        };
        let fresh = match grown {
            Some(grown) => grown,
            None => read_from(Cached::empty(stamp), path, file)?,
        };
        *cache = Some(fresh.clone());
        Ok(fresh)
    }
}

/// Reads on from what is known; none when the file is not what it was.
fn extend(
    known: Cached,
    path: &Path,
    file: &mut File,
    stamp: Stamp,
) -> Result<Option<Cached>, StoreError> {
    let mut line = vec![0; usize::try_from(known.end - known.last_line).unwrap_or(0)];
    file.seek(SeekFrom::Start(known.last_line))
        .and_then(|_| file.read_exact(&mut line))
        .map_err(|source| StoreError::read("read", path, source))?;
    let line = line.strip_suffix(b"\n").unwrap_or(&line);
    let last = known.state.operations.last().map(|operation| operation.id);
    if Operation::from_line(line)
        .ok()
        .map(|operation| operation.id)
        != last
    {
        return Ok(None);
    }
    read_from(Cached { stamp, ..known }, path, file).map(Some)
}

impl Cached {
    fn empty(stamp: Stamp) -> Self {
        Self {
            state: Arc::default(),
            end: 0,
            last_line: 0,
            is_ended: true,
            stamp,
        }
    }

    fn can_grow_to(&self, stamp: Stamp) -> bool {
        let same_file = (self.stamp.device, self.stamp.inode) == (stamp.device, stamp.inode);
        same_file && self.end > 0 && self.end < stamp.size
    }
}

/// Reads every line after what is known.
fn read_from(mut known: Cached, path: &Path, file: &mut File) -> Result<Cached, StoreError> {
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(known.end))
        .and_then(|_| file.read_to_end(&mut bytes))
        .map_err(|source| StoreError::read("read", path, source))?;
    let begin = known.end;
    let first = known.state.operations.len();
    let state = Arc::make_mut(&mut known.state);
    for line in lines(&bytes) {
        // The line feed that was owed to the last line stands alone.
        if line.bytes.is_empty() && !known.is_ended {
            known.end += 1;
            known.is_ended = true;
            continue;
        }
        Operation::from_line(line.bytes)
            .and_then(|operation| state.apply(operation))
            .map_err(|why| {
                StoreError::corrupt(path, format!("line {}: {why}", first + line.number))
            })?;
        known.last_line = begin + line.begin as u64;
        known.end = known.last_line + line.bytes.len() as u64 + u64::from(line.is_ended);
        known.is_ended = line.is_ended;
    }
    Ok(known)
}
