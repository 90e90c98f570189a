//! Moving heads and tags: one operation each, all of it or nothing.

use jiff::Timestamp;
use spec::{ByteSize, Digest, RunId, SubagentName, VersionRef};

use crate::history::State;
use crate::operation::{Change, Move, Operation, TagMove};
use crate::{Store, StoreError};

/// Bytes of the texts in one operation: the log is read as a whole.
const TEXT_MAX: ByteSize = ByteSize::kib(64);
/// Heads that one operation moves, and runs that it names.
const ITEMS_MAX: usize = 1_000;

/// Heads to move, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publication {
    /// Which heads, from where, to where; each name once.
    pub moves: Vec<Move>,
    /// When.
    pub at: Timestamp,
    /// The task that it comes from.
    pub task: Option<String>,
    /// The recorded runs that speak for it.
    pub evidence: Vec<RunId>,
    /// What to say about it.
    pub note: String,
}

impl Store {
    /// Moves several heads in one step, if each of them still is where the caller saw it.
    ///
    /// Every version, and what it depends on, must be in the store and valid; every run must be
    /// recorded. When this returns the operation is on disk.
    ///
    /// # Errors
    /// [`StoreError::HeadMoved`] when another publish or undo came first,
    /// [`StoreError::Refused`] for a publication that makes no sense, the errors of
    /// [`Self::version`] and [`Self::run`], and the file system's. Nothing has changed then.
    pub fn publish(&self, publication: Publication) -> Result<Operation, StoreError> {
        let Publication {
            mut moves,
            at,
            task,
            mut evidence,
            note,
        } = publication;
        moves.sort_by(|a, b| a.name.cmp(&b.name));
        evidence.sort_unstable();
        evidence.dedup();
        check_moves(&moves)?;
        check_size("the operation's evidence", evidence.len(), ITEMS_MAX)?;
        check_text("the note", &note)?;
        check_text("the name of the task", task.as_deref().unwrap_or_default())?;
        for one in &moves {
            self.check_whole(&one.name, &one.to)?;
        }
        for run in &evidence {
            self.run_digest(run)?;
        }
        self.append(at, |state| {
            for one in &moves {
                let found = state.head(&one.name);
                if found != one.from {
                    return Err(StoreError::HeadMoved {
                        name: one.name.clone(),
                        expected: one.from,
                        found,
                    });
                }
            }
            Ok(Change::Publish {
                moves,
                task,
                evidence,
                note,
            })
        })
    }

    /// Gives a version a tag under a name, taking it from whichever version carried it.
    ///
    /// The version need not have been the name's head: a tag also keeps one that was not promoted.
    ///
    /// # Errors
    /// [`StoreError::Refused`] for a tag that cannot be written in a reference or is there already,
    /// the errors of [`Self::version`], and the file system's.
    pub fn tag(
        &self,
        name: &SubagentName,
        tag: &str,
        version: &Digest,
        at: Timestamp,
    ) -> Result<Operation, StoreError> {
        let reference = format!("{name}:{tag}").parse();
        if !matches!(reference, Ok(VersionRef::Tag(_, parsed)) if parsed == tag) {
            let shown = spec::printable(tag, 120);
            return Err(StoreError::refused(format!("`{shown}` cannot be a tag")));
        }
        self.check_whole(name, version)?;
        self.append(at, |state| {
            let key = (name.clone(), tag.to_owned());
            let from = state.tags.get(&key).copied();
            if from == Some(*version) {
                return Err(StoreError::refused(format!(
                    "`{name}:{tag}` is that version already"
                )));
            }
            Ok(Change::Tag {
                moved: TagMove {
                    name: name.clone(),
                    tag: tag.to_owned(),
                    from,
                    to: Some(*version),
                },
            })
        })
    }

