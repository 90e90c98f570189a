//! `undo`: takes back the last change.

use clap::Args;
use spec::SubagentName;

use super::joined;
use crate::app::App;
use crate::args::WhyFlags;
use crate::exit::{ExitCode, Problem};

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
    /// Move pinned heads too
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    why: WhyFlags,
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
        let next = store.next_undo(Some(name))?;
        let mut others = next.map_or_else(Vec::new, |(_, names)| names);
        let name = store
            .head(name)?
            .map_or_else(|| name.clone(), |head| head.name);
        others.retain(|other| *other != name);
        if !others.is_empty() {
            return Err(Problem::refused(format!(
                "the last change of `{name}` moved other subagents too, and is taken back as a whole"
            ))
            .hint(format!("--all takes back {} as well", joined(others)))
            .into());
        }
    }
    let act = app.act(&args.why, args.force);
    app.show_change(&store.undo(name.as_ref(), act)?)
}
