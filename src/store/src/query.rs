//! Questions to the history: what there is, what a reference means, how it came to be.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;
use spec::{Digest, RunId, SubagentName, VersionRef};

use crate::history::State;
use crate::operation::{Change, Operation};
use crate::{Store, StoreError};

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
}

/// What a reference means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// A subagent that has this version; none when it was never published.
    pub name: Option<SubagentName>,
    /// The version.
    pub digest: Digest,
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
    /// What was said about it.
    pub note: String,
    /// Whether it was undone.
    pub is_undone: bool,
}

impl Store {
    /// Every name that has a head, by name.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] when the log is damaged, and the file system's errors.
    pub fn heads(&self) -> Result<Vec<Head>, StoreError> {
        let state = self.state()?;
        let heads = state.heads.iter().map(|(name, (digest, operation))| Head {
            name: name.clone(),
            digest: *digest,
            at: operation.at,
            versions: state.versions.get(name).map_or(0, BTreeSet::len),
            operation: operation.seq,
        });
        Ok(heads.collect())
    }

    /// The tags of a name and their versions, by tag.
    ///
    /// # Errors
    /// [`StoreError::UnknownName`], and as [`Self::heads`].
    pub fn tags(&self, name: &SubagentName) -> Result<Vec<(String, Digest)>, StoreError> {
        let state = self.state()?;
        state.known(name)?;
        Ok(state.tags_of(name))
    }

    /// The version that a reference means.
    ///
    /// Prefixes are looked for among the versions that operations name. What it finds may still be
    /// damaged: [`Self::version`] tells.
    ///
    /// # Errors
    /// [`StoreError::UnknownName`] with the name that was probably meant, [`StoreError::NoHead`],
    /// [`StoreError::UnknownTag`], [`StoreError::UnknownVersion`], [`StoreError::NotInHistory`],
    /// [`StoreError::AmbiguousVersion`], and as [`Self::heads`].
    pub fn resolve(&self, reference: &VersionRef) -> Result<Resolved, StoreError> {
        let state = self.state()?;
        match reference {
            VersionRef::Head(name) => state.resolve_head(name),
            VersionRef::Tag(name, tag) => {
                state.known(name)?;
                let key = (name.clone(), tag.clone());
                let digest = state.tags.get(&key).copied();
                digest
                    .map(|digest| Resolved {
                        name: Some(name.clone()),
                        digest,
                    })
                    .ok_or_else(|| StoreError::UnknownTag {
                        name: name.clone(),
                        tag: tag.clone(),
                        known: state
                            .tags_of(name)
                            .into_iter()
                            .map(|(tag, _)| tag)
                            .collect(),
                    })
            }
            VersionRef::Exact(Some(name), digest) => {
                state.check_had(name, digest)?;
                Ok(Resolved {
                    name: Some(name.clone()),
                    digest: *digest,
                })
            }
            VersionRef::Exact(None, digest) => {
                let name = state.name_of(digest);
                // A staged version has no name yet; any other blob is refused when it is read.
                if name.is_none() && !self.contains(digest)? {
                    return Err(StoreError::UnknownVersion {
                        reference: digest.to_string(),
                    });
                }
                Ok(Resolved {
                    name,
                    digest: *digest,
                })
            }
            VersionRef::Prefix(name, hex) => state.resolve_prefix(name.as_ref(), hex),
        }
    }

    /// The operations, oldest first: those that touched a name, or all.
    ///
    /// # Errors
    /// [`StoreError::UnknownName`], and as [`Self::heads`].
    pub fn log(&self, name: Option<&SubagentName>) -> Result<Vec<Operation>, StoreError> {
        let state = self.state()?;
        if let Some(name) = name {
            state.known(name)?;
        }
        let operations = state.operations.iter().map(Arc::as_ref);
        Ok(operations
            .filter(|operation| name.is_none_or(|name| operation.change.touches(name)))
            .cloned()
            .collect())
    }

    /// The versions that were the head of a name, oldest first, each with where it came from.
    ///
    /// # Errors
    /// [`StoreError::UnknownName`], and as [`Self::heads`].
    pub fn lineage(&self, name: &SubagentName) -> Result<Vec<LineageStep>, StoreError> {
        let state = self.state()?;
        state.known(name)?;
        let mut steps = Vec::new();
        for (operation, undone) in state.operations.iter().zip(&state.undone) {
            let Change::Publish {
                moves,
                task,
                evidence,
                note,
            } = &operation.change
            else {
                continue;
            };
            steps.extend(
                moves
                    .iter()
                    .filter(|one| one.name == *name)
                    .map(|one| LineageStep {
                        digest: one.to,
                        parent: one.from,
                        at: operation.at,
                        operation: operation.seq,
                        task: task.clone(),
                        evidence: evidence.clone(),
                        note: note.clone(),
                        is_undone: *undone,
                    }),
            );
        }
        Ok(steps)
    }
}

impl State {
    fn tags_of(&self, name: &SubagentName) -> Vec<(String, Digest)> {
        let tags = self.tags.iter().filter(|((of, _), _)| of == name);
        tags.map(|((_, tag), digest)| (tag.clone(), *digest))
            .collect()
    }

    fn resolve_head(&self, name: &SubagentName) -> Result<Resolved, StoreError> {
        self.known(name)?;
        match (self.head(name), self.last.get(name)) {
            (Some(digest), _) => Ok(Resolved {
                name: Some(name.clone()),
                digest,
            }),
            (None, Some(last)) => Err(StoreError::NoHead {
                name: name.clone(),
                last: *last,
            }),
            (None, None) => unreachable!("a known name had at least one version"),
        }
    }

    /// The name whose head this is, else the first that ever had it.
    fn name_of(&self, digest: &Digest) -> Option<SubagentName> {
        let mut heads = self.heads.iter().filter(|(_, (head, _))| head == digest);
        let mut names = self.versions.iter().filter(|(_, all)| all.contains(digest));
        heads
            .next()
            .map(|(name, _)| name.clone())
            .or_else(|| names.next().map(|(name, _)| name.clone()))
    }

    fn resolve_prefix(
        &self,
        name: Option<&SubagentName>,
        hex: &str,
    ) -> Result<Resolved, StoreError> {
        if let Some(name) = name {
            self.known(name)?;
        }
        let of_name = self
            .versions
            .iter()
            .filter(|(of, _)| name.is_none_or(|name| *of == name));
        let candidates: BTreeSet<Digest> = of_name
            .flat_map(|(_, all)| all)
            .filter(|digest| digest.hex().starts_with(hex))
            .copied()
            .collect();
        let mut candidates: Vec<Digest> = candidates.into_iter().collect();
        match (candidates.len(), candidates.pop()) {
            (1, Some(digest)) => Ok(Resolved {
                name: name.cloned().or_else(|| self.name_of(&digest)),
                digest,
            }),
            (_, Some(last)) => {
                candidates.push(last);
                Err(StoreError::AmbiguousVersion {
                    prefix: hex.to_owned(),
                    candidates,
                })
            }
            (_, None) => {
                // A name such as `deadbeef` reads as a prefix; it means the name if it is one.
                match hex
                    .parse()
                    .ok()
                    .filter(|named| self.heads.contains_key(named))
                {
                    Some(named) if name.is_none() => self.resolve_head(&named),
                    _ => Err(StoreError::UnknownVersion {
                        reference: hex.to_owned(),
                    }),
                }
            }
        }
    }
}
