//! The history in memory: what a small store could do without an index, and what tests and `fsck`
//! compare the index with.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use spec::{Digest, SubagentName};

use crate::StoreError;
use crate::change::Change;
use crate::operation::Operation;
use crate::rules::{self, Effect, Fault, HeadNow, Subagent, View, What};

/// What all operations together say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Memory {
    /// In order; `seq` is the index plus one.
    pub(crate) operations: Vec<Arc<Operation>>,
    /// Whether each of them was undone.
    pub(crate) undone: Vec<bool>,
    /// By number.
    pub(crate) subagents: Vec<Subagent>,
    /// Every name, former ones included.
    pub(crate) names: BTreeMap<SubagentName, u64>,
    /// Where tags point.
    pub(crate) tags: BTreeMap<(u64, String), Digest>,
    /// Every version that a subagent ever had.
    pub(crate) versions: BTreeSet<(u64, Digest)>,
    /// Where heads were after each of their moves, and by which operation.
    pub(crate) moves: BTreeMap<u64, Vec<(u64, Option<Digest>)>>,
    /// Which operations moved what, undos included.
    pub(crate) moved: BTreeMap<(u64, What), Vec<u64>>,
    /// Which operations moved something of a subagent.
    pub(crate) touched: BTreeMap<u64, Vec<u64>>,
}

impl Memory {
    /// Adds the next operation.
    ///
    /// # Errors
    /// Why it cannot be the next one.
    pub(crate) fn apply(&mut self, operation: Operation) -> Result<(), String> {
        let effects = rules::effects(self, &operation).map_err(|fault| match fault {
            Fault::Broken(why) => why,
            Fault::View(error) => error.to_string(),
        })?;
        let seq = operation.seq;
        let (at, is_undo) = (operation.at, is_undo(&operation));
        self.operations.push(Arc::new(operation));
        self.undone.push(false);
        for effect in effects {
            if let Some((id, what)) = effect.moved() {
                let touched = self.touched.entry(id).or_default();
                if touched.last() != Some(&seq) {
                    touched.push(seq);
                }
                if !is_undo {
                    self.moved.entry((id, what)).or_default().push(seq);
                }
            }
            self.write(effect, seq, at);
        }
        Ok(())
    }

    fn write(&mut self, effect: Effect, seq: u64, at: jiff::Timestamp) {
        match effect {
            Effect::Subagent { id, name } => {
                self.names.insert(name.clone(), id);
                self.subagents.push(Subagent::new(id, name));
            }
            Effect::Head { id, to, is_removal } => {
                self.moves.entry(id).or_default().push((seq, to));
                if let Some(one) = self.at(id) {
                    one.moves += 1;
                    one.is_removed = is_removal;
                    one.head = to.map(|digest| HeadNow { digest, at, seq });
                }
            }
            Effect::Tag { id, tag, to } => {
                match to {
                    Some(to) => self.tags.insert((id, tag), to),
                    None => self.tags.remove(&(id, tag)),
                };
            }
            Effect::Version { id, digest } => {
                if self.versions.insert((id, digest))
                    && let Some(one) = self.at(id)
                {
                    one.versions += 1;
                }
            }
            Effect::Last { id, digest } => {
                if let Some(one) = self.at(id) {
                    one.last = Some(digest);
                }
            }
            Effect::Pin { id, pinned } => {
                if let Some(one) = self.at(id) {
                    one.is_pinned = pinned;
                }
            }
            Effect::Name { id, name } => {
                self.names.insert(name.clone(), id);
                if let Some(one) = self.at(id) {
                    one.name = name;
                }
            }
            Effect::Undone { seq } => {
                if let Some(undone) = index(seq).and_then(|at| self.undone.get_mut(at)) {
                    *undone = true;
                }
            }
        }
    }

    fn at(&mut self, id: u64) -> Option<&mut Subagent> {
        self.subagents.get_mut(usize::try_from(id).ok()?)
    }

    fn by_id(&self, id: u64) -> Option<&Subagent> {
        self.subagents.get(usize::try_from(id).ok()?)
    }

    fn is_in_effect(&self, seq: u64) -> bool {
        index(seq).is_some_and(|at| {
            self.undone.get(at) == Some(&false)
                && self.operations.get(at).is_some_and(|one| !is_undo(one))
        })
    }

    /// Every version of every subagent, with its present name.
    pub(crate) fn named_versions(&self) -> impl Iterator<Item = (&SubagentName, Digest)> {
        self.versions
            .iter()
            .filter_map(|(id, digest)| Some((&self.by_id(*id)?.name, *digest)))
    }
}

/// Whether an operation reverses another.
pub(crate) fn is_undo(operation: &Operation) -> bool {
    matches!(operation.change, Change::Undo { .. })
}

/// The index of the operation with this number.
fn index(seq: u64) -> Option<usize> {
    usize::try_from(seq.checked_sub(1)?).ok()
}

impl View for Memory {
    fn last(&self) -> Result<Option<(u64, Digest)>, StoreError> {
        Ok(self.operations.last().map(|last| (last.seq, last.id)))
    }

