//! `remove`: a subagent that is not used any more.

use clap::Args;

use crate::app::App;
use crate::args::WhyFlags;
use crate::exit::ExitCode;

/// Take a subagent's head away: it is not listed, found or run any more
///
/// Its history stays until `gc`, and until then `restore` or `undo` brings it back.
#[derive(Debug, Args)]
pub(crate) struct RemoveArgs {
    /// The subagent
    name: String,
    /// Remove it even if its head is pinned
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    why: WhyFlags,
}

/// Removes a subagent.
pub(crate) fn remove(app: &App, args: &RemoveArgs) -> anyhow::Result<ExitCode> {
    let act = app.act(&args.why, args.force);
    app.show_change(&app.store()?.remove(&args.name.parse()?, act)?)
}
