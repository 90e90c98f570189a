//! Results on their way into the folder that they were made from.

use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use cap_std::fs::{Dir, OpenOptions, OpenOptionsExt};
use spec::{Digest, FileEntry, Tree, WorkspacePath};
use store::Store;

use crate::workspace::{WorkspaceError, no_follow, open_folder, relative, write_file};

/// What became of a folder that results were to be written to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WriteBack {
    /// Files that were created or replaced.
    pub written: Vec<WorkspacePath>,
    /// Files that were removed.
    pub removed: Vec<WorkspacePath>,
    /// Files that somebody changed meanwhile. If there is one, nothing was written or removed.
    pub conflicts: Vec<WorkspacePath>,
}

/// Writes what differs between `base` and `result` into the folder that `base` was copied from.
///
/// A file that no longer is what was copied is a conflict; then nothing is written at all. Each
/// file is replaced in one step, and nothing outside the folder can be reached through its links.
///
/// # Errors
/// [`WorkspaceError`] when the folder cannot be written.
pub fn write_back(
    store: &Store,
    path: &Path,
    base: &Tree,
    result: &Tree,
) -> Result<WriteBack, WorkspaceError> {
    let root = open_folder(path)?;
    let changed: Vec<&FileEntry> = result
        .entries()
        .iter()
        .filter(|entry| base.find(&entry.path) != Some(*entry))
        .collect();
    let removed: Vec<&FileEntry> = base
        .entries()
        .iter()
        .filter(|entry| result.find(&entry.path).is_none())
        .collect();

    let mut report = WriteBack::default();
    for entry in &changed {
        if takes_the_place_of_others(&root, &entry.path, base) {
            continue;
        }
        let now = state(&root, &entry.path);
        let expected = base
            .find(&entry.path)
            .map_or(State::Absent, |old| State::File(old.digest));
        if now != expected && now != State::File(entry.digest) {
            report.conflicts.push(entry.path.clone());
        }
    }
    for entry in &removed {
        let now = state(&root, &entry.path);
        if now != State::File(entry.digest) && now != State::Absent {
            report.conflicts.push(entry.path.clone());
        }
    }
    if !report.conflicts.is_empty() {
        return Ok(report);
    }
    for entry in &removed {
        remove_file(&root, path, &entry.path)?;
        report.removed.push(entry.path.clone());
    }
    for entry in &changed {
        write_file(store, &root, path, entry)?;
        report.written.push(entry.path.clone());
    }
    Ok(report)
}

/// What stands at a path of a folder.
#[derive(PartialEq, Eq)]
enum State {
    Absent,
    File(Digest),
    /// A folder, a link, or something that cannot be read.
    Other,
}

fn state(root: &Dir, path: &WorkspacePath) -> State {
    let mut walked = PathBuf::new();
    let parts: Vec<&[u8]> = path.as_bytes().split(|byte| *byte == b'/').collect();
    let Some((last, folders)) = parts.split_last() else {
        return State::Other;
    };
    for folder in folders {
        walked.push(std::ffi::OsStr::from_bytes(folder));
        match root.symlink_metadata(&walked) {
            Ok(metadata) if metadata.is_dir() => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return State::Absent,
            Ok(_) | Err(_) => return State::Other,
        }
    }
    walked.push(std::ffi::OsStr::from_bytes(last));
    match root.symlink_metadata(&walked) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return State::Absent,
        Ok(metadata) if metadata.is_file() => {}
        Ok(_) | Err(_) => return State::Other,
    }
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(no_follow());
    root.open_with(&walked, &options)
        .and_then(hash)
        .map_or(State::Other, State::File)
}

/// Whether a new file stands where a folder was, or below what was a file.
///
/// What it replaces is then checked as a removed file; a folder must hold nothing else.
fn takes_the_place_of_others(root: &Dir, path: &WorkspacePath, base: &Tree) -> bool {
    fn holds_only(dir: &Dir, prefix: &[u8], base: &Tree) -> bool {
        let Ok(items) = dir.entries() else {
            return false;
        };
        items.into_iter().all(|item| {
            let Ok(item) = item else { return false };
            let name = [prefix, b"/", item.file_name().as_bytes()].concat();
            match item.open_dir() {
                Ok(inner) => holds_only(&inner, &name, base),
                Err(_) => {
                    WorkspacePath::from_bytes(name).is_ok_and(|path| base.find(&path).is_some())
                }
            }
        })
    }
    let bytes = path.as_bytes();
    let below_a_file = bytes
        .iter()
        .enumerate()
        .filter(|(_, byte)| **byte == b'/')
        .any(|(at, _)| {
            WorkspacePath::from_bytes(bytes[..at].to_vec())
                .is_ok_and(|parent| base.find(&parent).is_some())
        });
    let is_folder = || {
        let metadata = root.symlink_metadata(relative(path));
        metadata.is_ok_and(|metadata| metadata.is_dir())
            && root
                .open_dir(relative(path))
                .is_ok_and(|dir| holds_only(&dir, bytes, base))
    };
    below_a_file || is_folder()
}

