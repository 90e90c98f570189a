//! `runs`: the recorded runs.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Subcommand;
use jiff::Timestamp;
use orchestrator::export;
use spec::wire::{OutcomeJson, RunJson};
use spec::{ByteSize, Digest, RunId, Tree};
use store::{Exchange, ExchangeKind, RunProgram, RunRecord, Store};

use super::output::{OutputArgs, logs, output};
use super::program::{print_outcome, print_usage, quoted};
use super::{field, files_of, joined, shown_at, shown_limits};
use crate::app::App;
use crate::exit::{ExitCode, Problem};
use crate::folders::name_withheld;
use crate::outcome::{outcome_kind, outcome_text};
use crate::ui::{Table, one_line};
use crate::wire::{HttpJson, RunFilesJson, RunLineJson, RunRecordJson, RunsJson};

/// List and show recorded runs, and fetch their files
#[derive(Debug, Subcommand)]
pub(crate) enum RunsCommand {
    /// List the runs, newest first
    List {
        /// List at most so many
        #[arg(short = 'n', long, value_name = "NUMBER", default_value_t = 20)]
        limit: usize,
    },
    /// Show one run: what ran, with which limits, and all that came of it
    Show {
        /// The id of the run, or how it begins
        #[arg(value_name = "RUN")]
        run: String,
    },
    /// List the files that a run left in its workspace, or fetch them with --to
    Files {
        /// The id of the run, or how it begins
        #[arg(value_name = "RUN")]
        run: String,
        /// Write them to this folder, over files of the same names
        #[arg(long, value_name = "DIR")]
        to: Option<PathBuf>,
    },
    Output(OutputArgs),
}

/// Characters of a URL in the list of exchanges.
const URL: usize = 200;
/// Characters of a query or command in the list.
const WHAT: usize = 60;

/// Lists or shows runs.
pub(crate) fn runs(app: &App, command: &RunsCommand) -> anyhow::Result<ExitCode> {
    let store = app.store()?;
    match command {
        RunsCommand::List { limit } => list(app, &store, *limit),
        RunsCommand::Show { run } => {
            let run = find(app, &store, run)?;
            show(app, run, store.run(&run)?)
        }
        RunsCommand::Files { run, to } => {
            let run = find(app, &store, run)?;
            files(app, &store, run, to.as_deref())
        }
        RunsCommand::Output(args) => output(app, &store, args),
    }
}

/// The recorded run of this id.
pub(super) fn find(app: &App, store: &Store, prefix: &str) -> anyhow::Result<RunId> {
    let error = match store.find_run(prefix) {
        Ok(run) => return Ok(run),
        Err(error) => error,
    };
    let mut logs = logs(&app.outputs())?.into_iter();
    let found = logs.find(|(log, _)| log.run.to_string().starts_with(prefix));
    let (message, hint) = match found {
        Some((log, is_running)) if !prefix.is_empty() => {
            let run = log.run;
            if is_running {
                (
                    format!("the run `{run}` has not ended yet"),
                    format!("`agentfactory runs output {run} --follow` waits for its end"),
                )
            } else {
                (
                    format!("the run `{run}` has no record: the program that ran it died"),
                    format!("`agentfactory runs output {run}` shows what it wrote"),
                )
            }
        }
        _ => return Err(error.into()),
    };
    Err(Problem::not_found(message).hint(hint).into())
}

/// Bytes of the list of a run's files, as the store allows them.
const TREE_MAX: ByteSize = ByteSize::mib(512);

/// Lists or fetches the workspace of a run as it was at the end.
fn files(app: &App, store: &Store, run: RunId, to: Option<&Path>) -> anyhow::Result<ExitCode> {
    let record = store.run(&run)?;
    let digest = record.report.output_tree.ok_or_else(|| {
        Problem::not_found(format!("no files of the run `{run}` were kept"))
            .hint(format!("`agentfactory runs show {run}` says how it ended"))
    })?;
    let digest: Digest = digest.parse()?;
    let tree = Tree::from_bytes(&store.get_at_most(&digest, TREE_MAX)?)
        .with_context(|| format!("reading the tree {digest}"))?;
    let withheld = match to {
        Some(to) => export(store, to, tree.entries())?,
        None => Vec::new(),
    };
    name_withheld(&app.ui, &withheld);
    let path = to.map(|to| to.display().to_string());
    if app.ui.is_json() {
        app.ui.json(&RunFilesJson {
            run,
            tree: digest,
            path,
            files: tree.entries().iter().map(Into::into).collect(),
        })?;
        return Ok(ExitCode::Success);
    }
    if let Some(path) = path {
        let count = tree.entries().len() - withheld.len();
        app.ui
            .note(format!("{} written to `{path}`", files_of(count)));
        return Ok(ExitCode::Success);
    }
    if tree.entries().is_empty() {
        app.ui.note("its workspace was empty");
    }
    for file in tree.entries() {
        let size = ByteSize::bytes(file.size).to_string();
        app.ui
            .data(field(&format!("{size:>8}"), file.path.to_string()))?;
    }
    Ok(ExitCode::Success)
}

