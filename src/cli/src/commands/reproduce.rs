//! `reproduce`: a recorded run again and offline, or a version and its image from nothing.

use std::sync::Arc;

use anyhow::Context as _;
use clap::Args;
use orchestrator::{Check, Reproduction, rebuild_environment, rebuild_image, rebuild_version};
use runner::Warm;
use spec::{RunId, VersionRef};
use store::{RunProgram, Store, StoreErrorKind};

use super::program::quoted;
use crate::app::{App, Leasable, Models};
use crate::args::SandboxFlags;
use crate::exit::{ExitCode, Interrupted, Problem};
use crate::ui::{Live, LiveKind, Table, Text, Tone, one_line};
use crate::wire::ReproduceJson;

/// Run a recorded run again, offline, or make a version from nothing, and compare every digest
///
/// A run: same program, input, limits, image, runtime, clock and random numbers; tools, models and the
/// network answer from the record. The new run is not recorded. A version: it and the image that it runs
/// on are made once more in an empty home, with an empty cache. The exit code is 0 only if everything
/// is as it was; each difference is explained.
#[derive(Debug, Args)]
pub(crate) struct ReproduceArgs {
    /// The id of a run, its first 8 characters or more, or `last`; or a version: NAME@DIGEST
    #[arg(value_name = "RUN|NAME@DIGEST")]
    what: String,
    #[command(flatten)]
    sandbox: SandboxFlags,
}

/// Characters of a value in the table.
const VALUE: usize = 120;

/// What was named.
enum Named {
    Run(RunId),
    Version(VersionRef),
}

/// Runs it again.
pub(crate) async fn reproduce(app: &App, args: &ReproduceArgs) -> anyhow::Result<ExitCode> {
    match named(app, &*app.store()?, &args.what)? {
        Named::Run(run) => again(app, args, run).await,
        Named::Version(reference) => anew(app, args, &reference).await,
    }
}

/// A run, unless it can only be a version: the id of a run holds neither `@` nor `:`.
fn named(app: &App, store: &Store, text: &str) -> anyhow::Result<Named> {
    if text.contains(['@', ':']) {
        return Ok(Named::Version(text.parse()?));
    }
    match store.find_run(text) {
        Err(error) if error.kind() == StoreErrorKind::NotFound => {}
        found => return Ok(Named::Run(found?)),
    }
    let version = text.parse::<VersionRef>().ok();
    match version.filter(|reference| store.resolve(reference).is_ok()) {
        Some(reference) => Ok(Named::Version(reference)),
        // What is running, or died, has no record, and says so.
        None => super::runs::find(app, store, text).map(Named::Run),
    }
}

async fn again(app: &App, args: &ReproduceArgs, run: RunId) -> anyhow::Result<ExitCode> {
    let store = app.store()?;
    let record = store.run(&run)?;
    let limits = &record.limits;
    if limits.clone().at_most(&app.settings.limits.max) != *limits {
        return Err(Problem::refused(format!(
            "run {run} had limits above those that are allowed here"
        ))
        .hint("with lower ones it is another run; [limits.max] in the configuration says what is allowed")
        .into());
    }
    let live = Live::start(&app.ui, LiveKind::Subagent);
    let reproduction = app
        .interrupts
        .guard(async |cancel| {
            let warm = match record.program {
                RunProgram::Subagent { .. } => Warm::Interpreter,
                RunProgram::Shell { .. } => Warm::Shell,
            };
            // What it was in an environment is decided by its image, which a pool is not asked for.
            let wanted = record.place.environment.is_none().then_some(Leasable {
                warm,
                limits: &record.limits,
                packages: None,
            });
            let models = Models::default();
            let factory = app.factory_for_run(store, models, args.sandbox, wanted, &live, &cancel);
            let factory = factory.await?;
            let reproduction = factory.reproduce(&run, cancel.clone()).await?;
            if cancel.is_cancelled() {
                return Err(Interrupted.into());
            }
            Ok(reproduction)
        })
        .await?;
    live.finish()?;
    if app.ui.is_json() {
        app.ui.json(&ReproduceJson::new(run, &reproduction))?;
    } else {
        show(app, &reproduction)?;
    }
    Ok(code(reproduction.is_equal()))
}

