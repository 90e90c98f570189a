//! `rename`: another name for a subagent.

use clap::Args;

use crate::app::App;
use crate::args::WhyFlags;
use crate::exit::ExitCode;

/// Give a subagent another name; its history goes along, and the old name goes on meaning it
#[derive(Debug, Args)]
pub(crate) struct RenameArgs {
    /// What it is called
    from: String,
    /// What it will be called; a name that no other subagent has or had
    to: String,
    #[command(flatten)]
    why: WhyFlags,
}

/// Renames a subagent.
pub(crate) fn rename(app: &App, args: &RenameArgs) -> anyhow::Result<ExitCode> {
    let act = app.act(&args.why, false);
    let (from, to) = (args.from.parse()?, args.to.parse()?);
    app.show_change(&app.store()?.rename(&from, &to, act)?)
}
