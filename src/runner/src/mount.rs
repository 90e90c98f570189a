//! Which host directories may be bound into a sandbox, and as whom it then runs.
//!
//! A read-only mount keeps files as they are. It does not keep a program from talking to whoever
//! listens on a socket or reads from a pipe in it, with the rights of the directory's owner. So
//! directories that have such a file are refused, as far as a short walk finds it. What remains:
//! a file that is deeper in a large tree, in a folder that we may not list, or made while the run
//! lasts.

use std::collections::{HashSet, VecDeque};
use std::fs::FileType;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use crate::{Mount, MountError};

/// The group of a sandbox whose mounts belong to the group of root: the number that distroless
/// images call `nonroot`. It belongs to nobody on common systems, where accounts end at 60000 and
/// `nobody` is 65534.
const NOBODY_ELSE: u32 = 65_532;

/// Longest name of a mount, in bytes.
const NAME_MAX: usize = 64;

/// How many entries of a directory are looked at, the uppermost first; it is part of every start.
/// A directory with more is said in the log.
const ENTRIES_WALKED: usize = 50_000;

/// Directories of the system as a whole, which hold more than anyone's data.
const SYSTEM: &[&str] = &["/", "/boot", "/root", "/var", "/var/lib"];

/// Directories in which nothing is data: settings, the kernel's files, sockets.
const SYSTEM_WHOLE: &[&str] = &["/dev", "/etc", "/proc", "/run", "/sys", "/var/lib/docker"];

/// Directories in those that are data all the same: memory, and media that a person has put in.
const DATA: &[&str] = &["/dev/shm", "/run/media"];

/// As whom a sandbox runs, and which directories it gets.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Granted {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// The mounts, with sources without symbolic links.
    pub(crate) mounts: Vec<Mount>,
}

/// Mounts that may be granted.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Checked {
    /// The user and the group to whom they belong, unless that is root.
    owner: Option<(u32, u32)>,
    mounts: Vec<Mount>,
}

impl Checked {
    /// Grants them to a sandbox, which runs as their owner; without one, as this user.
    pub(crate) fn granted(self, user: u32) -> Granted {
        let (uid, gid) = self.owner.unwrap_or((user, user));
        Granted {
            uid,
            gid,
            mounts: self.mounts,
        }
    }
}

/// No mounts: nothing to check.
pub(crate) fn none() -> Checked {
    Checked {
        owner: None,
        mounts: Vec::new(),
    }
}

/// Checks mounts against the file system of this machine, which must be the engine's.
pub(crate) fn check(mounts: &[Mount], engine: &str) -> Result<Checked, MountError> {
    if !mounts.is_empty() && !engine.starts_with("unix://") {
        return Err(MountError::RemoteEngine(engine.to_owned()));
    }
    let mut names = HashSet::new();
    let mut owner: Option<(u32, u32)> = None;
    let mut resolved = Vec::with_capacity(mounts.len());
    for mount in mounts {
        if !is_plain(&mount.name) {
            return Err(MountError::BadName(spec::printable(&mount.name, NAME_MAX)));
        }
        if !names.insert(&mount.name) {
            return Err(MountError::DuplicateName(mount.name.clone()));
        }
        let (source, uid, gid) = look(&mount.source)?;
        if is_system(&source) {
            return Err(MountError::System(source));
        }
        if holds_socket_of(&source, engine) {
            return Err(MountError::EngineSocket(source));
        }
        if uid == 0 && mount.writable {
            return Err(MountError::RootOwned(source));
        }
        if let Some((file, kind)) = channel(&source) {
            return Err(MountError::Channel {
                directory: source,
                file,
                kind,
            });
        }
        // What is root's is only read, and any user may be the one that reads it.
        if uid != 0 {
            // A group of root would open more than the directory.
            let gid = if gid == 0 { NOBODY_ELSE } else { gid };
            if owner.is_some_and(|owner| owner.0 != uid) {
                return Err(MountError::DifferentOwners);
            }
            owner = owner.or(Some((uid, gid)));
        }
        resolved.push(Mount {
            source,
            ..mount.clone()
        });
    }
    Ok(Checked {
        owner,
        mounts: resolved,
    })
}

