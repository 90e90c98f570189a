//! What a run has written so far, on disk while it runs, for other processes to follow.
//!
//! A log is a line of JSON that says which run it is of, then frames: stream, offset in the stream,
//! length, bytes. Whoever runs the program holds a lock on the file, so a log without a lock is of a
//! run whose process died. A frame that is cut short is not there yet, or never will be. The log goes
//! when the run's record is kept: that holds the same output.

use std::collections::VecDeque;
use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use spec::{Digest, OutputStream, RunId};
use tokio::task::JoinSet;

/// The version of the format of logs.
const FORMAT: u32 = 1;
/// Stream, offset, length.
const FRAME: usize = 1 + 8 + 4;
/// Bytes of one frame at most.
const CHUNK: usize = 256 << 10;
/// Bytes of the first line at most.
const HEADER_MAX: u64 = 16 << 10;
/// Pieces that wait for the disk one by one; then those of one stream are joined.
const PIECES: usize = 4_096;
/// Logs of runs that were never recorded that are kept.
const ABANDONED: usize = 20;
/// When a log that never got its name is nobody's any more.
const UNNAMED: Duration = Duration::from_hours(1);
/// The kind of the frame that ends a log; its bytes are the outcome's kind.
const END: u8 = 3;
/// What the names of logs end with.
const SUFFIX: &str = ".log";

/// Which run a log is of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogHeader {
    format: u32,
    /// The run.
    pub run: RunId,
    /// When it began.
    pub at: Timestamp,
    /// What people read: a name, a file, a command.
    pub what: String,
    /// The version that runs, if it is one.
    pub version: Option<Digest>,
}

impl LogHeader {
    /// Says what runs.
    pub(crate) fn new(run: RunId, at: Timestamp, what: &str, version: Option<Digest>) -> Self {
        Self {
            format: FORMAT,
            run,
            at,
            what: spec::printable(what, 500),
            version,
        }
    }
}

/// What waits for the disk. A run never waits for it: what is here is in the run's memory too, and
/// is bounded by its output limit.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    state: Mutex<Waiting>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Waiting {
    pieces: VecDeque<(OutputStream, Vec<u8>)>,
    outcome: Option<&'static str>,
    is_closed: bool,
}

impl Queue {
    fn state(&self) -> MutexGuard<'_, Waiting> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes output. Where the disk is far behind, the order between the streams is given up, and
    /// nothing else.
    pub(crate) fn push(&self, stream: OutputStream, bytes: &[u8]) {
        let mut waiting = self.state();
        let pieces = &mut waiting.pieces;
        let last = match (pieces.len(), pieces.back()) {
            (length, Some((of, _))) if *of == stream => Some(length - 1),
            // Neighbours are of different streams, so this one is of the right one.
            (length, Some(_)) if length >= PIECES => Some(length - 2),
            _ => None,
        };
        match last.and_then(|at| pieces.get_mut(at)) {
            Some((_, piece)) => piece.extend_from_slice(bytes),
            None => pieces.push_back((stream, bytes.to_vec())),
        }
        drop(waiting);
        self.changed.notify_one();
    }

    fn close(&self, outcome: Option<&'static str>) {
        let mut waiting = self.state();
        waiting.outcome = waiting.outcome.or(outcome);
        waiting.is_closed = true;
        drop(waiting);
        self.changed.notify_one();
    }

    /// Waits for output; none means that there will be no more.
    fn next(&self) -> Option<(OutputStream, Vec<u8>)> {
        let mut waiting = self.state();
        loop {
            if let Some(piece) = waiting.pieces.pop_front() {
                return Some(piece);
            }
            if waiting.is_closed {
                return None;
            }
            let woken = self.changed.wait(waiting);
            waiting = woken.unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// The log of a run that this process runs.
#[derive(Debug)]
pub(crate) struct OutputLog {
    queue: Arc<Queue>,
    writer: JoinSet<io::Result<()>>,
    path: PathBuf,
    /// Keeps the lock.
    _file: File,
}

impl Drop for OutputLog {
    /// Lets the writer end where the run was given up.
    fn drop(&mut self) {
        self.queue.close(None);
    }
}

impl OutputLog {
    /// Begins a log, and removes old ones that nobody recorded. Blocks on the disk for moments.
    ///
    /// # Errors
    /// The file system's.
    pub(crate) fn create(folder: &Path, header: &LogHeader) -> io::Result<Self> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)?;
        remove_abandoned(folder)?;
        let path = path_of(folder, &header.run);
        // It is locked before it has its name, so that it never looks abandoned.
        let unnamed = folder.join(format!(".{}.new", header.run));
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&unnamed)?;
        file.lock()?;
        let mut line = serde_json::to_vec(header)?;
        line.push(b'\n');
        file.write_all(&line)?;
        std::fs::rename(&unnamed, &path)?;
        let queue = Arc::new(Queue::default());
        let mut writer = JoinSet::new();
        let (pieces, mut out) = (Arc::clone(&queue), file.try_clone()?);
        writer.spawn_blocking(move || write(&pieces, &mut out));
        Ok(Self {
            queue,
            writer,
            path,
            _file: file,
        })
    }

