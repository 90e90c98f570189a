//! What fills the disk.

use std::collections::{BTreeSet, HashMap};
use std::fs;

use spec::{ByteSize, Digest, SubagentName};

use crate::gc::add;
use crate::layout::LOG;
use crate::named::Named;
use crate::{Amount, Store, StoreError, parallel};

/// What a store holds, and what takes how much.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoreStats {
    /// Names that have a head.
    pub names: u64,
    /// Versions that names have, those that were undone included.
    pub versions: u64,
    /// Operations in the log.
    pub operations: u64,
    /// Recorded runs.
    pub runs: u64,
    /// All content.
    pub content: Amount,
    /// Of it: manifests, configs and source layers of versions.
    pub of_versions: Amount,
    /// Of it: what runs asked for and were given, but for bodies.
    pub of_cassettes: Amount,
    /// Of it: records, workspaces, the source of what has no version, bodies.
    pub of_runs: Amount,
    /// Of it: what nothing names. `gc` removes it.
    pub unnamed: Amount,
    /// What content would take more if each version and run had its own.
    pub shared: ByteSize,
    /// The log of operations.
    pub log: ByteSize,
    /// Files that are being written.
    pub temporary: Amount,
    /// Files that could not be read, so that what they name may be among what nothing names.
    pub unreadable: u64,
    /// What names take, the largest first.
    pub largest: Vec<NameSize>,
}

/// What the versions of one name take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameSize {
    /// The name.
    pub name: SubagentName,
    /// How many versions it has.
    pub versions: u64,
    /// Bytes of them together.
    pub size: ByteSize,
    /// Bytes that no other name has too.
    pub own: ByteSize,
}

/// How far the counting is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StatsProgress {
    /// Versions and runs that were looked at.
    pub done: u64,
    /// How many there are.
    pub total: u64,
}

impl Store {
    /// Counts what there is. No content of versions and workspaces is read, only what names it.
    ///
    /// Others may go on writing meanwhile; what they write is counted or not.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] when the log is damaged, and the file system's errors.
    pub fn stats(
        &self,
        largest: usize,
        observe: &mut dyn FnMut(StatsProgress),
    ) -> Result<StoreStats, StoreError> {
        let mut count = Count {
            store: self,
            stats: StoreStats::default(),
            blobs: HashMap::new(),
            names: Vec::new(),
            observe,
            progress: StatsProgress::default(),
        };
        for blob in self.blob_files()? {
            add(&mut count.stats.content, blob.size);
            let of = Blob {
                size: blob.size,
                ..Blob::default()
            };
            count.blobs.insert(blob.digest, of);
        }
        let log = self.named()?;
        let named = log.named;
        let runs = self.runs()?;
        count.stats.names = named.heads();
        count.stats.operations = named.operations;
        count.stats.runs = runs.len() as u64;
        count.versions(&named, runs.len())?;
        count.runs(&runs)?;
        count.stats.log =
            ByteSize::bytes(fs::metadata(self.root().join(LOG)).map_or(0, |log| log.len()));
        for directory in [&self.layout.tmp, &self.layout.leases] {
            for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
                let size = entry.metadata().map_or(0, |file| file.len());
                add(&mut count.stats.temporary, size);
            }
        }
        Ok(count.finish(largest))
    }
}

/// Whose a blob is. A version's is never counted as a run's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Owner {
    #[default]
    Nobody,
    Version,
    Cassette,
    Run,
}

#[derive(Clone, Copy, Debug, Default)]
struct Blob {
    size: u64,
    owner: Owner,
    /// Versions and runs that name it.
    uses: u32,
    /// The name that has it, and whether another has it too.
    name: Option<(u32, bool)>,
}

struct Count<'a> {
    store: &'a Store,
    stats: StoreStats,
    blobs: HashMap<Digest, Blob>,
    names: Vec<NameSize>,
    observe: &'a mut dyn FnMut(StatsProgress),
    progress: StatsProgress,
}

