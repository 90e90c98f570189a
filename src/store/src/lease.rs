//! What a process may still name, so that `gc` leaves it alone.
//!
//! Between the moment in which content is on disk and the one in which an operation or a run record
//! names it, nothing but its writer knows that it is wanted. So each process keeps a *lease*: a file
//! in `leases/`, locked while the process lives, with a line for each digest that it put or
//! means to name. The line is there before the process looks whether the blob is. Three rules make
//! that safe against a `gc` in another process:
//!
//! - Lines are added under a share of `lease.lock`; `gc` reads all leases and removes what it may under
//!   the whole of it, a few blobs at a time. So a digest that stands in a lease is not removed after.
//! - A lease outlives its process while a `gc` is under way: it is removed only under a share of
//!   `gc.lock`. So what its process named last is seen, or still leased.
//! - Heads and tags are moved under a share of `lease.lock`, and `gc` reads the operations anew whenever it
//!   has the whole of it.
//!
//! A crash leaves a file that nobody has locked; the next open removes it.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::Read;
use std::path::PathBuf;
use std::sync::PoisonError;

use spec::{Digest, RunId};

use crate::layout::Layout;
use crate::persist::{self, Locked, Temporary};
use crate::{Store, StoreError};

/// Digests that a process remembers as leased; forgetting them costs a second line.
const REMEMBERED_MAX: usize = 65_536;

/// What one process may still name.
#[derive(Debug)]
pub(crate) struct Lease {
    /// None only while it is dropped.
    file: Option<Temporary>,
    lock: File,
    /// What is in the file.
    written: HashSet<Digest>,
    gc_lock: PathBuf,
}

impl Lease {
    fn open(layout: &Layout) -> Result<Self, StoreError> {
        Ok(Self {
            lock: persist::append_handle(&layout.lease_lock, true)?,
            // Locked from its first moment, and empty: whoever finds it loses nothing.
            file: Some(Temporary::create(&layout.leases)?),
            written: HashSet::new(),
            gc_lock: layout.gc_lock.clone(),
        })
    }

    fn add(&mut self, layout: &Layout, digests: Vec<Digest>) -> Result<(), StoreError> {
        let Some(file) = &mut self.file else {
            return Ok(());
        };
        let mut lines = String::new();
        for digest in &digests {
            // The line feed comes first: what a full disk cut off is a line of its own.
            lines.push('\n');
            lines.push_str(&digest.hex());
        }
        persist::wait_for(&layout.lease_lock, || self.lock.try_lock_shared())?;
        let written = file.write(lines.as_bytes());
        self.lock
            .unlock()
            .map_err(|source| StoreError::write("unlock", &layout.lease_lock, source))?;
        written?;
        if self.written.len() + digests.len() > REMEMBERED_MAX {
            self.written.clear();
        }
        self.written.extend(digests);
        Ok(())
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let Some(file) = self.file.take() else {
            return;
        };
        match persist::try_lock_shared(&self.gc_lock) {
            Some(_nobody_collects) => drop(file),
            None => file.leave(),
        }
    }
}

impl Layout {
    /// Keeps blobs from `gc` for as long as this store is open, whether they are there yet or not.
    pub(crate) fn hold(&self, digests: impl IntoIterator<Item = Digest>) -> Result<(), StoreError> {
        let mut lease = self.lease.lock().unwrap_or_else(PoisonError::into_inner);
        let lease = match &mut *lease {
            Some(lease) => lease,
            none => none.insert(Lease::open(self)?),
        };
        let mut new: Vec<Digest> = digests.into_iter().collect();
        new.retain(|digest| !lease.written.contains(digest));
        if new.is_empty() {
            return Ok(());
        }
        lease.add(self, new)
    }

    /// Keeps `gc` from removing anything while heads and tags move.
    pub(crate) fn pause_gc(&self) -> Result<Locked, StoreError> {
        persist::lock_shared(&self.lease_lock)
    }
}

