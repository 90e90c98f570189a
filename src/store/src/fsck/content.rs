//! Reading all content once, on all processors, and following what names what.
//!
//! Versions, records, trees and what is said about versions are read as what they are, which checks their bytes;
//! then all other blobs are. What is wrong with the former is judged at the end: where a blob turned out to be
//! damaged, that is reported, and not what follows from it.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};

use spec::{Digest, RunId, Tree};

use super::{Check, FindingKind, FsckProgress, History};
use crate::index::RunRow;
use crate::record::RECORD_MAX;
use crate::{Store, StoreError, blobs, parallel, persist};

/// Blobs whose bytes were found to be right, each with its size.
type Sized = Vec<(Digest, u64)>;

/// What is to be judged when all blobs are known.
enum Trouble {
    Version {
        digest: Digest,
        by: String,
        error: StoreError,
    },
    /// A run is the evidence of an operation, and is gone.
    Evidence(RunId),
    Record {
        run: RunId,
        digest: Digest,
        error: StoreError,
    },
    References {
        digest: Digest,
        error: StoreError,
    },
    Tree {
        digest: Digest,
        error: StoreError,
    },
    Attachment {
        path: PathBuf,
        digest: Digest,
        error: StoreError,
    },
}

/// Who names a blob that is not there.
struct Wanted {
    /// The first of them.
    by: String,
    /// How often others name it.
    others: u64,
}

/// How far the reading of content is.
struct Reading<'a, 'o> {
    store: &'a Store,
    /// Every blob that was there when the blobs were listed, in order.
    listed: Vec<Digest>,
    /// Whether each of them was read and is right.
    right: Vec<bool>,
    troubles: Vec<Trouble>,
    /// Blobs that are named and not there: a store can name one of them a million times.
    missing: BTreeMap<Digest, Wanted>,
    progress: FsckProgress,
    observe: &'o mut dyn FnMut(FsckProgress),
}

