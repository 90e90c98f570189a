//! The socket of a pool process: only its user reaches it, and only one process has it.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt};
use std::path::{Path, PathBuf};

use tokio::net::{UnixListener, UnixStream};

use super::PoolError;
use crate::slots::private_directory;

/// Bytes of a path that fits into a socket's address, with the zero at its end.
/// Source: `unix(7)`, `sun_path`.
const ADDRESS_MAX: usize = 108;

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
    /// is replaced.
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
        let mut lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(lock_of(path))
            .map_err(failed)?;
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
            .and_then(|()| lock.write_all(std::process::id().to_string().as_bytes()))
            .map_err(failed)?;
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
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
