//! Results on their way into the folder that they were made from.

mod change;

use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use cap_std::fs::{Dir, OpenOptions, OpenOptionsExt};
use spec::{Digest, Tree, WorkspacePath};
use store::Store;

use crate::workspace::{Obeyed, WorkspaceError, no_follow, open_folder, relative};
use change::Change;

/// What became of a folder that results were to be written to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WriteBack {
    /// Files that were created or replaced.
    pub written: Vec<WorkspacePath>,
    /// Files that were removed.
    pub removed: Vec<WorkspacePath>,
    /// Files that somebody changed meanwhile. If there is one, nothing was written or removed.
    pub conflicts: Vec<WorkspacePath>,
    /// Files that are not written, because other programs of the host would obey them.
    pub withheld: Vec<WorkspacePath>,
}

/// Writes what differs between `base` and `result` into the folder that `base` was copied from.
///
/// A file that no longer is what was copied is a conflict, also when it is edited at this very
/// moment; then nothing is changed at all. New content is made ready beside the old, takes its place
/// in one step for each file, and goes back when a later step fails. Permissions of a replaced file
/// stay. Nothing outside the folder can be reached through its links.
///
/// # Errors
/// [`WorkspaceError`] when the folder cannot be written; it is as it was before.
pub fn write_back(
    store: &Store,
    path: &Path,
    base: &Tree,
    result: &Tree,
) -> Result<WriteBack, WorkspaceError> {
    let root = open_folder(path)?;
    let removed = base
        .entries()
        .iter()
        .filter(|entry| result.find(&entry.path).is_none());
    let changed = result
        .entries()
        .iter()
        .filter(|entry| base.find(&entry.path) != Some(*entry));
    let (mut removed, mut changed): (Vec<_>, Vec<_>) = (removed.collect(), changed.collect());

    let mut report = WriteBack::default();
    let obeyed = Obeyed::of(result.entries(), &root);
    changed.retain(|entry| {
        if obeyed.has(&entry.path) {
            report.withheld.push(entry.path.clone());
            return false;
        }
        if takes_the_place_of_others(&root, &entry.path, base) {
            return true;
        }
        let now = state(&root, relative(&entry.path));
        let expected = base
            .find(&entry.path)
            .map_or(State::Absent, |old| State::File(old.digest));
        if now != expected && now != State::File(entry.digest) {
            report.conflicts.push(entry.path.clone());
        }
        now == expected
    });
    removed.retain(|entry| {
        let now = state(&root, relative(&entry.path));
        if now != State::File(entry.digest) && now != State::Absent {
            report.conflicts.push(entry.path.clone());
        }
        now == State::File(entry.digest)
    });
    if !report.conflicts.is_empty() || (removed.is_empty() && changed.is_empty()) {
        return Ok(report);
    }

    let mut change = Change::begin(&root, path)?;
    let done = change.make(store, base, &removed, &changed);
    match done {
        Ok(None) => {
            change.keep();
            report.written = changed.iter().map(|entry| entry.path.clone()).collect();
            report.removed = removed.iter().map(|entry| entry.path.clone()).collect();
        }
        Ok(Some(conflict)) => {
            change.take_back()?;
            report.conflicts.push(conflict);
        }
        Err(error) => {
            change.take_back()?;
            return Err(error);
        }
    }
    Ok(report)
}

/// What stands at a path of a folder.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Absent,
    File(Digest),
    /// A folder, a link, or something that cannot be read.
    Other,
}

