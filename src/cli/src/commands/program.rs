//! What `run`, `exec` and `shell` share: one program in one sandbox.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use egress::HostRule;
use orchestrator::{Factory, FactoryError, FinishedRun, Requirements, RunRequest};
use runner::{Program, Warm};
use spec::wire::{OutcomeJson, RunJson};
use spec::{ByteSize, Determinism, FileEntry, Limits, Start, Tree, format_duration};
use store::Store;
use tokio_util::sync::CancellationToken;

use crate::app::{App, Leasable, Models, Packages};
use crate::args::{EgressFlags, SandboxFlags};
use crate::exit::{ExitCode, Problem};
use crate::folders::{Folders, Results, name_files, name_left_behind};
use crate::outcome::outcome_text;
use crate::ui::{Live, LiveKind, Text, Tone, Ui, continued};

/// Everything that one run needs but the engine.
#[derive(Debug)]
pub(super) struct Run<'a> {
    pub(super) app: &'a App,
    pub(super) store: Arc<Store>,
    pub(super) requirements: Requirements,
    /// What runs, as far as it is known before there is a sandbox.
    pub(super) program: Program,
    pub(super) determinism: Determinism,
    pub(super) folders: Folders,
    pub(super) limits: Limits,
    pub(super) models: Models,
    pub(super) sandbox: SandboxFlags,
    pub(super) kind: LiveKind,
}

impl Run<'_> {
    /// Runs a program, shows what came of it and brings the files to where they belong.
    ///
    /// # Errors
    /// When no run took place, it was interrupted, or its files could not be delivered.
    pub(super) async fn carry_out(
        self,
        request: impl FnOnce(&Factory, Arc<Tree>) -> anyhow::Result<RunRequest>,
    ) -> anyhow::Result<ExitCode> {
        let Self {
            app,
            store,
            requirements,
            program,
            determinism,
            folders,
            limits,
            models,
            sandbox,
            kind,
        } = self;
        limits.check()?;
        let tree = folders.import(app, &store, limits.workspace)?;
        // What is mounted is decided when a sandbox is made.
        let warm = match kind {
            LiveKind::Task | LiveKind::Subagent | LiveKind::Build => Warm::Interpreter,
            LiveKind::Shell => Warm::Shell,
        };
        let wanted = folders.mounts().is_empty().then_some(Leasable {
            warm,
            limits: &limits,
            packages: (!requirements.is_empty()).then_some(Packages {
                requirements: &requirements,
                program: &program,
                determinism,
            }),
        });
        let live = Live::start(&app.ui, kind);
        let (request, finished) = app
            .interrupts
            .guard(async |cancel| {
                let store = Arc::clone(&store);
                let factory = app.factory_for_run(store, models, sandbox, wanted, &live, &cancel);
                let factory = Box::pin(factory).await?;
                let mut request = request(&factory, Arc::clone(&tree))?;
                request.mounts = folders.mounts().to_vec();
                let finished = run_for_reader(app, &factory, &request, &live, cancel).await?;
                Ok((request, finished))
            })
            .await?;
        let shown = live.finish();

        let is_accepted = finished.succeeded(&request.program);
        let printed = if app.ui.is_json() {
            app.ui.json(&finished.json)
        } else {
            print_finished(&app.ui, &finished, &request.program)
        };
        name_left_behind(&app.ui, "left behind", &finished.report.left_behind);
        if let Some(output) = &finished.output {
            let results = Results {
                id: &finished.json.run,
                is_accepted,
                base: &tree,
                tree: output,
                changed: &finished.report.changed,
            };
            // What could not be shown is delivered all the same.
            folders.deliver(app, &store, &results).1?;
        }
        shown.and(printed)?;
        if let Some(wanted) = wanted.filter(|wanted| wanted.packages.is_some())
            && finished.report.timings.start == Start::Cold
        {
            app.keep_ready(sandbox, wanted).await;
        }
        Ok(match (&finished.json.outcome, is_accepted) {
            (_, true) => ExitCode::Success,
            _ if app.ui.reader_gone().is_cancelled() => ExitCode::Failed,
            (OutcomeJson::Cancelled {}, false) => ExitCode::Interrupted,
            (_, false) => ExitCode::Failed,
        })
    }
}

