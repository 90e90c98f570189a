//! What an operation does to the history before it: the one definition, for whatever holds it.
//!
//! A [`View`] answers what the history says so far; [`effects`] says whether an operation may be
//! the next one, and what changes with it. Whoever holds a history writes the effects down, and
//! decides nothing: [`crate::memory::Memory`] in memory, `crate::index` in a file.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use spec::{Digest, SubagentName};

use crate::StoreError;
use crate::change::{Change, HeadMove, PinMove, Renaming, TagMove};
use crate::operation::Operation;

/// A subagent under its present name. Its number never changes, whatever it is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Subagent {
    /// From 0, in the order in which they first appeared.
    pub(crate) id: u64,
    pub(crate) name: SubagentName,
    pub(crate) head: Option<HeadNow>,
    /// Different versions that it ever had, undone and tagged ones included.
    pub(crate) versions: u64,
    /// The version that was published last, undone or not; else its first tagged one.
    pub(crate) last: Option<Digest>,
    pub(crate) is_pinned: bool,
    /// Whether its head was removed, and not undone.
    pub(crate) is_removed: bool,
    /// How often its head moved.
    pub(crate) moves: u64,
}

impl Subagent {
    pub(crate) fn new(id: u64, name: SubagentName) -> Self {
        Self {
            id,
            name,
            head: None,
            versions: 0,
            last: None,
            is_pinned: false,
            is_removed: false,
            moves: 0,
        }
    }

    pub(crate) fn digest(&self) -> Option<Digest> {
        self.head.as_ref().map(|head| head.digest)
    }
}

/// Where a head is, and since when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HeadNow {
    pub(crate) digest: Digest,
    pub(crate) at: Timestamp,
    pub(crate) seq: u64,
}

/// What of a subagent an operation can move.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum What {
    Head,
    Tag(String),
    Pin,
    Name,
}

/// What the history says after the operations so far.
pub(crate) trait View {
    /// The number and digest of the last operation.
    fn last(&self) -> Result<Option<(u64, Digest)>, StoreError>;
    /// An operation by its number.
    fn operation(&self, seq: u64) -> Result<Option<Arc<Operation>>, StoreError>;
    /// Whether an operation was undone.
    fn is_undone(&self, seq: u64) -> Result<bool, StoreError>;
    /// How many subagents there ever were.
    fn subagents(&self) -> Result<u64, StoreError>;
    /// The subagent that a name means, present or former.
    fn subagent(&self, name: &SubagentName) -> Result<Option<Subagent>, StoreError>;
    /// All names of a subagent, former ones included, in order.
    fn names(&self, id: u64) -> Result<Vec<SubagentName>, StoreError>;
    /// Where a tag points.
    fn tag(&self, id: u64, tag: &str) -> Result<Option<Digest>, StoreError>;
    /// The tags of a subagent, by tag.
    fn tags(&self, id: u64) -> Result<Vec<(String, Digest)>, StoreError>;
    /// Whether a subagent ever had a version.
    fn had(&self, id: u64, digest: &Digest) -> Result<bool, StoreError>;
    /// The versions that begin so, in order, of one subagent or of all; at most so many.
    fn versions(&self, id: Option<u64>, hex: &str, most: usize) -> Result<Vec<Digest>, StoreError>;
    /// The subagent whose head this is, else the first by name that ever had it.
    fn owner(&self, digest: &Digest) -> Result<Option<SubagentName>, StoreError>;
    /// The last operation that is in effect and no undo, of one subagent or of all.
    fn last_in_effect(&self, id: Option<u64>) -> Result<Option<u64>, StoreError>;
    /// The first operation after `seq` that is in effect and no undo and moved this.
    fn moved_after(&self, id: u64, what: &What, seq: u64) -> Result<Option<u64>, StoreError>;
    /// Subagents with a head, by name, after a name.
    fn heads(&self, after: Option<&SubagentName>, most: usize)
    -> Result<Vec<Subagent>, StoreError>;
    /// How many subagents have a head.
    fn heads_total(&self) -> Result<u64, StoreError>;
    /// Where a head was after its move of this number, from 1.
    fn head_after(&self, id: u64, number: u64) -> Result<Option<Digest>, StoreError>;
    /// The numbers of operations before one, newest first, of one subagent or of all.
    fn log(
        &self,
        id: Option<u64>,
        before: Option<u64>,
        most: usize,
    ) -> Result<Vec<u64>, StoreError>;
    /// The numbers of the operations that moved a head to this version, or to any, newest first.
    fn moves_to(&self, id: u64, digest: Option<&Digest>) -> Result<Vec<u64>, StoreError>;
}

/// Something that an operation changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// There is a new subagent.
    Subagent { id: u64, name: SubagentName },
    /// A head moved.
    Head {
        id: u64,
        to: Option<Digest>,
        is_removal: bool,
    },
    /// A tag moved.
    Tag {
        id: u64,
        tag: String,
        to: Option<Digest>,
    },
    /// A subagent has a version, perhaps not for the first time.
    Version { id: u64, digest: Digest },
    /// This is the version that was published last.
    Last { id: u64, digest: Digest },
    /// A pin was set or taken away.
    Pin { id: u64, pinned: bool },
    /// A subagent has another name; the old one goes on meaning it.
    Name { id: u64, name: SubagentName },
    /// An operation was undone.
    Undone { seq: u64 },
}