impl Check<'_> {
    /// Every blob, and what names it.
    pub(super) fn content(
        &mut self,
        history: &History,
        runs: &BTreeMap<RunId, Digest>,
        observe: &mut dyn FnMut(FsckProgress),
    ) -> Result<(), StoreError> {
        let listed = self.listed()?;
        let mut reading = Reading {
            store: self.store,
            right: vec![false; listed.len()],
            progress: FsckProgress {
                blobs_total: listed.len() as u64,
                ..FsckProgress::default()
            },
            listed,
            troubles: Vec::new(),
            missing: BTreeMap::new(),
            observe,
        };
        self.report.versions = reading.history(history)?;
        let (trees, records) = reading.runs(runs)?;
        self.records = records;
        reading.trees(&trees)?;
        reading.attachments()?;
        self.blobs(&mut reading)?;
        for trouble in reading.troubles {
            self.judge(trouble);
        }
        for (digest, wanted) in reading.missing {
            self.missing(digest, &wanted);
        }
        Ok(())
    }

    /// The blobs that are there. There can be very many, so that what is kept is no paths.
    fn listed(&mut self) -> Result<Vec<Digest>, StoreError> {
        let folder = self.layout().blobs.clone();
        let error = |source| StoreError::read("list", &folder, source);
        let (mut listed, mut strays) = (Vec::new(), Vec::new());
        for entry in std::fs::read_dir(&folder).map_err(error)? {
            let name = entry.map_err(error)?.file_name();
            let digest = name.to_str().map(|name| format!("sha256:{name}").parse());
            match digest {
                Some(Ok(digest)) => listed.push(digest),
                _ => strays.push(folder.join(name)),
            }
        }
        listed.sort_unstable();
        strays.sort_unstable();
        for path in strays {
            self.find(FindingKind::Stray, path, None, "its name is not a digest");
        }
        Ok(listed)
    }

    /// All blobs: those that were not read are.
    fn blobs(&mut self, reading: &mut Reading<'_, '_>) -> Result<(), StoreError> {
        self.report.blobs = reading.listed.len() as u64;
        let others: Vec<Digest> = std::iter::zip(&reading.listed, &reading.right)
            .filter_map(|(digest, is_right)| (!is_right).then_some(*digest))
            .collect();
        // Small files cost time, large ones processors: both are shared out.
        let read = |digest: &Digest| {
            let file = persist::open_regular(&self.store.layout.blob(digest))?;
            let size = file.metadata()?.len();
            Ok((size, blobs::hash(file, size)?))
        };
        let mut found = Vec::new();
        parallel::each(&others, read, |digest, read: io::Result<(u64, Digest)>| {
            if let Ok((size, _)) = &read {
                reading.progress.bytes += size;
            }
            if !matches!(&read, Ok((_, hashed)) if hashed == digest) {
                found.push((*digest, read));
            }
            reading.progress.blobs += 1;
            (reading.observe)(reading.progress);
            Ok(())
        })?;
        self.report.bytes = reading.progress.bytes;
        for (digest, read) in found {
            let path = self.layout().blob(&digest);
            self.bad.insert(digest);
            match read {
                Ok((_, hashed)) => {
                    let why = format!("its content has the digest {hashed}");
                    self.find(FindingKind::Damaged, path, Some(digest), why);
                }
                Err(source) => {
                    let error = StoreError::read("read", &path, source);
                    self.failed(path, Some(digest), &error);
                }
            }
        }
        // Told once at the end too, when there was nothing left to read.
        reading.progress.blobs = reading.progress.blobs_total;
        (reading.observe)(reading.progress);
        Ok(())
    }

    /// Reports what was found on the way, unless it follows from something that was reported.
    fn judge(&mut self, trouble: Trouble) {
        match trouble {
            Trouble::Version { digest, by, error } => match error {
                _ if self.bad.contains(&digest) => {}
                // A damaged part was reported as the blob that it is.
                StoreError::Corrupt { path, .. } if self.is_bad(&path) => {}
                StoreError::UnknownVersion { .. } => {
                    self.missing(digest, &Wanted { by, others: 0 });
                }
                error => self.unresolved(digest, error),
            },
            Trouble::Evidence(run) => {
                let path = self.layout().run(&run);
                let why = "it is missing; it is the evidence of an operation";
                self.find(FindingKind::Missing, path, None, why);
            }
            Trouble::Record { run, digest, error } => match error {
                _ if self.bad.contains(&digest) => {}
                StoreError::Corrupt { path, .. } if self.is_bad(&path) => {}
                _ if !self.layout().blob(&digest).exists() => {
                    let path = self.layout().run(&run);
                    let why = format!("it points at {digest}, which is missing");
                    self.find(FindingKind::Missing, path, Some(digest), why);
                }
                error => self.unresolved(digest, error),
            },
            Trouble::References { digest, error } => self.unresolved(digest, error),
            Trouble::Tree { digest, error } => match error {
                _ if self.bad.contains(&digest) => {}
                StoreError::Corrupt { path, .. } if self.is_bad(&path) => {}
                error => self.unresolved(digest, error),
            },
            Trouble::Attachment {
                path,
                digest,
                error,
            } => match error {
                _ if self.bad.contains(&digest) => {}
                StoreError::Corrupt { path, .. } if self.is_bad(&path) => {}
                error => self.failed(path, Some(digest), &error),
            },
        }
    }

    fn missing(&mut self, digest: Digest, Wanted { by, others }: &Wanted) {
        if self.bad.insert(digest) {
            let path = self.layout().blob(&digest);
            let why = match others {
                0 => format!("it is missing; {by} names it"),
                1 => format!("it is missing; {by} names it, and 1 other"),
                others => format!("it is missing; {by} names it, and {others} others"),
            };
            self.find(FindingKind::Missing, path, Some(digest), why);
        }
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

impl Reading<'_, '_> {
    /// Notes what was read and is right.
    fn read(&mut self, found: Sized) {
        for (digest, size) in found {
            let at = self.listed.binary_search(&digest).ok();
            let is_right = at.and_then(|at| self.right.get_mut(at));
            if let Some(is_right) = is_right.filter(|is_right| !**is_right) {
                *is_right = true;
                self.progress.blobs += 1;
                self.progress.bytes += size;
            }
        }
        (self.observe)(self.progress);
    }

    /// Notes a blob that is named and not there. One that is there is checked with all others.
    fn needed(&mut self, digest: Digest, by: &str) {
        // It may have been written since they were listed.
        let is_listed = self.listed.binary_search(&digest).is_ok();
        if is_listed {
            return;
        }
        if let Some(wanted) = self.missing.get_mut(&digest) {
            wanted.others += 1;
        } else if !self.store.contains(&digest).unwrap_or(false) {
            let by = by.to_owned();
            self.missing.insert(digest, Wanted { by, others: 0 });
        }
    }

    /// What operations name, and how many versions that is.
    fn history(&mut self, history: &History) -> Result<u64, StoreError> {
        // What a removed name had may be gone, and stays gone when the name comes back.
        let kept = history.named.kept();
        let may_be_gone = |digest: &Digest| !kept.get(digest).copied().unwrap_or_default();
        let mut seen = HashSet::new();
        let mut open = Vec::new();
        for (name, digest) in &history.versions {
            let is_gone = may_be_gone(digest) && !self.store.layout.blob(digest).exists();
            if !is_gone && seen.insert(*digest) {
                open.push((*digest, Some(name)));
            }
        }
        let versions = seen.len() as u64;
        let store = self.store;
        let look = |(digest, _): &(Digest, _)| -> Result<_, StoreError> {
            let version = store.version(digest)?;
            let read = sizes(store, [*digest, version.config, version.source]);
            Ok((read, version.content.depends))
        };
        // First what the operations name, then what that depends on, and so on.
        let mut by_version: HashMap<Digest, Digest> = HashMap::new();
        while !open.is_empty() {
            let mut next = Vec::new();
            parallel::each(&open, look, |(digest, name), looked| {
                match looked {
                    Ok((read, depends)) => {
                        self.read(read);
                        for needed in depends.into_values() {
                            if seen.insert(needed) {
                                by_version.insert(needed, *digest);
                                next.push((needed, None));
                            }
                        }
                    }
                    Err(error) => {
                        let by = match (name, by_version.get(digest)) {
                            (Some(name), _) => format!("`{name}`"),
                            (None, Some(by)) => format!("the version {by}"),
                            (None, None) => "a version".to_owned(),
                        };
                        let digest = *digest;
                        self.troubles.push(Trouble::Version { digest, by, error });
                    }
                }
                Ok(())
            })?;
            open = next;
        }
        for (run, must) in history.named.evidence() {
            if must
                && matches!(
                    self.store.run_digest(&run),
                    Err(StoreError::UnknownRun { .. })
                )
            {
                self.troubles.push(Trouble::Evidence(run));
            }
        }
        Ok(versions)
    }

    /// What run records name: the trees among it, and what the records say in short.
    fn runs(
        &mut self,
        runs: &BTreeMap<RunId, Digest>,
    ) -> Result<(Vec<Digest>, BTreeMap<RunId, RunRow>), StoreError> {
        let mut trees = BTreeSet::new();
        let mut records = BTreeMap::new();
        let store = self.store;
        let all: Vec<(RunId, Digest)> = runs.iter().map(|(run, digest)| (*run, *digest)).collect();
        let look = |(run, digest): &(RunId, Digest)| -> Result<_, StoreError> {
            let (record, cassette) = store.run_and_cassette(run)?;
            let row = RunRow {
                at: Some(record.at.as_microsecond()),
                name: record.name.clone(),
                outcome: Some(record.report.outcome.kind().to_owned()),
                version: record
                    .report
                    .version
                    .as_ref()
                    .and_then(|version| version.parse().ok()),
            };
            let read = sizes(store, [*digest, cassette]);
            Ok((read, row, record.references(), record.trees()))
        };
        parallel::each(&all, look, |(run, digest), looked| {
            let (run, digest) = (*run, *digest);
            match looked {
                Ok((read, row, references, of_run)) => {
                    self.read(read);
                    records.insert(run, row);
                    match references {
                        Ok(references) => {
                            let by = format!("run {run}");
                            for named in references {
                                self.needed(named, &by);
                            }
                            trees.extend(of_run);
                        }
                        Err(error) => self.troubles.push(Trouble::References { digest, error }),
                    }
                }
                Err(error) => self.troubles.push(Trouble::Record { run, digest, error }),
            }
            Ok(())
        })?;
        Ok((trees.into_iter().collect(), records))
    }

    /// The files of workspace trees.
    fn trees(&mut self, trees: &[Digest]) -> Result<(), StoreError> {
        let store = self.store;
        let look = |digest: &Digest| -> Result<_, StoreError> {
            let bytes = store.get_at_most(digest, RECORD_MAX)?;
            let size = bytes.len() as u64;
            Ok((size, Tree::from_bytes(&bytes)))
        };
        parallel::each(trees, look, |digest, looked| {
            let digest = *digest;
            match looked {
                Ok((size, tree)) => {
                    self.read(vec![(digest, size)]);
                    match tree {
                        Ok(tree) => {
                            let by = format!("the tree {digest}");
                            for entry in tree.entries() {
                                self.needed(entry.digest, &by);
                            }
                        }
                        Err(why) => {
                            let why = crate::version::chain(&why);
                            let error = StoreError::BadVersion { digest, why };
                            self.troubles.push(Trouble::Tree { digest, error });
                        }
                    }
                }
                // Whoever names it says so.
                Err(StoreError::BlobMissing { .. }) => {}
                Err(error) => self.troubles.push(Trouble::Tree { digest, error }),
            }
            Ok(())
        })
    }

    /// What is said about versions.
    fn attachments(&mut self) -> Result<(), StoreError> {
        let folder = self.store.layout.attachments.clone();
        for subject in self.store.subjects()? {
            // What was said about a version that `gc` removed goes with the next collection.
            if !self.store.contains(&subject)? {
                continue;
            }
            let below = folder.join(subject.hex());
            for digest in self.store.attached(&subject)? {
                let by = format!("what is said about {subject}");
                self.needed(digest, &by);
                match self.store.attachment(&subject, &digest) {
                    Ok(attachment) => {
                        self.read(vec![(digest, attachment.bytes.len() as u64)]);
                        let by = format!("the manifest {digest}");
                        for needed in attachment.blobs() {
                            self.needed(needed, &by);
                        }
                    }
                    Err(StoreError::BlobMissing { .. }) => {}
                    Err(error) => {
                        let path = below.join(digest.hex());
                        self.troubles.push(Trouble::Attachment {
                            path,
                            digest,
                            error,
                        });
                    }
                }
            }
        }
        Ok(())
    }
}

/// The sizes of blobs that were just read.
fn sizes<const N: usize>(store: &Store, digests: [Digest; N]) -> Sized {
    let size = |digest: &Digest| {
        let file = std::fs::symlink_metadata(store.layout.blob(digest));
        file.map_or(0, |file| file.len())
    };
    digests
        .iter()
        .map(|digest| (*digest, size(digest)))
        .collect()
}
