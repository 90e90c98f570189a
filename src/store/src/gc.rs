//! Removing what nothing names.
//!
//! Named is what an operation in the log leads to (versions and what they depend on, the runs that
//! are evidence), what a recorded run leads to, and what a living process holds a lease on
//! ([`crate::lease`]). All else goes, in an order in which a crash at any moment leaves only what the next
//! collection removes: first the files that point at runs, then manifests, each before those that it depends on,
//! then what points at what was said about them, then what all those led to.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs;
use std::io;
use std::time::{Duration, UNIX_EPOCH};

use jiff::Timestamp;
use spec::{ByteSize, Digest, RunId};

use crate::named::NamedLog;
use crate::parts::{RunParts, VersionParts};
use crate::{Store, StoreError, lease, parallel, persist};

/// What may be removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GcOptions {
    /// The time now.
    pub now: Timestamp,
    /// How long content stays that nothing names and nothing ever named: an interrupted task may go
    /// on. By the time at which the file was written; one from the future stays.
    pub grace: Duration,
    /// Runs that began longer ago than this go, but for those that are evidence of an operation.
    /// Without it all runs stay.
    pub runs_older_than: Option<Duration>,
    /// Nothing is removed; the report says what would be.
    pub dry_run: bool,
}

/// A number of blobs and their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amount {
    /// How many.
    pub blobs: u64,
    /// Bytes of content; a file system may need more.
    pub size: ByteSize,
}

/// What a collection removed, or would remove.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GcReport {
    /// What there was.
    pub before: Amount,
    /// What went.
    pub removed: Amount,
    /// Versions of removed names among it.
    pub versions: u64,
    /// Runs among it.
    pub runs: u64,
    /// Runs that are old enough and stay as evidence of an operation.
    pub evidence: u64,
    /// What nothing names and is too young to go.
    pub young: Amount,
    /// What nothing names but a living process.
    pub leased: Amount,
}

impl GcReport {
    /// What there is after it.
    pub fn after(&self) -> Amount {
        let mut after = self.before;
        after.blobs = after.blobs.saturating_sub(self.removed.blobs);
        let size = after.size.get().saturating_sub(self.removed.size.get());
        after.size = ByteSize::bytes(size);
        after
    }
}

/// What a collection is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GcPhase {
    /// Finding out what is named: versions and runs.
    Marking,
    /// Removing runs and blobs.
    Removing,
}

/// How far a collection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GcProgress {
    /// What is being done.
    pub phase: GcPhase,
    /// How many were done in this phase.
    pub done: u64,
    /// How many there are.
    pub total: u64,
}

/// Things that are removed while nobody may begin to name anything: some milliseconds.
pub(crate) const BATCH: usize = 256;

impl Store {
    /// Removes what nothing names, and old runs where that is asked for.
    ///
    /// Others may go on writing and running meanwhile: nothing that they named, or are about to name,
    /// goes. A second collection waits for the first, as `fsck` does. `observe` is told often.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] and its like when something that must be read to know what it names is
    /// damaged: then nothing more is removed. [`StoreError::Busy`], and the file system's errors.
    pub fn gc(
        &self,
        options: &GcOptions,
        observe: &mut dyn FnMut(GcProgress),
    ) -> Result<GcReport, StoreError> {
        let _alone = if options.dry_run {
            None
        } else {
            let locked = persist::lock(&self.layout.gc_lock)?;
            // Whatever their processes named is named by now.
            persist::clean(&self.layout.leases);
            Some(locked)
        };
        // What is written from now on is not looked at.
        let blobs = self.blob_files()?;
        let mut plan = Plan::new(self, options, observe)?;
        let leased = lease::leased(&self.layout)?;
        let victims = plan.judge(&blobs, &leased);
        if !options.dry_run {
            plan.remove(&victims, observe)?;
            persist::clean(&self.layout.leases);
        }
        Ok(plan.report)
    }

    /// Every blob, its size and when it was written.
    pub(crate) fn blob_files(&self) -> Result<Vec<BlobFile>, StoreError> {
        let error = |source| StoreError::read("list", &self.layout.blobs, source);
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.layout.blobs).map_err(error)? {
            let entry = entry.map_err(error)?;
            let name = entry.file_name();
            // What is no blob here is for `fsck` to report.
            let digest = name
                .to_str()
                .and_then(|hex| format!("sha256:{hex}").parse().ok());
            let Some(digest) = digest else {
                continue;
            };
            match entry.metadata() {
                Ok(metadata) => files.push(BlobFile {
                    digest,
                    size: metadata.len(),
                    written_at: metadata
                        .modified()
                        .ok()
                        .and_then(|time| time.duration_since(UNIX_EPOCH).ok())
                        .and_then(|since| i64::try_from(since.as_secs()).ok())
                        .unwrap_or(i64::MAX),
                }),
                Err(source) if source.kind() == io::ErrorKind::NotFound => {}
                Err(source) => return Err(StoreError::read("read", &entry.path(), source)),
            }
        }
        Ok(files)
    }
}