fn list(app: &App, store: &Store, limit: usize) -> anyhow::Result<ExitCode> {
    let ids = store.runs()?;
    let mut runs = Vec::new();
    let now = Timestamp::now();
    let mut died = Vec::new();
    for (log, is_running) in logs(&app.outputs())? {
        // It is recorded already, and about to lose its log.
        if ids.contains(&log.run) || (!is_running && store.run(&log.run).is_ok()) {
            continue;
        }
        let wall = now.duration_since(log.at).as_secs_f64() * 1_000.0;
        let line = RunLineJson {
            run: log.run,
            at: log.at,
            what: one_line(&log.what, WHAT),
            version: log.version.map(|digest| digest.to_string()),
            outcome: if is_running { "running" } else { "died" },
            wall_ms: is_running.then_some(wall),
        };
        if is_running {
            runs.push(line);
        } else {
            died.push(line);
        }
    }
    runs.truncate(limit);
    let running = runs.len();
    let ids = ids.into_iter().take(limit - running);
    let mut code = ExitCode::Success;
    for run in ids {
        match store.run(&run) {
            Ok(record) => runs.push(line(run, &record)),
            // One damaged record hides no other.
            Err(error) => {
                app.ui.complain(format!(
                    "run {run} cannot be read: {}",
                    orchestrator::chain(&error)
                ));
                code = ExitCode::Failed;
            }
        }
    }
    runs.extend(died);
    runs[running..].sort_by_key(|run| std::cmp::Reverse(run.at));
    runs.truncate(limit);
    if app.ui.is_json() {
        app.ui.json(&RunsJson { runs })?;
        return Ok(code);
    }
    if runs.is_empty() {
        app.ui.note(if limit == 0 {
            "-n 0 lists nothing"
        } else {
            "nothing has run yet"
        });
        return Ok(code);
    }
    let mut table = Table::new(&["RUN", "AT", "OUTCOME", "WALL", "WHAT"]);
    for run in runs {
        table.row(&[
            run.run.to_string(),
            shown_at(run.at),
            run.outcome.to_owned(),
            run.wall_ms
                .map_or_else(String::new, |ms| format!("{ms:.0}ms")),
            run.what,
        ]);
    }
    table
        .render(app.ui.width())
        .into_iter()
        .try_for_each(|line| app.ui.data(line))?;
    Ok(code)
}

fn line(run: RunId, record: &RunRecord) -> RunLineJson {
    let what = match (&record.name, &record.program) {
        (Some(name), _) => name.to_string(),
        (None, RunProgram::Subagent { entry, .. }) => entry.to_string(),
        (None, RunProgram::Shell { command }) => one_line(command, WHAT),
    };
    RunLineJson {
        run,
        at: record.at,
        what,
        version: record.report.version.clone(),
        outcome: outcome_kind(&record.report.outcome),
        wall_ms: Some(record.report.usage.wall_ms),
    }
}

/// The exchanges over HTTP, as far as people want to know of them.
fn http(cassette: &[Exchange]) -> Vec<HttpJson> {
    let http = cassette.iter().filter(|one| one.kind == ExchangeKind::Http);
    http.map(|one| {
        let answer = one.response["answer"].as_object();
        let (kind, answer) = answer
            .and_then(|answer| answer.iter().next())
            .map_or(("unknown", None), |(kind, answer)| {
                (kind.as_str(), Some(answer))
            });
        let text = |name: &str| answer.and_then(|answer| answer[name].as_str());
        let status = answer.and_then(|answer| answer["status"].as_u64());
        HttpJson {
            method: one.tool.clone(),
            url: one.request["url"].as_str().unwrap_or_default().to_owned(),
            status: status.and_then(|status| u16::try_from(status).ok()),
            answer: kind.to_owned(),
            reason: text("reason").or(text("cut")).map(str::to_owned),
            duration_ms: one.duration_ms,
        }
    })
    .collect()
}