fn state(root: &Dir, path: &Path) -> State {
    let mut walked = PathBuf::new();
    let parts: Vec<_> = path.iter().collect();
    let Some((last, folders)) = parts.split_last() else {
        return State::Other;
    };
    for folder in folders {
        walked.push(folder);
        match root.symlink_metadata(&walked) {
            Ok(metadata) if metadata.is_dir() => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return State::Absent,
            Ok(_) | Err(_) => return State::Other,
        }
    }
    walked.push(last);
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
        let mut is_empty = true;
        let holds_nothing_else = items.into_iter().all(|item| {
            let Ok(item) = item else { return false };
            is_empty = false;
            let name = [prefix, b"/", item.file_name().as_bytes()].concat();
            match item.open_dir() {
                Ok(inner) => holds_only(&inner, &name, base),
                Err(_) => {
                    WorkspacePath::from_bytes(name).is_ok_and(|path| base.find(&path).is_some())
                }
            }
        });
        // Somebody's empty folder would stay in the way.
        holds_nothing_else && !is_empty
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::{export, import, listing};
    use spec::{ByteSize, FileEntry};
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

    #[test]
    fn a_step_that_fails_takes_all_of_them_back() {
        let desk = Desk::new(&[("a", "1"), ("b", "1"), ("gone", "1"), ("d/e", "1")]);
        let base = desk.import();
        let root = open_folder(desk.folder.path()).unwrap();
        let result = desk.tree(&[("a", "2"), ("b", "2"), ("new/x", "2")]);
        let changed: Vec<_> = result.entries().iter().collect();
        let removed: Vec<_> = base
            .entries()
            .iter()
            .filter(|entry| result.find(&entry.path).is_none())
            .collect();
        let mut change = Change::begin(&root, desk.folder.path()).unwrap();
        assert_eq!(
            change.make(&desk.store, &base, &removed, &changed).unwrap(),
            None
        );
        assert_eq!(desk.read("new/x").as_deref(), Some("2"));
        change.take_back().unwrap();
        assert_eq!(desk.import(), base);
        assert_eq!(
            fs::read_dir(desk.folder.path()).unwrap().count(),
            4,
            "no staging folder is left"
        );
    }

    #[test]
    fn an_edit_at_the_very_moment_is_a_conflict() {
        let desk = Desk::new(&[("a", "1"), ("b", "1"), ("c", "1")]);
        let base = desk.import();
        let root = open_folder(desk.folder.path()).unwrap();
        let result = desk.tree(&[("a", "2"), ("b", "2")]);
        let changed: Vec<_> = result.entries().iter().collect();
        let removed = [base.entries().last().unwrap()];
        // After the first look, before the steps.
        desk.put("b", "theirs");
        let mut change = Change::begin(&root, desk.folder.path()).unwrap();
        let conflict = change.make(&desk.store, &base, &removed, &changed).unwrap();
        assert_eq!(conflict.unwrap().to_string(), "b");
        change.take_back().unwrap();
        let now = ["a", "b", "c"].map(|name| desk.read(name).unwrap());
        assert_eq!(now, ["1", "theirs", "1"]);
    }

    #[test]
    fn permissions_of_a_replaced_file_stay() {
        use std::os::unix::fs::PermissionsExt as _;
        let desk = Desk::new(&[("secret", "1")]);
        let path = desk.folder.path().join("secret");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let base = desk.import();
        desk.write_back(&base, &desk.tree(&[("secret", "2")]));
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        assert_eq!(desk.read("secret").as_deref(), Some("2"));
    }

    #[test]
    fn keys_and_leftovers_are_not_copied() {
        let desk = Desk::new(&[
            ("a", "1"),
            (".env", "KEY=1"),
            ("sub/.env", "KEY=1"),
            (".agentfactory-1/new-0", ""),
        ]);
        let imported = import(&desk.store, desk.folder.path(), ByteSize::mib(1)).unwrap();
        assert_eq!(imported.tree, desk.tree(&[("a", "1")]));
        let skipped: Vec<_> = imported
            .skipped
            .iter()
            .map(|left| left.path.as_str())
            .collect();
        assert_eq!(skipped, [".agentfactory-1", ".env", "sub/.env"]);
    }

    #[test]
    fn what_the_host_would_obey_is_withheld() {
        let desk = Desk::new(&[("a", "1"), (".git/config", "theirs")]);
        let base = desk.import();
        assert_eq!(base, desk.tree(&[("a", "1")]));
        let result = desk.tree(&[
            ("a", "2"),
            (".git/config", "x"),
            ("sub/.GIT/hooks/x", "x"),
            ("sub/.envrc", "x"),
        ]);
        let report = desk.write_back(&base, &result);
        assert_eq!(texts(&report.written), ["a"]);
        assert_eq!(
            texts(&report.withheld),
            [".git/config", "sub/.GIT/hooks/x", "sub/.envrc"]
        );
        assert_eq!(desk.read(".git/config").as_deref(), Some("theirs"));
        assert_eq!(desk.read("sub/.envrc"), None);
    }

    #[test]
    fn a_folder_that_looks_like_a_repository_does_not_become_one() {
        let desk = Desk::new(&[("HEAD", "a title"), ("bare/HEAD", "ref: x")]);
        let base = desk.import();
        let result = desk.tree(&[
            ("HEAD", "another title"),
            ("bare/HEAD", "ref: x"),
            ("bare/config", "x"),
            ("bare/objects/x", "x"),
            ("bare/refs/x", "x"),
            ("bare/notes", "x"),
        ]);
        let report = desk.write_back(&base, &result);
        assert_eq!(texts(&report.written), ["HEAD", "bare/notes"]);
        let withheld = ["bare/config", "bare/objects/x", "bare/refs/x"];
        assert_eq!(texts(&report.withheld), withheld);

        let out = tempfile::tempdir().unwrap();
        let files = desk.tree(&[(".git/hooks/x", "x"), ("a", "1")]);
        let left = export(&desk.store, out.path(), files.entries()).unwrap();
        assert_eq!(texts(&left), [".git/hooks/x"]);
        assert!(out.path().join("a").exists() && !out.path().join(".git").exists());
    }

    #[test]
    fn a_repository_is_not_made_in_parts() {
        let desk = Desk::new(&[]);
        // With it, git looks for the rest elsewhere.
        let base = desk.import();
        let parts = desk.tree(&[("docs/CommonDir", "../lib"), ("docs/HEAD", "ref: x")]);
        let report = desk.write_back(&base, &parts);
        assert_eq!(texts(&report.withheld), ["docs/CommonDir"]);

        let out = tempfile::tempdir().unwrap();
        for name in ["x/HEAD", "x/objects/a"] {
            let files = desk.tree(&[(name, "1"), ("x/notes", "1")]);
            let left = export(&desk.store, out.path(), files.entries()).unwrap();
            assert_eq!(texts(&left), Vec::<String>::new());
        }
        let last = desk.tree(&[("X/a", "1"), ("x/refs/a", "1"), ("x/notes", "2")]);
        let left = export(&desk.store, out.path(), last.entries()).unwrap();
        assert_eq!(texts(&left), ["x/refs/a"]);
        assert_eq!(fs::read_to_string(out.path().join("x/notes")).unwrap(), "2");
        // An empty repository has folders only, which are not copied in.
        let out = tempfile::tempdir().unwrap();
        fs::create_dir_all(out.path().join("objects")).unwrap();
        fs::create_dir_all(out.path().join("refs")).unwrap();
        fs::write(out.path().join("HEAD"), "ref: x").unwrap();
        let left = desk.tree(&[("config", "x")]);
        let left = export(&desk.store, out.path(), left.entries()).unwrap();
        assert_eq!(texts(&left), ["config"]);
    }

    #[test]
    fn an_empty_folder_in_the_way_is_a_conflict() {
        let desk = Desk::new(&[("d/f", "1")]);
        fs::create_dir(desk.folder.path().join("d/empty")).unwrap();
        let base = desk.import();
        let report = desk.write_back(&base, &desk.tree(&[("d", "x")]));
        assert_eq!(texts(&report.conflicts), ["d"]);
        assert_eq!(desk.read("d/f").as_deref(), Some("1"));
    }
}
