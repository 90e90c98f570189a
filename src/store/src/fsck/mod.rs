//! Looking at everything there is: is it what was written?

mod content;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use spec::{Digest, RunId, SubagentName};

use crate::end::LogEnd;
use crate::index::RunRow;
use crate::layout::{INDEX, INDEX_FILES, LOG, LOG_END, Layout, OCI_LAYOUT, SEARCH_FILES, TOP};
use crate::log::Lines;
use crate::memory::Memory;
use crate::named::Named;
use crate::operation::Operation;
use crate::{Store, StoreError, persist};

/// What a check of the whole store found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FsckReport {
    /// What is wrong, in the order in which it was found. Nothing means that all is well.
    pub findings: Vec<Finding>,
    /// Blobs that were read.
    pub blobs: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Versions that operations name.
    pub versions: u64,
    /// Operations in the log.
    pub operations: u64,
    /// Recorded runs.
    pub runs: u64,
    /// Files of writers that live or died; the next open removes those of the dead.
    pub temporary: u64,
}

impl FsckReport {
    /// Whether nothing is wrong.
    pub fn is_clean(&self) -> bool {
        self.findings.is_empty()
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What kind of thing.
    pub kind: FindingKind,
    /// The file.
    pub path: PathBuf,
    /// The blob or version, if it is about one.
    pub digest: Option<Digest>,
    /// What is wrong.
    pub why: String,
}

/// What kind of thing is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FindingKind {
    /// The bytes are not those that were written.
    Damaged,
    /// Something names it, and it is not there.
    Missing,
    /// It is intact, but not what it is named as.
    Invalid,
    /// It does not belong here.
    Stray,
    /// It could not be read.
    Unreadable,
}

