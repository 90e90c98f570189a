//! Host folders: copied into the store, and files of the store written to the host.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use cap_std::ambient_authority;
use cap_std::fs::{
    Dir, Metadata, MetadataExt, OpenOptions, OpenOptionsExt, Permissions, PermissionsExt,
};
use spec::{ByteSize, FileEntry, LeftBehind, Tree, WorkspacePath, limits};
use store::{Store, StoreError};

/// A folder that was copied into the store.
#[derive(Clone, Debug)]
pub struct Imported {
    /// Its regular files.
    pub tree: Tree,
    /// What is in it but not a regular file.
    pub skipped: Vec<LeftBehind>,
}

/// Why a folder could not be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WorkspaceError {
    /// Not there, or not a directory.
    #[error("the folder `{}` cannot be opened", .path.display())]
    Folder {
        /// Which folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file or folder in it cannot be read or written.
    #[error("`{}` cannot be {action}", .path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// `read` or `written`.
        action: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// More than the workspace holds.
    #[error("the folder `{}` holds more than {limit}", .path.display())]
    TooLarge {
        /// Which folder.
        path: PathBuf,
        /// The limit of the workspace.
        limit: ByteSize,
    },
    /// More files than the workspace holds.
    #[error("the folder `{}` holds more than {limit} files", .path.display())]
    TooManyFiles {
        /// Which folder.
        path: PathBuf,
        /// The limit.
        limit: usize,
    },
    /// The store failed.
    #[error("the store could not keep or give the files")]
    Store(#[from] StoreError),
    /// The names in it contradict each other.
    #[error("the folder is not a tree of files")]
    Tree(#[from] spec::TreeError),
}

/// Files and folders that are neither copied in nor written back: they hold keys, or programs of the
/// host do what they say. `commondir` says where the rest of a repository is: with it, any two folders
/// are one.
pub(crate) const OBEYED: &[&[u8]] = &[
    b".bzr",
    b".env",
    b".envrc",
    b".fslckout",
    b".git",
    b".hg",
    b".jj",
    b".pijul",
    b".sl",
    b".svn",
    b"_darcs",
    b"_fossil_",
    b"commondir",
];

/// What makes a folder a repository, whatever its name. Source: `gitrepository-layout(5)`.
const REPOSITORY: [&[u8]; 3] = [b"head", b"objects", b"refs"];
/// What else is obeyed in one.
const SETTINGS: [&[u8]; 2] = [b"config", b"hooks"];

/// Which files of a tree programs of the host would obey as soon as they are in its folder.
///
/// The settings of version control name programs, and `.env` and `.envrc` set variables. Version
/// control takes any folder for its own that looks like it, whatever its name.
pub(crate) struct Obeyed {
    /// Folders that look like a repository, in lower case; each ends with a slash, but for the root.
    repositories: Vec<Vec<u8>>,
}

impl Obeyed {
    /// Of files that are to be in a folder, together with what is there.
    pub(crate) fn of(entries: &[FileEntry], there: &Dir) -> Self {
        let mut found: BTreeMap<Vec<u8>, [bool; REPOSITORY.len()]> = BTreeMap::new();
        for entry in entries {
            let path = entry.path.as_bytes().to_ascii_lowercase();
            let mut start = 0;
            for part in path.split(|byte| *byte == b'/') {
                let of_repository = REPOSITORY.iter().position(|name| *name == part);
                if of_repository.is_some() || SETTINGS.iter().any(|name| part.starts_with(name)) {
                    let has = found.entry(path[..start].to_owned()).or_default();
                    if let Some(at) = of_repository {
                        has[at] = true;
                    }
                }
                start += part.len() + 1;
            }
        }
        // As they are spelled in the tree, because the host may tell upper from lower case.
        let spelled = |folder: &[u8]| -> BTreeSet<&[u8]> {
            let paths = entries.iter().map(|entry| entry.path.as_bytes());
            let begun = paths.filter_map(|path| path.get(..folder.len()));
            begun
                .filter(|begun| begun.eq_ignore_ascii_case(folder))
                .collect()
        };
        let is_there = |folder: &[u8], name: &[u8]| {
            let name = if name == REPOSITORY[0] { b"HEAD" } else { name };
            let path = [folder, name].concat();
            let path = Path::new(std::ffi::OsStr::from_bytes(&path));
            there.symlink_metadata(path).is_ok()
        };
        found.retain(|folder, has| {
            let missing = REPOSITORY.iter().zip(has).filter(|(_, has)| !**has);
            let missing: Vec<_> = missing.map(|(name, _)| name).collect();
            let mut folders = spelled(folder).into_iter();
            folders.any(|folder| missing.iter().all(|name| is_there(folder, name)))
        });
        Self {
            repositories: found.into_keys().collect(),
        }
    }

    pub(crate) fn has(&self, path: &WorkspacePath) -> bool {
        let path = path.as_bytes().to_ascii_lowercase();
        let mut parts = path.split(|byte| *byte == b'/');
        parts.any(|part| OBEYED.contains(&part) || part.starts_with(STAGING.as_bytes()))
            || self.repositories.iter().any(|folder| {
                let inside = path.strip_prefix(folder.as_slice()).unwrap_or_default();
                REPOSITORY
                    .iter()
                    .chain(&SETTINGS)
                    .any(|name| inside.starts_with(name))
            })
    }
}

/// The beginning of the names that writing uses; a crash can leave one behind. Nobody else's files with
/// such names are copied in or written.
pub(crate) const STAGING: &str = ".agentfactory-";

impl WorkspaceError {
    /// An error of a file, or of the store when that is what failed below.
    pub(crate) fn file(path: PathBuf, action: &'static str, source: io::Error) -> Self {
        match source.downcast::<StoreError>() {
            Ok(error) => Self::Store(error),
            Err(source) => Self::File {
                path,
                action,
                source,
            },
        }
    }

    /// The same about another path: where the user looks for the file.
    pub(crate) fn at(self, path: &Path) -> Self {
        match self {
            Self::File {
                path: _,
                action,
                source,
            } => Self::File {
                path: path.to_owned(),
                action,
                source,
            },
            other => other,
        }
    }

    /// What a caller can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Folder { .. } | Self::File { .. } => {
                Some("check the path and its permissions".to_owned())
            }
            Self::TooLarge { .. } => Some(
                "raise --workspace-size (and --memory), or give it read-only with --mount"
                    .to_owned(),
            ),
            Self::TooManyFiles { .. } => Some("give it with --mount instead".to_owned()),
            Self::Store(error) => error.hint(),
            Self::Tree(_) => None,
        }
    }
}

