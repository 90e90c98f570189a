//! Moving heads and tags: one operation each, all of it or nothing.

use jiff::Timestamp;
use spec::{ByteSize, Digest, RunId, SubagentName, VersionRef};

use crate::change::{Change, Move, TagMove};
use crate::operation::{Act, Operation};
use crate::query::known;
use crate::rules::{self, Fault, Subagent, View};
use crate::{Store, StoreError};

/// Bytes of the texts in one operation.
const TEXT_MAX: ByteSize = ByteSize::kib(64);
/// Bytes of who did it.
const BY_MAX: usize = 256;
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
    /// recorded. A former name means the subagent that had it. When this returns the operation is
    /// on disk.
    ///
    /// # Errors
    /// [`StoreError::HeadMoved`] when another operation came first, [`StoreError::Pinned`] for a
    /// head that does not move by itself, [`StoreError::Refused`] for a publication that makes no
    /// sense, the errors of [`Self::version`] and [`Self::run`], and the file system's. Nothing
    /// has changed then.
    pub fn publish(&self, publication: Publication) -> Result<Operation, StoreError> {
        let act = publication.at.into();
        self.publish_by(publication, &act)
    }

    /// [`Self::publish`], by somebody: what they say goes over a pin, if they say so.
    ///
    /// # Errors
    /// As [`Self::publish`].
    pub fn publish_by(&self, publication: Publication, act: &Act) -> Result<Operation, StoreError> {
        let Publication {
            moves,
            at,
            task,
            mut evidence,
            note,
        } = publication;
        evidence.sort_unstable();
        evidence.dedup();
        check_moves(moves.clone())?;
        check_size("the operation's evidence", evidence.len(), ITEMS_MAX)?;
        check_text("the note", &note)?;
        check_text("the name of the task", task.as_deref().unwrap_or_default())?;
        // What is checked now is still there when the operation names it.
        let _paused = self.layout.pause_gc()?;
        for one in &moves {
            self.check_whole(&one.name, &one.to)?;
        }
        for run in &evidence {
            self.run_digest(run)?;
        }
        let act = Act { at, ..act.clone() };
        self.append(&act, |view| {
            let mut present = Vec::new();
            for one in &moves {
                let found = view.subagent(&one.name)?;
                let head = found.as_ref().and_then(Subagent::digest);
                if head != one.from {
                    return Err(StoreError::HeadMoved {
                        name: one.name.clone(),
                        expected: one.from,
                        found: head,
                    });
                }
                check_pin(found.as_ref(), &act)?;
                present.push(Move {
                    name: found.map_or_else(|| one.name.clone(), |found| found.name),
                    ..one.clone()
                });
            }
            Ok(Change::Publish {
                moves: check_moves(present)?,
                task: task.clone(),
                evidence: evidence.clone(),
                note: note.clone(),
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
        act: impl Into<Act>,
    ) -> Result<Operation, StoreError> {
        let reference = format!("{name}:{tag}").parse();
        if !matches!(reference, Ok(VersionRef::Tag(_, parsed)) if parsed == tag) {
            let shown = spec::printable(tag, 120);
            return Err(StoreError::refused(format!("`{shown}` cannot be a tag")));
        }
        let _paused = self.layout.pause_gc()?;
        self.check_whole(name, version)?;
        self.append(&act.into(), |view| {
            let found = view.subagent(name)?;
            let from = match &found {
                Some(found) => view.tag(found.id, tag)?,
                None => None,
            };
            if from == Some(*version) {
                return Err(StoreError::refused(format!(
                    "`{name}:{tag}` is that version already"
                )));
            }
            Ok(Change::Tag {
                moved: TagMove {
                    name: found.map_or_else(|| name.clone(), |found| found.name),
                    tag: tag.to_owned(),
                    from,
                    to: Some(*version),
                },
            })
        })
    }

    /// Takes a tag away. The version that carried it stays in the history.
    ///
    /// # Errors
    /// [`StoreError::UnknownName`], [`StoreError::UnknownTag`], and the file system's.
    pub fn untag(
        &self,
        name: &SubagentName,
        tag: &str,
        act: impl Into<Act>,
    ) -> Result<Operation, StoreError> {
        self.append(&act.into(), |view| {
            let found = known(view, name)?;
            let from = crate::query::tagged(view, &found, tag)?;
            Ok(Change::Tag {
                moved: TagMove {
                    name: found.name,
                    tag: tag.to_owned(),
                    from: Some(from),
                    to: None,
                },
            })
        })
    }

    /// Reverses the last operation in effect: of one name, or of all.
    ///
    /// An operation is reversed as a whole, with every head that it moved. Undoing the first
    /// publish of a name removes its head; its versions stay. Repeated, it walks further back: an
    /// undo is never undone itself. To go forward again, [`Self::restore`].
    ///
    /// # Errors
    /// [`StoreError::NothingToUndo`]; [`StoreError::UnknownName`];
    /// [`StoreError::UndoBlocked`] when something that the operation moved has moved since, which
    /// can be only with a name; [`StoreError::Pinned`] when it would move a pinned head; and the
    /// file system's errors. Nothing has changed then.
    pub fn undo(
        &self,
        name: Option<&SubagentName>,
        act: impl Into<Act>,
    ) -> Result<Operation, StoreError> {
        let act = act.into();
        self.append(&act, |view| {
            let target = last_in_effect(view, name)?.ok_or_else(|| StoreError::NothingToUndo {
                name: name.cloned(),
            })?;
            if let Some((by, name)) = rules::later(view, &target)? {
                return Err(StoreError::UndoBlocked {
                    seq: target.seq,
                    name,
                    by,
                });
            }
            for one in target.change.head_moves() {
                check_pin(view.subagent(&one.name)?.as_ref(), &act)?;
            }
            let reverse = match rules::reversed(view, target.seq) {
                Ok(reverse) => reverse,
                Err(Fault::View(error)) => return Err(error),
                Err(Fault::Broken(why)) => return Err(StoreError::refused(why)),
            };
            Ok(Change::Undo {
                seq: target.seq,
                moves: reverse.heads,
                tags: reverse.tags,
                pins: reverse.pins,
                names: reverse.names,
            })
        })
    }

    /// The operation that [`Self::undo`] would reverse, and the subagents that it did something to.
    ///
    /// # Errors
    /// [`StoreError::UnknownName`], and as [`Self::heads`].
    pub fn next_undo(
        &self,
        name: Option<&SubagentName>,
    ) -> Result<Option<(Operation, Vec<SubagentName>)>, StoreError> {
        self.ask(|view| {
            let Some(target) = last_in_effect(view, name)? else {
                return Ok(None);
            };
            let names = target.change.names().into_iter();
            let names: Result<_, StoreError> = names
                .map(|name| Ok(view.subagent(&name)?.map_or(name, |found| found.name)))
                .collect();
            Ok(Some((target.as_ref().clone(), names?)))
        })
    }
}

fn last_in_effect(
    view: &dyn View,
    name: Option<&SubagentName>,
) -> Result<Option<std::sync::Arc<Operation>>, StoreError> {
    let id = name.map(|name| known(view, name)).transpose()?;
    match view.last_in_effect(id.map(|found| found.id))? {
        Some(seq) => view.operation(seq),
        None => Ok(None),
    }
}

/// Refuses to move a pinned head, unless whoever does it says so.
pub(crate) fn check_pin(found: Option<&Subagent>, act: &Act) -> Result<(), StoreError> {
    match found {
        Some(found) if found.is_pinned && !act.over_pins => Err(StoreError::Pinned {
            name: found.name.clone(),
        }),
        _ => Ok(()),
    }
}

impl Act {
    /// Refuses texts that are no remarks any more.
    pub(crate) fn check(&self) -> Result<(), StoreError> {
        let by = self.by.as_deref().unwrap_or_default();
        check_size("who does it", by.len(), BY_MAX)?;
        check_text("the reason", self.why.as_deref().unwrap_or_default())
    }
}

/// Gives moves in their order, if they make sense.
fn check_moves(mut moves: Vec<Move>) -> Result<Vec<Move>, StoreError> {
    moves.sort_by(|a, b| a.name.cmp(&b.name));
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
    Ok(moves)
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
