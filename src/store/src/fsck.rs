//! Looking at everything there is: is it what was written?

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use spec::{Digest, RunId, Tree};

use crate::end::LogEnd;
use crate::layout::{INDEX, INDEX_FILES, LOG, LOG_END, Layout, OCI_LAYOUT, SEARCH_FILES, TOP};
use crate::log::Lines;
use crate::memory::Memory;
use crate::named::Named;
use crate::operation::Operation;
use crate::record::RECORD_MAX;
use crate::{Store, StoreError, blobs, parallel, persist};

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
        let mut check = Check {
            store: self,
            report: FsckReport::default(),
            bad: BTreeSet::new(),
            named: BTreeSet::new(),
            trees: BTreeSet::new(),
        };
        check.top()?;
        // What names blobs is read before the blobs: whatever it names was there before.
        let state = check.log();
        let runs = check.run_pointers()?;
        check.blobs(observe)?;
        check.history(&state);
        check.runs(&runs);
        check.attachments()?;
        Ok(check.report)
    }
}

struct Check<'a> {
    store: &'a Store,
    report: FsckReport,
    /// Blobs that were reported: what follows from that is not reported again.
    bad: BTreeSet<Digest>,
    /// Blobs that runs and trees name, each looked for once.
    named: BTreeSet<Digest>,
    /// Trees that were read.
    trees: BTreeSet<Digest>,
}

