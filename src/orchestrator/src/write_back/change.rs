//! The steps of a write-back, each of which can be taken back.

use std::io;
use std::path::{Path, PathBuf};

use cap_std::fs::{Dir, Permissions, PermissionsExt};
use rustix::fs::RenameFlags;
use rustix::io::Errno;
use spec::{FileEntry, Tree, WorkspacePath};
use store::Store;

use super::{State, state};
use crate::workspace::{STAGING, WorkspaceError, relative, write_content};

/// The changes of one folder, which can be taken back until they are kept.
pub(super) struct Change<'a> {
    root: &'a Dir,
    shown: &'a Path,
    /// Holds what is new before its step, and what is old after it.
    staging: PathBuf,
    steps: Vec<Step>,
}

/// Something that was done.
enum Step {
    /// A file was moved from its place into the staging folder.
    Taken { place: PathBuf, aside: PathBuf },
    /// A file of the staging folder was moved to its place.
    Placed { place: PathBuf, aside: PathBuf },
    /// They changed places.
    Exchanged { place: PathBuf, aside: PathBuf },
    /// A folder was made.
    Made(PathBuf),
    /// An empty folder was removed.
    Dropped(PathBuf),
}

impl<'a> Change<'a> {
    pub(super) fn begin(root: &'a Dir, shown: &'a Path) -> Result<Self, WorkspaceError> {
        let staging = PathBuf::from(format!("{STAGING}{}", uuid::Uuid::now_v7().simple()));
        let change = Self {
            root,
            shown,
            staging,
            steps: Vec::new(),
        };
        // Nobody else reads what is to replace a private file.
        let private = || {
            root.create_dir(&change.staging)?;
            root.set_permissions(&change.staging, Permissions::from_mode(0o700))
        };
        private().map_err(|source| change.failed(&change.staging, source))?;
        Ok(change)
    }

    fn failed(&self, path: &Path, source: io::Error) -> WorkspaceError {
        WorkspaceError::file(self.shown.join(path), "written", source)
    }

    /// Makes all changes, or stops at the first file that is not what it must be.
    pub(super) fn make(
        &mut self,
        store: &Store,
        base: &Tree,
        removed: &[&FileEntry],
        changed: &[&FileEntry],
    ) -> Result<Option<WorkspacePath>, WorkspaceError> {
        // What takes long, and most of what can fail, comes before the first visible step.
        for (number, entry) in changed.iter().enumerate() {
            let place = relative(&entry.path);
            let old = base
                .find(&entry.path)
                .and_then(|_| self.root.symlink_metadata(place).ok());
            let aside = self.aside("new", number);
            write_content(store, self.root, &aside, entry, old.as_ref())
                .map_err(|error| error.at(&self.shown.join(place)))?;
        }
        for (number, entry) in removed.iter().enumerate() {
            let place = relative(&entry.path).to_owned();
            let aside = self.aside("old", number);
            self.rename(&place, &aside, RenameFlags::NOREPLACE)?;
            self.steps.push(Step::Taken {
                place: place.clone(),
                aside: aside.clone(),
            });
            if state(self.root, &aside) != State::File(entry.digest) {
                return Ok(Some(entry.path.clone()));
            }
            self.drop_empty_folders(&place);
        }
        for (number, entry) in changed.iter().enumerate() {
            let place = relative(&entry.path).to_owned();
            let aside = self.aside("new", number);
            let expected = base.find(&entry.path).map(|old| State::File(old.digest));
            if !self.place(&place, &aside, expected.as_ref())? {
                return Ok(Some(entry.path.clone()));
            }
        }
        Ok(None)
    }

    fn aside(&self, kind: &str, number: usize) -> PathBuf {
        self.staging.join(format!("{kind}-{number}"))
    }