impl Effect {
    /// The subagent, and what of it was moved.
    pub(crate) fn moved(&self) -> Option<(u64, What)> {
        Some(match self {
            Self::Head { id, .. } => (*id, What::Head),
            Self::Tag { id, tag, .. } => (*id, What::Tag(tag.clone())),
            Self::Pin { id, .. } => (*id, What::Pin),
            Self::Name { id, .. } => (*id, What::Name),
            Self::Subagent { .. }
            | Self::Version { .. }
            | Self::Last { .. }
            | Self::Undone { .. } => return None,
        })
    }
}

/// Why an operation is not the next one.
#[derive(Debug)]
pub(crate) enum Fault {
    /// It breaks a rule.
    Broken(String),
    /// The view could not be asked.
    View(StoreError),
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        Self::View(error)
    }
}

fn broken<T>(why: impl Into<String>) -> Result<T, Fault> {
    Err(Fault::Broken(why.into()))
}

/// What the next operation changes.
///
/// # Errors
/// [`Fault::Broken`] when it cannot be the next one.
pub(crate) fn effects(view: &dyn View, operation: &Operation) -> Result<Vec<Effect>, Fault> {
    let last = view.last()?;
    if operation.seq != last.map_or(1, |(seq, _)| seq + 1) {
        return broken(format!("it has the number {}", operation.seq));
    }
    if operation.previous != last.map(|(_, id)| id) {
        return broken("it does not follow the operation before it");
    }
    let mut effects = Effects {
        view,
        operation,
        fresh: BTreeMap::new(),
        all: Vec::new(),
    };
    let change = &operation.change;
    if let Change::Undo {
        seq,
        moves,
        tags,
        pins,
        names,
    } = change
    {
        let expected = reversed(view, *seq)?;
        let found = Reverse {
            heads: moves.clone(),
            tags: tags.clone(),
            pins: pins.clone(),
            names: names.clone(),
        };
        if found != expected {
            return broken(format!("it is not the reverse of operation {seq}"));
        }
        effects.all.push(Effect::Undone { seq: *seq });
    }
    for one in change.head_moves() {
        effects.head(&one)?;
    }
    for one in change.tag_moves() {
        effects.tag(one)?;
    }
    for one in change.pin_moves() {
        effects.pin(&one)?;
    }
    for one in change.renamings() {
        effects.name(one)?;
    }
    Ok(effects.all)
}

struct Effects<'a> {
    view: &'a dyn View,
    operation: &'a Operation,
    /// Subagents that begin with this operation.
    fresh: BTreeMap<SubagentName, u64>,
    all: Vec<Effect>,
}

impl Effects<'_> {
    /// The subagent that has a name now. A former name is none under which something can happen.
    fn subject(&self, name: &SubagentName) -> Result<Option<Subagent>, Fault> {
        let found = self.view.subagent(name)?;
        match found {
            Some(found) if found.name != *name => broken(format!(
                "it calls `{}` by its old name `{name}`",
                found.name
            )),
            other => Ok(other),
        }
    }

    /// The number of a subagent, which may be a new one.
    fn id(&mut self, name: &SubagentName, found: Option<&Subagent>) -> Result<u64, Fault> {
        if let Some(id) = found.map(|found| found.id) {
            return Ok(id);
        }
        if let Some(id) = self.fresh.get(name) {
            return Ok(*id);
        }
        let id = self.view.subagents()? + self.fresh.len() as u64;
        self.fresh.insert(name.clone(), id);
        let name = name.clone();
        self.all.push(Effect::Subagent { id, name });
        Ok(id)
    }

    fn head(&mut self, one: &HeadMove) -> Result<(), Fault> {
        let found = self.subject(&one.name)?;
        if found.as_ref().and_then(Subagent::digest) != one.from {
            return broken(format!("it moves `{}` from where it was not", one.name));
        }
        let is_pinned = found.as_ref().is_some_and(|found| found.is_pinned);
        if is_pinned && !self.operation.over_pins {
            return broken(format!("it moves `{}`, which is pinned", one.name));
        }
        let id = self.id(&one.name, found.as_ref())?;
        if let Some(digest) = one.to {
            if matches!(self.operation.change, Change::Restore { .. })
                && !self.view.had(id, &digest)?
            {
                return broken(format!("`{}` never had what it restores", one.name));
            }
            self.all.push(Effect::Version { id, digest });
            // An undo or a restore goes back to an older one.
            if matches!(self.operation.change, Change::Publish { .. }) {
                self.all.push(Effect::Last { id, digest });
            }
        }
        self.all.push(Effect::Head {
            id,
            to: one.to,
            is_removal: matches!(self.operation.change, Change::Remove { .. }),
        });
        Ok(())
    }

    fn tag(&mut self, one: &TagMove) -> Result<(), Fault> {
        let found = self.subject(&one.name)?;
        let now = match &found {
            Some(found) => self.view.tag(found.id, &one.tag)?,
            None => None,
        };
        if now != one.from {
            let (name, tag) = (&one.name, &one.tag);
            return broken(format!("it moves `{name}:{tag}` from where it was not"));
        }
        if found.is_none() && one.to.is_none() {
            return Ok(());
        }
        let id = self.id(&one.name, found.as_ref())?;
        if let Some(digest) = one.to {
            self.all.push(Effect::Version { id, digest });
            if found.is_none_or(|found| found.last.is_none()) {
                self.all.push(Effect::Last { id, digest });
            }
        }
        self.all.push(Effect::Tag {
            id,
            tag: one.tag.clone(),
            to: one.to,
        });
        Ok(())
    }

    fn pin(&mut self, one: &PinMove) -> Result<(), Fault> {
        match self.subject(&one.name)? {
            Some(found) if found.is_pinned != one.pinned => {
                let (id, pinned) = (found.id, one.pinned);
                self.all.push(Effect::Pin { id, pinned });
                Ok(())
            }
            _ => broken(format!("the pin of `{}` is so already", one.name)),
        }
    }

    fn name(&mut self, one: &Renaming) -> Result<(), Fault> {
        let Some(found) = self.subject(&one.from)? else {
            return broken(format!("it renames `{}`, which is not there", one.from));
        };
        let taken = self.view.subagent(&one.to)?;
        // Its own former name can be its name again.
        if taken.is_some_and(|other| other.id != found.id) || one.from == one.to {
            return broken(format!("it renames `{}` to a name that is taken", one.from));
        }
        let (id, name) = (found.id, one.to.clone());
        self.all.push(Effect::Name { id, name });
        Ok(())
    }
}

