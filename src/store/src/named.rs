//! What the operations name: which versions and runs stay, and which a collection may have removed.
//!
//! A version stays while a subagent that is not removed has it, or a tag points at it. Removing a name lets
//! go of what it had; bringing it back later holds on to what is still there. So a version *must* be there
//! only when it was named after the last removal of its subagent, whether that was undone or not.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;

use spec::{Digest, RunId, SubagentName};

use crate::change::Change;
use crate::log::{Reached, Stamp};
use crate::operation::Operation;
use crate::{Store, StoreError};

/// What the operations so far name.
#[derive(Debug, Default)]
pub(crate) struct Named {
    /// How many operations that is.
    pub(crate) operations: u64,
    ids: BTreeMap<SubagentName, usize>,
    all: Vec<Subject>,
    /// Each run that spoke for something, the operation that says so, and the subagents that it moved.
    evidence: Vec<(RunId, u64, Vec<usize>)>,
}

#[derive(Debug)]
struct Subject {
    name: SubagentName,
    has_head: bool,
    is_removed: bool,
    /// The last operation that removed it.
    removed_at: u64,
    /// Each with the operation that named it last.
    versions: BTreeMap<Digest, u64>,
    tags: BTreeMap<String, Digest>,
}

impl Subject {
    fn keeps(&self, digest: &Digest) -> bool {
        !self.is_removed || self.tags.values().any(|tagged| tagged == digest)
    }
}

impl Named {
    /// Takes in the next operation of a log that is known to be in order.
    pub(crate) fn apply(&mut self, operation: &Operation) {
        self.operations = operation.seq;
        let mut moved = Vec::new();
        for one in operation.change.head_moves() {
            let id = self.id(&one.name);
            moved.push(id);
            let subject = &mut self.all[id];
            subject.has_head = one.to.is_some();
            subject.is_removed = matches!(operation.change, Change::Remove { .. });
            if subject.is_removed {
                subject.removed_at = operation.seq;
            }
            if let Some(to) = one.to {
                subject.versions.insert(to, operation.seq);
            }
        }
        for one in operation.change.tag_moves() {
            let id = self.id(&one.name);
            let subject = &mut self.all[id];
            match one.to {
                Some(to) => {
                    subject.versions.insert(to, operation.seq);
                    subject.tags.insert(one.tag.clone(), to);
                }
                None => {
                    subject.tags.remove(&one.tag);
                }
            }
            // Of a removed one, what no tag holds any more may go before its name comes back.
            if let Some(from) = one.from.filter(|from| !subject.keeps(from)) {
                subject.versions.entry(from).and_modify(|seq| *seq = 0);
            }
        }
        for one in operation.change.renamings() {
            let id = self.id(&one.from);
            self.ids.insert(one.to.clone(), id);
            self.all[id].name = one.to.clone();
        }
        if let Change::Publish { evidence, .. } = &operation.change {
            let spoken = evidence
                .iter()
                .map(|run| (*run, operation.seq, moved.clone()));
            self.evidence.extend(spoken);
        }
    }

    fn id(&mut self, name: &SubagentName) -> usize {
        let next = self.all.len();
        let id = *self.ids.entry(name.clone()).or_insert(next);
        if id == next {
            self.all.push(Subject {
                name: name.clone(),
                has_head: false,
                is_removed: false,
                removed_at: 0,
                versions: BTreeMap::new(),
                tags: BTreeMap::new(),
            });
        }
        id
    }

    /// The versions that stay, each with whether it must be there.
    pub(crate) fn kept(&self) -> BTreeMap<Digest, bool> {
        let mut kept = BTreeMap::new();
        for subject in &self.all {
            for (digest, seq) in &subject.versions {
                if subject.keeps(digest) {
                    *kept.entry(*digest).or_default() |= *seq > subject.removed_at;
                }
            }
        }
        kept
    }

    /// The versions that an operation named and that do not stay.
    pub(crate) fn let_go(&self) -> BTreeSet<Digest> {
        let kept = self.kept();
        let all = self.all.iter().flat_map(|subject| subject.versions.keys());
        all.filter(|digest| !kept.contains_key(digest))
            .copied()
            .collect()
    }

    /// The runs that speak for a subagent that is not removed, each with whether it must be there.
    pub(crate) fn evidence(&self) -> BTreeMap<RunId, bool> {
        let mut runs = BTreeMap::new();
        for (run, seq, moved) in &self.evidence {
            let subjects = || moved.iter().filter_map(|id| self.all.get(*id));
            if subjects().any(|subject| !subject.is_removed) {
                *runs.entry(*run).or_default() |=
                    subjects().any(|subject| *seq > subject.removed_at);
            }
        }
        runs
    }

    /// How many names have a head.
    pub(crate) fn heads(&self) -> u64 {
        self.all.iter().filter(|subject| subject.has_head).count() as u64
    }

    /// The versions of each name that stay, by its present name.
    pub(crate) fn by_name(&self) -> impl Iterator<Item = (&SubagentName, Vec<Digest>)> {
        self.all.iter().map(|subject| {
            let versions = subject
                .versions
                .keys()
                .filter(|digest| subject.keeps(digest));
            (&subject.name, versions.copied().collect())
        })
    }
}

/// What the log names, read on as it grows.
#[derive(Debug)]
pub(crate) struct NamedLog {
    pub(crate) named: Named,
    log: File,
    reached: Reached,
}

impl Store {
    /// Reads what the operations name, under the rules of the log.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] when the log is damaged, and the file system's errors.
    pub(crate) fn named(&self) -> Result<NamedLog, StoreError> {
        // That each operation may be where it is, and that none is missing, is checked there.
        self.ask(|view| view.last())?;
        let log = self.open_log()?;
        let stamp = stamp(self, &log)?;
        let mut read = NamedLog {
            named: Named::default(),
            log,
            reached: Reached::nothing(stamp),
        };
        read.read_on(self)?;
        Ok(read)
    }
}

impl NamedLog {
    /// Takes in what was appended since: `false` when there was nothing.
    pub(crate) fn read_on(&mut self, store: &Store) -> Result<bool, StoreError> {
        let stamp = stamp(store, &self.log)?;
        if self.reached.is_current(stamp) {
            return Ok(false);
        }
        self.reached.stamp = stamp;
        let Self {
            named,
            log,
            reached,
        } = self;
        reached.read_on(&store.layout.log, log, &mut |operation, _| {
            named.apply(&operation);
            Ok(())
        })?;
        Ok(true)
    }
}

fn stamp(store: &Store, log: &File) -> Result<Stamp, StoreError> {
    Stamp::of(log).map_err(|source| StoreError::read("read", &store.layout.log, source))
}
