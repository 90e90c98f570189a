//! The socket of a pool process: only its user reaches it, and only one process has it.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _, PermissionsExt};
use std::path::{Path, PathBuf};

use tokio::net::{UnixListener, UnixStream};

use super::PoolError;
use crate::slots::private_directory;

/// Bytes of a path that fits into a socket's address, with the zero at its end.
/// Source: `unix(7)`, `sun_path`.
const ADDRESS_MAX: usize = 108;

/// Bytes of a lock at most: the number of a process.
const LOCK_BYTES: u64 = 10;

/// A socket that is listened on. Dropping it removes the file.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) listener: UnixListener,
    path: PathBuf,
    /// Held as long as the socket is ours.
    _lock: File,
}

impl Place {
    /// Listens, in a directory that only this user can enter. A socket of a process that has ended
    /// is replaced; anything else that stands there is left alone.
    ///
    /// # Errors
    /// [`PoolError::Running`] when another process has it, and [`PoolError::Socket`].
    pub(super) fn take(path: &Path) -> Result<Self, PoolError> {
        let failed = |source| PoolError::Socket {
            path: path.to_owned(),
            source,
        };
        let directory = path
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty());
        let directory = directory.unwrap_or(Path::new("."));
        private_directory(directory).map_err(failed)?;
        is_replaceable(path).map_err(failed)?;
        let lock_path = lock_of(path);
        let failed_lock = |source| PoolError::Socket {
            path: lock_path.clone(),
            source,
        };
        let mut lock = open_lock(&lock_path).map_err(failed_lock)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut pid = String::new();
                // It is only for people.
                drop(lock.read_to_string(&mut pid));
                return Err(PoolError::Running {
                    path: path.to_owned(),
                    pid: pid.trim().parse().ok(),
                });
            }
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        lock.set_len(0)
            .and_then(|()| lock.rewind())
            .and_then(|()| lock.write_all(std::process::id().to_string().as_bytes()))
            .map_err(failed_lock)?;
        // Only now is it known that nobody listens there.
        if is_replaceable(path).map_err(failed)? {
            std::fs::remove_file(path).map_err(failed)?;
        }
        let listener = Address::of(path)
            .and_then(|address| UnixListener::bind(&address.path))
            .map_err(failed)?;
        // The directory keeps others out already.
        std::fs::set_permissions(path, PermissionsExt::from_mode(0o600)).map_err(failed)?;
        Ok(Self {
            listener,
            path: path.to_owned(),
            _lock: lock,
        })
    }
}

/// The lock beside a socket, whatever that one is called.
fn lock_of(path: &Path) -> PathBuf {
    let mut lock = path.as_os_str().to_owned();
    lock.push(".lock");
    lock.into()
}

