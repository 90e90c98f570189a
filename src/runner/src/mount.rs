//! Which host directories may be bound into a sandbox, and as whom it then runs.

use std::collections::HashSet;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::{Mount, MountError};

/// The user of a sandbox without mounts: the number that distroless images call `nonroot`. It
/// belongs to nobody on common systems, where accounts end at 60000 and `nobody` is 65534.
pub(crate) const NOBODY_ELSE: u32 = 65_532;

/// Longest name of a mount, in bytes.
const NAME_MAX: usize = 64;

/// As whom a sandbox runs, and which directories it gets.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Granted {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// The mounts, with sources without symbolic links.
    pub(crate) mounts: Vec<Mount>,
}

/// Checks mounts against the file system of this machine, which must be the engine's.
pub(crate) fn check(mounts: &[Mount], engine: &str) -> Result<Granted, MountError> {
    if !mounts.is_empty() && !engine.starts_with("unix://") {
        return Err(MountError::RemoteEngine(engine.to_owned()));
    }
    let mut names = HashSet::new();
    let mut owner: Option<(u32, u32)> = None;
    let mut resolved = Vec::with_capacity(mounts.len());
    for mount in mounts {
        if !is_plain(&mount.name) || !names.insert(&mount.name) {
            return Err(MountError::BadName(spec::printable(&mount.name, NAME_MAX)));
        }
        let (source, uid, gid) = look(&mount.source)?;
        if uid == 0 && mount.writable {
            return Err(MountError::RootOwned(source));
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
    let (uid, gid) = owner.unwrap_or((NOBODY_ELSE, NOBODY_ELSE));
    Ok(Granted {
        uid,
        gid,
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
        assert!(matches!(check(&twice, LOCAL), Err(MountError::BadName(_))));
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
        assert_eq!(check(&[], "tcp://far:2376").unwrap().uid, NOBODY_ELSE);
    }

    #[test]
    fn what_is_roots_is_never_writable() {
        // The root directory is root's everywhere.
        let root = std::path::Path::new("/");
        let read_only = check(&[mount(root, "a", false)], LOCAL).unwrap();
        assert_eq!(read_only.uid, NOBODY_ELSE);
        assert!(matches!(
            check(&[mount(root, "a", true)], LOCAL),
            Err(MountError::RootOwned(_))
        ));
    }

    #[test]
    fn directories_of_another_machine_are_not_mounted() {
        let mounts = [mount(Path::new("/"), "a", false)];
        let result = check(&mounts, "tcp://far:2376");
        assert!(matches!(result, Err(MountError::RemoteEngine(_))));
    }
}
