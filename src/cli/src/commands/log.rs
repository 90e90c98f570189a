//! `log`: what changed, newest first.

use clap::Args;
use spec::SubagentName;

use super::{shown_at, shown_version};
use crate::app::App;
use crate::exit::ExitCode;
use crate::ui::{Text, Tone, continued};
use crate::wire::{LogJson, MoveJson, OperationJson};

/// Show what changed, newest first
#[derive(Debug, Args)]
pub(crate) struct LogArgs {
    /// Only what moved this subagent
    name: Option<String>,
    /// Show at most so many operations
    #[arg(short = 'n', long, value_name = "NUMBER")]
    limit: Option<usize>,
}

/// Lists operations.
pub(crate) fn log(app: &App, args: &LogArgs) -> anyhow::Result<ExitCode> {
    let name = args
        .name
        .as_deref()
        .map(str::parse::<SubagentName>)
        .transpose()?;
    let mut operations = app.store()?.log(name.as_ref())?;
    operations.reverse();
    operations.truncate(args.limit.unwrap_or(usize::MAX));
    let operations: Vec<_> = operations.iter().map(OperationJson::from).collect();
    if app.ui.is_json() {
        app.ui.json(&LogJson { operations })?;
        return Ok(ExitCode::Success);
    }
    if operations.is_empty() {
        app.ui.note(if args.limit == Some(0) {
            "-n 0 shows nothing"
        } else {
            "nothing has been saved yet"
        });
    }
    for operation in &operations {
        for line in lines(operation) {
            app.ui.data(line)?;
        }
    }
    Ok(ExitCode::Success)
}

/// One operation for people.
pub(super) fn lines(operation: &OperationJson) -> Vec<Text> {
    let head = Text::new()
        .with(Tone::Position, format!("{:>4}  ", operation.operation))
        .plain(format!("{}  ", shown_at(operation.at)))
        .with(Tone::Strong, operation.kind);
    let head = match operation.undoes {
        Some(undone) => head.plain(format!(" of operation {undone}")),
        None => head,
    };
    let mut lines = vec![head];
    lines.extend(operation.heads.iter().chain(&operation.tags).map(moved));
    let below = |name: &str, value: &str| {
        Text::new()
            .with(Tone::Dim, format!("      {name} "))
            .plain(continued(value, "           "))
    };
    lines.extend(operation.task.iter().map(|task| below("task", task)));
    if !operation.note.is_empty() {
        lines.push(below("note", &operation.note));
    }
    lines
}

/// A head or tag that moved, for people.
fn moved(one: &MoveJson) -> Text {
    let tag = one
        .tag
        .as_ref()
        .map_or_else(String::new, |tag| format!(":{tag}"));
    let (from, to) = (
        shown_version(one.from.as_ref()),
        shown_version(one.to.as_ref()),
    );
    Text::new()
        .with(Tone::Strong, format!("      {}{tag}", one.name))
        .plain(format!("  {from} -> {to}"))
}
