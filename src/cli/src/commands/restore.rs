//! `restore`: a head goes back to an earlier version.

use clap::Args;
use spec::VersionRef;

use crate::app::App;
use crate::args::WhyFlags;
use crate::exit::{ExitCode, Problem};

/// Move a subagent's head to any version that it ever had
#[derive(Debug, Args)]
pub(crate) struct RestoreArgs {
    /// NAME@{2} (two moves ago), NAME:TAG, NAME@DIGEST; NAME alone is where its head was last
    #[arg(value_name = "REF")]
    reference: String,
    /// Move the head even if it is pinned
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    why: WhyFlags,
}

/// Restores a head.
pub(crate) fn restore(app: &App, args: &RestoreArgs) -> anyhow::Result<ExitCode> {
    let reference = match args.reference.parse()? {
        VersionRef::Head(name) => VersionRef::Back(name, 1),
        other => other,
    };
    let store = app.store()?;
    let resolved = app.resolve(&store, &reference)?;
    let name = resolved.name.ok_or_else(|| {
        Problem::refused(format!("`{reference}` belongs to no subagent"))
            .hint("write NAME@DIGEST; a version that no name had is tagged first")
    })?;
    let act = app.act(&args.why, args.force);
    app.show_change(&store.restore(&name, &resolved.digest, act)?)
}