impl Finding {
    /// What a person can do about it.
    pub fn hint(&self) -> String {
        match self.kind {
            FindingKind::Damaged if self.digest.is_some() => {
                "restore it from a backup, or save the same content again: that replaces it"
            }
            FindingKind::Damaged if self.path.ends_with(LOG) => {
                "restore it from a backup, together with the `operations.head` beside it"
            }
            FindingKind::Damaged if self.path.ends_with(LOG_END) => {
                "restore it from a backup; or, if the log itself was not touched, remove it: the \
                 next operation writes it"
            }
            FindingKind::Damaged if self.path.ends_with(INDEX) => {
                "`agentfactory reindex` makes it anew from the log"
            }
            FindingKind::Damaged if self.path.ends_with(SEARCH_FILES[0]) => {
                "`agentfactory reindex` makes it anew from the store"
            }
            FindingKind::Damaged => "restore it from a backup",
            FindingKind::Missing => "restore it from a backup, or save the same content again",
            FindingKind::Invalid => {
                "another program wrote it; publish a valid version over it, or undo"
            }
            FindingKind::Stray => "move it away: nothing here uses it",
            FindingKind::Unreadable => "check the disk, who owns the file and its permissions",
        }
        .to_owned()
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`: {}", self.path.display(), self.why)
    }
}

/// How far a check is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FsckProgress {
    /// Blobs read so far.
    pub blobs: u64,
    /// Blobs there are.
    pub blobs_total: u64,
    /// Bytes read so far.
    pub bytes: u64,
}

impl Store {
    /// Reads everything in the store and checks every digest and every reference.
    ///
    /// Others may go on writing meanwhile; a collection is waited for. `observe` is told after each blob.
    ///
    /// # Errors
    /// None for what is wrong inside the store: that is in the report. [`StoreError::Io`] when
    /// the store as a whole cannot be listed.
    pub fn fsck(&self, observe: &mut dyn FnMut(FsckProgress)) -> Result<FsckReport, StoreError> {
        let _nobody_collects = match persist::lock_shared(&self.layout.gc_lock) {
            // What cannot be written cannot be collected either.
            Err(StoreError::ReadOnly { .. }) => None,
            other => Some(other?),
        };
        let mut check = Check::new(self);
        let checked = check.all(observe);
        self.index.set_aside(false);
        checked.map(|()| check.report)
    }
}

struct Check<'a> {
    store: &'a Store,
    report: FsckReport,
    /// Blobs that were reported: what follows from that is not reported again.
    bad: BTreeSet<Digest>,
    /// What the records say that could be read, for the views of them.
    records: BTreeMap<RunId, RunRow>,
}

/// What the operations say.
#[derive(Default)]
struct History {
    named: Named,
    /// What heads and tags ever were, each with the name of its subagent.
    versions: Vec<(SubagentName, Digest)>,
}

impl<'a> Check<'a> {
    fn new(store: &'a Store) -> Self {
        Self {
            store,
            report: FsckReport::default(),
            bad: BTreeSet::new(),
            records: BTreeMap::new(),
        }
    }

    fn all(&mut self, observe: &mut dyn FnMut(FsckProgress)) -> Result<(), StoreError> {
        self.top()?;
        // What names blobs is read before the blobs are listed: whatever it names was there before.
        let history = self.log();
        let runs = self.run_pointers()?;
        self.content(&history, &runs, observe)?;
        self.views()
    }

    fn layout(&self) -> &Layout {
        &self.store.layout
    }

    fn find(
        &mut self,
        kind: FindingKind,
        path: impl Into<PathBuf>,
        digest: Option<Digest>,
        why: impl Into<String>,
    ) {
        self.report.findings.push(Finding {
            kind,
            path: path.into(),
            digest,
            why: why.into(),
        });
    }

    /// Everything outside blobs, runs and the log.
    fn top(&mut self) -> Result<(), StoreError> {
        let root = self.layout().root.clone();
        for path in list(&root)? {
            let name = path.file_name().unwrap_or_default();
            let mut known = TOP.iter().chain(&INDEX_FILES).chain(&SEARCH_FILES);
            if !known.any(|known| name == *known) {
                self.find(FindingKind::Stray, path, None, "it is not part of a store");
            }
        }
        for path in list(&root.join("blobs"))? {
            if path != self.layout().blobs {
                self.find(FindingKind::Stray, path, None, "it is no place for blobs");
            }
        }
        self.fixed(self.layout().format(), Layout::format_text().as_bytes());
        self.fixed(self.layout().oci_layout(), OCI_LAYOUT.as_bytes());
        let tmp = self.layout().tmp.clone();
        self.report.temporary = list(&tmp)?.len() as u64;
        Ok(())
    }

    /// A file that has only one possible content.
    fn fixed(&mut self, path: PathBuf, expected: &[u8]) {
        match persist::read_small(&path) {
            Ok(bytes) if bytes == expected => {}
            Ok(_) => self.find(
                FindingKind::Damaged,
                path,
                None,
                format!("it does not say `{}`", expected.escape_ascii()),
            ),
            Err(error) => self.failed(path, None, &error),
        }
    }

    /// A file that could not be read.
    fn failed(&mut self, path: PathBuf, digest: Option<Digest>, error: &StoreError) {
        let (kind, why) = match error {
            StoreError::Io { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                (FindingKind::Missing, "it is missing".to_owned())
            }
            StoreError::Io { source, .. } => (FindingKind::Unreadable, source.to_string()),
            StoreError::Corrupt { why, .. } => (FindingKind::Damaged, why.clone()),
            other => (FindingKind::Invalid, other.to_string()),
        };
        self.find(kind, path, digest, why);
    }

    /// Each line by itself, that each follows the one before, and that none is missing at the end.
    fn log(&mut self) -> History {
        let end = LogEnd::read(self.layout()).unwrap_or_else(|error| {
            self.failed(self.layout().log_end(), None, &error);
            None
        });
        let path = self.layout().log.clone();
        let mut state = Memory::default();
        let mut history = History::default();
        let file = match persist::open_regular(&path) {
            Ok(file) => file,
            Err(source) => {
                self.failed(path.clone(), None, &StoreError::read("read", &path, source));
                return history;
            }
        };
        let mut lines = Lines::after(0, 0, file);
        let mut whole = true;
        loop {
            let line = match lines.next() {
                Ok(Some(line)) => line,
                Ok(None) => break,
                Err(source) => {
                    self.failed(path.clone(), None, &StoreError::read("read", &path, source));
                    break;
                }
            };
            self.report.operations += 1;
            let read = Operation::from_line(line.bytes);
            // After a damaged line nothing follows any more; the lines still speak for themselves.
            let applied = match read {
                Ok(operation) if whole => state.apply(operation),
                Ok(_) => Ok(()),
                Err(why) => Err(why),
            };
            if let Err(why) = applied {
                whole = false;
                let why = format!("line {}: {why}", line.number);
                self.find(FindingKind::Damaged, path.clone(), None, why);
            }
        }
        if whole && let Err(error) = self.store.check_end(end, &state) {
            self.failed(path, None, &error);
        } else if whole
            && let Ok(log) = self.store.open_log()
            && let Err(why) = self.store.index.compare(self.layout(), &log, &state)
        {
            self.damaged_index(why);
        }
        for operation in &state.operations {
            history.named.apply(operation);
        }
        let versions = state.named_versions();
        history.versions = versions
            .map(|(name, digest)| (name.clone(), digest))
            .collect();
        history
    }

    /// The record that each run's file points at.
    fn run_pointers(&mut self) -> Result<BTreeMap<RunId, Digest>, StoreError> {
        let directory = self.layout().runs.clone();
        let mut runs = BTreeMap::new();
        for path in list(&directory)? {
            let name = path.file_name().and_then(|name| name.to_str());
            let Some(run) = name.and_then(|name| name.parse::<RunId>().ok()) else {
                self.find(
                    FindingKind::Stray,
                    path,
                    None,
                    "its name is not the id of a run",
                );
                continue;
            };
            self.report.runs += 1;
            match self.store.run_digest(&run) {
                Ok(digest) => {
                    runs.insert(run, digest);
                }
                Err(error) => self.failed(path, None, &error),
            }
        }
        Ok(runs)
    }

    /// What else asks the history goes on without the index: using it would throw it away.
    fn damaged_index(&mut self, why: String) {
        self.find(FindingKind::Damaged, self.layout().index(), None, why);
        self.store.index.set_aside(true);
    }

    /// The indexes of what was just read.
    fn views(&mut self) -> Result<(), StoreError> {
        if let Some(why) = self.compare_runs()? {
            self.damaged_index(why);
        }
        let search = self.layout().search_index();
        if let Err(why) = self.store.compare_search(&self.records) {
            self.find(FindingKind::Damaged, search, None, why);
        }
        Ok(())
    }

    /// How the table of runs differs from what the records say.
    fn compare_runs(&self) -> Result<Option<String>, StoreError> {
        let index = self.layout().index();
        if persist::identity(&index).is_none() {
            return Ok(None);
        }
        let mut wrong: Option<String> = None;
        let mut found = 0_usize;
        let compared = self.store.index.each_run(self.store, |run, row| {
            let id = run.parse::<RunId>().ok();
            let expected = id.and_then(|id| self.records.get(&id));
            found += usize::from(expected.is_some());
            // One that is not among them was recorded meanwhile, or cannot be read.
            let is_right = match expected {
                Some(expected) => *expected == row,
                None => id.is_some_and(|id| self.store.has_run(&id).unwrap_or(true)),
            };
            if !is_right && wrong.is_none() {
                wrong = Some(format!(
                    "its table `runs` does not say what the record of run {run} says"
                ));
            }
        });
        match compared? {
            Ok(()) if wrong.is_none() && found < self.records.len() => Ok(Some(format!(
                "its table `runs` has {found} of {} runs",
                self.records.len()
            ))),
            Ok(()) => Ok(wrong),
            // Else it cannot be used now, or was reported.
            Err(unusable) => Ok(unusable.is_damaged.then_some(unusable.why)),
        }
    }
}

/// The entries of a directory, by name.
fn list(path: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let error = |source| StoreError::read("list", path, source);
    let entries = fs::read_dir(path).map_err(error)?;
    let mut paths = entries
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<io::Result<Vec<_>>>()
        .map_err(error)?;
    paths.sort_unstable();
    Ok(paths)
}