fn hash(mut content: impl Read) -> io::Result<Digest> {
    use sha2::Digest as _;
    let mut hasher = sha2::Sha256::new();
    let mut buffer = vec![0; 256 * 1024];
    loop {
        match content.read(&mut buffer)? {
            0 => return Ok(Digest::from_sha256(hasher.finalize().into())),
            count => hasher.update(&buffer[..count]),
        }
    }
}

/// Removes a file and the folders that it leaves empty.
fn remove_file(root: &Dir, shown: &Path, path: &WorkspacePath) -> Result<(), WorkspaceError> {
    let target = relative(path);
    match root.remove_file(target) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(source) => {
            return Err(WorkspaceError::File {
                path: shown.join(target),
                action: "written",
                source,
            });
        }
    }
    for folder in target
        .ancestors()
        .skip(1)
        .take_while(|folder| !folder.as_os_str().is_empty())
    {
        if root.remove_dir(folder).is_err() {
            break; // Not empty.
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::{export, import, listing};
    use spec::ByteSize;
    use std::fs;
    use std::os::unix::fs::symlink;

    struct Desk {
        store: Store,
        folder: tempfile::TempDir,
        _home: tempfile::TempDir,
    }

    impl Desk {
        fn new(files: &[(&str, &str)]) -> Self {
            let home = tempfile::tempdir().unwrap();
            let store = Store::ensure(&home.path().join("store")).unwrap();
            let folder = tempfile::tempdir().unwrap();
            let desk = Self {
                store,
                folder,
                _home: home,
            };
            for (path, text) in files {
                desk.put(path, text);
            }
            desk
        }

        fn put(&self, path: &str, text: &str) {
            let path = self.folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }

        fn read(&self, path: &str) -> Option<String> {
            fs::read_to_string(self.folder.path().join(path)).ok()
        }

        fn import(&self) -> Tree {
            import(&self.store, self.folder.path(), ByteSize::mib(1))
                .unwrap()
                .tree
        }

        fn tree(&self, files: &[(&str, &str)]) -> Tree {
            let entries = files.iter().map(|(path, text)| FileEntry {
                path: WorkspacePath::from_text(path).unwrap(),
                size: text.len() as u64,
                digest: self.store.put(text.as_bytes()).unwrap(),
                executable: false,
            });
            Tree::from_entries(entries.collect()).unwrap()
        }

        fn write_back(&self, base: &Tree, result: &Tree) -> WriteBack {
            write_back(&self.store, self.folder.path(), base, result).unwrap()
        }
    }

    fn texts(paths: &[WorkspacePath]) -> Vec<String> {
        paths.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_folder_is_copied_in_and_what_changed_is_written_back() {
        let desk = Desk::new(&[("a.txt", "1"), ("sub/b.txt", "2"), ("sub/c.txt", "3")]);
        let base = desk.import();
        assert_eq!(
            base,
            desk.tree(&[("a.txt", "1"), ("sub/b.txt", "2"), ("sub/c.txt", "3")])
        );
        let result = desk.tree(&[("a.txt", "new"), ("sub/c.txt", "3"), ("other/d.txt", "4")]);
        let report = desk.write_back(&base, &result);
        assert_eq!(texts(&report.written), ["a.txt", "other/d.txt"]);
        assert_eq!(texts(&report.removed), ["sub/b.txt"]);
        assert_eq!(desk.import(), result);
    }

    #[test]
    fn an_edit_made_meanwhile_is_a_conflict_and_nothing_is_written() {
        let check = |meanwhile: &dyn Fn(&Desk), conflicts: &[&str]| {
            let desk = Desk::new(&[("a.txt", "1"), ("gone.txt", "1"), ("other.txt", "1")]);
            let base = desk.import();
            let result = desk.tree(&[
                ("a.txt", "ours"),
                ("new.txt", "ours"),
                ("other.txt", "ours"),
            ]);
            meanwhile(&desk);
            let report = desk.write_back(&base, &result);
            assert_eq!(texts(&report.conflicts), conflicts);
            assert_eq!(
                desk.read("other.txt").as_deref(),
                Some("1"),
                "nothing else is written either"
            );
        };
        check(&|desk| desk.put("a.txt", "theirs"), &["a.txt"]);
        check(&|desk| desk.put("new.txt", "theirs"), &["new.txt"]);
        check(&|desk| desk.put("gone.txt", "theirs"), &["gone.txt"]);
        check(
            &|desk| fs::remove_file(desk.folder.path().join("a.txt")).unwrap(),
            &["a.txt"],
        );
        check(
            &|desk| {
                fs::remove_file(desk.folder.path().join("a.txt")).unwrap();
                symlink("/etc/passwd", desk.folder.path().join("a.txt")).unwrap();
            },
            &["a.txt"],
        );
    }

    #[test]
    fn the_same_edit_made_meanwhile_is_no_conflict() {
        let desk = Desk::new(&[("a.txt", "1")]);
        let base = desk.import();
        desk.put("a.txt", "same");
        let report = desk.write_back(&base, &desk.tree(&[("a.txt", "same")]));
        assert!(report.conflicts.is_empty());
    }

    #[test]
    fn links_are_neither_copied_nor_followed() {
        let desk = Desk::new(&[("a.txt", "1")]);
        let outside = tempfile::tempdir().unwrap();
        symlink(outside.path(), desk.folder.path().join("link")).unwrap();
        symlink("a.txt", desk.folder.path().join("file-link")).unwrap();
        let imported = import(&desk.store, desk.folder.path(), ByteSize::mib(1)).unwrap();
        assert_eq!(imported.tree, desk.tree(&[("a.txt", "1")]));
        let skipped: Vec<_> = imported
            .skipped
            .iter()
            .map(|left| left.path.as_str())
            .collect();
        assert_eq!(skipped, ["file-link", "link"]);

        let report = desk.write_back(
            &imported.tree,
            &desk.tree(&[("a.txt", "1"), ("link/x", "2")]),
        );
        assert_eq!(texts(&report.conflicts), ["link/x"]);
        assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_file_can_take_the_place_of_a_folder_and_the_reverse() {
        let desk = Desk::new(&[("a/b.txt", "1"), ("c", "1")]);
        let base = desk.import();
        let result = desk.tree(&[("a", "2"), ("c/d.txt", "2")]);
        let report = desk.write_back(&base, &result);
        assert_eq!(texts(&report.conflicts), Vec::<String>::new());
        assert_eq!(desk.import(), result);

        let desk = Desk::new(&[("a/b.txt", "1")]);
        let base = desk.import();
        desk.put("a/theirs.txt", "1");
        let report = desk.write_back(&base, &desk.tree(&[("a", "2")]));
        assert_eq!(texts(&report.conflicts), ["a"]);
    }

    #[test]
    fn a_folder_that_does_not_fit_is_refused() {
        let desk = Desk::new(&[("a", "12345"), ("b", "12345")]);
        let size = |bytes| import(&desk.store, desk.folder.path(), ByteSize::bytes(bytes));
        assert!(matches!(size(9), Err(WorkspaceError::TooLarge { .. })));
        assert_eq!(size(10).unwrap().tree.entries().len(), 2);
    }

    #[test]
    fn the_right_to_execute_is_kept() {
        use std::os::unix::fs::PermissionsExt as _;
        let desk = Desk::new(&[("run.sh", "")]);
        let path = desk.folder.path().join("run.sh");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        let tree = desk.import();
        assert!(tree.entries()[0].executable);
        let out = tempfile::tempdir().unwrap();
        export(&desk.store, &out.path().join("new"), tree.entries()).unwrap();
        let mode = fs::metadata(out.path().join("new/run.sh"))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o111, 0o111);
    }

    #[test]
    fn a_listing_is_bounded() {
        let desk = Desk::new(&[("a", "1"), ("b/c", ""), ("b/d", "")]);
        assert_eq!(
            listing(&desk.import(), 1),
            "a (1)\n... and 2 more files: b (2)\n"
        );
        assert_eq!(listing(&Tree::default(), 1), "(empty)\n");
    }
}
