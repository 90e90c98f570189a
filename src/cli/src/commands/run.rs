//! `run`: a saved subagent.

use std::collections::BTreeSet;

use clap::Args;
use egress::HostRule;
use orchestrator::{Requirements, program_of_version};
use spec::VersionRef;

use super::joined;
use super::program::Run;
use crate::app::{App, Models};
use crate::args::{
    DeterminismFlags, FolderFlags, Grants, LimitFlags, ModelFlags, SandboxFlags, text_or_stdin,
};
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
    /// Let it reach only these of the hosts that its manifest names; more than those is refused
    ///
    /// Without it, those of its hosts that the configuration's [egress] allows.
    #[arg(long, value_name = "HOST[:PORT]", value_delimiter = ',')]
    egress: Vec<HostRule>,
    #[command(flatten)]
    limits: LimitFlags,
    #[command(flatten)]
    determinism: DeterminismFlags,
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
    // What is looked at is what runs, also when the name points elsewhere meanwhile.
    let resolved = app.resolve(&store, &reference)?;
    let (digest, exact) = (resolved.digest, resolved.exact());
    let content = store.version(&digest)?.content;
    let requirements = Requirements::of(&content);
    let query = text_or_stdin("query", &args.query)?;
    let program = program_of_version(&content, &query);
    let granted = content.skills;
    let egress = hosts(app, args, &content.egress)?;
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
    let determinism = args.determinism.fixed();
    let asked = store.version(&digest)?.content.limits;
    let sources = app.limits(&args.limits);
    let limits = sources.resolve(asked.as_ref())?;
    let run = Run {
        app,
        store,
        requirements,
        program,
        determinism,
        folders,
        limits: limits.clone(),
        models: Models::of_subagents(app, &args.models, &grants)?,
        sandbox: args.sandbox,
        kind: LiveKind::Subagent,
    };
    run.carry_out(|factory, tree| {
        let mut request = factory.saved(&exact, &query, tree, &sources)?;
        request.shown = reference.to_string();
        request.grants = grants;
        request.egress = egress;
        request.determinism = determinism;
        Ok(request)
    })
    .await
}

/// The hosts that a version names and somebody allows: a person with --egress, else the operator.
fn hosts(
    app: &App,
    args: &RunArgs,
    named: &BTreeSet<String>,
) -> Result<BTreeSet<HostRule>, Problem> {
    let wanted: BTreeSet<HostRule> = args.egress.iter().cloned().collect();
    let more: Vec<_> = wanted
        .iter()
        .filter(|host| !named.contains(&host.to_string()))
        .collect();
    if !more.is_empty() {
        let (reference, more) = (&args.reference, joined(more));
        return Err(
            Problem::refused(format!("`{reference}` is not granted {more}")).hint(
                "the hosts of a version are part of its identity; --egress can only leave some out",
            ),
        );
    }
    let settings = &app.settings.egress;
    let (mut allowed, mut held_back) = (BTreeSet::new(), Vec::new());
    for text in named {
        let Ok(host) = text.parse::<HostRule>() else {
            held_back.push(text);
            continue;
        };
        let is_wanted = wanted.is_empty() || wanted.contains(&host);
        match settings.check(&host, &wanted) {
            Ok(()) if is_wanted => {
                allowed.insert(host);
            }
            Err(why) if wanted.contains(&host) => {
                return Err(
                    Problem::refused(format!("`{host}` cannot be reached: {why}"))
                        .hint("only whoever writes the configuration can change that"),
                );
            }
            Err(_) if is_wanted => held_back.push(text),
            Ok(()) | Err(_) => {}
        }
    }
    if !held_back.is_empty() {
        let held_back = joined(held_back);
        app.ui.warn(format!(
            "it cannot reach {held_back}: pass --egress, or allow it in the configuration's [egress]"
        ));
    }
    Ok(allowed)
}
