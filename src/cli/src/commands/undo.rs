//! `undo`: takes back the last change.

use clap::Args;
use jiff::Timestamp;
use spec::SubagentName;

use super::log::lines;
use crate::app::App;
use crate::exit::ExitCode;
use crate::wire::{OperationJson, UndoJson};

/// Take back the last change, of one subagent or of all; nothing is deleted
///
/// Repeated, it goes further back. An undo is an operation of its own in the log.
#[derive(Debug, Args)]
pub(crate) struct UndoArgs {
    /// The subagent whose last change is taken back
    name: Option<String>,
}

/// Undoes one operation.
pub(crate) fn undo(app: &App, args: &UndoArgs) -> anyhow::Result<ExitCode> {
    let name = args
        .name
        .as_deref()
        .map(str::parse::<SubagentName>)
        .transpose()?;
    let operation = app.store()?.undo(name.as_ref(), Timestamp::now())?;
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