    /// Reverses the last operation in effect: of one name, or of all.
    ///
    /// An operation is reversed as a whole, with every head that it moved. Undoing the first
    /// publish of a name removes its head; its versions stay. Repeated, it walks further back: an
    /// undo is never undone itself. To go forward again, [`Self::set_head`].
    ///
    /// # Errors
    /// [`StoreError::NothingToUndo`]; [`StoreError::UnknownName`];
    /// [`StoreError::UndoBlocked`] when a head that the operation moved has moved since, which
    /// can be only with a name; and the file system's errors. Nothing has changed then.
    pub fn undo(
        &self,
        name: Option<&SubagentName>,
        at: Timestamp,
    ) -> Result<Operation, StoreError> {
        self.append(at, |state| {
            if let Some(name) = name {
                state.known(name)?;
            }
            let target = state
                .last_in_effect(name)
                .ok_or_else(|| StoreError::NothingToUndo {
                    name: name.cloned(),
                })?;
            if let Some((later, name)) = state.later(target) {
                return Err(StoreError::UndoBlocked {
                    seq: target.seq,
                    name,
                    by: later.seq,
                });
            }
            let (moves, tags) = state
                .reversed(target.seq)
                .expect("the last operation in effect that nothing blocks can be reversed");
            Ok(Change::Undo {
                seq: target.seq,
                moves,
                tags,
            })
        })
    }

    /// Moves the head of one name to any version that it ever had, from wherever it is.
    ///
    /// That is the way forward after an undo too many. It is a publish as any other, without a task
    /// or evidence, and can be undone.
    ///
    /// # Errors
    /// [`StoreError::UnknownName`]; [`StoreError::NotInHistory`] for a version that was never
    /// published or tagged under the name; [`StoreError::Refused`] when it is the head already; the
    /// errors of [`Self::version`], and the file system's. Nothing has changed then.
    pub fn set_head(
        &self,
        name: &SubagentName,
        version: &Digest,
        at: Timestamp,
        note: &str,
    ) -> Result<Operation, StoreError> {
        check_text("the note", note)?;
        self.state()?.check_had(name, version)?;
        self.check_whole(name, version)?;
        self.append(at, |state| {
            let moves = vec![Move {
                name: name.clone(),
                from: state.head(name),
                to: *version,
            }];
            check_moves(&moves)?;
            Ok(Change::Publish {
                moves,
                task: None,
                evidence: Vec::new(),
                note: note.to_owned(),
            })
        })
    }
}

impl State {
    /// Refuses a version that the name never had. One that it had stays in its history.
    pub(crate) fn check_had(
        &self,
        name: &SubagentName,
        version: &Digest,
    ) -> Result<(), StoreError> {
        self.known(name)?;
        if self.versions[name].contains(version) {
            return Ok(());
        }
        Err(StoreError::NotInHistory {
            name: name.clone(),
            digest: *version,
        })
    }

    /// Refuses a name that no operation ever moved, naming the one that was probably meant.
    pub(crate) fn known(&self, name: &SubagentName) -> Result<(), StoreError> {
        if self.versions.contains_key(name) {
            return Ok(());
        }
        let names: Vec<&str> = self.heads.keys().map(SubagentName::as_str).collect();
        let nearest = similar::get_close_matches(name.as_str(), &names, 1, 0.6);
        Err(StoreError::UnknownName {
            name: name.clone(),
            nearest: nearest.first().and_then(|name| name.parse().ok()),
        })
    }
}

fn check_moves(moves: &[Move]) -> Result<(), StoreError> {
    if moves.is_empty() {
        return Err(StoreError::refused("there is nothing to publish"));
    }
    check_size("the operation", moves.len(), ITEMS_MAX)?;
    if let Some(pair) = moves.windows(2).find(|pair| pair[0].name == pair[1].name) {
        let name = &pair[0].name;
        return Err(StoreError::refused(format!(
            "`{name}` would be moved twice"
        )));
    }
    if let Some(one) = moves.iter().find(|one| one.from == Some(one.to)) {
        let name = &one.name;
        return Err(StoreError::refused(format!(
            "`{name}` would be moved to where it is"
        )));
    }
    Ok(())
}

fn check_text(what: &str, text: &str) -> Result<(), StoreError> {
    check_size(
        what,
        text.len(),
        usize::try_from(TEXT_MAX.get()).unwrap_or(usize::MAX),
    )
}

fn check_size(what: &str, size: usize, limit: usize) -> Result<(), StoreError> {
    if size <= limit {
        return Ok(());
    }
    Err(StoreError::TooLarge {
        what: what.to_owned(),
        size: size as u64,
        limit: limit as u64,
    })
}
