//! The `agentfactory` command: arguments, configuration, rendering, exit codes, wiring.
//!
//! Each command is one file in `commands`: it parses, calls the orchestrator, the store or the
//! runner, and renders. What scripts read is in `wire`, what a failure means in `exit`, names of
//! environment variables in `environment`.

mod app;
mod args;
mod closing;
mod commands;
mod config;
mod environment;
mod exit;
mod folders;
mod interrupt;
mod outcome;
mod ui;
mod wire;

use std::any::Any;
use std::io::Write as _;
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use anyhow::Context as _;
use clap::Parser as _;
use clap::error::ErrorKind;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::task::JoinSet;

use app::App;
use args::{Cli, Command, GlobalFlags};
use commands::{
    copy, deploy, diff, doctor, environments, exec, export, fsck, gc, images, import, key, list,
    log, pin, pool, pull, push, remove, rename, reproduce, restore, run, runs, search, shell, show,
    sign, solve, stats, tag, undo,
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
    raise_open_files();
    let shown = OnceLock::new();
    let ended = std::panic::catch_unwind(AssertUnwindSafe(|| program(&shown)));
    let ended = ended.unwrap_or_else(|panic| {
        // The hook has told people.
        let ui = shown.get().cloned();
        let ui = ui.or_else(|| wants_json().then(|| json_ui(&Environment::default())));
        let failure = panicked(panic.as_ref());
        if let Some(ui) = ui {
            ui.failure_document(&failure);
        }
        failure.code
    });
    ended.into()
}

/// A sandbox that waits holds three files open, and many systems allow a process about a thousand until it
/// asks for more.
fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    // Where it may not, what needs them says so.
    let _ = setrlimit(
        Resource::Nofile,
        Rlimit {
            current: limit.maximum,
            ..limit
        },
    );
}

/// What is said of a bug.
fn panicked(panic: &(dyn Any + Send)) -> Failure {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    Failure {
        code: ExitCode::Internal,
        message: format!("internal error: {}", text.unwrap_or("it panicked")),
        hint: Some("this is a bug of AgentFactory; please report it".to_owned()),
        retry_after_s: None,
    }
}

/// Whether scripts read what is printed, when the command line cannot be parsed.
fn wants_json() -> bool {
    std::env::args_os().any(|argument| argument == "--json")
}

fn json_ui(environment: &Environment) -> Arc<Ui> {
    let flags = GlobalFlags {
        json: true,
        ..GlobalFlags::default()
    };
    Arc::new(Ui::new(&flags, environment))
}

/// Reads what is wanted, does it, and says how it ended.
fn program(shown: &OnceLock<Arc<Ui>>) -> ExitCode {
    let environment = Environment::capture(Path::new(""));
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return not_a_command(&error, &environment),
    };
    let ui = Arc::new(Ui::new(&cli.global, &environment));
    let ui = shown.get_or_init(|| ui);
    let ended = log_to_stderr(&cli.global, &environment)
        .and_then(|()| Ok(Settings::resolve(&cli.global, &environment)?))
        .and_then(|settings| carry_out(&App::new(Arc::clone(ui), settings), &cli.command));
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
    if wants_json() && error.kind() != ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        let failure = usage_failure(&error.render().to_string());
        json_ui(environment).failure_document(&failure);
    }
    ExitCode::Usage
}

/// What `clap` says, which is made for people, as a message in one line and a hint.
fn usage_failure(text: &str) -> Failure {
    let said = text.lines().map(str::trim);
    let said = said.take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more"));
    let (tips, message): (Vec<&str>, Vec<&str>) = said
        .filter(|line| !line.is_empty())
        .partition(|line| line.starts_with("tip: "));
    let message = message.join(" ");
    let message = message.strip_prefix("error: ").unwrap_or(&message);
    let tips: Vec<_> = tips
        .iter()
        .filter_map(|tip| tip.strip_prefix("tip: "))
        .collect();
    Failure {
        code: ExitCode::Usage,
        message: message.to_owned(),
        hint: (!tips.is_empty()).then(|| tips.join("; ")),
        retry_after_s: None,
    }
}

