//! The one way to write a file: whole and on disk, or not at all.

use std::fs::{self, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::OFlags;
use tempfile::NamedTempFile;

use crate::StoreError;

/// Bytes of files that hold one short line.
const SMALL_MAX: u64 = 4096;
/// How long another process may hold the lock; an append takes milliseconds.
const LOCK_WAIT: Duration = Duration::from_secs(30);
/// How often a held lock is tried again.
const LOCK_RETRY: Duration = Duration::from_millis(2);

/// A file in `tmp/`, locked while its writer lives. Dropping it removes it.
#[derive(Debug)]
pub(crate) struct Temporary {
    file: NamedTempFile,
}

impl Temporary {
    /// Creates an empty file in `tmp`.
    pub(crate) fn create(tmp: &Path) -> Result<Self, StoreError> {
        let error = |source| StoreError::write("create a file in", tmp, source);
        loop {
            let file = tempfile::Builder::new()
                .prefix("")
                .rand_bytes(16)
                .permissions(Permissions::from_mode(0o444))
                .tempfile_in(tmp)
                .map_err(error)?;
            // `clean` may have found it before it was locked, taken it for a leftover and removed
            // it. Where the file system has no locks, `clean` removes nothing.
            match file.as_file().try_lock() {
                Err(TryLockError::WouldBlock) => continue,
                Ok(()) | Err(TryLockError::Error(_)) => {}
            }
            if file.as_file().metadata().map_err(error)?.nlink() > 0 {
                return Ok(Self { file });
            }
        }
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.file
            .as_file_mut()
            .write_all(bytes)
            .map_err(|source| StoreError::write("write", self.file.path(), source))
    }

    /// Moves it to its name, replacing what is there; afterwards both are on disk.
    pub(crate) fn persist(self, path: &Path) -> Result<(), StoreError> {
        self.sync()?;
        self.file
            .persist(path)
            .map_err(|failed| StoreError::write("write", path, failed.error))?;
        sync_parent(path)
    }

    /// Moves it to its name unless something is there: `false` then.
    pub(crate) fn persist_new(self, path: &Path) -> Result<bool, StoreError> {
        self.sync()?;
        match self.file.persist_noclobber(path) {
            Ok(_) => sync_parent(path).map(|()| true),
            Err(failed) if failed.error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            Err(failed) => Err(StoreError::write("write", path, failed.error)),
        }
    }

    /// Leaves it where it is, no longer locked, as a writer that dies does.
    pub(crate) fn leave(self) {
        // What cannot be kept is removed, which is all that can be lost.
        drop(self.file.keep());
    }

    /// Puts what was written on disk: a full disk shows here at the latest.
    pub(crate) fn sync(&self) -> Result<(), StoreError> {
        self.file
            .as_file()
            .sync_all()
            .map_err(|source| StoreError::write("sync", self.file.path(), source))
    }
}

fn sync_parent(path: &Path) -> Result<(), StoreError> {
    path.parent().map_or(Ok(()), sync_directory)
}

/// Makes the names in a directory survive a loss of power.
pub(crate) fn sync_directory(path: &Path) -> Result<(), StoreError> {
    // The parent of a relative path of one component is written as nothing.
    let path = if path.as_os_str().is_empty() {
        Path::new(".")
    } else {
        path
    };
    File::open(path)
        .and_then(|directory| directory.sync_all())
        .map_err(|source| StoreError::write("sync", path, source))
}

/// Removes what dead writers left in `tmp`. A failure is not one: the next open tries again.
pub(crate) fn clean(tmp: &Path) {
    let Ok(entries) = fs::read_dir(tmp) else {
        return;
    };
    for entry in entries.flatten() {
        let path = entry.path();
        // A living writer holds its lock. The name is random and never used twice, so it cannot
        // belong to somebody else by the time it is removed. Our lock is held until then: a writer
        // that has just created it and not yet locked it finds it gone, and begins again.
        let Ok(file) = open_regular(&path) else {
            continue;
        };
        if file.try_lock().is_ok() {
            drop(fs::remove_file(&path));
        }
    }
}

/// Opens a regular file for reading; a link, FIFO or device in its place is an error.
pub(crate) fn open_regular(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(flags(OFlags::NOFOLLOW | OFlags::NONBLOCK))
        .open(path)?;
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        Err(io::Error::other("it is not a regular file"))
    }
}

/// Tells one file from another; none when there is no file.
pub(crate) fn identity(path: &Path) -> Option<(u64, u64)> {
    let metadata = fs::symlink_metadata(path).ok()?;
    metadata.is_file().then(|| (metadata.dev(), metadata.ino()))
}

fn flags(flags: OFlags) -> i32 {
    i32::try_from(flags.bits()).expect("open flags fit the system's type")
}

/// Reads a file of one short line.
pub(crate) fn read_small(path: &Path) -> Result<Vec<u8>, StoreError> {
    let error = |source| StoreError::read("read", path, source);
    let mut bytes = Vec::new();
    open_regular(path)
        .map_err(error)?
        .take(SMALL_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(error)?;
    if bytes.len() as u64 > SMALL_MAX {
        return Err(StoreError::corrupt(path, "it is too long"));
    }
    Ok(bytes)
}

/// Opens a file to read and append, and to be locked.
pub(crate) fn append_handle(path: &Path, create: bool) -> Result<File, StoreError> {
    OpenOptions::new()
        .read(true)
        .append(true)
        .create(create)
        .mode(0o600)
        .custom_flags(flags(OFlags::NOFOLLOW | OFlags::NONBLOCK))
        .open(path)
        .map_err(|source| StoreError::write("open", path, source))
}

/// Holds the lock of a store across threads and processes; dropping it releases.
#[derive(Debug)]
pub(crate) struct Locked {
    _file: File,
}

/// Takes the lock if nobody holds it, and it can be taken at all.
pub(crate) fn try_lock(path: &Path) -> Option<Locked> {
    let file = append_handle(path, true).ok()?;
    file.try_lock().ok()?;
    Some(Locked { _file: file })
}

/// Waits for the lock, alone.
pub(crate) fn lock(path: &Path) -> Result<Locked, StoreError> {
    let file = append_handle(path, true)?;
    wait_for(path, || file.try_lock())?;
    Ok(Locked { _file: file })
}

/// Waits for the lock, beside others who share it.
pub(crate) fn lock_shared(path: &Path) -> Result<Locked, StoreError> {
    let file = append_handle(path, true)?;
    wait_for(path, || file.try_lock_shared())?;
    Ok(Locked { _file: file })
}

/// The lock, beside others who share it, unless somebody has it alone.
pub(crate) fn try_lock_shared(path: &Path) -> Option<Locked> {
    let file = append_handle(path, true).ok()?;
    file.try_lock_shared().ok()?;
    Some(Locked { _file: file })
}

/// Tries until a lock is there or has been held for too long.
pub(crate) fn wait_for(
    path: &Path,
    attempt: impl Fn() -> Result<(), TryLockError>,
) -> Result<(), StoreError> {
    let begun = Instant::now();
    loop {
        match attempt() {
            Ok(()) => return Ok(()),
            Err(TryLockError::Error(source)) => {
                return Err(StoreError::write("lock", path, source));
            }
            Err(TryLockError::WouldBlock) if begun.elapsed() >= LOCK_WAIT => {
                return Err(StoreError::Busy {
                    path: path.to_owned(),
                    seconds: LOCK_WAIT.as_secs(),
                });
            }
            Err(TryLockError::WouldBlock) => std::thread::sleep(LOCK_RETRY),
        }
    }
}