fn look(source: &Path) -> Result<(PathBuf, u32, u32), MountError> {
    let missing = || MountError::NotADirectory(source.to_owned());
    if !source.is_absolute() {
        return Err(missing());
    }
    let path = source.canonicalize().map_err(|_| missing())?;
    let metadata = path.metadata().map_err(|_| missing())?;
    if !metadata.is_dir() {
        return Err(missing());
    }
    Ok((path, metadata.uid(), metadata.gid()))
}

/// Whether a path without links is a directory of the system, and of nobody's data.
fn is_system(path: &Path) -> bool {
    let below = |roots: &[&str]| roots.iter().any(|root| path.starts_with(root));
    let is_data = DATA
        .iter()
        .any(|root| path.starts_with(root) && path != Path::new(root));
    SYSTEM.iter().any(|root| path == Path::new(root)) || (below(SYSTEM_WHOLE) && !is_data)
}

/// Whether the engine's own socket is in a directory, at any depth.
fn holds_socket_of(directory: &Path, engine: &str) -> bool {
    let Some(socket) = engine.strip_prefix("unix://").map(Path::new) else {
        return false;
    };
    // The name may be a link to the socket: neither may be in the directory.
    let parent = socket
        .parent()
        .and_then(|parent| parent.canonicalize().ok());
    let target = socket.canonicalize().ok();
    [Some(socket.to_owned()), parent, target]
        .iter()
        .flatten()
        .any(|path| path.starts_with(directory))
}

/// A file through which a program can reach others, whatever the mount's mode, and what it is.
///
/// Links are not followed: in the sandbox they lead to its own files.
fn channel(directory: &Path) -> Option<(PathBuf, &'static str)> {
    let mut folders = VecDeque::from([directory.to_owned()]);
    let mut walked = 0;
    while let Some(folder) = folders.pop_front() {
        // A folder that we may not list is skipped, as the module's text says.
        let Ok(entries) = std::fs::read_dir(folder) else {
            continue;
        };
        for entry in entries.flatten() {
            if walked == ENTRIES_WALKED {
                tracing::warn!(
                    directory = %directory.display(),
                    looked_at = ENTRIES_WALKED,
                    "a mount is too large to be searched for pipes and sockets"
                );
                return None;
            }
            walked += 1;
            let Ok(kind) = entry.file_type() else {
                continue;
            };
            if let Some(kind) = channel_kind(kind) {
                return Some((entry.path(), kind));
            }
            if kind.is_dir() {
                folders.push_back(entry.path());
            }
        }
    }
    None
}

fn channel_kind(kind: FileType) -> Option<&'static str> {
    if kind.is_socket() {
        Some("socket")
    } else if kind.is_fifo() {
        Some("pipe")
    } else if kind.is_block_device() || kind.is_char_device() {
        Some("device")
    } else {
        None
    }
}