    /// Where output goes.
    pub(crate) fn queue(&self) -> Arc<Queue> {
        Arc::clone(&self.queue)
    }

    /// Ends the log of a run that is recorded: whoever follows it sees the end, and nobody finds it
    /// any more.
    ///
    /// # Errors
    /// Why not all of it was written. It is gone all the same.
    pub(crate) async fn finish(mut self, outcome: &'static str) -> io::Result<()> {
        self.queue.close(Some(outcome));
        let written = match self.writer.join_next().await {
            Some(Ok(written)) => written,
            Some(Err(panic)) => Err(io::Error::other(panic)),
            None => Ok(()),
        };
        let removed = std::fs::remove_file(&self.path);
        written.and(removed)
    }

    /// Removes the log of a run that never took place.
    pub(crate) fn discard(self) {
        if let Err(error) = std::fs::remove_file(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "a run's log cannot be removed");
        }
    }
}

fn path_of(folder: &Path, run: &RunId) -> PathBuf {
    folder.join(format!("{run}{SUFFIX}"))
}

/// Writes what comes. After an error nothing more is written, and the rest is not waited for.
fn write(queue: &Queue, out: &mut File) -> io::Result<()> {
    let mut offsets = [0_u64; 2];
    while let Some((stream, bytes)) = queue.next() {
        let (at, kind) = index(stream);
        for chunk in bytes.chunks(CHUNK) {
            put_frame(out, kind, offsets[at], chunk)?;
            offsets[at] += chunk.len() as u64;
        }
    }
    let outcome = queue.state().outcome;
    outcome.map_or(Ok(()), |outcome| put_frame(out, END, 0, outcome.as_bytes()))
}

fn index(stream: OutputStream) -> (usize, u8) {
    match stream {
        OutputStream::Stdout => (0, 1),
        OutputStream::Stderr => (1, 2),
    }
}

fn put_frame(out: &mut File, kind: u8, offset: u64, bytes: &[u8]) -> io::Result<()> {
    let length = u32::try_from(bytes.len()).map_err(io::Error::other)?;
    let mut frame = Vec::with_capacity(FRAME + bytes.len());
    frame.push(kind);
    frame.extend_from_slice(&offset.to_le_bytes());
    frame.extend_from_slice(&length.to_le_bytes());
    frame.extend_from_slice(bytes);
    out.write_all(&frame)
}

/// Removes all but the newest logs whose process died.
fn remove_abandoned(folder: &Path) -> io::Result<()> {
    let mut abandoned = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if run_of(&path).is_some() {
            abandoned.push(path);
        } else if is_old(&path) {
            drop(std::fs::remove_file(&path));
        }
    }
    if abandoned.len() <= ABANDONED {
        return Ok(());
    }
    // Names sort by time of start.
    abandoned.sort_unstable();
    abandoned.retain(|path| File::open(path).is_ok_and(|file| file.try_lock().is_ok()));
    let old = abandoned.len().saturating_sub(ABANDONED);
    for path in &abandoned[..old] {
        // Another process may have been faster.
        drop(std::fs::remove_file(path));
    }
    Ok(())
}

/// Whether this is a log that never got its name.
fn is_old(path: &Path) -> bool {
    let is_ours = path.extension().is_some_and(|extension| extension == "new");
    let modified = path.metadata().and_then(|metadata| metadata.modified());
    let age = modified.map(|at| SystemTime::now().duration_since(at).unwrap_or_default());
    is_ours && age.is_ok_and(|age| age > UNNAMED)
}

fn run_of(path: &Path) -> Option<RunId> {
    let name = path.file_name()?.to_str()?;
    name.strip_suffix(SUFFIX)?.parse().ok()
}

/// The logs of the runs that are not recorded: running ones, and those whose process died.
#[derive(Clone, Debug)]
pub struct OutputLogs {
    folder: PathBuf,
}

