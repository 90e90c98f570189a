//! The `agentfactory` command: arguments, configuration, rendering, exit codes, wiring.
//!
//! Each command is one file in `commands`: it parses, calls the orchestrator, the store or the
//! runner, and renders. What scripts read is in `wire`, what a failure means in `exit`, names of
//! environment variables in `environment`.

mod app;
mod args;
mod commands;
mod config;
mod environment;
mod exit;
mod folders;
mod interrupt;
mod outcome;
mod ui;
mod wire;

use std::io::Write as _;
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use clap::Parser as _;
use clap::error::ErrorKind;
use tokio::task::JoinSet;

use app::App;
use args::{Cli, Command, GlobalFlags};
use commands::{
    deploy, diff, doctor, exec, fsck, images, list, log, run, runs, shell, show, solve, undo,
};
use config::Settings;
use environment::Environment;
use exit::{ExitCode, Failure, Interrupted};
use ui::Ui;

fn main() -> std::process::ExitCode {
    std::panic::set_hook(Box::new(|panic| {
        let text = format!(
            "error: internal error: {panic}\nhint: this is a bug of AgentFactory; please report it\n"
        );
        drop(std::io::stderr().write_all(text.as_bytes()));
    }));
    let ended = std::panic::catch_unwind(AssertUnwindSafe(program));
    ended.unwrap_or(ExitCode::Internal).into()
}

/// Reads what is wanted, does it, and says how it ended.
fn program() -> ExitCode {
    let environment = Environment::capture(Path::new(""));
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return not_a_command(&error, &environment),
    };
    let ui = Arc::new(Ui::new(&cli.global, &environment));
    let ended = log_to_stderr(&cli.global, &environment)
        .and_then(|()| Ok(Settings::resolve(&cli.global, &environment)?))
        .and_then(|settings| carry_out(&App::new(Arc::clone(&ui), settings), &cli.command));
    ended.unwrap_or_else(|error| {
        let failure = Failure::of(&error);
        ui.failure(&failure);
        failure.code
    })
}

/// Help, the version, or what is wrong with the command line.
fn not_a_command(error: &clap::Error, environment: &Environment) -> ExitCode {
    // A reader that went away has seen enough.
    drop(error.print());
    if !error.use_stderr() {
        return ExitCode::Success;
    }
    let wants_json = std::env::args_os().any(|argument| argument == "--json");
    if wants_json && error.kind() != ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        let flags = GlobalFlags {
            json: true,
            ..GlobalFlags::default()
        };
        let text = error.render().to_string();
        let message = text.lines().next().unwrap_or_default();
        let tip = text
            .lines()
            .find_map(|line| line.trim_start().strip_prefix("tip: "));
        let message = message
            .strip_prefix("error: ")
            .unwrap_or(message)
            .to_owned();
        Ui::new(&flags, environment).failure_document(&Failure {
            code: ExitCode::Usage,
            message,
            hint: tip.map(str::to_owned),
        });
    }
    ExitCode::Usage
}

fn log_to_stderr(flags: &GlobalFlags, environment: &Environment) -> anyhow::Result<()> {
    let default = match flags.verbose {
        0 => "warn",
        1 => "warn,cli=info,llm=info,orchestrator=info,runner=info,store=info",
        _ => "info,cli=debug,llm=debug,orchestrator=debug,runner=debug,store=debug",
    };
    let filter = environment
        .text(environment::LOG)?
        .unwrap_or_else(|| default.to_owned());
    let filter = tracing_subscriber::EnvFilter::try_new(&filter)
        .map_err(|error| exit::Problem::usage(format!("{}: {error}", environment::LOG)))?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_target(false)
        .log_internal_errors(false)
        .with_ansi(
            flags.color != args::ColorChoice::Never
                && environment.allows_colour()
                && std::io::IsTerminal::is_terminal(&std::io::stderr()),
        )
        .init();
    Ok(())
}

fn carry_out(app: &App, command: &Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::List => list::list(app),
        Command::Show(args) => show::show(app, args),
        Command::Log(args) => log::log(app, args),
        Command::Diff(args) => diff::diff(app, args),
        Command::Undo(args) => undo::undo(app, args),
        Command::Fsck => fsck::fsck(app),
        Command::Runs(command) => runs::runs(app, command),
        Command::Deploy(args) => deploy::deploy(app, args),
        Command::Solve(_)
        | Command::Run(_)
        | Command::Exec(_)
        | Command::Shell(_)
        | Command::Images(_)
        | Command::Doctor => with_engine(app, command),
    }
}

/// The commands that wait for an engine or a model.
fn with_engine(app: &App, command: &Command) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Runtime::new().context("starting the runtime")?;
    let ended = runtime.block_on(async {
        let mut listening = JoinSet::new();
        listening.spawn(app.interrupts.listen(&app.ui)?);
        match command {
            Command::Solve(args) => solve::solve(app, args).await,
            Command::Run(args) => run::run(app, args).await,
            Command::Exec(args) => exec::exec(app, args).await,
            Command::Shell(args) => shell::shell(app, args).await,
            Command::Images(command) => images::images(app, command).await,
            _ => doctor::doctor(app).await,
        }
    });
    // What was interrupted for the second time is not waited for.
    if ended.as_ref().is_err_and(anyhow::Error::is::<Interrupted>) {
        runtime.shutdown_background();
    }
    ended
}
