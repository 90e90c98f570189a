//! Whole artifacts: a manifest with everything that it names.

use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _};
use spec::Digest;

use crate::blobs::is_whole;
use crate::{Content, Descriptor, Parts, Progress, RegistryError, Repository, Target};

/// Blobs that are on their way at once.
const AT_ONCE: usize = 4;

/// What a push or pull moved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moved {
    /// Bytes that were transferred.
    pub bytes: u64,
    /// Blobs that were transferred.
    pub blobs: u64,
    /// Blobs that were there already.
    pub skipped: u64,
}

impl std::ops::AddAssign for Moved {
    fn add_assign(&mut self, other: Self) {
        self.bytes += other.bytes;
        self.blobs += other.blobs;
        self.skipped += other.skipped;
    }
}

impl Repository {
    /// Pushes a manifest and what it names, unchanged: first the blobs that the registry does not
    /// have, then the manifest by its digest, and then, where one is given, its tag.
    ///
    /// It serves every artifact, an image as well as a subagent: `content` holds the config and
    /// the layers.
    ///
    /// # Errors
    /// Those of a registry; [`RegistryError::BadManifest`]; [`RegistryError::Content`] when a blob
    /// is not on this side.
    pub async fn push_artifact(
        &self,
        content: &dyn Content,
        manifest: &Bytes,
        tag: Option<&str>,
        progress: &dyn Progress,
    ) -> Result<Moved, RegistryError> {
        let digest = Digest::of(manifest);
        let parts = Parts::of_manifest(manifest)
            .map_err(|why| RegistryError::BadManifest { digest, why })?;
        let blobs = parts.blobs();
        let total = blobs.iter().map(|blob| blob.size).sum();
        let meter = Meter::new(progress, total);
        let moved = futures::stream::iter(blobs)
            .map(|blob| async {
                let mut moved = Moved::default();
                if self.has_blob(blob).await? {
                    moved.skipped = 1;
                    meter.add(blob.size);
                    return Ok::<_, RegistryError>(moved);
                }
                let counted = meter.part();
                self.push_blob(content, blob, &|done| counted.reach(done))
                    .await?;
                moved.blobs = 1;
                moved.bytes = blob.size;
                Ok(moved)
            })
            .buffer_unordered(AT_ONCE)
            .try_fold(Moved::default(), |mut sum, one| async move {
                sum += one;
                Ok(sum)
            })
            .await?;
        self.put_manifest(&Target::Digest(digest), manifest).await?;
        if let Some(tag) = tag {
            self.put_manifest(&Target::Tag(tag.to_owned()), manifest)
                .await?;
        }
        Ok(moved)
    }

    /// Pulls blobs that are not on this side yet, or not as they should be.
    ///
    /// # Errors
    /// Those of a registry; [`RegistryError::Content`] when one cannot be kept.
    pub async fn pull_blobs(
        &self,
        content: &dyn Content,
        blobs: &[&Descriptor],
        progress: &dyn Progress,
    ) -> Result<Moved, RegistryError> {
        let total = blobs.iter().map(|blob| blob.size).sum();
        let meter = Meter::new(progress, total);
        futures::stream::iter(blobs)
            .map(|blob| async {
                let mut moved = Moved::default();
                let is_here = content.contains(&blob.digest);
                let is_here = is_here.map_err(|source| RegistryError::Content {
                    action: "read",
                    digest: blob.digest,
                    source,
                })?;
                if is_here && is_whole(content, blob).await {
                    moved.skipped = 1;
                    meter.add(blob.size);
                    return Ok::<_, RegistryError>(moved);
                }
                let counted = meter.part();
                self.pull_blob(content, blob, &|done| counted.reach(done))
                    .await?;
                moved.blobs = 1;
                moved.bytes = blob.size;
                Ok(moved)
            })
            .buffer_unordered(AT_ONCE)
            .try_fold(Moved::default(), |mut sum, one| async move {
                sum += one;
                Ok(sum)
            })
            .await
    }
}

/// The sum of what several transfers have done.
struct Meter<'a> {
    progress: &'a dyn Progress,
    done: AtomicU64,
    total: u64,
}

impl<'a> Meter<'a> {
    fn new(progress: &'a dyn Progress, total: u64) -> Self {
        Self {
            progress,
            done: AtomicU64::new(0),
            total,
        }
    }

    fn add(&self, bytes: u64) {
        let done = self.done.fetch_add(bytes, Ordering::Relaxed) + bytes;
        self.progress.bytes(done.min(self.total), self.total);
    }

    fn part(&self) -> Counted<'_, 'a> {
        Counted {
            meter: self,
            reached: AtomicU64::new(0),
        }
    }
}

/// One transfer within a [`Meter`]. It may begin again; what it had reached stays counted.
struct Counted<'m, 'a> {
    meter: &'m Meter<'a>,
    reached: AtomicU64,
}

impl Counted<'_, '_> {
    fn reach(&self, done: u64) {
        let before = self.reached.fetch_max(done, Ordering::Relaxed);
        if done > before {
            self.meter.add(done - before);
        }
    }
}
