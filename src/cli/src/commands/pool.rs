//! `pool`: sandboxes that are kept ready for the runs of other processes.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use jiff::Timestamp;
use runner::pool_process::{self, PoolImage, PoolProcess, PoolProcessOptions, PoolStatus};
use runner::{DockerSandboxes, Engine, PoolOptions, images};
use spec::{ByteSize, format_duration, parse_duration};

use super::{field, joined};
use crate::app::{App, docker_options};
use crate::args::{LimitFlags, SandboxFlags};
use crate::exit::{ExitCode, Problem};
use crate::ui::{Live, LiveKind, one_line};
use crate::wire::{PoolJson, PoolStatusJson, PoolStopJson};

/// Keep sandboxes ready for other processes
///
/// It runs until it is stopped, in the foreground. While it does, `exec`, `run` and `shell` of the
/// same user take their sandboxes from it and need not wait for the engine.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct PoolArgs {
    #[command(subcommand)]
    command: Option<PoolCommand>,
    /// Sandboxes that wait for runs with the same limits [default: 4, or as many as can]
    #[arg(long, value_name = "NUMBER")]
    keep: Option<usize>,
    /// How long those with other limits or an environment wait after the last run like it [default: 5m]
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    idle: Option<Duration>,
    #[command(flatten)]
    limits: LimitFlags,
}

/// What can be asked of a pool that runs.
#[derive(Clone, Copy, Debug, Subcommand)]
enum PoolCommand {
    /// Show how the pool is
    Status,
    /// End the pool; runs in its sandboxes go on to their ends
    Stop,
}

/// How often the pool removes what dead programs left on the engine, and looks for a new image.
const LOOK_AFTER: Duration = Duration::from_secs(60);
/// Characters of the reason why sandboxes do not start.
const FAILURE: usize = 300;
/// How often the pool looks whether sandboxes start.
const REPORT_PAUSE: Duration = Duration::from_secs(1);
/// After a client wanted another image, how long the next look waits at least.
const LOOK_PAUSE: Duration = Duration::from_secs(1);

/// Keeps a pool, or asks one.
pub(crate) async fn pool(app: &App, args: &PoolArgs) -> anyhow::Result<ExitCode> {
    match args.command {
        None => keep(app, args).await,
        Some(PoolCommand::Status) => status(app).await,
        Some(PoolCommand::Stop) => stop(app).await,
    }
}

async fn keep(app: &App, args: &PoolArgs) -> anyhow::Result<ExitCode> {
    let limits = app.limits(&args.limits).resolve(None)?;
    let slots = app.slots(SandboxFlags::default())?;
    app.ensure_run_dir(&app.settings.pool_socket)?;
    let options = PoolOptions::default();
    let counts = slots.options();
    let most = usize::try_from(counts.sandboxes_max - counts.runs_max).unwrap_or(usize::MAX);
    if most == 0 {
        return Err(Problem::usage("no sandbox can wait here")
            .hint("make `sandboxes_max` more than `runs_max` in [sandbox] of the configuration")
            .into());
    }
    let keep = args.keep.unwrap_or(options.keep.min(most));
    if keep == 0 || keep > most {
        return Err(Problem::usage(format!("{keep} sandboxes cannot be kept"))
            .hint(format!(
                "from 1 to {most} can wait here: `sandboxes_max` less `runs_max` of [sandbox] in the configuration"
            ))
            .into());
    }
    let options = PoolOptions {
        keep,
        keep_max: most,
        idle: args.idle.unwrap_or(options.idle),
        ..options
    };
    let live = Live::start(&app.ui, LiveKind::Build);
    app.interrupts
        .guard(async |cancel| {
            let (engine, image) = app.prepare(&live, &cancel).await?;
            engine.check_limits(&limits).await?;
            let key = images::key(&app.image_request(&()))?;
            let key = key.context("the image was removed from the record of builds")?;
            let runtimes = app.settings.runtimes.clone();
            let described = PoolProcessOptions {
                engine: engine.address().to_owned(),
                engine_version: app.described(&engine),
                runtime: runtimes.default.clone(),
                image: PoolImage { key, image },
                limits,
                keep,
                version: env!("CARGO_PKG_VERSION").to_owned(),
            };
            let options = docker_options(runtimes, slots, options);
            let sandboxes = DockerSandboxes::new(engine.clone(), options);
            let process = Arc::new(PoolProcess::new(sandboxes, described));
            let socket = &app.settings.pool_socket;
            let mut shown = Ok(());
            let serve = process.serve(socket, &cancel, || shown = listening(app));
            tokio::select! {
                served = serve => served?,
                never = look_after(app, &engine, &process) => match never {},
                never = report_failures(app, &process) => match never {},
            }
            shown
        })
        .await?;
    live.finish()?;
    Ok(ExitCode::Success)
}