impl Store {
    /// Keeps a blob, if it is there, for as long as this store is open: `false` when it is not there.
    ///
    /// # Errors
    /// The file system's.
    pub fn hold_blob(&self, digest: &Digest) -> Result<bool, StoreError> {
        self.layout.hold([*digest])?;
        self.contains(digest)
    }

    /// Keeps a blob as [`Self::hold_blob`] does, and reads it: `false` when it is not there or damaged, and so
    /// is to be written anew.
    ///
    /// # Errors
    /// The file system's.
    pub fn hold_intact(&self, digest: &Digest) -> Result<bool, StoreError> {
        self.layout.hold([*digest])?;
        self.layout.holds(digest, None)
    }

    /// Keeps a version, and all that it depends on, for as long as this store is open, even if its name
    /// is removed and `gc` runs meanwhile.
    ///
    /// # Errors
    /// [`StoreError::UnknownVersion`] when it is not there any more, the other errors of
    /// [`Self::version`], and the file system's.
    pub fn hold_version(&self, digest: &Digest) -> Result<(), StoreError> {
        let mut seen = HashSet::new();
        let mut open = vec![*digest];
        while let Some(digest) = open.pop() {
            if !seen.insert(digest) {
                continue;
            }
            self.layout.hold([digest])?;
            let parts = self.version_parts(&digest)?;
            self.hold_all(&parts.blobs)?;
            open.extend(parts.depends);
        }
        Ok(())
    }

    /// Keeps a recorded run and everything that its record names, for as long as this store is open.
    ///
    /// # Errors
    /// [`StoreError::UnknownRun`], [`StoreError::BlobMissing`], the other errors of [`Self::run`], and
    /// the file system's.
    pub fn hold_run(&self, run: &RunId) -> Result<(), StoreError> {
        let record = self.run_digest(run)?;
        self.layout.hold([record])?;
        let parts = self.run_parts(run)?;
        self.hold_all(&parts.blobs)?;
        for tree in &parts.trees {
            self.hold_all(&self.tree_parts(tree)?)?;
        }
        Ok(())
    }

    /// Keeps blobs that are there.
    pub(crate) fn hold_all(&self, digests: &[Digest]) -> Result<(), StoreError> {
        self.layout.hold(digests.iter().copied())?;
        for digest in digests {
            if !self.contains(digest)? {
                return Err(StoreError::BlobMissing { digest: *digest });
            }
        }
        Ok(())
    }
}

/// Removes the leases of dead processes, unless a `gc` may have to read them.
pub(crate) fn clean(layout: &Layout) {
    // Most often there is nothing to remove, and nobody is to wait for that.
    let is_empty = fs::read_dir(&layout.leases).is_ok_and(|mut entries| entries.next().is_none());
    if is_empty {
        return;
    }
    if let Some(_nobody_collects) = persist::try_lock_shared(&layout.gc_lock) {
        persist::clean(&layout.leases);
    }
}

/// Everything that is leased, by processes that live or that died since the last [`clean`].
///
/// Whoever calls it has the whole of `lease.lock`, or takes the answer as a hint.
pub(crate) fn leased(layout: &Layout) -> Result<HashSet<Digest>, StoreError> {
    let mut leased = HashSet::new();
    let list = |source| StoreError::read("list", &layout.leases, source);
    for entry in fs::read_dir(&layout.leases).map_err(list)? {
        let path = entry.map_err(list)?.path();
        let mut text = Vec::new();
        let read =
            persist::open_regular(&path).and_then(|mut file| file.read_to_end(&mut text).map(drop));
        match read {
            Ok(()) => {}
            // Its process let go of it meanwhile, which it does only while nothing is removed.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(source) => return Err(StoreError::read("read", &path, source)),
        }
        let lines = text.split(|byte| *byte == b'\n');
        leased.extend(lines.filter_map(|line| {
            let hex = std::str::from_utf8(line).ok()?;
            format!("sha256:{hex}").parse::<Digest>().ok()
        }));
    }
    Ok(leased)
}
