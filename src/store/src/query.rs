//! Questions to the history: what there is, what a reference means, how it came to be.

use jiff::Timestamp;
use spec::{Digest, RunId, SubagentName, VersionRef};

use crate::change::Change;
use crate::operation::Operation;
use crate::rules::{Subagent, View};
use crate::{Store, StoreError};

/// Names among which the one that was probably meant is looked for.
const NEAREST_MAX: usize = 10_000;
/// Versions that are listed when a prefix could be several.
const CANDIDATES_MAX: usize = 100;

/// A name and where it points.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// The subagent.
    pub name: SubagentName,
    /// The version that it points at.
    pub digest: Digest,
    /// Since when.
    pub at: Timestamp,
    /// How many different versions its history holds, undone and tagged ones included.
    pub versions: usize,
    /// The number of the operation that moved it there.
    pub operation: u64,
    /// Whether it is pinned: then it does not move by itself.
    pub is_pinned: bool,
}

impl Head {
    fn of(subagent: Subagent) -> Option<Self> {
        let now = subagent.head?;
        Some(Self {
            name: subagent.name,
            digest: now.digest,
            at: now.at,
            versions: usize::try_from(subagent.versions).unwrap_or(usize::MAX),
            operation: now.seq,
            is_pinned: subagent.is_pinned,
        })
    }
}

/// What a reference means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// A subagent that has this version; none when it was never published.
    pub name: Option<SubagentName>,
    /// The version.
    pub digest: Digest,
    /// The former name by which the reference called the subagent.
    pub former: Option<SubagentName>,
}

impl Resolved {
    /// The reference that goes on meaning this version, wherever its name points later.
    pub fn exact(&self) -> VersionRef {
        VersionRef::Exact(self.name.clone(), self.digest)
    }

    fn of(subagent: &Subagent, asked: &SubagentName, digest: Digest) -> Self {
        Self {
            name: Some(subagent.name.clone()),
            digest,
            former: (subagent.name != *asked).then(|| asked.clone()),
        }
    }
}

/// One step in the history of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LineageStep {
    /// The version that became its head.
    pub digest: Digest,
    /// The head before.
    pub parent: Option<Digest>,
    /// When.
    pub at: Timestamp,
    /// The number of the operation that did it.
    pub operation: u64,
    /// The task that it came from.
    pub task: Option<String>,
    /// The runs that spoke for it.
    pub evidence: Vec<RunId>,
    /// Who did it, where that is not a task.
    pub by: Option<String>,
    /// What was said about it.
    pub note: String,
    /// Whether it was undone.
    pub is_undone: bool,
}

