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
    /// Only what was done to this subagent
    #[arg(required_if_eq("graph", "true"))]
    name: Option<String>,
    /// Show at most so many operations
    #[arg(short = 'n', long, value_name = "NUMBER", default_value_t = 100)]
    limit: usize,
    /// Begin before the operation of this number
    #[arg(long, value_name = "NUMBER", conflicts_with = "graph")]
    before: Option<u64>,
    /// Draw how the versions of the subagent came from one another
    #[arg(long)]
    graph: bool,
}

/// Lists a page of operations, or draws the versions of a subagent.
pub(crate) fn log(app: &App, args: &LogArgs) -> anyhow::Result<ExitCode> {
    let name = args.name.as_deref();
    let name = name.map(str::parse::<SubagentName>).transpose()?;
    let store = app.store()?;
    if let Some(name) = name.as_ref().filter(|_| args.graph) {
        return super::graph::graph(app, &store, name, args.limit);
    }
    // One more tells whether there is another page.
    let most = args.limit.saturating_add(1);
    let mut operations = store.log_page(name.as_ref(), args.before, most)?;
    let has_more = operations.len() > args.limit;
    operations.truncate(args.limit);
    let last = operations.last().map(|operation| operation.seq);
    let next = last.filter(|_| has_more);
    let operations: Vec<_> = operations.iter().map(OperationJson::from).collect();
    if app.ui.is_json() {
        app.ui.json(&LogJson { operations, next })?;
        return Ok(ExitCode::Success);
    }
    if operations.is_empty() {
        app.ui.note(match (args.limit, args.before) {
            (0, _) => "-n 0 shows nothing",
            (_, Some(_)) => "there is nothing before that",
            (_, None) => "nothing has been saved yet",
        });
    }
    for operation in &operations {
        for line in lines(operation) {
            app.ui.data(line)?;
        }
    }
    if let Some(next) = next {
        app.ui.note(format!("`--before {next}` shows older ones"));
    }
    Ok(ExitCode::Success)
}

/// One operation for people.
pub(crate) fn lines(operation: &OperationJson) -> Vec<Text> {
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
    let renamed = operation.renamed.iter();
    lines.extend(renamed.map(|one| {
        let from = Text::new().with(Tone::Strong, format!("      {}", one.from));
        from.plain(format!("  is called {}", one.to))
    }));
    lines.extend(operation.pins.iter().map(|one| {
        let name = Text::new().with(Tone::Strong, format!("      {}", one.name));
        name.plain(if one.pinned {
            "  is pinned"
        } else {
            "  is not pinned"
        })
    }));
    let below = |name: &str, value: &str| {
        Text::new()
            .with(Tone::Dim, format!("      {name} "))
            .plain(continued(value, "           "))
    };
    lines.extend(operation.task.iter().map(|task| below("task", task)));
    lines.extend(operation.by.iter().map(|by| below("by  ", by)));
    lines.extend(operation.why.iter().map(|why| below("why ", why)));
    if !operation.evidence.is_empty() {
        lines.push(below("runs", &super::joined(&operation.evidence)));
    }
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