/// A blob as it lies on disk.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BlobFile {
    pub(crate) digest: Digest,
    pub(crate) size: u64,
    /// Seconds since 1970, by the clock of its writer.
    written_at: i64,
}

/// What is named, what is to go, and what became of it.
struct Plan<'a> {
    store: &'a Store,
    grace: Duration,
    now: Timestamp,
    /// Everything that something names.
    live: HashSet<Digest>,
    /// Versions and trees that were followed. Being named is not enough: a run may leave a file that is
    /// byte for byte some manifest or tree.
    versions: HashSet<Digest>,
    trees: HashSet<Digest>,
    /// What something named that is gone or is to go.
    let_go: HashSet<Digest>,
    /// Versions of removed names.
    old_versions: HashSet<Digest>,
    /// Runs to go.
    old_runs: BTreeSet<RunId>,
    /// Manifests and records to go, before what they lead to, and the place of each among them.
    leaders: HashMap<Digest, usize>,
    /// What operations name.
    log: NamedLog,
    report: GcReport,
}

impl<'a> Plan<'a> {
    /// Finds out what is named.
    fn new(
        store: &'a Store,
        options: &GcOptions,
        observe: &mut dyn FnMut(GcProgress),
    ) -> Result<Self, StoreError> {
        let mut plan = Self {
            store,
            grace: options.grace,
            now: options.now,
            live: HashSet::new(),
            versions: HashSet::new(),
            trees: HashSet::new(),
            let_go: HashSet::new(),
            old_versions: HashSet::new(),
            old_runs: BTreeSet::new(),
            leaders: HashMap::new(),
            log: store.named()?,
            report: GcReport::default(),
        };
        let runs = store.runs()?;
        let kept: Vec<(Digest, bool)> = plan.log.named.kept().into_iter().collect();
        let mut progress = GcProgress {
            phase: GcPhase::Marking,
            done: 0,
            total: (runs.len() + kept.len()) as u64,
        };
        let look = |(digest, _): &(Digest, bool)| store.version_parts(digest);
        parallel::each(&kept, look, |(digest, must), parts| {
            progress.done += 1;
            observe(progress);
            match parts.and_then(|parts| plan.take_version(*digest, parts)) {
                // An earlier collection removed it, or some of what it depends on, while its name
                // was removed.
                Err(StoreError::UnknownVersion { .. }) if !must => Ok(()),
                taken => taken,
            }
        })?;
        let evidence = plan.log.named.evidence();
        let oldest = options.runs_older_than.map(|age| before(options.now, age));
        let look = |run: &RunId| store.run_parts(run);
        parallel::each(&runs, look, |run, parts| {
            progress.done += 1;
            observe(progress);
            let parts = match parts {
                // Another collection removed it.
                Err(StoreError::UnknownRun { .. }) => return Ok(()),
                other => other?,
            };
            let is_old = oldest.is_some_and(|oldest| parts.at < oldest);
            if is_old && !evidence.contains_key(run) {
                plan.old_runs.insert(*run);
                plan.leaders.insert(parts.record, 0);
                plan.let_go.extend(&parts.blobs);
                for tree in &parts.trees {
                    plan.let_go
                        .extend(store.tree_parts(tree).unwrap_or_default());
                }
            } else {
                plan.report.evidence += u64::from(is_old);
                plan.take_run(parts)?;
            }
            Ok(())
        })?;
        plan.old_versions.extend(plan.log.named.let_go());
        plan.lead(store.subjects()?);
        plan.report.runs = plan.old_runs.len() as u64;
        Ok(plan)
    }

    /// Puts versions that do not stay in the order in which they go: each before what it depends on. They are
    /// those of removed names, and those that something is said about.
    fn lead(&mut self, subjects: Vec<Digest>) {
        let (mut order, mut seen) = (Vec::new(), HashSet::new());
        let versions = self.old_versions.iter().copied().chain(subjects);
        let mut open: Vec<(Digest, bool)> = versions.map(|digest| (digest, false)).collect();
        while let Some((digest, is_below_done)) = open.pop() {
            if is_below_done {
                order.push(digest);
                continue;
            }
            // What stays keeps what it depends on.
            if self.versions.contains(&digest) || !seen.insert(digest) {
                continue;
            }
            open.push((digest, true));
            // It may have gone before.
            if let Ok(parts) = self.store.version_parts(&digest) {
                open.extend(parts.depends.into_iter().map(|needed| (needed, false)));
                if self.old_versions.contains(&digest) {
                    self.let_go.extend(parts.blobs);
                }
            }
        }
        let places = order.into_iter().rev().enumerate();
        self.leaders
            .extend(places.map(|(place, digest)| (digest, place + 1)));
    }