impl OutputLogs {
    /// Those in a folder, which need not be there.
    pub fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// The runs that have a log, newest first.
    ///
    /// # Errors
    /// The file system's.
    pub fn runs(&self) -> io::Result<Vec<RunId>> {
        let entries = match std::fs::read_dir(&self.folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut runs = Vec::new();
        for entry in entries {
            runs.extend(run_of(&entry?.path()));
        }
        runs.sort_unstable_by(|a, b| b.cmp(a));
        Ok(runs)
    }

    /// Opens the log of a run; none when it has none, because it is recorded or never was.
    ///
    /// # Errors
    /// The file system's, and `InvalidData` for what is no log.
    pub fn open(&self, run: &RunId) -> io::Result<Option<OutputReader>> {
        match File::open(path_of(&self.folder, run)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            file => OutputReader::new(file?).map(Some),
        }
    }
}

/// What stands next in a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogPart {
    /// Output.
    Output {
        /// Where to.
        stream: OutputStream,
        /// How many bytes of the stream came before.
        offset: u64,
        /// What.
        bytes: Vec<u8>,
    },
    /// The run is over and recorded.
    Ended {
        /// The kind of its outcome.
        outcome: String,
    },
    /// Nothing, or not yet.
    Nothing,
}

/// Reads a log from its beginning while it grows.
#[derive(Debug)]
pub struct OutputReader {
    file: File,
    header: LogHeader,
    at: u64,
    offsets: [u64; 2],
}

impl OutputReader {
    fn new(file: File) -> io::Result<Self> {
        let invalid = |why: &str| io::Error::new(io::ErrorKind::InvalidData, why.to_owned());
        let mut line = Vec::new();
        let mut start = BufReader::new(&file).take(HEADER_MAX);
        start.read_until(b'\n', &mut line)?;
        let header: LogHeader = serde_json::from_slice(&line)
            .map_err(|_| invalid("it does not begin as the log of a run"))?;
        if header.format != FORMAT {
            return Err(invalid("another version of this program wrote it"));
        }
        Ok(Self {
            at: line.len() as u64,
            file,
            header,
            offsets: [0; 2],
        })
    }

    /// Which run it is of.
    pub fn header(&self) -> &LogHeader {
        &self.header
    }