    /// Puts a new file in its place; `false` when something unexpected was there.
    fn place(
        &mut self,
        place: &Path,
        aside: &Path,
        expected: Option<&State>,
    ) -> Result<bool, WorkspaceError> {
        let Some(expected) = expected else {
            self.make_folders(place.parent().unwrap_or(Path::new("")))?;
            return match self.try_rename(aside, place, RenameFlags::NOREPLACE) {
                Ok(()) => {
                    self.steps.push(Step::Placed {
                        place: place.to_owned(),
                        aside: aside.to_owned(),
                    });
                    Ok(true)
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
                Err(error) => Err(self.failed(place, error)),
            };
        };
        match self.try_rename(aside, place, RenameFlags::EXCHANGE) {
            Ok(()) => {}
            // Somebody removed it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(self.failed(place, error)),
        }
        self.steps.push(Step::Exchanged {
            place: place.to_owned(),
            aside: aside.to_owned(),
        });
        Ok(state(self.root, aside) == *expected)
    }

    fn make_folders(&mut self, folder: &Path) -> Result<(), WorkspaceError> {
        let mut missing: Vec<&Path> = Vec::new();
        for above in folder
            .ancestors()
            .take_while(|above| !above.as_os_str().is_empty())
        {
            if self.root.symlink_metadata(above).is_ok() {
                break;
            }
            missing.push(above);
        }
        for above in missing.into_iter().rev() {
            self.root
                .create_dir(above)
                .map_err(|source| self.failed(above, source))?;
            self.steps.push(Step::Made(above.to_owned()));
        }
        Ok(())
    }

    fn drop_empty_folders(&mut self, place: &Path) {
        let above = place
            .ancestors()
            .skip(1)
            .take_while(|above| !above.as_os_str().is_empty());
        for folder in above {
            if self.root.remove_dir(folder).is_err() {
                break; // Not empty.
            }
            self.steps.push(Step::Dropped(folder.to_owned()));
        }
    }

    fn rename(&self, from: &Path, to: &Path, how: RenameFlags) -> Result<(), WorkspaceError> {
        self.try_rename(from, to, how)
            .map_err(|source| self.failed(from, source))
    }

    /// Renames within the folder; the folders of both names are opened first, below the root.
    fn try_rename(&self, from: &Path, to: &Path, how: RenameFlags) -> io::Result<()> {
        let open = |path: &Path| match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => self.root.open_dir(folder),
            _ => self.root.try_clone(),
        };
        let (from_folder, to_folder) = (open(from)?, open(to)?);
        let (Some(from), Some(to)) = (from.file_name(), to.file_name()) else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        match rustix::fs::renameat_with(&from_folder, from, &to_folder, to, how) {
            Ok(()) => Ok(()),
            // A file system without exchange. Source: rename(2).
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) if how == RenameFlags::EXCHANGE => {
                let between = format!("{}-between", from.to_string_lossy());
                rustix::fs::renameat(&to_folder, to, &from_folder, &between)?;
                rustix::fs::renameat(&from_folder, from, &to_folder, to)?;
                Ok(rustix::fs::renameat(
                    &from_folder,
                    &between,
                    &from_folder,
                    from,
                )?)
            }
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
                if to_folder.symlink_metadata(to).is_ok() {
                    return Err(io::ErrorKind::AlreadyExists.into());
                }
                Ok(rustix::fs::renameat(&from_folder, from, &to_folder, to)?)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Undoes every step. What cannot go back stays in the staging folder, which the error names.
    pub(super) fn take_back(mut self) -> Result<(), WorkspaceError> {
        let mut failed = None;
        while let Some(step) = self.steps.pop() {
            let undone = match &step {
                Step::Taken { place, aside } => {
                    self.try_rename(aside, place, RenameFlags::NOREPLACE)
                }
                Step::Placed { place, aside } => {
                    self.try_rename(place, aside, RenameFlags::NOREPLACE)
                }
                Step::Exchanged { place, aside } => {
                    self.try_rename(aside, place, RenameFlags::EXCHANGE)
                }
                Step::Made(folder) => self.root.remove_dir(folder),
                Step::Dropped(folder) => self.root.create_dir(folder),
            };
            if let Err(error) = undone {
                failed.get_or_insert(error);
            }
        }
        if let Some(error) = failed {
            return Err(self.failed(&self.staging, error));
        }
        self.keep();
        Ok(())
    }

    /// Ends with the folder as it is now.
    pub(super) fn keep(self) {
        if let Err(error) = self.root.remove_dir_all(&self.staging) {
            let path = self.shown.join(&self.staging);
            tracing::warn!(path = %path.display(), error = %error, "a folder could not be removed");
        }
    }
}