/// What a run used and how long its phases took, for people.
fn totals(report: &RunJson) -> [(&'static str, Vec<String>); 2] {
    let millis = |name: &str, ms: f64| format!("{name} {ms:.1}ms");
    let (used, took) = (&report.usage, &report.timings_ms);
    let size = |name: &str, bytes| format!("{name} {}", ByteSize::bytes(bytes));
    let calls: u32 = used.skills.values().map(|used| used.calls).sum();
    let files: u64 = report.files.iter().map(|file| file.size).sum();
    let totals = vec![
        millis("wall", used.wall_ms),
        millis("processor", used.cpu_ms),
        size("memory", used.memory_peak_bytes),
        size("stdout", report.stdout.bytes),
        size("stderr", report.stderr.bytes),
        format!(
            "{} of {}",
            files_of(report.files.len()),
            ByteSize::bytes(files)
        ),
        format!("{calls} calls"),
    ];
    let timings = vec![
        millis("queue", took.queue),
        millis("lease", took.lease),
        millis("restore", took.restore),
        millis("first byte", took.first_byte),
        millis("run", took.run),
        millis("collect", took.collect),
    ];
    [("totals", totals), ("timings", timings)]
}

fn show(app: &App, run: RunId, record: RunRecord) -> anyhow::Result<ExitCode> {
    if app.ui.is_json() {
        app.ui.json(&RunRecordJson {
            at: record.at,
            name: record.name,
            program: record.program,
            grants: record.grants.into_iter().collect(),
            egress: record.egress.into_iter().collect(),
            limits: (&record.limits).into(),
            image: record.image,
            engine: record.engine,
            mounts: record.mounts,
            exchanges: record.cassette.len(),
            http: http(&record.cassette),
            report: record.report,
        })?;
        return Ok(ExitCode::Success);
    }
    let ui = &app.ui;
    let report = &record.report;
    ui.data(field("run", run.to_string()))?;
    ui.data(field("at", shown_at(record.at)))?;
    match (&record.name, &record.program) {
        (name, RunProgram::Subagent { entry, query, .. }) => {
            let name = name
                .as_ref()
                .map_or_else(|| entry.to_string(), ToString::to_string);
            ui.data(field("subagent", name))?;
            ui.data(field(
                "version",
                report.version.as_deref().unwrap_or("none"),
            ))?;
            ui.data(field("query", query))?;
        }
        (_, RunProgram::Shell { command }) => ui.data(field("command", command))?,
    }
    ui.data(field("outcome", outcome_text(&report.outcome)))?;
    ui.data(field("grants", joined(&record.grants)))?;
    ui.data(field("egress", joined(&record.egress)))?;
    ui.data(field("mounts", joined(&record.mounts)))?;
    ui.data(field("image", record.image.to_string()))?;
    ui.data(field("engine", &record.engine))?;
    ui.data(field("input tree", &report.input_tree))?;
    ui.data(field(
        "output tree",
        report.output_tree.as_deref().unwrap_or("unknown"),
    ))?;
    ui.data(field("exchanges", record.cassette.len().to_string()))?;
    for one in http(&record.cassette) {
        let status = one
            .status
            .map_or_else(|| "---".to_owned(), |status| status.to_string());
        let reason = one
            .reason
            .map_or_else(String::new, |reason| format!(": {reason}"));
        let url = one_line(&one.url, URL);
        ui.data(field(
            &one.answer,
            format!("{status} {} {url}{reason}", one.method),
        ))?;
    }
    if !report.replayable {
        ui.data(field(
            "replayable",
            "no: not all that it exchanged was read",
        ))?;
    }
    for (name, output) in [("stdout", &report.stdout), ("stderr", &report.stderr)] {
        if !output.text.is_empty() {
            ui.data(field(name, format!("{} bytes", output.bytes)))?;
            ui.data(quoted(&output.text))?;
        }
    }
    for (name, texts) in totals(report) {
        ui.data(field(name, texts.join(", ")))?;
    }
    let limits = shown_limits(&record.limits.to_partial());
    ui.data(field("limits", limits))?;
    // A command that ended well has no result of its own.
    let is_shell = matches!(record.program, RunProgram::Shell { .. });
    if !is_shell || report.outcome != (OutcomeJson::Exited { status: 0 }) {
        print_outcome(ui, report)?;
    }
    print_usage(ui, report);
    Ok(ExitCode::Success)
}
