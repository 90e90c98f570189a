//! `pin` and `unpin`: a head that does not move by itself.

use clap::Args;

use crate::app::App;
use crate::args::WhyFlags;
use crate::exit::ExitCode;

/// Pin a subagent's head: tasks do not move it, only a person with --force
///
/// What a task makes of a pinned subagent is kept under the tag `task-ID`.
#[derive(Debug, Args)]
pub(crate) struct PinArgs {
    /// The subagent
    name: String,
    #[command(flatten)]
    why: WhyFlags,
}

/// Let a pinned head go
#[derive(Debug, Args)]
pub(crate) struct UnpinArgs {
    /// The subagent
    name: String,
    #[command(flatten)]
    why: WhyFlags,
}

/// Pins a head.
pub(crate) fn pin(app: &App, args: &PinArgs) -> anyhow::Result<ExitCode> {
    let act = app.act(&args.why, false);
    app.show_change(&app.store()?.pin(&args.name.parse()?, act)?)
}

/// Lets a head go.
pub(crate) fn unpin(app: &App, args: &UnpinArgs) -> anyhow::Result<ExitCode> {
    let act = app.act(&args.why, false);
    app.show_change(&app.store()?.unpin(&args.name.parse()?, act)?)
}