    fn operation(&self, seq: u64) -> Result<Option<Arc<Operation>>, StoreError> {
        Ok(index(seq).and_then(|at| self.operations.get(at)).cloned())
    }

    fn is_undone(&self, seq: u64) -> Result<bool, StoreError> {
        Ok(index(seq).and_then(|at| self.undone.get(at)) == Some(&true))
    }

    fn subagents(&self) -> Result<u64, StoreError> {
        Ok(self.subagents.len() as u64)
    }

    fn subagent(&self, name: &SubagentName) -> Result<Option<Subagent>, StoreError> {
        Ok(self.names.get(name).and_then(|id| self.by_id(*id)).cloned())
    }

    fn names(&self, id: u64) -> Result<Vec<SubagentName>, StoreError> {
        let own = self.names.iter().filter(|(_, of)| **of == id);
        Ok(own.map(|(name, _)| name.clone()).collect())
    }

    fn tag(&self, id: u64, tag: &str) -> Result<Option<Digest>, StoreError> {
        Ok(self.tags.get(&(id, tag.to_owned())).copied())
    }

    fn tags(&self, id: u64) -> Result<Vec<(String, Digest)>, StoreError> {
        let from = self.tags.range((id, String::new())..);
        Ok(from
            .take_while(|((of, _), _)| *of == id)
            .map(|((_, tag), digest)| (tag.clone(), *digest))
            .collect())
    }

    fn had(&self, id: u64, digest: &Digest) -> Result<bool, StoreError> {
        Ok(self.versions.contains(&(id, *digest)))
    }

    fn versions(&self, id: Option<u64>, hex: &str, most: usize) -> Result<Vec<Digest>, StoreError> {
        let of = self
            .versions
            .iter()
            .filter(|(of, _)| id.is_none_or(|id| *of == id));
        let found: BTreeSet<Digest> = of
            .map(|(_, digest)| *digest)
            .filter(|digest| digest.hex().starts_with(hex))
            .collect();
        Ok(found.into_iter().take(most).collect())
    }

    fn owner(&self, digest: &Digest) -> Result<Option<SubagentName>, StoreError> {
        let heads = self.subagents.iter();
        let heads = heads.filter(|one| one.digest() == Some(*digest));
        let ever = self
            .named_versions()
            .filter(|(_, had)| had == digest)
            .map(|(name, _)| name);
        Ok(heads
            .map(|one| &one.name)
            .min()
            .or_else(|| ever.min())
            .cloned())
    }

    fn last_in_effect(&self, id: Option<u64>) -> Result<Option<u64>, StoreError> {
        let Some(id) = id else {
            let mut all = (1..=self.operations.len() as u64).rev();
            return Ok(all.find(|seq| self.is_in_effect(*seq)));
        };
        let mut of = self.touched.get(&id).into_iter().flatten().rev().copied();
        Ok(of.find(|seq| self.is_in_effect(*seq)))
    }

    fn moved_after(&self, id: u64, what: &What, seq: u64) -> Result<Option<u64>, StoreError> {
        let all = self.moved.get(&(id, what.clone())).into_iter().flatten();
        let mut later = all.copied().filter(|by| *by > seq);
        Ok(later.find(|seq| self.is_in_effect(*seq)))
    }

    fn heads(
        &self,
        after: Option<&SubagentName>,
        most: usize,
    ) -> Result<Vec<Subagent>, StoreError> {
        let begin = after.map_or(Bound::Unbounded, Bound::Excluded);
        let names = self
            .names
            .range::<SubagentName, _>((begin, Bound::Unbounded));
        Ok(names
            .filter_map(|(name, id)| self.by_id(*id).filter(|one| one.name == *name))
            .filter(|one| one.head.is_some())
            .take(most)
            .cloned()
            .collect())
    }

    fn heads_total(&self) -> Result<u64, StoreError> {
        let heads = self.subagents.iter().filter(|one| one.head.is_some());
        Ok(heads.count() as u64)
    }

    fn head_after(&self, id: u64, number: u64) -> Result<Option<Digest>, StoreError> {
        let moves = self.moves.get(&id);
        let found = moves
            .zip(index(number))
            .and_then(|(moves, at)| moves.get(at));
        Ok(found.and_then(|(_, to)| *to))
    }

    fn log(
        &self,
        id: Option<u64>,
        before: Option<u64>,
        most: usize,
    ) -> Result<Vec<u64>, StoreError> {
        let before = before.unwrap_or(u64::MAX);
        let Some(id) = id else {
            let end = before.min(self.operations.len() as u64 + 1);
            return Ok((1..end).rev().take(most).collect());
        };
        let of = self.touched.get(&id).into_iter().flatten().rev().copied();
        Ok(of.filter(|seq| *seq < before).take(most).collect())
    }

    fn moves_to(&self, id: u64, digest: Option<&Digest>) -> Result<Vec<u64>, StoreError> {
        let moves = self.moves.get(&id).into_iter().flatten().rev();
        Ok(moves
            .filter(|(_, to)| digest.is_none_or(|digest| to.as_ref() == Some(digest)))
            .map(|(seq, _)| *seq)
            .collect())
    }
}