    /// A version, what it depends on, and their blobs.
    fn mark_version(&mut self, digest: Digest) -> Result<(), StoreError> {
        let mut open = vec![digest];
        while let Some(digest) = open.pop() {
            if self.versions.contains(&digest) {
                continue;
            }
            let parts = self.store.version_parts(&digest)?;
            self.live.extend(parts.blobs);
            open.extend(parts.depends);
            self.live.extend(self.store.attached_parts(&digest)?);
            self.versions.insert(digest);
        }
        Ok(())
    }

    /// A version that was read already.
    fn take_version(&mut self, digest: Digest, parts: VersionParts) -> Result<(), StoreError> {
        self.live.extend(parts.blobs);
        self.live.extend(self.store.attached_parts(&digest)?);
        self.versions.insert(digest);
        parts
            .depends
            .into_iter()
            .try_for_each(|needed| self.mark_version(needed))
    }

    /// A run, its version, its trees and their files.
    fn mark_run(&mut self, run: &RunId) -> Result<(), StoreError> {
        let parts = self.store.run_parts(run)?;
        self.take_run(parts)
    }

    fn take_run(&mut self, parts: RunParts) -> Result<(), StoreError> {
        for version in &parts.versions {
            match self.mark_version(*version) {
                // It is kept as the blob that it is, and leads nowhere.
                Err(StoreError::BadVersion { .. }) => {}
                other => other?,
            }
        }
        for tree in &parts.trees {
            if !self.trees.contains(tree) {
                self.live.extend(self.store.tree_parts(tree)?);
                self.trees.insert(*tree);
            }
        }
        self.live.extend(parts.blobs);
        Ok(())
    }

    /// Decides about each blob. Nothing is read or changed.
    fn judge(&mut self, blobs: &[BlobFile], leased: &HashSet<Digest>) -> Vec<BlobFile> {
        let youngest = before(self.now, self.grace).as_second();
        let mut victims = Vec::new();
        for blob in blobs {
            add(&mut self.report.before, blob.size);
            if self.live.contains(&blob.digest) {
                continue;
            }
            let is_young = blob.written_at >= youngest && !self.grace.is_zero();
            if leased.contains(&blob.digest) {
                add(&mut self.report.leased, blob.size);
            } else if is_young && !self.let_go.contains(&blob.digest) {
                add(&mut self.report.young, blob.size);
            } else {
                add(&mut self.report.removed, blob.size);
                self.report.versions += u64::from(self.old_versions.contains(&blob.digest));
                victims.push(*blob);
            }
        }
        let last = usize::MAX;
        victims.sort_by_key(|blob| self.leaders.get(&blob.digest).copied().unwrap_or(last));
        victims
    }

    /// Removes what was decided, but for what was named since.
    fn remove(
        &mut self,
        victims: &[BlobFile],
        observe: &mut dyn FnMut(GcProgress),
    ) -> Result<(), StoreError> {
        let runs: Vec<RunId> = self.old_runs.iter().copied().collect();
        let mut progress = GcProgress {
            phase: GcPhase::Removing,
            done: 0,
            total: (runs.len() + victims.len()) as u64,
        };
        (self.report.removed, self.report.runs, self.report.versions) = Default::default();
        for batch in runs.chunks(BATCH) {
            let _alone = persist::lock(&self.store.layout.lease_lock)?;
            self.look_again()?;
            for run in batch.iter().filter(|run| self.old_runs.contains(run)) {
                if remove_file(&self.store.layout.run(run))? {
                    self.report.runs += 1;
                }
            }
            progress.done += batch.len() as u64;
            observe(progress);
        }
        // A run whose record is gone must not come back.
        persist::sync_directory(&self.store.layout.runs)?;
        let (leaders, others) = victims
            .split_at(victims.partition_point(|blob| self.leaders.contains_key(&blob.digest)));
        self.remove_blobs(leaders, &mut progress, observe)?;
        self.store.forget_attachments()?;
        self.remove_blobs(others, &mut progress, observe)
    }