impl Count<'_> {
    fn step(&mut self) {
        self.progress.done += 1;
        (self.observe)(self.progress);
    }

    fn versions(&mut self, named: &Named, runs: usize) -> Result<(), StoreError> {
        let mut all = Vec::new();
        for (name, versions) in named.by_name() {
            let index = u32::try_from(self.names.len()).unwrap_or(u32::MAX);
            self.names.push(NameSize {
                name: name.clone(),
                versions: 0,
                size: ByteSize::bytes(0),
                own: ByteSize::bytes(0),
            });
            all.extend(versions.into_iter().map(|digest| (index, digest)));
        }
        self.progress.total = (all.len() + runs) as u64;
        let store = self.store;
        parallel::each(
            &all,
            |(_, digest)| store.version_parts(digest),
            |(name, _), parts| {
                match parts {
                    Ok(parts) => {
                        self.stats.versions += 1;
                        if let Some(name) = self.names.get_mut(*name as usize) {
                            name.versions += 1;
                        }
                        for digest in parts.blobs {
                            self.version_blob(*name, &digest);
                        }
                    }
                    // A collection removed it, while its name was removed.
                    Err(StoreError::UnknownVersion { .. }) => {}
                    Err(_) => self.stats.unreadable += 1,
                }
                self.step();
                Ok(())
            },
        )
    }

    fn version_blob(&mut self, name: u32, digest: &Digest) {
        let Some(blob) = self.blobs.get_mut(digest) else {
            return;
        };
        blob.owner = Owner::Version;
        blob.uses += 1;
        let is_new = match &mut blob.name {
            None => {
                blob.name = Some((name, false));
                true
            }
            // Names come one after the other: this one has counted it already.
            Some((last, _)) if *last == name => false,
            Some((last, is_shared)) => {
                (*last, *is_shared) = (name, true);
                true
            }
        };
        let size = blob.size;
        if let Some(name) = self.names.get_mut(name as usize).filter(|_| is_new) {
            name.size = ByteSize::bytes(name.size.get() + size);
        }
    }

    fn runs(&mut self, runs: &[spec::RunId]) -> Result<(), StoreError> {
        let store = self.store;
        let look = |run: &spec::RunId| {
            let parts = store.run_parts(run)?;
            let mut blobs: BTreeSet<Digest> = parts.blobs.iter().copied().collect();
            for tree in &parts.trees {
                blobs.extend(store.tree_parts(tree)?);
            }
            Ok((parts.cassette, blobs))
        };
        parallel::each(runs, look, |_, found: Result<_, StoreError>| {
            match found {
                Ok((cassette, blobs)) => {
                    for digest in blobs {
                        let Some(blob) = self.blobs.get_mut(&digest) else {
                            continue;
                        };
                        blob.uses += 1;
                        if blob.owner != Owner::Version {
                            blob.owner = if digest == cassette {
                                Owner::Cassette
                            } else {
                                Owner::Run
                            };
                        }
                    }
                }
                Err(_) => self.stats.unreadable += 1,
            }
            self.step();
            Ok(())
        })
    }

    fn finish(mut self, largest: usize) -> StoreStats {
        for blob in self.blobs.values() {
            let amount = match blob.owner {
                Owner::Nobody => &mut self.stats.unnamed,
                Owner::Version => &mut self.stats.of_versions,
                Owner::Cassette => &mut self.stats.of_cassettes,
                Owner::Run => &mut self.stats.of_runs,
            };
            add(amount, blob.size);
            let again = u64::from(blob.uses.saturating_sub(1));
            let shared = self.stats.shared.get() + blob.size.saturating_mul(again);
            self.stats.shared = ByteSize::bytes(shared);
            if let Some((name, false)) = blob.name
                && let Some(name) = self.names.get_mut(name as usize)
            {
                name.own = ByteSize::bytes(name.own.get() + blob.size);
            }
        }
        self.names
            .sort_by(|a, b| b.size.cmp(&a.size).then_with(|| a.name.cmp(&b.name)));
        self.names.truncate(largest);
        self.stats.largest = self.names;
        self.stats
    }
}
