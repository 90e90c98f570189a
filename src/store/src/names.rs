//! What a person says of a subagent: pin, rename, remove, restore.

use spec::{Digest, SubagentName};

use crate::change::{Change, Move, Renaming};
use crate::changes::check_pin;
use crate::operation::{Act, Operation};
use crate::query::{had, known};
use crate::{Store, StoreError};

impl Store {
    /// Pins the head of a name: it does not move by itself, only when a person says so.
    ///
    /// # Errors
    /// [`StoreError::UnknownName`], [`StoreError::NoHead`], [`StoreError::Refused`] when it is
    /// pinned already, and the file system's. Nothing has changed then.
    pub fn pin(&self, name: &SubagentName, act: impl Into<Act>) -> Result<Operation, StoreError> {
        self.append(&act.into(), |view| {
            let found = known(view, name)?;
            if found.is_pinned {
                return Err(StoreError::refused(format!("`{name}` is pinned already")));
            }
            if found.head.is_none() {
                return Err(StoreError::refused(format!(
                    "`{name}` has no head that could be pinned"
                )));
            }
            Ok(Change::Pin { name: found.name })
        })
    }

    /// Lets a pinned head go.
    ///
    /// # Errors
    /// [`StoreError::UnknownName`], [`StoreError::Refused`] when it is not pinned, and the file
    /// system's. Nothing has changed then.
    pub fn unpin(&self, name: &SubagentName, act: impl Into<Act>) -> Result<Operation, StoreError> {
        self.append(&act.into(), |view| {
            let found = known(view, name)?;
            if !found.is_pinned {
                return Err(StoreError::refused(format!("`{name}` is not pinned")));
            }
            Ok(Change::Unpin { name: found.name })
        })
    }

    /// Gives a subagent another name. Its history goes along, and its old name goes on meaning it.
    ///
    /// # Errors
    /// [`StoreError::UnknownName`]; [`StoreError::NameTaken`] when the new name means another
    /// subagent, or did; [`StoreError::Refused`] when it is its name already; and the file
    /// system's. Nothing has changed then.
    pub fn rename(
        &self,
        from: &SubagentName,
        to: &SubagentName,
        act: impl Into<Act>,
    ) -> Result<Operation, StoreError> {
        self.append(&act.into(), |view| {
            let found = known(view, from)?;
            match view.subagent(to)? {
                Some(other) if other.id != found.id => {
                    return Err(StoreError::NameTaken {
                        name: to.clone(),
                        by: other.name,
                    });
                }
                Some(same) if same.name == *to => {
                    return Err(StoreError::refused(format!("`{to}` is its name already")));
                }
                _ => {}
            }
            Ok(Change::Rename {
                moved: Renaming {
                    from: found.name,
                    to: to.clone(),
                },
            })
        })
    }

    /// Takes the head of a name away. Its history stays, and [`Self::restore`] brings it back.
    ///
    /// # Errors
    /// [`StoreError::UnknownName`], [`StoreError::Pinned`], [`StoreError::Refused`] when it has no
    /// head, and the file system's. Nothing has changed then.
    pub fn remove(
        &self,
        name: &SubagentName,
        act: impl Into<Act>,
    ) -> Result<Operation, StoreError> {
        let act = act.into();
        self.append(&act, |view| {
            let found = known(view, name)?;
            check_pin(Some(&found), &act)?;
            match found.digest() {
                Some(from) => Ok(Change::Remove {
                    name: found.name,
                    from,
                }),
                None => Err(StoreError::refused(format!(
                    "`{name}` has no head that could be removed"
                ))),
            }
        })
    }

    /// Moves the head of a name to any version that it ever had, from wherever it is.
    ///
    /// That is the way forward after an undo too many, and the way back after a removal.
    ///
    /// # Errors
    /// [`StoreError::UnknownName`]; [`StoreError::NotInHistory`] for a version that was never
    /// published or tagged under the name; [`StoreError::Pinned`]; [`StoreError::Refused`] when it
    /// is the head already; the errors of [`Self::version`], and the file system's. Nothing has
    /// changed then.
    pub fn restore(
        &self,
        name: &SubagentName,
        version: &Digest,
        act: impl Into<Act>,
    ) -> Result<Operation, StoreError> {
        let act = act.into();
        let _paused = self.layout.pause_gc()?;
        let found = self.ask(|view| had(view, name, version))?;
        self.check_whole(&found.name, version)?;
        self.append(&act, |view| {
            let found = had(view, name, version)?;
            check_pin(Some(&found), &act)?;
            let from = found.digest();
            if from == Some(*version) {
                return Err(StoreError::refused(format!(
                    "`{name}` is at that version already"
                )));
            }
            Ok(Change::Restore {
                moved: Move {
                    name: found.name,
                    from,
                    to: *version,
                },
            })
        })
    }
}