impl Store {
    /// Every name that has a head, by name. There can be very many: [`Self::heads_page`].
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] when the log is damaged, and the file system's errors.
    pub fn heads(&self) -> Result<Vec<Head>, StoreError> {
        self.heads_page(None, usize::MAX)
    }

    /// The names after one that have a head, by name; at most so many.
    ///
    /// # Errors
    /// As [`Self::heads`].
    pub fn heads_page(
        &self,
        after: Option<&SubagentName>,
        most: usize,
    ) -> Result<Vec<Head>, StoreError> {
        let heads = self.ask(|view| view.heads(after, most))?;
        Ok(heads.into_iter().filter_map(Head::of).collect())
    }

    /// How many names have a head.
    ///
    /// # Errors
    /// As [`Self::heads`].
    pub fn heads_total(&self) -> Result<u64, StoreError> {
        self.ask(|view| view.heads_total())
    }

    /// The head of a name, present or former; none when there is none.
    ///
    /// # Errors
    /// As [`Self::heads`].
    pub fn head(&self, name: &SubagentName) -> Result<Option<Head>, StoreError> {
        let found = self.ask(|view| view.subagent(name))?;
        Ok(found.and_then(Head::of))
    }

    /// All names of the subagent that a name means, former ones included, in order: runs go by the name that
    /// it had. Of an unknown name it is that alone.
    ///
    /// # Errors
    /// As [`Self::heads`].
    pub fn names_of(&self, name: &SubagentName) -> Result<Vec<SubagentName>, StoreError> {
        self.ask(|view| match view.subagent(name)? {
            Some(found) => view.names(found.id),
            None => Ok(vec![name.clone()]),
        })
    }

    /// What the subagent is called now that has this name, or had it; the name itself where none has.
    ///
    /// # Errors
    /// As [`Self::heads`].
    pub fn present_name(&self, name: &SubagentName) -> Result<SubagentName, StoreError> {
        let found = self.ask(|view| view.subagent(name))?;
        Ok(found.map_or_else(|| name.clone(), |found| found.name))
    }

    /// The tags of a name and their versions, by tag.
    ///
    /// # Errors
    /// [`StoreError::UnknownName`], and as [`Self::heads`].
    pub fn tags(&self, name: &SubagentName) -> Result<Vec<(String, Digest)>, StoreError> {
        self.ask(|view| view.tags(known(view, name)?.id))
    }

    /// The version that a reference means.
    ///
    /// Prefixes are looked for among the versions that operations name. What it finds may still be
    /// damaged: [`Self::version`] tells.
    ///
    /// # Errors
    /// [`StoreError::UnknownName`] with the name that was probably meant, [`StoreError::NoHead`],
    /// [`StoreError::NoHeadThen`], [`StoreError::UnknownTag`], [`StoreError::UnknownVersion`],
    /// [`StoreError::NotInHistory`], [`StoreError::AmbiguousVersion`], and as [`Self::heads`].
    pub fn resolve(&self, reference: &VersionRef) -> Result<Resolved, StoreError> {
        self.ask(|view| match reference {
            VersionRef::Head(name) => head(view, name),
            VersionRef::Back(name, back) => earlier_head(view, name, *back),
            VersionRef::Tag(name, tag) => {
                let found = known(view, name)?;
                let digest = tagged(view, &found, tag)?;
                Ok(Resolved::of(&found, name, digest))
            }
            VersionRef::Exact(Some(name), digest) => {
                let found = had(view, name, digest)?;
                Ok(Resolved::of(&found, name, *digest))
            }
            VersionRef::Exact(None, digest) => {
                let name = view.owner(digest)?;
                // A staged version has no name yet; any other blob is refused when it is read.
                if name.is_none() && !self.contains(digest)? {
                    return Err(StoreError::UnknownVersion {
                        reference: digest.to_string(),
                        is_named: false,
                    });
                }
                Ok(Resolved {
                    name,
                    digest: *digest,
                    former: None,
                })
            }
            VersionRef::Prefix(name, hex) => prefix(view, name.as_ref(), hex),
        })
    }

    /// The operations, oldest first: those of a subagent, or all. There can be very many:
    /// [`Self::log_page`].
    ///
    /// # Errors
    /// [`StoreError::UnknownName`], and as [`Self::heads`].
    pub fn log(&self, name: Option<&SubagentName>) -> Result<Vec<Operation>, StoreError> {
        let mut operations = self.log_page(name, None, usize::MAX)?;
        operations.reverse();
        Ok(operations)
    }

    /// The operations before the one of a number, newest first: those of a subagent, or all; at
    /// most so many.
    ///
    /// # Errors
    /// As [`Self::log`].
    pub fn log_page(
        &self,
        name: Option<&SubagentName>,
        before: Option<u64>,
        most: usize,
    ) -> Result<Vec<Operation>, StoreError> {
        self.ask(|view| {
            let found = name.map(|name| known(view, name)).transpose()?;
            let numbers = view.log(found.map(|found| found.id), before, most)?;
            let operations = numbers.into_iter().map(|seq| view.operation(seq));
            let operations = operations.filter_map(Result::transpose);
            operations
                .map(|operation| Ok(operation?.as_ref().clone()))
                .collect()
        })
    }

    /// The versions that were published under a name, oldest first, each with where it came from.
    ///
    /// # Errors
    /// [`StoreError::UnknownName`], and as [`Self::heads`].
    pub fn lineage(&self, name: &SubagentName) -> Result<Vec<LineageStep>, StoreError> {
        self.ask(|view| {
            let found = known(view, name)?;
            let mut steps = Vec::new();
            for seq in view.moves_to(found.id, None)? {
                steps.extend(step(view, &found, seq)?);
            }
            steps.reverse();
            Ok(steps)
        })
    }

    /// How a version was published under a name the last time; none when it never was.
    ///
    /// # Errors
    /// [`StoreError::UnknownName`], and as [`Self::heads`].
    pub fn published(
        &self,
        name: &SubagentName,
        version: &Digest,
    ) -> Result<Option<LineageStep>, StoreError> {
        self.ask(|view| {
            let found = known(view, name)?;
            for seq in view.moves_to(found.id, Some(version))? {
                if let Some(step) = step(view, &found, seq)? {
                    return Ok(Some(step));
                }
            }
            Ok(None)
        })
    }
}

