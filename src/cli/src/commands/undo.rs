//! `undo`: takes back the last change.

use std::collections::BTreeSet;

use clap::Args;
use jiff::Timestamp;
use spec::SubagentName;
use store::{Change, Operation};

use super::joined;
use super::log::lines;
use crate::app::App;
use crate::exit::{ExitCode, Problem};
use crate::wire::{OperationJson, UndoJson};

/// Take back the last change, of one subagent or of all; nothing is deleted
///
/// A change is taken back as a whole: one that moved several subagents moves all of them back.
/// Repeated, it goes further back. An undo is an operation of its own in the log.
#[derive(Debug, Args)]
pub(crate) struct UndoArgs {
    /// The subagent whose last change is taken back
    name: Option<String>,
    /// Take the change back even if it moved other subagents too
    #[arg(long, requires = "name")]
    all: bool,
}

/// What the change that would be undone moved beside this name.
fn others(log: &[Operation], name: &SubagentName) -> BTreeSet<SubagentName> {
    let undone: BTreeSet<u64> = log
        .iter()
        .filter_map(|operation| match &operation.change {
            Change::Undo { seq, .. } => Some(*seq),
            _ => None,
        })
        .collect();
    let in_effect = |operation: &&Operation| {
        let is_undo = matches!(operation.change, Change::Undo { .. });
        !is_undo && !undone.contains(&operation.seq) && operation.change.touches(name)
    };
    let Some(last) = log.iter().rfind(in_effect) else {
        return BTreeSet::new();
    };
    let heads = last.change.head_moves().into_iter().map(|one| one.name);
    let tags = last.change.tag_moves().iter().map(|one| one.name.clone());
    heads.chain(tags).filter(|moved| moved != name).collect()
}

/// Undoes one operation.
pub(crate) fn undo(app: &App, args: &UndoArgs) -> anyhow::Result<ExitCode> {
    let name = args
        .name
        .as_deref()
        .map(str::parse::<SubagentName>)
        .transpose()?;
    let store = app.store()?;
    if let Some(name) = name.as_ref().filter(|_| !args.all) {
        let others = others(&store.log(None)?, name);
        if !others.is_empty() {
            return Err(Problem::refused(format!(
                "the last change of `{name}` moved other subagents too, and is taken back as a whole"
            ))
            .hint(format!("--all takes back {} as well", joined(others)))
            .into());
        }
    }
    let operation = store.undo(name.as_ref(), Timestamp::now())?;
    let operation = OperationJson::from(&operation);
    if app.ui.is_json() {
        app.ui.json(&UndoJson { operation })?;
    } else {
        for line in lines(&operation) {
            app.ui.data(line)?;
        }
    }
    Ok(ExitCode::Success)
}