/// Whether a socket stands there; `false` when there is nothing.
///
/// # Errors
/// `AlreadyExists` for anything else, which is somebody's.
fn is_replaceable(path: &Path) -> io::Result<bool> {
    match std::fs::symlink_metadata(path) {
        Ok(metadata) if metadata.file_type().is_socket() => Ok(true),
        Ok(_) => Err(foreign("it is not a socket")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Opens a lock, or makes one. What is in it stays as it is.
///
/// # Errors
/// `AlreadyExists` for a file that no pool has written.
fn open_lock(path: &Path) -> io::Result<File> {
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    let flags = i32::try_from(flags.bits()).map_err(io::Error::other)?;
    let opened = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(flags)
        .open(path);
    let mut lock = match opened {
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) => {
            return Err(foreign("it is a symbolic link, not the lock of a pool"));
        }
        opened => opened?,
    };
    if !lock.metadata()?.is_file() {
        return Err(foreign("it is not the lock of a pool"));
    }
    let mut text = Vec::new();
    (&lock).take(LOCK_BYTES + 1).read_to_end(&mut text)?;
    let is_number = text.iter().all(u8::is_ascii_digit);
    if !is_number || u64::try_from(text.len()).is_ok_and(|length| length > LOCK_BYTES) {
        return Err(foreign("it is not the lock of a pool"));
    }
    lock.rewind()?;
    Ok(lock)
}

fn foreign(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::AlreadyExists, why)
}

impl Drop for Place {
    fn drop(&mut self) {
        // The next one replaces it anyway.
        drop(std::fs::remove_file(&self.path));
    }
}

/// Connects to the socket of a pool process of this user; `None` when there is none.
pub(super) async fn connect(path: &Path) -> Result<Option<UnixStream>, PoolError> {
    let failed = |source| PoolError::Socket {
        path: path.to_owned(),
        source,
    };
    let connected = match Address::of(path) {
        Ok(address) => UnixStream::connect(&address.path).await,
        Err(error) => Err(error),
    };
    let stream = match connected {
        Ok(stream) => stream,
        Err(error) => {
            return match error.kind() {
                io::ErrorKind::NotFound
                | io::ErrorKind::NotADirectory
                | io::ErrorKind::ConnectionRefused => Ok(None),
                _ => Err(failed(error)),
            };
        }
    };
    if !is_ours(&stream) {
        return Err(PoolError::Foreign {
            path: path.to_owned(),
        });
    }
    Ok(Some(stream))
}

/// Whether the process at the other end is of this user.
pub(super) fn is_ours(stream: &UnixStream) -> bool {
    let me = rustix::process::geteuid().as_raw();
    stream.peer_cred().is_ok_and(|peer| peer.uid() == me)
}

/// A path that fits into a socket's address.
struct Address {
    path: PathBuf,
    /// Keeps the path valid.
    _directory: Option<File>,
}

impl Address {
    /// The path itself, or a short one that leads to its directory.
    fn of(path: &Path) -> io::Result<Self> {
        if path.as_os_str().len() < ADDRESS_MAX {
            return Ok(Self {
                path: path.to_owned(),
                _directory: None,
            });
        }
        let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(io::Error::from(io::ErrorKind::InvalidInput));
        };
        let directory = File::open(directory)?;
        let short = Path::new("/proc/self/fd").join(directory.as_raw_fd().to_string());
        Ok(Self {
            path: short.join(name),
            _directory: Some(directory),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_socket_may_have_any_name() {
        let folder = tempfile::tempdir().unwrap();
        let [one, other] = ["x.lock", "x.sock"].map(|name| folder.path().join(name));
        let (_one, _other) = (Place::take(&one).unwrap(), Place::take(&other).unwrap());
        assert!(connect(&one).await.unwrap().is_some());
        assert!(matches!(Place::take(&one), Err(PoolError::Running { .. })));
    }

    #[tokio::test]
    async fn what_is_no_socket_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let refused = |name: &str| match Place::take(&path(name)) {
            Err(PoolError::Socket { source, .. }) => {
                assert_eq!(
                    source.kind(),
                    io::ErrorKind::AlreadyExists,
                    "{name}: {source}"
                );
            }
            other => panic!("{name}: {other:?}"),
        };
        std::fs::write(path("precious"), "all I have").unwrap();
        std::os::unix::fs::symlink("precious", path("link")).unwrap();
        std::os::unix::fs::symlink("nowhere", path("dangling")).unwrap();
        std::fs::create_dir(path("directory")).unwrap();
        for name in ["precious", "link", "dangling", "directory"] {
            refused(name);
            assert!(!lock_of(&path(name)).exists(), "{name}");
        }
        // The lock's place may be taken too.
        std::fs::write(path("a.lock"), "all I have").unwrap();
        std::os::unix::fs::symlink("precious", path("b.lock")).unwrap();
        std::fs::create_dir(path("c.lock")).unwrap();
        for name in ["a", "b"] {
            refused(name);
        }
        assert!(Place::take(&path("c")).is_err());
        for name in ["precious", "a.lock"] {
            assert_eq!(std::fs::read_to_string(path(name)).unwrap(), "all I have");
        }
        assert!(path("link").is_symlink());
        assert!(path("dangling").is_symlink());
        assert!(!path("a").exists());
    }

    #[tokio::test]
    async fn a_socket_belongs_to_one_process_and_outlives_none() {
        let folder = tempfile::tempdir().unwrap();
        // Longer than an address.
        let path = folder.path().join("x".repeat(120)).join("pool.sock");
        assert!(connect(&path).await.unwrap().is_none());
        let place = Place::take(&path).unwrap();
        let mode = std::fs::symlink_metadata(&path)
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
        let folder_mode = path
            .parent()
            .unwrap()
            .metadata()
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(folder_mode & 0o777, 0o700);
        assert!(is_ours(&connect(&path).await.unwrap().unwrap()));
        let me = std::process::id();
        match Place::take(&path) {
            Err(PoolError::Running { pid, .. }) => assert_eq!(pid, Some(me)),
            other => panic!("{other:?}"),
        }
        drop(place);
        assert!(connect(&path).await.unwrap().is_none());
        // As a process that was killed leaves it.
        drop(std::os::unix::net::UnixListener::bind(folder.path().join("old")).unwrap());
        std::fs::rename(folder.path().join("old"), &path).unwrap();
        assert!(connect(&path).await.unwrap().is_none());
        Place::take(&path).unwrap();
    }
}
