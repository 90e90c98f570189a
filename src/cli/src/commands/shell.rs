//! `shell`: one command for the image's shell.

use clap::Args;
use guard::Decision;
use orchestrator::{Requirements, RunRequest};
use runner::Program;
use spec::Determinism;

use super::program::{Run, granted};
use crate::app::{App, Models};
use crate::args::{EgressFlags, FolderFlags, LimitFlags, SandboxFlags, text_or_stdin};
use crate::exit::ExitCode;
use crate::folders::Folders;
use crate::ui::{LiveKind, Text, Tone};

/// Run a shell command in a sandbox
///
/// Its output is passed on as it comes; the exit code is 0 when its status is 0, else 1. Your own
/// commands are run whatever they do: the sandbox is what keeps them in. The policy that `--explain`
/// shows is for those of subagents.
#[derive(Debug, Args)]
pub(crate) struct ShellArgs {
    /// The command line, in quotes; `-` reads it from standard input
    #[arg(value_name = "CMD", allow_hyphen_values = true)]
    command: String,
    /// Do not run it: say what it would change, and whether a subagent would be allowed to
    #[arg(long)]
    explain: bool,
    /// A Python distribution that it imports, such as `pandas` or `numpy>=2`; may be given several times
    #[arg(long, value_name = "REQUIREMENT")]
    requirement: Vec<String>,
    #[command(flatten)]
    folders: FolderFlags,
    #[command(flatten)]
    network: EgressFlags,
    #[command(flatten)]
    limits: LimitFlags,
    #[command(flatten)]
    sandbox: SandboxFlags,
}

/// Runs a command.
pub(crate) async fn shell(app: &App, args: &ShellArgs) -> anyhow::Result<ExitCode> {
    let command = text_or_stdin("command", &args.command)?;
    if args.explain {
        return explain(app, &command);
    }
    let folders = Folders::resolve(&args.folders)?;
    let egress = granted(app, &args.network)?;
    let limits = app.limits(&args.limits).resolve(None)?;
    let requirements = Requirements::Wanted(args.requirement.clone());
    let program = Program::Shell {
        command: command.clone(),
    };
    let run = Run {
        app,
        store: app.store()?,
        requirements: requirements.clone(),
        program: program.clone(),
        determinism: Determinism::default(),
        folders,
        limits: limits.clone(),
        models: Models::default(),
        sandbox: args.sandbox,
        kind: LiveKind::Shell,
    };
    run.carry_out(|_, tree| {
        Ok(RunRequest {
            shown: command,
            program,
            name: None,
            version: None,
            grants: [].into(),
            egress,
            requirements,
            tree,
            mounts: Vec::new(),
            limits,
            determinism: Determinism::default(),
            depends: [].into(),
        })
    })
    .await
}

/// Says what a command would change, without an engine.
fn explain(app: &App, command: &str) -> anyhow::Result<ExitCode> {
    let verdict = guard::judge(command, &guard::Context::sandbox());
    if app.ui.is_json() {
        app.ui.json(&verdict)?;
        return Ok(ExitCode::Success);
    }
    let tone = match verdict.decision {
        Decision::Allow => Tone::Good,
        Decision::Ask => Tone::Warning,
        Decision::Refuse => Tone::Bad,
    };
    app.ui.data(
        Text::new()
            .with(tone, verdict.decision.as_str())
            .plain(format!(": {}", verdict.reason)),
    )?;
    let others = verdict.findings.iter();
    for finding in others.filter(|finding| finding.reason != verdict.reason) {
        let line = format!("  {}: {}", finding.decision, finding.reason);
        app.ui.data(Text::new().with(Tone::Dim, line))?;
    }
    Ok(ExitCode::Success)
}
