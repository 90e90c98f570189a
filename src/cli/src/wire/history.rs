//! The history: what changed, who did it, and how versions differ.

use jiff::Timestamp;
use serde::Serialize;
use spec::{Digest, RunId, SubagentName};
use store::{Change, ConfigDiff, FileDiff, FileDiffKind, Operation, PinMove, Renaming};

/// `log`.
#[derive(Debug, Serialize)]
pub(crate) struct LogJson {
    /// Newest first: one page of them.
    pub(crate) operations: Vec<OperationJson>,
    /// What `--before` takes for the next page; null on the last one.
    pub(crate) next: Option<u64>,
}

/// `log --graph`.
#[derive(Debug, Serialize)]
pub(crate) struct GraphJson {
    pub(crate) name: SubagentName,
    /// Its publications, newest first.
    pub(crate) versions: Vec<GraphVersionJson>,
}

/// One publication of a subagent.
#[derive(Debug, Serialize)]
pub(crate) struct GraphVersionJson {
    pub(crate) version: Digest,
    /// The version that it was made from.
    pub(crate) parent: Option<Digest>,
    /// The number of the operation, and of the one that published its parent.
    pub(crate) operation: u64,
    pub(crate) parent_operation: Option<u64>,
    pub(crate) at: Timestamp,
    pub(crate) task: Option<String>,
    pub(crate) by: Option<String>,
    pub(crate) note: String,
    /// The runs that spoke for it.
    pub(crate) evidence: Vec<RunId>,
    pub(crate) undone: bool,
    pub(crate) is_head: bool,
    pub(crate) tags: Vec<String>,
}

/// A command that changes the history: `undo`, `restore`, `tag`, `pin`, `unpin`, `rename`, `remove`.
#[derive(Debug, Serialize)]
pub(crate) struct ChangeJson {
    /// The operation that was added.
    pub(crate) operation: OperationJson,
}

/// One recorded change.
#[derive(Debug, Serialize)]
pub(crate) struct OperationJson {
    /// Its place in the log, from 1.
    pub(crate) operation: u64,
    pub(crate) id: Digest,
    pub(crate) at: Timestamp,
    /// `publish`, `tag`, `untag`, `undo`, `pin`, `unpin`, `rename`, `remove` or `restore`.
    pub(crate) kind: &'static str,
    pub(crate) heads: Vec<MoveJson>,
    pub(crate) tags: Vec<MoveJson>,
    /// Heads that were pinned or let go.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) pins: Vec<PinJson>,
    /// Subagents that got another name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) renamed: Vec<RenamedJson>,
    /// The number of the operation that this one undoes.
    pub(crate) undoes: Option<u64>,
    pub(crate) task: Option<String>,
    /// Who did it, where that is not a task.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) by: Option<String>,
    /// Why, in their words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) why: Option<String>,
    pub(crate) evidence: Vec<RunId>,
    pub(crate) note: String,
}

/// A head that was pinned or let go.
#[derive(Debug, Serialize)]
pub(crate) struct PinJson {
    pub(crate) name: SubagentName,
    pub(crate) pinned: bool,
}

/// A subagent that got another name.
#[derive(Debug, Serialize)]
pub(crate) struct RenamedJson {
    pub(crate) from: SubagentName,
    pub(crate) to: SubagentName,
}

/// A head or a tag that moved.
#[derive(Debug, Serialize)]
pub(crate) struct MoveJson {
    pub(crate) name: SubagentName,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tag: Option<String>,
    pub(crate) from: Option<Digest>,
    pub(crate) to: Option<Digest>,
}

/// `diff`.
#[derive(Debug, Serialize)]
pub(crate) struct DiffJson {
    pub(crate) from: Digest,
    pub(crate) to: Digest,
    pub(crate) files: Vec<FileDiffJson>,
    pub(crate) config: Vec<ConfigDiffJson>,
}

/// A file that differs.
#[derive(Debug, Serialize)]
pub(crate) struct FileDiffJson {
    pub(crate) path: String,
    /// `added`, `removed` or `changed`.
    pub(crate) kind: &'static str,
    /// In unified format; null when one side is not UTF-8.
    pub(crate) text: Option<String>,
}

/// A field of the config that differs.
#[derive(Debug, Serialize)]
pub(crate) struct ConfigDiffJson {
    pub(crate) field: &'static str,
    pub(crate) removed: Vec<String>,
    pub(crate) added: Vec<String>,
}

impl From<&Operation> for OperationJson {
    fn from(operation: &Operation) -> Self {
        let heads = operation
            .change
            .head_moves()
            .into_iter()
            .map(|one| MoveJson {
                name: one.name,
                tag: None,
                from: one.from,
                to: one.to,
            });
        let tags = operation.change.tag_moves().iter().map(|one| MoveJson {
            name: one.name.clone(),
            tag: Some(one.tag.clone()),
            from: one.from,
            to: one.to,
        });
        let (undoes, task, evidence, note) = match &operation.change {
            Change::Publish {
                task,
                evidence,
                note,
                ..
            } => (None, task.clone(), evidence.clone(), note.clone()),
            Change::Undo { seq, .. } => (Some(*seq), None, Vec::new(), String::new()),
            Change::Tag { .. }
            | Change::Pin { .. }
            | Change::Unpin { .. }
            | Change::Rename { .. }
            | Change::Remove { .. }
            | Change::Restore { .. } => (None, None, Vec::new(), String::new()),
        };
        Self {
            operation: operation.seq,
            id: operation.id,
            at: operation.at,
            kind: operation.change.kind(),
            heads: heads.collect(),
            tags: tags.collect(),
            pins: operation
                .change
                .pin_moves()
                .into_iter()
                .map(Into::into)
                .collect(),
            renamed: operation
                .change
                .renamings()
                .iter()
                .map(Into::into)
                .collect(),
            undoes,
            task,
            by: operation.by.clone(),
            why: operation.why.clone(),
            evidence,
            note,
        }
    }
}

impl From<PinMove> for PinJson {
    fn from(one: PinMove) -> Self {
        let PinMove { name, pinned } = one;
        Self { name, pinned }
    }
}

impl From<&Renaming> for RenamedJson {
    fn from(one: &Renaming) -> Self {
        Self {
            from: one.from.clone(),
            to: one.to.clone(),
        }
    }
}

impl From<&FileDiff> for FileDiffJson {
    fn from(file: &FileDiff) -> Self {
        Self {
            path: file.path.to_string(),
            kind: match file.kind {
                FileDiffKind::Added => "added",
                FileDiffKind::Removed => "removed",
                FileDiffKind::Changed => "changed",
            },
            text: file.text.clone(),
        }
    }
}

impl From<&ConfigDiff> for ConfigDiffJson {
    fn from(field: &ConfigDiff) -> Self {
        Self {
            field: field.field,
            removed: field.removed.clone(),
            added: field.added.clone(),
        }
    }
}