/// Tells who waits for it that clients can come.
fn listening(app: &App) -> anyhow::Result<()> {
    let socket = app.settings.pool_socket.display().to_string();
    if app.ui.is_json() {
        let (socket, pid) = (&socket, std::process::id());
        return app.ui.json(&PoolJson { socket, pid });
    }
    app.ui.note(format!("listening at {socket}"));
    Ok(())
}

/// Removes what dead programs left on the engine, and keeps up with the image that clients want.
async fn look_after(app: &App, engine: &Engine, process: &PoolProcess) -> Infallible {
    loop {
        tokio::select! {
            () = process.outdated() => {}
            () = tokio::time::sleep(LOOK_AFTER) => {}
        }
        let request = app.image_request(&());
        let look = async {
            runner::reap(engine, Timestamp::now()).await?;
            let image = images::ensure(engine, &request).await?;
            if let Some(key) = images::key(&request)? {
                process.use_image(PoolImage { key, image });
            }
            Ok::<_, anyhow::Error>(())
        };
        if let Err(error) = look.await {
            app.ui.warn(orchestrator::chain(error.as_ref()));
        }
        tokio::time::sleep(LOOK_PAUSE).await;
    }
}

/// Says when sandboxes cease to start and why, and when they start again.
async fn report_failures(app: &App, process: &PoolProcess) -> Infallible {
    let mut last = None;
    loop {
        tokio::time::sleep(REPORT_PAUSE).await;
        let failure = process.failure();
        if failure == last {
            continue;
        }
        match &failure {
            Some(why) => app.ui.warn(format!("sandboxes do not start: {why}")),
            None => app.ui.note("sandboxes start again"),
        }
        last = failure;
    }
}

async fn status(app: &App) -> anyhow::Result<ExitCode> {
    let socket = &app.settings.pool_socket;
    let status = pool_process::status(socket).await?;
    let socket = socket.display().to_string();
    if app.ui.is_json() {
        let (socket, status) = (socket.as_str(), &status);
        app.ui.json(&PoolStatusJson { socket, status })?;
    } else {
        print_status(app, &socket, &status)?;
    }
    Ok(ExitCode::Success)
}

fn print_status(app: &App, socket: &str, status: &PoolStatus) -> anyhow::Result<()> {
    let data = |name: &str, value: String| app.ui.data(field(name, value));
    data("socket", socket.to_owned())?;
    let uptime = format_duration(Duration::from_secs(status.uptime_s));
    let PoolStatus { pid, version, .. } = status;
    data(
        "process",
        format!("{pid}, version {version}, running for {uptime}"),
    )?;
    data(
        "engine",
        format!("{} at {}", status.engine_version, status.engine),
    )?;
    data("image", status.image.to_string())?;
    for class in &status.classes {
        let (memory, workspace) = (
            ByteSize::bytes(class.memory_bytes),
            ByteSize::bytes(class.workspace_bytes),
        );
        let packages = if class.image == status.image {
            String::new()
        } else {
            format!(", environment {}", class.image.short())
        };
        let packages = if class.imports.is_empty() {
            packages
        } else {
            format!("{packages}, has imported {}", joined(class.imports.names()))
        };
        let starting = match class.starting {
            0 => String::new(),
            starting => format!(", {starting} starting"),
        };
        data(
            "waiting",
            format!(
                "{} of {}{starting}: memory {memory}, {}, {} processes, workspace {workspace}{packages}",
                class.waiting,
                class.wanted,
                match class.cpu_millis {
                    1_000 => "1 CPU".to_owned(),
                    millis => format!("{} CPUs", f64::from(millis) / 1_000.0),
                },
                class.pids,
            ),
        )?;
        if let Some(why) = &class.failure {
            data("failing", one_line(why, FAILURE))?;
        }
    }
    data("leased", status.leased.to_string())?;
    let PoolStatus {
        hits,
        misses,
        refused,
        ..
    } = status;
    data(
        "so far",
        format!(
            "{hits} had waited, {misses} were started for a client, {refused} clients got none"
        ),
    )
}

async fn stop(app: &App) -> anyhow::Result<ExitCode> {
    let socket = &app.settings.pool_socket;
    let stopped = pool_process::stop(socket).await?;
    let socket = socket.display().to_string();
    if app.ui.is_json() {
        let socket = socket.as_str();
        app.ui.json(&PoolStopJson { socket, stopped })?;
    } else if stopped {
        app.ui.note(format!("the pool at {socket} has stopped"));
    } else {
        app.ui.note(format!(
            "the pool at {socket} is stopping; sandboxes that wait are still being removed"
        ));
    }
    Ok(ExitCode::Success)
}