/// The step of a subagent that an operation was; none when it published nothing of it.
fn step(view: &dyn View, subagent: &Subagent, seq: u64) -> Result<Option<LineageStep>, StoreError> {
    let Some(operation) = view.operation(seq)? else {
        return Ok(None);
    };
    let Change::Publish {
        moves,
        task,
        evidence,
        note,
    } = &operation.change
    else {
        return Ok(None);
    };
    for one in moves {
        // It may have had another name then.
        let is_of = one.name == subagent.name
            || view
                .subagent(&one.name)?
                .is_some_and(|found| found.id == subagent.id);
        if is_of {
            return Ok(Some(LineageStep {
                digest: one.to,
                parent: one.from,
                at: operation.at,
                operation: seq,
                task: task.clone(),
                evidence: evidence.clone(),
                by: operation.by.clone(),
                note: note.clone(),
                is_undone: view.is_undone(seq)?,
            }));
        }
    }
    Ok(None)
}

/// Refuses a name that nothing ever had, naming the one that was probably meant.
pub(crate) fn known(view: &dyn View, name: &SubagentName) -> Result<Subagent, StoreError> {
    if let Some(found) = view.subagent(name)? {
        return Ok(found);
    }
    let heads = view.heads(None, NEAREST_MAX)?;
    let names: Vec<&str> = heads.iter().map(|head| head.name.as_str()).collect();
    let nearest = similar::get_close_matches(name.as_str(), &names, 1, 0.6);
    Err(StoreError::UnknownName {
        name: name.clone(),
        nearest: nearest.first().and_then(|name| name.parse().ok()),
    })
}

/// Refuses a version that the name never had. One that it had stays in its history.
pub(crate) fn had(
    view: &dyn View,
    name: &SubagentName,
    version: &Digest,
) -> Result<Subagent, StoreError> {
    let found = known(view, name)?;
    if view.had(found.id, version)? {
        return Ok(found);
    }
    Err(StoreError::NotInHistory {
        name: name.clone(),
        digest: *version,
    })
}

/// Where a tag points.
pub(crate) fn tagged(
    view: &dyn View,
    subagent: &Subagent,
    tag: &str,
) -> Result<Digest, StoreError> {
    match view.tag(subagent.id, tag)? {
        Some(digest) => Ok(digest),
        None => Err(StoreError::UnknownTag {
            name: subagent.name.clone(),
            tag: tag.to_owned(),
            known: view
                .tags(subagent.id)?
                .into_iter()
                .map(|(tag, _)| tag)
                .collect(),
        }),
    }
}

fn head(view: &dyn View, name: &SubagentName) -> Result<Resolved, StoreError> {
    let found = known(view, name)?;
    match (found.digest(), found.last) {
        (Some(digest), _) => Ok(Resolved::of(&found, name, digest)),
        (None, Some(last)) => Err(StoreError::NoHead {
            name: found.name,
            last,
            is_removed: found.is_removed,
        }),
        (None, None) => Err(StoreError::UnknownName {
            name: name.clone(),
            nearest: None,
        }),
    }
}

/// Where a head was before its last moves.
fn earlier_head(view: &dyn View, name: &SubagentName, back: u64) -> Result<Resolved, StoreError> {
    let found = known(view, name)?;
    if back == 0 {
        return head(view, name);
    }
    let digest = match found.moves.checked_sub(back) {
        Some(number) => view.head_after(found.id, number)?,
        None => None,
    };
    match digest {
        Some(digest) => Ok(Resolved::of(&found, name, digest)),
        None => Err(StoreError::NoHeadThen {
            name: found.name,
            back,
            moves: found.moves,
        }),
    }
}

fn prefix(view: &dyn View, name: Option<&SubagentName>, hex: &str) -> Result<Resolved, StoreError> {
    let of = name.map(|name| known(view, name)).transpose()?;
    let id = of.as_ref().map(|found| found.id);
    let candidates = view.versions(id, hex, CANDIDATES_MAX)?;
    match candidates[..] {
        [digest] => match of.as_ref().zip(name) {
            Some((found, name)) => Ok(Resolved::of(found, name, digest)),
            None => Ok(Resolved {
                name: view.owner(&digest)?,
                digest,
                former: None,
            }),
        },
        [] => {
            // A name such as `deadbeef` reads as a prefix; it means the name if it is one.
            let named = hex.parse().ok().filter(|_| name.is_none());
            match named {
                Some(named) if view.subagent(&named)?.is_some_and(|one| one.head.is_some()) => {
                    head(view, &named)
                }
                _ => Err(StoreError::UnknownVersion {
                    reference: hex.to_owned(),
                    is_named: false,
                }),
            }
        }
        _ => Err(StoreError::AmbiguousVersion {
            prefix: hex.to_owned(),
            candidates,
        }),
    }
}