    fn remove_blobs(
        &mut self,
        victims: &[BlobFile],
        progress: &mut GcProgress,
        observe: &mut dyn FnMut(GcProgress),
    ) -> Result<(), StoreError> {
        for batch in victims.chunks(BATCH) {
            let _alone = persist::lock(&self.store.layout.lease_lock)?;
            let leased = self.look_again()?;
            for blob in batch {
                let is_named = self.live.contains(&blob.digest) || leased.contains(&blob.digest);
                if !is_named && remove_file(&self.store.layout.blob(&blob.digest))? {
                    add(&mut self.report.removed, blob.size);
                    let is_version = self.old_versions.contains(&blob.digest);
                    self.report.versions += u64::from(is_version);
                }
            }
            progress.done += batch.len() as u64;
            observe(*progress);
        }
        persist::sync_directory(&self.store.layout.blobs)
    }

    /// Takes in what was named since; whoever calls it has the whole of the lease lock.
    fn look_again(&mut self) -> Result<HashSet<Digest>, StoreError> {
        let leased = lease::leased(&self.store.layout)?;
        if !self.log.read_on(self.store)? {
            return Ok(leased);
        }
        for (digest, must) in self.log.named.kept() {
            match self.mark_version(digest) {
                Err(StoreError::UnknownVersion { .. }) if !must => {}
                other => other?,
            }
        }
        let evidence = self.log.named.evidence();
        let spared = self
            .old_runs
            .iter()
            .filter(|run| evidence.contains_key(run));
        for run in spared.copied().collect::<Vec<RunId>>() {
            self.old_runs.remove(&run);
            match self.mark_run(&run) {
                Err(StoreError::UnknownRun { .. }) => {}
                other => other?,
            }
        }
        Ok(leased)
    }
}

/// So long before a time; the beginning of time where that is not known.
fn before(now: Timestamp, age: Duration) -> Timestamp {
    now.checked_sub(age).unwrap_or(Timestamp::MIN)
}

pub(crate) fn add(amount: &mut Amount, size: u64) {
    amount.blobs += 1;
    amount.size = ByteSize::bytes(amount.size.get() + size);
}

/// Removes a file: `false` when it was not there.
fn remove_file(path: &std::path::Path) -> Result<bool, StoreError> {
    match fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(source) if source.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(source) => Err(StoreError::write("remove", path, source)),
    }
}

#[cfg(test)]
mod tests {
    use spec::WorkspacePath;

    use super::*;
    use crate::{Move, Publication, VersionContent};

    fn stage(store: &Store, source: &str, depends: &[(&str, Digest)]) -> Digest {
        let path = WorkspacePath::from_text("main.py").unwrap();
        let depends = depends.iter();
        let content = VersionContent {
            entry: path.clone(),
            description: String::new(),
            files: vec![(path, source.as_bytes().to_vec())],
            skills: [].into(),
            depends: depends
                .map(|(name, digest)| (name.parse().unwrap(), *digest))
                .collect(),
            egress: [].into(),
            limits: None,
            python: "3.13".to_owned(),
            requirements: Vec::new(),
        };
        store.stage(&content).unwrap().digest()
    }

    #[test]
    fn what_depends_goes_before_what_it_depends_on() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("store");
        let store = Store::ensure(&root).unwrap();
        let low = stage(&store, "x = 1\n", &[]);
        let middle = stage(&store, "x = 2\n", &[("low", low)]);
        let top = stage(&store, "x = 3\n", &[("low", low), ("middle", middle)]);
        // The one in the middle never had a name of its own.
        for (name, to) in [("low", low), ("top", top)] {
            let publication = Publication {
                moves: vec![Move {
                    name: name.parse().unwrap(),
                    from: None,
                    to,
                }],
                at: Timestamp::UNIX_EPOCH,
                task: None,
                evidence: Vec::new(),
                note: String::new(),
            };
            store.publish(publication).unwrap();
            store
                .remove(&name.parse().unwrap(), Timestamp::UNIX_EPOCH)
                .unwrap();
        }
        drop(store);
        let store = Store::ensure(&root).unwrap();
        let options = GcOptions {
            now: Timestamp::now(),
            grace: Duration::ZERO,
            runs_older_than: None,
            dry_run: true,
        };
        let mut plan = Plan::new(&store, &options, &mut |_| {}).unwrap();
        let mut blobs = store.blob_files().unwrap();
        // However the file system lists them.
        blobs.sort_by_key(|blob| {
            [low, middle, top]
                .iter()
                .position(|one| *one == blob.digest)
        });
        for _ in 0..2 {
            let victims = plan.judge(&blobs, &HashSet::new());
            let victims: Vec<Digest> = victims.into_iter().map(|blob| blob.digest).collect();
            assert_eq!(victims[..3], [top, middle, low]);
            assert_eq!(victims.len(), blobs.len());
            blobs.reverse();
        }
    }
}