fn log_to_stderr(flags: &GlobalFlags, environment: &Environment) -> anyhow::Result<()> {
    let default = match flags.verbose {
        0 if flags.quiet => "error",
        // What `llm` warns of, a task shows itself.
        0 => "warn,llm=error",
        1 => "warn,cli=info,llm=info,orchestrator=info,runner=info,store=info",
        _ => "info,cli=debug,llm=debug,orchestrator=debug,runner=debug,store=debug",
    };
    let filter = environment
        .text(environment::LOG)
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
        Command::List(args) => list::list(app, args),
        Command::Show(args) => show::show(app, args),
        Command::Log(args) => log::log(app, args),
        Command::Diff(args) => diff::diff(app, args),
        Command::Export(args) => export::export(app, args),
        Command::Copy(args) => copy::copy(app, args),
        Command::Undo(args) => undo::undo(app, args),
        Command::Restore(args) => restore::restore(app, args),
        Command::Tag(args) => tag::tag(app, args),
        Command::Pin(args) => pin::pin(app, args),
        Command::Unpin(args) => pin::unpin(app, args),
        Command::Rename(args) => rename::rename(app, args),
        Command::Remove(args) => remove::remove(app, args),
        Command::Fsck => fsck::fsck(app),
        Command::Search(args) => search::search(app, args),
        Command::Reindex => search::reindex(app),
        Command::Gc(args) => gc::gc(app, args),
        Command::Stats(args) => stats::stats(app, args),
        Command::Key(command) => key::key(app, command),
        Command::Sign(args) => sign::sign(app, args),
        Command::Verify(args) => sign::verify(app, args),
        Command::Runs(command) => runs::runs(app, command),
        Command::Deploy(args) if !args.needs_engine() => deploy::deploy(app, args),
        Command::Deploy(_)
        | Command::Solve(_)
        | Command::Run(_)
        | Command::Exec(_)
        | Command::Shell(_)
        | Command::Reproduce(_)
        | Command::Push(_)
        | Command::Pull(_)
        | Command::Import(_)
        | Command::Pool(_)
        | Command::Images(_)
        | Command::Env(_)
        | Command::Doctor(_) => with_engine(app, command),
    }
}

/// The commands that wait for an engine or a model.
fn with_engine(app: &App, command: &Command) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Runtime::new().context("starting the runtime")?;
    let ended = runtime.block_on(async {
        let mut listening = JoinSet::new();
        listening.spawn(app.interrupts.listen(&app.ui)?);
        let ended = match command {
            Command::Deploy(args) => deploy::image(app, args).await,
            Command::Solve(args) => solve::solve(app, args).await,
            Command::Run(args) => run::run(app, args).await,
            Command::Exec(args) => exec::exec(app, args).await,
            Command::Shell(args) => shell::shell(app, args).await,
            Command::Push(args) => push::push(app, args).await,
            Command::Pull(args) => pull::pull(app, args).await,
            Command::Reproduce(args) => reproduce::reproduce(app, args).await,
            Command::Import(args) => import::import(app, args).await,
            Command::Pool(args) => pool::pool(app, args).await,
            Command::Images(command) => images::images(app, command).await,
            Command::Env(command) => environments::environments(app, command).await,
            Command::Doctor(args) => doctor::doctor(app, args).await,
            _ => unreachable!("the others need no engine"),
        };
        app.closing.close(&app.interrupts).await;
        ended
    });
    // What was interrupted for the second time is not waited for.
    if ended.as_ref().is_err_and(anyhow::Error::is::<Interrupted>) {
        runtime.shutdown_background();
    }
    ended
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usage(line: &str) -> Failure {
        let error = Cli::try_parse_from(line.split(' ')).unwrap_err();
        usage_failure(&error.render().to_string())
    }

    #[test]
    fn a_usage_error_keeps_all_that_it_names() {
        let failure = usage("agentfactory deploy");
        for name in ["<REF>", "--as <FORM>"] {
            assert!(failure.message.contains(name), "{failure:?}");
        }
        assert!(!failure.message.contains('\n'), "{failure:?}");
        assert!(!failure.message.contains("Usage"), "{failure:?}");
        assert_eq!(failure.hint, None);
        let failure = usage("agentfactory deploy x --as skill");
        assert!(failure.message.contains("--to <DIR>"), "{failure:?}");
        let failure = usage("agentfactory deploy x --to y --as zip");
        assert!(failure.message.contains("possible values: skill, image"));
        let failure = usage("agentfactory lst");
        assert!(!failure.message.contains("tip"), "{failure:?}");
        assert!(failure.hint.is_some_and(|hint| hint.contains("'list'")));
    }

    #[test]
    fn a_bug_is_told_as_one() {
        for panic in [
            Box::new("here") as Box<dyn Any + Send>,
            Box::new("here".to_owned()),
        ] {
            let failure = panicked(panic.as_ref());
            assert_eq!(failure.code, ExitCode::Internal);
            assert_eq!(failure.message, "internal error: here");
        }
    }
}
