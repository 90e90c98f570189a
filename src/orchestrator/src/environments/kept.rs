//! Wheels of a lock that are on this machine already: in the cache, or in the store with the version
//! that brought them.

use std::io;
use std::path::Path;
use std::sync::Arc;

use spec::{Digest, FileEntry};
use store::Store;

use super::cache::{Cache, FolderBlobs, LockedJson, hash};
use super::sandbox::{Fetched, PIP, WHEELS, file, pip_digest};
use super::{EnvironmentError, Place};
use crate::error::FactoryError;

impl Place<'_> {
    /// The wheels of a lock, if at least one of each distribution is here, and the installer.
    ///
    /// They are called by their hashes; the sandbox that installs them reads in them what they are
    /// for, so nobody's word is taken for that either.
    pub(super) async fn kept(
        &self,
        locked: &[LockedJson],
        blobs: &FolderBlobs,
    ) -> Result<Option<Fetched>, FactoryError> {
        let found = Found {
            cache: self.cache.clone(),
            store: Arc::clone(&self.factory.store),
            blobs: blobs.clone(),
        };
        let locked = locked.to_vec();
        tokio::task::spawn_blocking(move || found.all(locked)).await?
    }
}

struct Found {
    cache: Cache,
    store: Arc<Store>,
    blobs: FolderBlobs,
}

impl Found {
    fn all(&self, locked: Vec<LockedJson>) -> Result<Option<Fetched>, FactoryError> {
        let pip = pip_digest();
        if self.one(&pip, &self.cache.root().join(PIP))?.is_none() {
            return Ok(None);
        }
        let mut wheels = Vec::new();
        for requirement in &locked {
            let before = wheels.len();
            for wheel in &requirement.wheels {
                let size = self.one(wheel, &self.cache.wheel_path(wheel))?;
                let entry = |size| file(&format!("{WHEELS}{}", wheel.hex()), *wheel, size);
                let entry: Option<FileEntry> = size.map(entry).transpose()?;
                wheels.extend(entry);
            }
            if wheels.len() == before {
                return Ok(None);
            }
        }
        Ok(Some(Fetched {
            requirements: locked,
            direct: Vec::new(),
            pip,
            wheels,
        }))
    }

    /// Has a file where sandboxes get theirs from; gives its size, or none when it is not here. What
    /// is not what it is called is as good as not here.
    fn one(&self, digest: &Digest, cached: &Path) -> Result<Option<u64>, FactoryError> {
        let path = self.blobs.path(digest);
        let failed = || EnvironmentError::file("write", &path);
        if cached.exists() {
            std::fs::copy(cached, &path).map_err(failed())?;
        } else if self.store.hold_blob(digest)? {
            let mut out = std::fs::File::create(&path).map_err(failed())?;
            io::copy(&mut self.store.open(digest)?, &mut out).map_err(failed())?;
        } else {
            return Ok(None);
        }
        let (found, size) = hash(&path).map_err(failed())?;
        if found == *digest {
            return Ok(Some(size));
        }
        tracing::warn!(path = %cached.display(), "a file in the cache has changed, and is removed");
        std::fs::remove_file(&path).map_err(failed())?;
        drop(std::fs::remove_file(cached));
        Ok(None)
    }
}
