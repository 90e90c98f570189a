//! What is where in a store, and how one is made and opened.

use std::collections::HashSet;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use spec::{Digest, RunId};

use crate::ask::HistoryCache;
use crate::index::IndexSlot;
use crate::lease::{self, Lease};
use crate::search::SearchSlot;
use crate::{StoreError, persist};

/// A content-addressed library of versions and runs in one directory.
///
/// Cloning is cheap and gives the same store. Any number of processes may use one directory at
/// once; opening one takes no lock and reads no content. Methods block.
#[derive(Clone, Debug)]
pub struct Store {
    pub(crate) layout: Arc<Layout>,
    pub(crate) history: Arc<HistoryCache>,
    pub(crate) index: Arc<IndexSlot>,
    pub(crate) search: Arc<SearchSlot>,
}

/// The paths of a store.
///
/// ```text
/// format              which program can read this
/// oci-layout          makes the blobs readable to OCI tools
/// blobs/sha256/<hex>  content, never changed
/// operations.log      one line per operation, only ever appended to
/// operations.head     the last operation in it
/// runs/<run id>       the digest of the run's record
/// attachments/<hex>/  the digests of the manifests about a version
/// tmp/                files being written; each is locked by its writer
/// lock                held by whoever appends an operation
/// index.db            a view of the log, which can be removed at any time; `index.db-*` too
/// search.db           a view of what can be found, likewise
/// leases/             what living processes may still name; each is locked by its process
/// lease.lock          shared by whoever begins to name something, alone by `gc` while it removes
/// gc.lock             held by `gc` from its beginning to its end, shared by `fsck`
/// ```
#[derive(Debug)]
pub(crate) struct Layout {
    pub(crate) root: PathBuf,
    pub(crate) blobs: PathBuf,
    pub(crate) runs: PathBuf,
    pub(crate) attachments: PathBuf,
    pub(crate) tmp: PathBuf,
    pub(crate) log: PathBuf,
    pub(crate) lock: PathBuf,
    pub(crate) leases: PathBuf,
    pub(crate) lease_lock: PathBuf,
    pub(crate) gc_lock: PathBuf,
    /// Blobs whose names this process knows to be on disk: a run puts the same trees several times.
    pub(crate) on_disk: Mutex<HashSet<Digest>>,
    /// What this process may still name.
    pub(crate) lease: Mutex<Option<Lease>>,
}

/// The format that this program writes, and the newest that it reads.
const FORMAT: u64 = 1;
/// What precedes the number in the file `format`.
const FORMAT_PREFIX: &str = "agentfactory store format ";
/// Source: OCI image specification, image layout.
pub(crate) const OCI_LAYOUT: &str = "{\"imageLayoutVersion\":\"1.0.0\"}";
/// The operations.
pub(crate) const LOG: &str = "operations.log";
/// How far they reach.
pub(crate) const LOG_END: &str = "operations.head";
/// A view of them.
pub(crate) const INDEX: &str = "index.db";
/// Its files: the journal is there while the database is made. Source: SQLite, temporary files.
pub(crate) const INDEX_FILES: [&str; 4] =
    [INDEX, "index.db-wal", "index.db-shm", "index.db-journal"];
/// What is searched: a view too.
pub(crate) const SEARCH_FILES: [&str; 4] = [
    "search.db",
    "search.db-wal",
    "search.db-shm",
    "search.db-journal",
];
/// Everything that can be at the top of a store, beside the index.
pub(crate) const TOP: &[&str] = &[
    "attachments",
    "blobs",
    "format",
    "gc.lock",
    "lease.lock",
    "leases",
    "lock",
    "oci-layout",
    LOG_END,
    LOG,
    "runs",
    "tmp",
];

impl Store {
    /// Opens the store at `root`, or creates it.
    ///
    /// Files that dead writers left in `tmp/` are removed; those of living ones stay.
    ///
    /// # Errors
    /// [`StoreError::NotAStore`] when the directory holds something else,
    /// [`StoreError::NewerFormat`], [`StoreError::Corrupt`] for an unreadable format, and the
    /// file system's errors.
    pub fn ensure(root: &Path) -> Result<Self, StoreError> {
        let layout = Layout::new(root);
        match layout.check_format()? {
            Format::Known => layout.ensure_directories()?,
            Format::Absent => layout.create()?,
        }
        persist::clean(&layout.tmp);
        lease::clean(&layout);
        Ok(Self {
            layout: Arc::new(layout),
            history: Arc::default(),
            index: Arc::default(),
            search: Arc::default(),
        })
    }