/// Makes a version and its image once more.
async fn anew(app: &App, args: &ReproduceArgs, reference: &VersionRef) -> anyhow::Result<ExitCode> {
    let store = app.store()?;
    let scratch = tempfile::Builder::new()
        .prefix("reproduce-")
        .tempdir_in(&app.settings.home)
        .context("making a folder in the home")?;
    let live = Live::start(&app.ui, LiveKind::Build);
    let rebuilt = app
        .interrupts
        .guard(async |cancel| {
            let mut rebuilt = rebuild_version(&store, &app.trust()?, reference, scratch.path())?;
            let progress = live.progress();
            let request = app.image_request(&*progress);
            let image = async {
                let models = Models::default();
                let library = Arc::clone(&store);
                let factory = app.factory(library, models, args.sandbox, &live, &cancel);
                let (factory, watcher) = (factory.await?, live.watcher());
                let folder = scratch.path();
                rebuild_environment(&factory, folder, &watcher, &cancel, &mut rebuilt).await?;
                let engine = runner::Engine::connect(&app.settings.engine).await?;
                let folder = folder.join("images");
                rebuild_image(&engine, &request, &folder, &mut rebuilt).await?;
                Ok::<_, anyhow::Error>(())
            };
            tokio::select! {
                made = image => made?,
                () = cancel.cancelled() => return Err(Interrupted.into()),
            }
            Ok(rebuilt)
        })
        .await?;
    live.finish()?;
    if app.ui.is_json() {
        app.ui.json(&ReproduceJson::of_version(&rebuilt))?;
    } else {
        table(app, &rebuilt.checks)?;
        said(app, &rebuilt.checks, &rebuilt.notes, 0);
    }
    Ok(code(rebuilt.is_equal()))
}

fn code(is_equal: bool) -> ExitCode {
    if is_equal {
        ExitCode::Success
    } else {
        ExitCode::Failed
    }
}

fn show(app: &App, reproduction: &Reproduction) -> anyhow::Result<()> {
    table(app, &reproduction.checks)?;
    for one in &reproduction.unrecorded {
        let what = one_line(&one.what, VALUE);
        let title = Text::new()
            .with(Tone::Bad, "not in the record: ")
            .plain(what);
        app.ui.data(title)?;
        app.ui.data(quoted(&one.difference))?;
    }
    let unrecorded = reproduction.unrecorded.len();
    said(app, &reproduction.checks, &reproduction.notes, unrecorded);
    Ok(())
}

fn table(app: &App, checks: &[Check]) -> anyhow::Result<()> {
    let mut table = Table::new(&["WHAT", "SAME", "RECORDED", "REPRODUCED"]);
    for check in checks {
        let same = if check.is_equal() { "yes" } else { "NO" };
        let shown = |text: &str| one_line(text, VALUE);
        let again = if check.is_equal() {
            String::new()
        } else {
            shown(&check.reproduced)
        };
        table.row(&[
            check.what.to_owned(),
            same.to_owned(),
            shown(&check.recorded),
            again,
        ]);
    }
    let mut lines = table.render(app.ui.width()).into_iter();
    lines.try_for_each(|line| app.ui.data(line))
}

/// What it comes to.
fn said(app: &App, checks: &[Check], notes: &[String], unrecorded: usize) {
    let differing: Vec<_> = checks.iter().filter(|check| !check.is_equal()).collect();
    for check in &differing {
        if let Some(why) = &check.why {
            app.ui.note(format!("{}: {why}", check.what));
        }
    }
    for note in notes {
        app.ui.note(note.as_str());
    }
    match (differing.len(), unrecorded) {
        (0, 0) => app.ui.note("everything is as it was"),
        (count, 0) => app
            .ui
            .complain(format!("{count} of {} differ", checks.len())),
        (count, unrecorded) => app.ui.complain(format!(
            "{count} of {} differ; {unrecorded} requests are not in the record",
            checks.len()
        )),
    }
}
