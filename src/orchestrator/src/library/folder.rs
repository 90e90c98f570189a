//! Reading a folder of the host: bounded, and without following links.

use std::io::Read as _;
use std::path::Path;

use cap_std::ambient_authority;
use cap_std::fs::Dir;
use spec::{WorkspacePath, limits};
use store::SourceFiles;

use super::error::LibraryError;

/// Files and folders that are looked at in one subagent's folder.
const ENTRIES_MAX: usize = 10_000;
/// Folders within folders.
const DEPTH_MAX: usize = 16;
/// Bytes that are read of one subagent's folder, before what it does not need is left out.
const BYTES_MAX: u64 = 64 << 20;

/// Opens a folder.
pub(super) fn open(path: &Path) -> Result<Dir, LibraryError> {
    Dir::open_ambient_dir(path, ambient_authority()).map_err(|source| LibraryError::Io {
        path: path.to_owned(),
        action: "read",
        source,
    })
}

/// Reads one file, which must be a regular one of a limited size; `None` when there is none.
pub(super) fn file(dir: &Dir, path: &Path, most: u64) -> Result<Option<Vec<u8>>, LibraryError> {
    let wrong = |source| LibraryError::Io {
        path: path.to_owned(),
        action: "read",
        source,
    };
    match dir.symlink_metadata(path) {
        Ok(found) if found.is_file() => {}
        Ok(_) => {
            return Err(LibraryError::refused(format!(
                "`{}` is not a regular file",
                path.display()
            )));
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(wrong(error)),
    }
    let mut bytes = Vec::new();
    let file = dir.open(path).map_err(wrong)?;
    file.take(most + 1).read_to_end(&mut bytes).map_err(wrong)?;
    if bytes.len() as u64 > most {
        return Err(LibraryError::refused(format!(
            "`{}` is larger than {most} bytes",
            path.display()
        )));
    }
    Ok(Some(bytes))
}

/// The regular files of a folder, by path, and the names of what is none. What begins with a dot is
/// nobody's source, and neither is compiled code.
pub(super) fn files(root: &Dir) -> Result<(SourceFiles, Vec<String>), LibraryError> {
    let mut read = Reading {
        files: SourceFiles::new(),
        skipped: Vec::new(),
        entries: 0,
        bytes: 0,
    };
    read.folder(root, "", 0)?;
    read.files.sort_by(|a, b| a.0.cmp(&b.0));
    Ok((read.files, read.skipped))
}

struct Reading {
    files: SourceFiles,
    skipped: Vec<String>,
    entries: usize,
    bytes: u64,
}

impl Reading {
    fn folder(&mut self, dir: &Dir, prefix: &str, depth: usize) -> Result<(), LibraryError> {
        if depth > DEPTH_MAX {
            return Err(LibraryError::refused(format!(
                "its folders are more than {DEPTH_MAX} deep"
            )));
        }
        let wrong = |source| LibraryError::Io {
            path: prefix.into(),
            action: "read",
            source,
        };
        for item in dir.entries().map_err(wrong)? {
            let item = item.map_err(wrong)?;
            self.entries += 1;
            if self.entries > ENTRIES_MAX {
                return Err(LibraryError::refused(format!(
                    "it holds more than {ENTRIES_MAX} files and folders"
                )));
            }
            let name = item.file_name();
            let Some(name) = name.to_str() else {
                self.skipped
                    .push(format!("{prefix}{}", name.to_string_lossy()));
                continue;
            };
            if name.starts_with('.') || name == "__pycache__" || name.as_bytes().ends_with(b".pyc")
            {
                continue;
            }
            let path = format!("{prefix}{name}");
            let kind = item.file_type().map_err(wrong)?;
            if kind.is_dir() {
                let below = item.open_dir().map_err(wrong)?;
                self.folder(&below, &format!("{path}/"), depth + 1)?;
            } else if kind.is_file() {
                self.file(dir, name, path)?;
            } else {
                self.skipped.push(path);
            }
        }
        Ok(())
    }

    fn file(&mut self, dir: &Dir, name: &str, path: String) -> Result<(), LibraryError> {
        let Some(bytes) = file(dir, Path::new(name), limits::SOURCE.get())? else {
            return Ok(());
        };
        self.bytes += bytes.len() as u64;
        if self.bytes > BYTES_MAX {
            return Err(LibraryError::refused(format!(
                "it holds more than {BYTES_MAX} bytes"
            )));
        }
        match WorkspacePath::from_bytes(path.clone().into_bytes()) {
            Ok(path) => self.files.push((path, bytes)),
            Err(_) => self.skipped.push(path),
        }
        Ok(())
    }
}
