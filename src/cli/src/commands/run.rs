//! `run`: a saved subagent.

use clap::Args;
use spec::VersionRef;

use super::joined;
use super::program::Run;
use crate::app::{App, Models};
use crate::args::{FolderFlags, Grants, LimitFlags, ModelFlags, SandboxFlags, text_or_stdin};
use crate::exit::{ExitCode, Problem};
use crate::folders::Folders;
use crate::ui::LiveKind;

/// Run a saved subagent in a sandbox
///
/// The answer is printed on standard output, all else goes to standard error.
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// NAME, NAME:TAG, NAME@DIGEST or at least 8 hex digits of a digest
    #[arg(value_name = "REF")]
    reference: String,
    /// What it is asked; `-` reads it from standard input
    query: String,
    /// Allow only these of the skills that its manifest grants; more than those is refused
    #[arg(long, value_name = "SKILL,...")]
    grant: Option<Grants>,
    #[command(flatten)]
    folders: FolderFlags,
    #[command(flatten)]
    limits: LimitFlags,
    #[command(flatten)]
    sandbox: SandboxFlags,
    #[command(flatten)]
    models: ModelFlags,
}

/// Runs a version.
pub(crate) async fn run(app: &App, args: &RunArgs) -> anyhow::Result<ExitCode> {
    let reference: VersionRef = args.reference.parse()?;
    let folders = Folders::resolve(&args.folders)?;
    let store = app.store()?;
    let digest = store.resolve(&reference)?.digest;
    let granted = store.version(&digest)?.content.skills;
    let grants = match &args.grant {
        None => granted,
        Some(Grants(wanted)) if wanted.is_subset(&granted) => wanted.clone(),
        Some(Grants(wanted)) => {
            let more = joined(wanted.difference(&granted));
            return Err(Problem::refused(format!("`{reference}` is not granted {more}"))
                .hint("a version's grants are part of its identity; --grant can only leave some out")
                .into());
        }
    };
    let query = text_or_stdin("query", &args.query)?;
    let asked = store.version(&digest)?.content.limits;
    let sources = app.limits(&args.limits);
    let limits = sources.resolve(asked.as_ref())?;
    let run = Run {
        app,
        store,
        folders,
        limits: limits.clone(),
        models: Models::of_subagents(app, &args.models, &grants)?,
        sandbox: args.sandbox,
        kind: LiveKind::Subagent,
    };
    run.carry_out(|factory, tree| {
        let mut request = factory.saved(&reference, &query, tree, &sources)?;
        request.grants = grants;
        Ok(request)
    })
    .await
}