    /// The directory that holds the store.
    pub fn root(&self) -> &Path {
        &self.layout.root
    }
}

enum Format {
    Known,
    Absent,
}

impl Layout {
    fn new(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
            blobs: root.join("blobs/sha256"),
            runs: root.join("runs"),
            attachments: root.join("attachments"),
            tmp: root.join("tmp"),
            log: root.join(LOG),
            lock: root.join("lock"),
            leases: root.join("leases"),
            lease_lock: root.join("lease.lock"),
            gc_lock: root.join("gc.lock"),
            on_disk: Mutex::default(),
            lease: Mutex::default(),
        }
    }

    pub(crate) fn blob(&self, digest: &Digest) -> PathBuf {
        self.blobs.join(digest.hex())
    }

    /// The index of the search: a view of heads, versions and runs.
    pub(crate) fn search_index(&self) -> PathBuf {
        self.root.join(SEARCH_FILES[0])
    }

    /// The files of the index of the search, itself first.
    pub(crate) fn search_files(&self) -> [PathBuf; 4] {
        SEARCH_FILES.map(|name| self.root.join(name))
    }

    pub(crate) fn run(&self, run: &RunId) -> PathBuf {
        self.runs.join(run.to_string())
    }

    pub(crate) fn format(&self) -> PathBuf {
        self.root.join("format")
    }

    pub(crate) fn oci_layout(&self) -> PathBuf {
        self.root.join("oci-layout")
    }

    pub(crate) fn log_end(&self) -> PathBuf {
        self.root.join(LOG_END)
    }

    /// The one content of `format`.
    pub(crate) fn format_text() -> String {
        format!("{FORMAT_PREFIX}{FORMAT}\n")
    }

    fn check_format(&self) -> Result<Format, StoreError> {
        let path = self.format();
        let bytes = match persist::read_small(&path) {
            Ok(bytes) => bytes,
            Err(StoreError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                return Ok(Format::Absent);
            }
            Err(error) => return Err(error),
        };
        let number = std::str::from_utf8(&bytes)
            .ok()
            .and_then(|text| text.strip_prefix(FORMAT_PREFIX)?.strip_suffix('\n'))
            .and_then(|number| number.parse::<u64>().ok());
        match number {
            Some(FORMAT) if bytes == Self::format_text().as_bytes() => Ok(Format::Known),
            Some(found) if found > FORMAT => Err(StoreError::NewerFormat {
                path: self.root.clone(),
                found,
                supported: FORMAT,
            }),
            _ => Err(StoreError::corrupt(&path, "it does not state a format")),
        }
    }

    /// Makes a new store, or finishes one whose creation was interrupted. `format` comes last: a
    /// store that has it is complete.
    fn create(&self) -> Result<(), StoreError> {
        create_directory(&self.root)?;
        let entries = fs::read_dir(&self.root)
            .map_err(|source| StoreError::read("list", &self.root, source))?;
        for entry in entries {
            let entry = entry.map_err(|source| StoreError::read("list", &self.root, source))?;
            if !TOP
                .iter()
                .chain(&INDEX_FILES)
                .chain(&SEARCH_FILES)
                .any(|name| entry.file_name() == *name)
            {
                return Err(StoreError::NotAStore {
                    path: self.root.clone(),
                });
            }
        }
        self.ensure_directories()?;
        self.write(&self.oci_layout(), OCI_LAYOUT.as_bytes())?;
        persist::append_handle(&self.log, true)?;
        self.write(&self.format(), Self::format_text().as_bytes())?;
        // The new directory itself must survive a loss of power too.
        self.root.parent().map_or(Ok(()), persist::sync_directory)
    }

    /// Copies of a store lose its empty directories easily.
    fn ensure_directories(&self) -> Result<(), StoreError> {
        for directory in [&self.blobs, &self.runs, &self.tmp, &self.leases] {
            create_directory(directory)?;
        }
        Ok(())
    }

    /// Writes a small file in one step.
    fn write(&self, path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
        let mut file = persist::Temporary::create(&self.tmp)?;
        file.write(bytes)?;
        file.persist(path)
    }
}

/// Creates a directory for its owner alone: records hold what users asked.
pub(crate) fn create_directory(path: &Path) -> Result<(), StoreError> {
    if path.is_dir() {
        return Ok(());
    }
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|source| StoreError::write("create", path, source))
}