    /// Whether the process that runs it lives.
    ///
    /// # Errors
    /// The file system's.
    pub fn is_running(&self) -> io::Result<bool> {
        match self.file.try_lock_shared() {
            Ok(()) => self.file.unlock().map(|()| false),
            Err(TryLockError::WouldBlock) => Ok(true),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    /// Reads on. What is not whole, or is not what this program writes, is not there.
    ///
    /// # Errors
    /// The file system's.
    pub fn next_part(&mut self) -> io::Result<LogPart> {
        let mut head = [0; FRAME];
        self.file.seek(SeekFrom::Start(self.at))?;
        if !read_whole(&mut self.file, &mut head)? {
            return Ok(LogPart::Nothing);
        }
        let (kind, rest) = (head[0], &head[1..]);
        let offset = u64::from_le_bytes(rest[..8].try_into().unwrap_or_default());
        let length = u32::from_le_bytes(rest[8..].try_into().unwrap_or_default());
        let stream = match kind {
            1 => Some(OutputStream::Stdout),
            2 => Some(OutputStream::Stderr),
            END => None,
            _ => return Ok(LogPart::Nothing),
        };
        let expected = stream.map_or(0, |stream| self.offsets[index(stream).0]);
        if length as usize > CHUNK || offset != expected {
            return Ok(LogPart::Nothing);
        }
        let mut bytes = vec![0; length as usize];
        if !read_whole(&mut self.file, &mut bytes)? {
            return Ok(LogPart::Nothing);
        }
        self.at += (FRAME + bytes.len()) as u64;
        Ok(match stream {
            Some(stream) => {
                self.offsets[index(stream).0] += bytes.len() as u64;
                LogPart::Output {
                    stream,
                    offset,
                    bytes,
                }
            }
            None => LogPart::Ended {
                outcome: String::from_utf8_lossy(&bytes).into_owned(),
            },
        })
    }
}

/// Fills a buffer; false when there is not enough.
fn read_whole(file: &mut File, buffer: &mut [u8]) -> io::Result<bool> {
    match file.read_exact(buffer) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(number: u128) -> LogHeader {
        let run = RunId::from_uuid(uuid::Uuid::from_u128(number));
        LogHeader::new(run, Timestamp::UNIX_EPOCH, "x\n", None)
    }

    fn all(reader: &mut OutputReader) -> Vec<LogPart> {
        let mut parts = Vec::new();
        loop {
            match reader.next_part().unwrap() {
                LogPart::Nothing => return parts,
                part => parts.push(part),
            }
        }
    }

    fn output(stream: OutputStream, offset: u64, bytes: &[u8]) -> LogPart {
        LogPart::Output {
            stream,
            offset,
            bytes: bytes.to_vec(),
        }
    }

    #[tokio::test]
    async fn a_log_is_followed_to_its_end_and_then_gone() {
        let folder = tempfile::tempdir().unwrap();
        let logs = OutputLogs::new(folder.path().join("logs"));
        assert_eq!(logs.runs().unwrap(), []);
        let header = header(1);
        let log = OutputLog::create(&logs.folder, &header).unwrap();
        assert_eq!(logs.runs().unwrap(), [header.run]);
        let mut reader = logs.open(&header.run).unwrap().unwrap();
        assert_eq!(*reader.header(), header);
        assert!(reader.is_running().unwrap());
        let queue = log.queue();
        queue.push(OutputStream::Stdout, b"one");
        queue.push(OutputStream::Stderr, b"two");
        queue.push(OutputStream::Stdout, b"three");
        log.finish("completed").await.unwrap();
        let mut joined = Vec::new();
        for part in all(&mut reader) {
            match part {
                LogPart::Output {
                    stream: OutputStream::Stdout,
                    offset,
                    bytes,
                } => {
                    assert_eq!(offset, joined.len() as u64);
                    joined.extend(bytes);
                }
                LogPart::Output { bytes, .. } => assert_eq!(bytes, b"two"),
                LogPart::Ended { outcome } => assert_eq!(outcome, "completed"),
                LogPart::Nothing => unreachable!(),
            }
        }
        assert_eq!(joined, b"onethree");
        assert!(!reader.is_running().unwrap());
        assert!(logs.open(&header.run).unwrap().is_none());
    }

    #[tokio::test]
    async fn a_log_that_was_given_up_is_there_and_has_no_end() {
        let folder = tempfile::tempdir().unwrap();
        let logs = OutputLogs::new(folder.path().to_owned());
        let header = header(2);
        let mut log = OutputLog::create(folder.path(), &header).unwrap();
        log.queue().push(OutputStream::Stderr, b"last words");
        log.queue.close(None);
        log.writer.join_next().await.unwrap().unwrap().unwrap();
        drop(log);
        let mut reader = logs.open(&header.run).unwrap().unwrap();
        assert!(!reader.is_running().unwrap());
        let expected = [output(OutputStream::Stderr, 0, b"last words")];
        assert_eq!(all(&mut reader), expected);
    }

    #[test]
    fn what_is_cut_short_or_damaged_is_not_there() {
        let folder = tempfile::tempdir().unwrap();
        let logs = OutputLogs::new(folder.path().to_owned());
        let header = header(3);
        let path = path_of(folder.path(), &header.run);
        let mut whole = serde_json::to_vec(&header).unwrap();
        whole.push(b'\n');
        let start = whole.len();
        std::fs::write(&path, &whole).unwrap();
        let mut file = OpenOptions::new().append(true).open(&path).unwrap();
        put_frame(&mut file, 1, 0, b"abc").unwrap();
        put_frame(&mut file, 1, 3, b"def").unwrap();
        let whole = std::fs::read(&path).unwrap();
        let count = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            let mut reader = logs.open(&header.run).unwrap().unwrap();
            all(&mut reader).len()
        };
        for length in start..whole.len() {
            let expected = usize::from(length >= start + FRAME + 3);
            assert_eq!(count(&whole[..length]), expected, "{length}");
        }
        assert_eq!(count(&whole), 2);
        for (at, value) in [(start, 9), (start + 1, 1), (start + 12, 255)] {
            let mut damaged = whole.clone();
            damaged[at] = value;
            assert_eq!(count(&damaged), 0, "{at}");
        }
        std::fs::write(&path, &whole[..start - 5]).unwrap();
        assert!(logs.open(&header.run).is_err());
    }

    #[tokio::test]
    async fn few_abandoned_logs_are_kept_and_all_that_are_running() {
        let folder = tempfile::tempdir().unwrap();
        let logs = OutputLogs::new(folder.path().to_owned());
        let running = OutputLog::create(folder.path(), &header(1)).unwrap();
        for number in 2..40 {
            let log = OutputLog::create(folder.path(), &header(number)).unwrap();
            let path = log.path.clone();
            drop(log);
            // Its writer ends in a thread of its own, and holds the lock until then.
            while File::open(&path).unwrap().try_lock().is_err() {
                tokio::task::yield_now().await;
            }
        }
        let last = OutputLog::create(folder.path(), &header(40)).unwrap();
        let runs = logs.runs().unwrap();
        assert_eq!(runs.len(), ABANDONED + 2);
        assert!(runs.contains(&header(1).run) && runs.contains(&header(40).run));
        running.discard();
        last.discard();
    }

    #[test]
    fn a_slow_disk_costs_the_order_of_the_streams_and_nothing_else() {
        let queue = Queue::default();
        for _ in 0..(2 * PIECES) {
            queue.push(OutputStream::Stdout, b"o");
            queue.push(OutputStream::Stderr, b"e");
        }
        queue.close(None);
        let (mut pieces, mut bytes) = (0, [0, 0]);
        while let Some((stream, piece)) = queue.next() {
            pieces += 1;
            bytes[index(stream).0] += piece.len();
        }
        assert_eq!((pieces, bytes), (PIECES, [2 * PIECES, 2 * PIECES]));
    }
}