/// Copies a folder's regular files into the store.
///
/// Symbolic links, devices, sockets and empty folders are not copied, and neither are `.env`, which
/// holds keys, and the folders of version control; what is skipped is named.
///
/// # Errors
/// [`WorkspaceError`] when it cannot be read, or does not fit in a workspace of `limit`.
pub fn import(store: &Store, path: &Path, limit: ByteSize) -> Result<Imported, WorkspaceError> {
    let root = open_folder(path)?;
    let mut entries = Vec::new();
    let mut skipped = Vec::new();
    let mut total = 0_u64;
    let mut stack = vec![(root, Vec::new())];
    while let Some((dir, prefix)) = stack.pop() {
        let at = |name: &[u8]| path.join(std::ffi::OsStr::from_bytes(name));
        let read_error = |name: &[u8], source| WorkspaceError::file(at(name), "read", source);
        for item in dir
            .entries()
            .map_err(|source| read_error(&prefix, source))?
        {
            let item = item.map_err(|source| read_error(&prefix, source))?;
            let mut name = prefix.clone();
            if !name.is_empty() {
                name.push(b'/');
            }
            name.extend_from_slice(&item.file_name().into_vec());
            let kind = item
                .file_type()
                .map_err(|source| read_error(&name, source))?;
            let skip = |why: &str| LeftBehind {
                path: String::from_utf8_lossy(&name).into_owned(),
                why: why.to_owned(),
            };
            let last = name.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
            if last.starts_with(STAGING.as_bytes()) {
                skipped.push(skip("left by an interrupted write-back"));
                continue;
            }
            if OBEYED.iter().any(|name| last.eq_ignore_ascii_case(name)) {
                skipped.push(skip(
                    "it may hold keys, or is obeyed by programs of the host",
                ));
                continue;
            }
            if kind.is_dir() {
                let inner = item
                    .open_dir()
                    .map_err(|source| read_error(&name, source))?;
                stack.push((inner, name));
                continue;
            }
            if !kind.is_file() {
                skipped.push(skip(if kind.is_symlink() {
                    "symbolic link"
                } else {
                    "not a regular file"
                }));
                continue;
            }
            let Ok(workspace_path) = WorkspacePath::from_bytes(name.clone()) else {
                skipped.push(skip("name too long or nested too deep"));
                continue;
            };
            if entries.len() >= limits::FILES {
                return Err(WorkspaceError::TooManyFiles {
                    path: path.to_owned(),
                    limit: limits::FILES,
                });
            }
            let mut options = OpenOptions::new();
            options.read(true).custom_flags(no_follow());
            let file = item
                .open_with(&options)
                .map_err(|source| read_error(&name, source))?;
            let executable = {
                let metadata = file
                    .metadata()
                    .map_err(|source| read_error(&name, source))?;
                metadata.permissions().mode() & 0o100 != 0
            };
            let mut writer = store.writer()?;
            let left = limit.get().saturating_sub(total);
            let size = io::copy(&mut file.take(left + 1), &mut writer)
                .map_err(|source| read_error(&name, source))?;
            if size > left {
                return Err(WorkspaceError::TooLarge {
                    path: path.to_owned(),
                    limit,
                });
            }
            total += size;
            let digest = writer.finish()?;
            entries.push(FileEntry {
                path: workspace_path,
                size,
                digest,
                executable,
            });
        }
    }
    skipped.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(Imported {
        tree: Tree::from_entries(entries)?,
        skipped,
    })
}