/// What undoes an operation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reverse {
    pub(crate) heads: Vec<HeadMove>,
    pub(crate) tags: Vec<TagMove>,
    pub(crate) pins: Vec<PinMove>,
    pub(crate) names: Vec<Renaming>,
}

/// The moves that undo an operation, under the present names.
///
/// # Errors
/// [`Fault::Broken`] when it cannot be undone, as the log's reader says it.
pub(crate) fn reversed(view: &dyn View, seq: u64) -> Result<Reverse, Fault> {
    let target = match view.operation(seq)? {
        Some(target) if !view.is_undone(seq)? && !matches!(target.change, Change::Undo { .. }) => {
            target
        }
        _ => return broken(format!("it undoes operation {seq}, which cannot be undone")),
    };
    if let Some((later, name)) = later(view, &target)? {
        return broken(format!(
            "it undoes operation {seq}, but operation {later} moved `{name}` after it"
        ));
    }
    let mut reverse = Reverse::default();
    for one in target.change.head_moves() {
        reverse.heads.push(HeadMove {
            name: present(view, one.name)?,
            from: one.to,
            to: one.from,
        });
    }
    for one in target.change.tag_moves() {
        reverse.tags.push(TagMove {
            name: present(view, one.name.clone())?,
            tag: one.tag.clone(),
            from: one.to,
            to: one.from,
        });
    }
    for one in target.change.pin_moves() {
        reverse.pins.push(PinMove {
            name: present(view, one.name)?,
            pinned: !one.pinned,
        });
    }
    for one in target.change.renamings() {
        reverse.names.push(Renaming {
            from: present(view, one.to.clone())?,
            to: one.from.clone(),
        });
    }
    Ok(reverse)
}

/// What a name that was in use is called now.
fn present(view: &dyn View, name: SubagentName) -> Result<SubagentName, StoreError> {
    Ok(view.subagent(&name)?.map_or(name, |found| found.name))
}

/// The first operation in effect after this one that moved something that it moved.
pub(crate) fn later(
    view: &dyn View,
    target: &Operation,
) -> Result<Option<(u64, SubagentName)>, StoreError> {
    let change = &target.change;
    let heads = change.head_moves().into_iter();
    let mut moved: Vec<_> = heads.map(|one| (one.name, What::Head)).collect();
    let tags = change.tag_moves().iter();
    moved.extend(tags.map(|one| (one.name.clone(), What::Tag(one.tag.clone()))));
    let pins = change.pin_moves().into_iter();
    moved.extend(pins.map(|one| (one.name, What::Pin)));
    let names = change.renamings().iter();
    moved.extend(names.map(|one| (one.to.clone(), What::Name)));
    let mut first: Option<(u64, SubagentName)> = None;
    for (name, what) in moved {
        let Some(found) = view.subagent(&name)? else {
            continue;
        };
        let by = view.moved_after(found.id, &what, target.seq)?;
        if let Some(by) = by.filter(|by| first.as_ref().is_none_or(|(first, _)| by < first)) {
            first = Some((by, found.name));
        }
    }
    Ok(first)
}