impl Check<'_> {
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
    fn log(&mut self) -> Memory {
        let end = LogEnd::read(self.layout()).unwrap_or_else(|error| {
            self.failed(self.layout().log_end(), None, &error);
            None
        });
        let path = self.layout().log.clone();
        let mut state = Memory::default();
        let file = match persist::open_regular(&path) {
            Ok(file) => file,
            Err(source) => {
                self.failed(path.clone(), None, &StoreError::read("read", &path, source));
                return state;
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
                    return state;
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
            self.find(FindingKind::Damaged, self.layout().index(), None, why);
        }
        state
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

    fn blobs(&mut self, observe: &mut dyn FnMut(FsckProgress)) -> Result<(), StoreError> {
        let directory = self.layout().blobs.clone();
        let paths = list(&directory)?;
        let mut progress = FsckProgress {
            blobs_total: paths.len() as u64,
            ..FsckProgress::default()
        };
        // Small files cost time, large ones processors: both are shared out.
        let read = |path: &PathBuf| {
            let name = path.file_name().and_then(|name| name.to_str());
            let digest = name.and_then(|name| format!("sha256:{name}").parse::<Digest>().ok());
            let read = persist::open_regular(path).and_then(|file| {
                let size = file.metadata()?.len();
                Ok((size, blobs::hash(file)?))
            });
            (digest, read)
        };
        parallel::each(&paths, read, |path, (digest, read)| {
            match digest {
                Some(digest) => self.blob(path.clone(), digest, read),
                None => self.find(
                    FindingKind::Stray,
                    path.clone(),
                    None,
                    "its name is not a digest",
                ),
            }
            progress.blobs += 1;
            progress.bytes = self.report.bytes;
            observe(progress);
            Ok(())
        })
    }

    fn blob(&mut self, path: PathBuf, digest: Digest, read: io::Result<(u64, Digest)>) {
        self.report.blobs += 1;
        match read {
            Ok((size, found)) => {
                self.report.bytes += size;
                if found != digest {
                    self.bad.insert(digest);
                    let why = format!("its content has the digest {found}");
                    self.find(FindingKind::Damaged, path, Some(digest), why);
                }
            }
            Err(source) => {
                self.bad.insert(digest);
                let error = StoreError::read("read", &path, source);
                self.failed(path, Some(digest), &error);
            }
        }
    }

    /// What operations name.
    fn history(&mut self, state: &Memory) {
        let mut log = Named::default();
        for operation in &state.operations {
            log.apply(operation);
        }
        // What a removed name had may be gone, and stays gone when the name comes back.
        let kept = log.kept();
        let may_be_gone = |digest: &Digest| !kept.get(digest).copied().unwrap_or_default();
        let mut versions = BTreeSet::new();
        let mut open = Vec::new();
        for (name, digest) in state.named_versions() {
            let is_gone = may_be_gone(&digest) && !self.layout().blob(&digest).exists();
            if !is_gone && versions.insert(digest) {
                open.push((digest, format!("`{name}`")));
            }
        }
        self.report.versions = versions.len() as u64;
        let mut seen = versions;
        while let Some((digest, by)) = open.pop() {
            if self.bad.contains(&digest) {
                continue;
            }
            match self.store.version(&digest) {
                Ok(version) => {
                    let depends = version.content.depends.into_values();
                    let new = depends.filter(|digest| seen.insert(*digest));
                    open.extend(new.map(|needed| (needed, format!("the version {digest}"))));
                }
                // A damaged part was reported as the blob that it is.
                Err(StoreError::Corrupt { path, .. }) if self.is_bad(&path) => {}
                Err(StoreError::UnknownVersion { .. }) => self.needed(digest, &by),
                Err(error) => self.unresolved(digest, error),
            }
        }
        for (run, must) in log.evidence() {
            if must
                && matches!(
                    self.store.run_digest(&run),
                    Err(StoreError::UnknownRun { .. })
                )
            {
                let path = self.layout().run(&run);
                let why = "it is missing; it is the evidence of an operation";
                self.find(FindingKind::Missing, path, None, why);
            }
        }
    }

    /// What run records name.
    fn runs(&mut self, runs: &BTreeMap<RunId, Digest>) {
        for (run, digest) in runs {
            if self.bad.contains(digest) {
                continue;
            }
            let record = match self.store.run(run) {
                Ok(record) => record,
                Err(StoreError::Corrupt { path, .. }) if self.is_bad(&path) => continue,
                Err(_) if !self.layout().blob(digest).exists() => {
                    let path = self.layout().run(run);
                    let why = format!("it points at {digest}, which is missing");
                    self.find(FindingKind::Missing, path, Some(*digest), why);
                    continue;
                }
                Err(error) => {
                    self.unresolved(*digest, error);
                    continue;
                }
            };
            match record.references() {
                Ok(references) => {
                    let by = format!("run {run}");
                    for named in references {
                        self.needed(named, &by);
                    }
                    for tree in record.trees() {
                        self.tree(tree);
                    }
                }
                Err(error) => self.unresolved(*digest, error),
            }
        }
    }

    /// The files of a workspace tree.
    fn tree(&mut self, digest: Digest) {
        if self.bad.contains(&digest) || !self.trees.insert(digest) {
            return;
        }
        let path = self.layout().blob(&digest);
        let tree = match self.store.get_at_most(&digest, RECORD_MAX) {
            Ok(bytes) => Tree::from_bytes(&bytes),
            Err(error) => return self.failed(path, Some(digest), &error),
        };
        match tree {
            Ok(tree) => {
                let by = format!("the tree {digest}");
                for entry in tree.entries() {
                    self.needed(entry.digest, &by);
                }
            }
            Err(why) => {
                let why = crate::version::chain(&why);
                self.find(FindingKind::Invalid, path, Some(digest), why);
            }
        }
    }

    /// What is said about versions.
    fn attachments(&mut self) -> Result<(), StoreError> {
        let folder = self.layout().attachments.clone();
        for subject in self.store.subjects()? {
            // What was said about a version that `gc` removed goes with the next collection.
            if !self.store.contains(&subject)? {
                continue;
            }
            let below = folder.join(subject.hex());
            for digest in self.store.attached(&subject)? {
                let by = format!("what is said about {subject}");
                self.needed(digest, &by);
                if self.bad.contains(&digest) {
                    continue;
                }
                match self.store.attachment(&subject, &digest) {
                    Ok(attachment) => {
                        let by = format!("the manifest {digest}");
                        for needed in attachment.blobs() {
                            self.needed(needed, &by);
                        }
                    }
                    Err(error) => self.failed(below.join(digest.hex()), Some(digest), &error),
                }
            }
        }
        Ok(())
    }

    /// Reports a blob that is named and not there. That it is intact was checked with all others.
    fn needed(&mut self, digest: Digest, by: &str) {
        let is_new = self.named.insert(digest) && !self.bad.contains(&digest);
        if !is_new || self.store.contains(&digest).unwrap_or(false) {
            return;
        }
        self.bad.insert(digest);
        let path = self.layout().blob(&digest);
        let why = format!("it is missing; {by} names it");
        self.find(FindingKind::Missing, path, Some(digest), why);
    }

    /// Reports a version or record that is not what it should be.
    fn unresolved(&mut self, digest: Digest, error: StoreError) {
        let (kind, path, why) = match error {
            StoreError::BadVersion { why, .. } => {
                (FindingKind::Invalid, self.layout().blob(&digest), why)
            }
            StoreError::Corrupt { path, why } if !path.exists() => {
                (FindingKind::Missing, path, why)
            }
            StoreError::Corrupt { path, why } => (FindingKind::Damaged, path, why),
            StoreError::Io { path, source, .. } => {
                (FindingKind::Unreadable, path, source.to_string())
            }
            other => (
                FindingKind::Invalid,
                self.layout().blob(&digest),
                other.to_string(),
            ),
        };
        self.bad.insert(digest);
        self.find(kind, path, Some(digest), why);
    }

    /// Whether this is the file of a blob that was reported.
    fn is_bad(&self, path: &Path) -> bool {
        let name = path.file_name().and_then(|name| name.to_str());
        let digest = name.and_then(|name| format!("sha256:{name}").parse().ok());
        path.starts_with(&self.layout().blobs)
            && digest.is_some_and(|digest| self.bad.contains(&digest))
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
