//! Folders for what is only needed while an image is put together.

use std::fs::File;
use std::path::Path;

use tempfile::{NamedTempFile, TempDir};

use super::ImageError;

const PREFIX: &str = "assembly-";
/// Held while the folder is used, so that one whose owner was killed is known.
const LOCK: &str = "lock";

/// A folder of its own, removed when it is dropped, or by the next one when its owner was killed.
#[derive(Debug)]
pub struct Scratch {
    folder: TempDir,
    _lock: File,
}

impl Scratch {
    /// Makes a folder in this one, and removes those there that nobody uses any more. Blocks.
    ///
    /// # Errors
    /// [`ImageError::File`].
    pub fn create(parent: &Path) -> Result<Self, ImageError> {
        std::fs::create_dir_all(parent).map_err(ImageError::file("create", parent))?;
        let failed = || ImageError::file("create a folder in", parent);
        for entry in std::fs::read_dir(parent).map_err(failed())?.flatten() {
            let ours = entry.file_name().to_string_lossy().starts_with(PREFIX);
            if ours && is_abandoned(&entry.path()) {
                // Somebody else may remove it at the same time.
                let _removed = std::fs::remove_dir_all(entry.path());
            }
        }
        let folder = tempfile::Builder::new()
            .prefix(PREFIX)
            .tempdir_in(parent)
            .map_err(failed())?;
        // Locked before it has its name: who sees it sees that it is used.
        let lock = NamedTempFile::new_in(folder.path()).map_err(failed())?;
        lock.as_file().lock().map_err(failed())?;
        let lock = lock.persist(folder.path().join(LOCK));
        let lock = lock.map_err(|error| failed()(error.error))?;
        Ok(Self {
            folder,
            _lock: lock,
        })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }
}

fn is_abandoned(folder: &Path) -> bool {
    File::open(folder.join(LOCK)).is_ok_and(|lock| lock.try_lock().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_killed_owner_left_is_removed_and_nothing_else() {
        let parent = tempfile::tempdir().unwrap();
        let used = Scratch::create(parent.path()).unwrap();
        let foreign = parent.path().join("foreign");
        let left = parent.path().join(format!("{PREFIX}left"));
        let begun = parent.path().join(format!("{PREFIX}begun"));
        for folder in [&foreign, &left] {
            std::fs::create_dir(folder).unwrap();
            std::fs::write(folder.join(LOCK), "").unwrap();
        }
        std::fs::create_dir(&begun).unwrap();
        let other = Scratch::create(parent.path()).unwrap();
        assert!(used.path().exists() && foreign.exists() && begun.exists());
        assert!(!left.exists());
        let path = other.path().to_owned();
        drop(other);
        assert!(!path.exists());
    }
}
