//! What an operation can do to heads, tags, pins and names.

use serde::{Deserialize, Serialize};
use spec::{Digest, RunId, SubagentName};

/// What an operation did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Change {
    /// Heads moved to versions that passed.
    Publish {
        /// Which heads, from where, to where; by name.
        moves: Vec<Move>,
        /// The task that it came from.
        task: Option<String>,
        /// The runs that speak for it.
        evidence: Vec<RunId>,
        /// What a person or a model said about it.
        note: String,
    },
    /// A version got a tag, or a tag was taken away.
    Tag {
        /// Which tag, from where, to where.
        #[serde(rename = "move")]
        moved: TagMove,
    },
    /// An earlier operation was reversed.
    Undo {
        /// The place of that operation in the log.
        seq: u64,
        /// What happened to heads.
        moves: Vec<HeadMove>,
        /// What happened to tags.
        tags: Vec<TagMove>,
        /// What happened to pins.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        pins: Vec<PinMove>,
        /// What happened to names.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        names: Vec<Renaming>,
    },
    /// A head was pinned: it does not move by itself.
    Pin {
        /// The subagent.
        name: SubagentName,
    },
    /// A head was let go.
    Unpin {
        /// The subagent.
        name: SubagentName,
    },
    /// A subagent got another name. The old one goes on meaning it.
    Rename {
        /// From what to what.
        #[serde(rename = "move")]
        moved: Renaming,
    },
    /// A name lost its head. Its history stays.
    Remove {
        /// The subagent.
        name: SubagentName,
        /// Its head before.
        from: Digest,
    },
    /// A head went to a version that its name had before.
    Restore {
        /// Which head, from where, to where.
        #[serde(rename = "move")]
        moved: Move,
    },
}

/// A head that is published: `from` is what it must be, `to` what it becomes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Move {
    /// The subagent.
    pub name: SubagentName,
    /// Its head before; none for a new name.
    pub from: Option<Digest>,
    /// Its head after.
    pub to: Digest,
}

/// A head that moved; none means that there is no head.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeadMove {
    /// The subagent.
    pub name: SubagentName,
    /// Its head before.
    pub from: Option<Digest>,
    /// Its head after.
    pub to: Option<Digest>,
}

/// A tag that moved; none means that there is no such tag.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TagMove {
    /// The subagent.
    pub name: SubagentName,
    /// The tag.
    pub tag: String,
    /// The version that carried it before.
    pub from: Option<Digest>,
    /// The version that carries it after.
    pub to: Option<Digest>,
}

/// A head that was pinned or let go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PinMove {
    /// The subagent.
    pub name: SubagentName,
    /// Whether it is pinned after.
    pub pinned: bool,
}

/// A name that became another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Renaming {
    /// The name before.
    pub from: SubagentName,
    /// The name after.
    pub to: SubagentName,
}

impl From<&Move> for HeadMove {
    fn from(one: &Move) -> Self {
        Self {
            name: one.name.clone(),
            from: one.from,
            to: Some(one.to),
        }
    }
}

impl Change {
    /// The word for it in the log.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Publish { .. } => "publish",
            Self::Tag { moved } if moved.to.is_none() => "untag",
            Self::Tag { .. } => "tag",
            Self::Undo { .. } => "undo",
            Self::Pin { .. } => "pin",
            Self::Unpin { .. } => "unpin",
            Self::Rename { .. } => "rename",
            Self::Remove { .. } => "remove",
            Self::Restore { .. } => "restore",
        }
    }

    /// The heads that it moved.
    pub fn head_moves(&self) -> Vec<HeadMove> {
        match self {
            Self::Publish { moves, .. } => moves.iter().map(HeadMove::from).collect(),
            Self::Undo { moves, .. } => moves.clone(),
            Self::Remove { name, from } => vec![HeadMove {
                name: name.clone(),
                from: Some(*from),
                to: None,
            }],
            Self::Restore { moved } => vec![moved.into()],
            Self::Tag { .. } | Self::Pin { .. } | Self::Unpin { .. } | Self::Rename { .. } => {
                Vec::new()
            }
        }
    }

    /// The tags that it moved.
    pub fn tag_moves(&self) -> &[TagMove] {
        match self {
            Self::Tag { moved } => std::slice::from_ref(moved),
            Self::Undo { tags, .. } => tags,
            Self::Publish { .. }
            | Self::Pin { .. }
            | Self::Unpin { .. }
            | Self::Rename { .. }
            | Self::Remove { .. }
            | Self::Restore { .. } => &[],
        }
    }

    /// The heads that it pinned or let go.
    pub fn pin_moves(&self) -> Vec<PinMove> {
        let one = |name: &SubagentName, pinned| {
            let name = name.clone();
            vec![PinMove { name, pinned }]
        };
        match self {
            Self::Pin { name } => one(name, true),
            Self::Unpin { name } => one(name, false),
            Self::Undo { pins, .. } => pins.clone(),
            Self::Publish { .. }
            | Self::Tag { .. }
            | Self::Rename { .. }
            | Self::Remove { .. }
            | Self::Restore { .. } => Vec::new(),
        }
    }

    /// The names that it changed.
    pub fn renamings(&self) -> &[Renaming] {
        match self {
            Self::Rename { moved } => std::slice::from_ref(moved),
            Self::Undo { names, .. } => names,
            Self::Publish { .. }
            | Self::Tag { .. }
            | Self::Pin { .. }
            | Self::Unpin { .. }
            | Self::Remove { .. }
            | Self::Restore { .. } => &[],
        }
    }

    /// The names of the subagents that it did something to, as they were then.
    pub fn names(&self) -> Vec<SubagentName> {
        let heads = self.head_moves().into_iter().map(|one| one.name);
        let tags = self.tag_moves().iter().map(|one| one.name.clone());
        let pins = self.pin_moves().into_iter().map(|one| one.name);
        let names = self.renamings().iter().map(|one| one.to.clone());
        let mut all: Vec<_> = heads.chain(tags).chain(pins).chain(names).collect();
        all.sort_unstable();
        all.dedup();
        all
    }
}
