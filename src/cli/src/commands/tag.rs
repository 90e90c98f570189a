//! `tag`: a word for a version of a subagent.

use clap::Args;
use spec::VersionRef;

use crate::app::App;
use crate::args::WhyFlags;
use crate::exit::{ExitCode, Problem};

/// Give a version of a subagent a tag, or take one away; `show` lists them
#[derive(Debug, Args)]
pub(crate) struct TagArgs {
    /// The version; with --remove, NAME:TAG
    #[arg(value_name = "REF")]
    reference: String,
    /// The tag: 1 to 128 of letters, digits, `.`, `_` and `-`; it moves if another version has it
    #[arg(required_unless_present = "remove", conflicts_with = "remove")]
    tag: Option<String>,
    /// Take the tag away; the version stays
    #[arg(long)]
    remove: bool,
    #[command(flatten)]
    why: WhyFlags,
}

/// Sets or removes a tag.
pub(crate) fn tag(app: &App, args: &TagArgs) -> anyhow::Result<ExitCode> {
    let reference: VersionRef = args.reference.parse()?;
    let store = app.store()?;
    let act = app.act(&args.why, false);
    let Some(tag) = &args.tag else {
        let VersionRef::Tag(name, tag) = reference else {
            return Err(Problem::usage("--remove takes NAME:TAG").into());
        };
        return app.show_change(&store.untag(&name, &tag, act)?);
    };
    let resolved = app.resolve(&store, &reference)?;
    let name = resolved.name.ok_or_else(|| {
        Problem::refused(format!("`{reference}` belongs to no subagent")).hint("write NAME@DIGEST")
    })?;
    app.show_change(&store.tag(&name, tag, &resolved.digest, act)?)
}