/// The hosts that a person grants, after a look at what the operator never allows.
///
/// # Errors
/// [`Problem`] for a host that is denied.
pub(super) fn granted(app: &App, flags: &EgressFlags) -> Result<BTreeSet<HostRule>, Problem> {
    let hosts: BTreeSet<HostRule> = flags.egress.iter().cloned().collect();
    for host in &hosts {
        app.settings.egress.check(host, &hosts).map_err(|why| {
            Problem::refused(format!("`{host}` cannot be reached: {why}"))
                .hint("only whoever writes the configuration can change that")
        })?;
    }
    Ok(hosts)
}

/// Runs a program, unless nobody reads its output any more.
async fn run_for_reader(
    app: &App,
    factory: &Factory,
    request: &RunRequest,
    live: &Live,
    cancel: CancellationToken,
) -> Result<FinishedRun, FactoryError> {
    let watcher = live.watcher();
    let mut running = pin!(factory.run(request, &watcher, cancel.clone()));
    tokio::select! {
        finished = &mut running => finished,
        () = app.ui.reader_gone().cancelled() => {
            cancel.cancel();
            running.await
        }
    }
}

fn print_finished(ui: &Ui, finished: &FinishedRun, program: &Program) -> anyhow::Result<()> {
    if matches!(program, Program::Shell { .. }) {
        let is_stopped = ui.reader_gone().is_cancelled();
        if !finished.succeeded(program) && !is_stopped {
            ui.complain(failed(&finished.json.outcome));
        }
        name_files(ui, &finished.report.changed);
        return Ok(());
    }
    print_run(ui, &finished.json, &finished.report.changed)
}

/// The result of a run: the answer is data, the rest is for people.
fn print_run(ui: &Ui, run: &RunJson, changed: &[FileEntry]) -> anyhow::Result<()> {
    print_outcome(ui, run)?;
    name_files(ui, changed);
    print_usage(ui, run);
    Ok(())
}

/// The answer of a run, or why there is none.
pub(super) fn print_outcome(ui: &Ui, run: &RunJson) -> anyhow::Result<()> {
    match &run.outcome {
        OutcomeJson::Completed {} => {
            if !run.answer.is_empty() {
                ui.data(run.answer.as_str())?;
            }
            if !run.summary.trim().is_empty() {
                ui.note(Text::new().with(Tone::Dim, quoted(&run.summary)));
            }
        }
        OutcomeJson::Raised { traceback, .. } => {
            ui.complain(quoted(traceback));
            ui.complain(failed(&run.outcome));
        }
        outcome => ui.complain(failed(outcome)),
    }
    Ok(())
}

/// What a run removed and used.
pub(super) fn print_usage(ui: &Ui, run: &RunJson) {
    for path in &run.removed {
        ui.note(Text::new().with(Tone::Dim, " removed  ").plain(path));
    }
    ui.note(Text::new().with(Tone::Dim, usage(run)));
}

fn failed(outcome: &OutcomeJson) -> Text {
    Text::new()
        .with(Tone::Bad, "failed: ")
        .plain(continued(&outcome_text(outcome), "| "))
}

/// A text of a program, which cannot be taken for ours.
pub(super) fn quoted(text: &str) -> String {
    format!("| {}", continued(text, "| "))
}

/// What a run used, in one line.
fn usage(run: &RunJson) -> String {
    let wall = Duration::from_secs_f64(run.usage.wall_ms.max(0.0) / 1_000.0);
    let memory = ByteSize::bytes(run.usage.memory_peak_bytes);
    let mut text = format!("{} wall time, {memory} memory", format_duration(wall));
    for (skill, used) in &run.usage.skills {
        let _ = write!(text, ", {} calls of {skill}", used.calls);
        if used.input_tokens + used.output_tokens > 0 {
            let (read, written) = (used.input_tokens, used.output_tokens);
            let _ = write!(text, " ({read} tokens read, {written} written)");
        }
    }
    format!("{text}, run {}", run.run)
}