/// A name that is one plain path component in any shell and any mount option.
fn is_plain(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    !name.is_empty()
        && name.len() <= NAME_MAX
        && name.bytes().all(plain)
        && !name.starts_with(['.', '-'])
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOCAL: &str = "unix:///run/engine.sock";

    fn mount(source: &std::path::Path, name: &str, writable: bool) -> Mount {
        Mount {
            source: source.to_owned(),
            name: name.to_owned(),
            writable,
        }
    }

    #[test]
    fn a_name_is_one_plain_component() {
        let dir = tempfile::tempdir().unwrap();
        for bad in [
            "",
            ".",
            "..",
            ".x",
            "-x",
            "a/b",
            "a b",
            "a:b",
            "ä",
            &"a".repeat(65),
        ] {
            let result = check(&[mount(dir.path(), bad, false)], LOCAL);
            assert!(matches!(result, Err(MountError::BadName(_))), "{bad}");
        }
        let twice = [mount(dir.path(), "a", false), mount(dir.path(), "a", false)];
        let error = check(&twice, LOCAL).unwrap_err();
        assert_eq!(error.to_string(), "two mounts are named `a`");
    }

    #[test]
    fn only_a_directory_can_be_mounted() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        std::fs::write(&file, "").unwrap();
        for bad in [
            file.as_path(),
            &dir.path().join("none"),
            "relative".as_ref(),
        ] {
            let result = check(&[mount(bad, "a", false)], LOCAL);
            assert!(
                matches!(result, Err(MountError::NotADirectory(_))),
                "{bad:?}"
            );
        }
    }

    #[test]
    fn without_mounts_it_runs_as_nobody_else() {
        assert_eq!(check(&[], "tcp://far:2376").unwrap().owner, None);
    }

    #[test]
    fn what_is_roots_is_never_writable() {
        // This directory is root's everywhere.
        let root = Path::new("/usr");
        let read_only = check(&[mount(root, "a", false)], LOCAL).unwrap();
        assert_eq!(read_only.granted(7).uid, 7);
        assert!(matches!(
            check(&[mount(root, "a", true)], LOCAL),
            Err(MountError::RootOwned(_))
        ));
    }

    #[test]
    fn directories_of_the_system_are_not_mounted() {
        for bad in [
            "/",
            "/proc",
            "/proc/self",
            "/sys",
            "/dev",
            "/run",
            "/var/run",
            "/etc",
        ] {
            let result = check(&[mount(Path::new(bad), "a", false)], LOCAL);
            assert!(matches!(result, Err(MountError::System(_))), "{bad}");
        }
        for (path, system) in [
            ("/root", true),
            ("/root/data", false),
            ("/dev/shm", true),
            ("/dev/shm/data", false),
            ("/etc/ssh", true),
            ("/etcetera", false),
            ("/run/user/1000", true),
            ("/run/media/disk", false),
            ("/var/lib/docker/volumes/a", true),
            ("/var/data", false),
            ("/home/one", false),
            ("/tmp", false),
        ] {
            assert_eq!(is_system(Path::new(path)), system, "{path}");
        }
    }

    #[test]
    fn a_directory_with_the_engines_socket_is_not_mounted() {
        let dir = tempfile::tempdir().unwrap();
        let (inner, other) = (dir.path().join("a/b"), dir.path().join("c"));
        std::fs::create_dir_all(&inner).unwrap();
        std::fs::create_dir(&other).unwrap();
        // Whether it is there now or not: the engine may restart.
        let engine = format!("unix://{}/engine.sock", inner.display());
        for bad in [dir.path(), inner.parent().unwrap(), &inner] {
            let result = check(&[mount(bad, "a", false)], &engine);
            assert!(
                matches!(result, Err(MountError::EngineSocket(_))),
                "{bad:?}"
            );
        }
        check(&[mount(&other, "a", false)], &engine).unwrap();
        // By another name.
        let link = other.join("link");
        std::os::unix::fs::symlink(&inner, &link).unwrap();
        let engine = format!("unix://{}/engine.sock", link.display());
        let result = check(&[mount(&inner, "a", false)], &engine);
        assert!(matches!(result, Err(MountError::EngineSocket(_))));
    }

    #[test]
    fn a_directory_with_a_way_to_other_programs_is_not_mounted() {
        let dir = tempfile::tempdir().unwrap();
        let inner = dir.path().join("a/b");
        std::fs::create_dir_all(&inner).unwrap();
        // What a link leads to is not there in the sandbox.
        std::os::unix::fs::symlink("/dev/null", inner.join("null")).unwrap();
        std::os::unix::fs::symlink("/dev", inner.join("dev")).unwrap();
        let check = || check(&[mount(dir.path(), "a", false)], LOCAL);
        check().unwrap();
        let socket = inner.join("x.sock");
        let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        let error = check().unwrap_err().to_string();
        assert!(error.contains("the socket `"), "{error}");
        assert!(error.contains("a/b/x.sock"), "{error}");
        drop(listener);
        std::fs::remove_file(&socket).unwrap();
        check().unwrap();
        let mode = rustix::fs::Mode::RUSR;
        let fifo = inner.join("fifo");
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        let error = check().unwrap_err().to_string();
        assert!(error.contains("the pipe `"), "{error}");
    }

    #[test]
    fn directories_of_another_machine_are_not_mounted() {
        let mounts = [mount(Path::new("/"), "a", false)];
        let result = check(&mounts, "tcp://far:2376");
        assert!(matches!(result, Err(MountError::RemoteEngine(_))));
    }
}
