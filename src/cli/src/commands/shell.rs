//! `shell`: one command for the image's shell.

use clap::Args;
use orchestrator::RunRequest;
use runner::Program;

use super::program::{Run, granted};
use crate::app::{App, Models};
use crate::args::{EgressFlags, FolderFlags, LimitFlags, SandboxFlags, text_or_stdin};
use crate::exit::ExitCode;
use crate::folders::Folders;
use crate::ui::LiveKind;

/// Run a shell command in a sandbox
///
/// Its output is passed on as it comes; the exit code is 0 when its status is 0, else 1.
#[derive(Debug, Args)]
pub(crate) struct ShellArgs {
    /// The command line, in quotes; `-` reads it from standard input
    #[arg(value_name = "CMD")]
    command: String,
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
    let folders = Folders::resolve(&args.folders)?;
    let command = text_or_stdin("command", &args.command)?;
    let egress = granted(app, &args.network)?;
    let limits = app.limits(&args.limits).resolve(None)?;
    let run = Run {
        app,
        store: app.store()?,
        folders,
        limits: limits.clone(),
        models: Models::default(),
        sandbox: args.sandbox,
        kind: LiveKind::Shell,
    };
    run.carry_out(|_, tree| {
        Ok(RunRequest {
            shown: command.clone(),
            program: Program::Shell { command },
            name: None,
            version: None,
            grants: [].into(),
            egress,
            tree,
            mounts: Vec::new(),
            limits,
        })
    })
    .await
}