/// Writes files into a folder, which is created when it is missing, replacing what is there. What
/// programs of the host would obey is not written; its paths are returned.
///
/// # Errors
/// [`WorkspaceError`] when the folder cannot be written.
pub fn export(
    store: &Store,
    path: &Path,
    files: &[FileEntry],
) -> Result<Vec<WorkspacePath>, WorkspaceError> {
    std::fs::create_dir_all(path).map_err(|source| WorkspaceError::Folder {
        path: path.to_owned(),
        source,
    })?;
    let root = open_folder(path)?;
    let obeyed = Obeyed::of(files, &root);
    let (withheld, files): (Vec<_>, Vec<_>) =
        files.iter().partition(|entry| obeyed.has(&entry.path));
    for entry in files {
        write_file(store, &root, path, entry)?;
    }
    Ok(withheld
        .into_iter()
        .map(|entry| entry.path.clone())
        .collect())
}

/// The files of `result` that `base` does not hold in the same form.
pub fn changed_files(base: &Tree, result: &Tree) -> Vec<FileEntry> {
    let is_new = |entry: &&FileEntry| base.find(&entry.path) != Some(*entry);
    result.entries().iter().filter(is_new).cloned().collect()
}

pub(crate) fn open_folder(path: &Path) -> Result<Dir, WorkspaceError> {
    Dir::open_ambient_dir(path, ambient_authority()).map_err(|source| WorkspaceError::Folder {
        path: path.to_owned(),
        source,
    })
}

pub(crate) fn no_follow() -> i32 {
    // A FIFO that takes a file's place meanwhile must not block us.
    (rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK)
        .bits()
        .cast_signed()
}

pub(crate) fn relative(path: &WorkspacePath) -> &Path {
    Path::new(std::ffi::OsStr::from_bytes(path.as_bytes()))
}

/// Writes a file whole, replacing what is there in one step.
fn write_file(
    store: &Store,
    root: &Dir,
    shown: &Path,
    entry: &FileEntry,
) -> Result<(), WorkspaceError> {
    let target = relative(&entry.path);
    let failed = |source| WorkspaceError::file(shown.join(target), "written", source);
    let folder = target.parent().unwrap_or(Path::new(""));
    if !folder.as_os_str().is_empty() {
        root.create_dir_all(folder).map_err(failed)?;
    }
    let temporary = folder.join(format!("{STAGING}{}", uuid::Uuid::now_v7().simple()));
    write_content(store, root, &temporary, entry, None)
        .and_then(|()| root.rename(&temporary, root, target).map_err(failed))
        .map_err(|error| {
            // The first error is the one to report.
            drop(root.remove_file(&temporary));
            error.at(&shown.join(target))
        })
}

/// Writes content into a new file, with the permissions of the file that it is to replace.
pub(crate) fn write_content(
    store: &Store,
    root: &Dir,
    path: &Path,
    entry: &FileEntry,
    old: Option<&Metadata>,
) -> Result<(), WorkspaceError> {
    let failed = |source| WorkspaceError::file(path.to_owned(), "written", source);
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    let mut file = root.open_with(path, &options).map_err(failed)?;
    let mut content = store.open(&entry.digest)?;
    io::copy(&mut content, &mut file).map_err(failed)?;
    file.flush().map_err(failed)?;
    let own = file.metadata().map_err(failed)?;
    let mode = old.unwrap_or(&own).permissions().mode() & 0o777;
    // Whoever may read it may run it, or nobody.
    let is_executable = mode & 0o100 != 0;
    let mode = match (entry.executable, is_executable) {
        (true, false) => mode | ((mode & 0o444) >> 2),
        (false, true) => mode & !0o111,
        (true, true) | (false, false) => mode,
    };
    if let Some(old) = old
        && (old.uid(), old.gid()) != (own.uid(), own.gid())
    {
        let owner = (
            rustix::fs::Uid::from_raw(old.uid()),
            rustix::fs::Gid::from_raw(old.gid()),
        );
        // Only root may give files away; for others the file becomes theirs, as with any editor.
        let _ = rustix::fs::fchown(&file, Some(owner.0), Some(owner.1));
    }
    file.set_permissions(Permissions::from_mode(mode))
        .map_err(failed)?;
    file.sync_all().map_err(failed)
}

/// The files of a tree, a line each, for a model: the largest folders are shortened.
pub(crate) fn listing(tree: &Tree, lines_max: usize) -> String {
    use std::fmt::Write as _;
    let mut text = String::new();
    for entry in tree.entries().iter().take(lines_max) {
        let _ = writeln!(text, "{} ({})", entry.path, ByteSize::bytes(entry.size));
    }
    let rest = tree.entries().len().saturating_sub(lines_max);
    if rest > 0 {
        let mut folders: BTreeMap<String, usize> = BTreeMap::new();
        for entry in &tree.entries()[lines_max..] {
            let path = entry.path.to_string();
            let top = path.split_once('/').map_or(".", |(top, _)| top);
            *folders.entry(top.to_owned()).or_default() += 1;
        }
        let _ = write!(text, "... and {rest} more files:");
        for (folder, count) in folders.iter().take(20) {
            let _ = write!(text, " {folder} ({count})");
        }
        text.push('\n');
    }
    if text.is_empty() {
        "(empty)\n".clone_into(&mut text);
    }
    text
}
