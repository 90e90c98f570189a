//! `runs`: the recorded runs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use jiff::Timestamp;
use orchestrator::export;
use spec::wire::{ImportsJson, OutcomeJson, RunJson, StartJson};
use spec::{ByteSize, Digest, RunId, SubagentName, Tree, parse_duration};
use store::{
    Exchange, ExchangeKind, RUN_PREFIX_MIN, RunProgram, RunQuery, RunRecord, RunSummary, Store,
};

use super::output::{OutputArgs, logs, output};
use super::program::{print_outcome, print_usage, quoted};
use super::{field, files_of, joined, shown_at, shown_limits};
use crate::app::App;
use crate::exit::{ExitCode, Problem};
use crate::folders::name_withheld;
use crate::outcome::outcome_text;
use crate::ui::{Table, Ui, one_line};
use crate::wire::{HttpJson, RunFilesJson, RunLineJson, RunRecordJson, RunsJson};

/// List and show recorded runs, and fetch their files
#[derive(Debug, Subcommand)]
pub(crate) enum RunsCommand {
    List(ListArgs),
    /// Show one run: what ran, with which limits, and all that came of it
    Show {
        /// The id of the run, its first 8 characters or more, or `last`
        #[arg(value_name = "RUN")]
        run: String,
    },
    /// List the files that a run left in its workspace, or fetch them with --to
    Files {
        /// The id of the run, its first 8 characters or more, or `last`
        #[arg(value_name = "RUN")]
        run: String,
        /// Write them to this folder, over files of the same names
        #[arg(long, value_name = "DIR")]
        to: Option<PathBuf>,
    },
    Output(OutputArgs),
}

/// List the runs, newest first
#[derive(Clone, Debug, Args)]
pub(crate) struct ListArgs {
    /// List at most so many
    #[arg(short = 'n', long, value_name = "NUMBER", default_value_t = 20)]
    limit: usize,
    /// Only runs of this subagent
    #[arg(long, value_name = "NAME")]
    name: Option<SubagentName>,
    /// Only runs that ended so, such as `completed` or `raised`; or `running`, `died`
    #[arg(long, value_name = "KIND", value_parser = parse_outcome)]
    outcome: Option<&'static str>,
    /// Only runs since then: 90m, 12h or 7d ago, or a time such as 2026-01-31T08:00:00Z
    #[arg(long, value_name = "TIME", value_parser = parse_since)]
    since: Option<Since>,
    /// Only runs before this one: how the next page is asked for
    #[arg(long, value_name = "RUN")]
    before: Option<RunId>,
}

/// What only a log can say of a run.
const UNRECORDED: [&str; 2] = ["running", "died"];

fn parse_outcome(text: &str) -> Result<&'static str, String> {
    let mut known = OutcomeJson::KINDS.iter().chain(&UNRECORDED);
    known.find(|kind| **kind == text).copied().ok_or_else(|| {
        let known: Vec<_> = OutcomeJson::KINDS
            .iter()
            .chain(&UNRECORDED)
            .copied()
            .collect();
        format!("write one of {}", known.join(", "))
    })
}

/// A moment, or how long ago it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Since {
    At(Timestamp),
    Ago(Duration),
}

impl Since {
    fn at(self, now: Timestamp) -> Timestamp {
        match self {
            Self::At(at) => at,
            Self::Ago(ago) => now.checked_sub(ago).unwrap_or(Timestamp::MIN),
        }
    }
}

fn parse_since(text: &str) -> Result<Since, String> {
    let days = text
        .strip_suffix('d')
        .and_then(|days| days.parse::<u32>().ok());
    if let Some(days) = days {
        return Ok(Since::Ago(Duration::from_hours(24) * days));
    }
    if let Ok(ago) = parse_duration(text) {
        return Ok(Since::Ago(ago));
    }
    let at = text.parse::<Timestamp>();
    at.map(Since::At)
        .map_err(|_| "write 90m, 12h, 7d, or a time such as 2026-01-31T08:00:00Z".to_owned())
}

/// Characters of a URL in the list of exchanges.
const URL: usize = 200;
/// Characters of a query or command in the list.
const WHAT: usize = 60;

/// Lists or shows runs.
pub(crate) fn runs(app: &App, command: &RunsCommand) -> anyhow::Result<ExitCode> {
    let store = app.store()?;
    match command {
        RunsCommand::List(args) => list(app, &store, args),
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
        Some((log, is_running)) if prefix.len() >= RUN_PREFIX_MIN => {
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

fn list(app: &App, store: &Store, args: &ListArgs) -> anyhow::Result<ExitCode> {
    let limit = args.limit;
    let since = args.since.map(|since| since.at(Timestamp::now()));
    let mut runs = logged(app, store, args, since)?;
    let (mut code, mut next) = (ExitCode::Success, None);
    if !args.outcome.is_some_and(|kind| UNRECORDED.contains(&kind)) {
        let page = store.run_page(&RunQuery {
            name: args.name.clone(),
            version: None,
            outcome: args.outcome.map(str::to_owned),
            since,
            before: args.before,
            limit,
        })?;
        // One damaged record hides no other.
        for (run, error) in &page.unreadable {
            let why = orchestrator::chain(error);
            app.ui.complain(format!("run {run} cannot be read: {why}"));
            code = ExitCode::Failed;
        }
        let more = page.unreadable_count - page.unreadable.len();
        if more > 0 {
            app.ui.complain(format!("{more} more cannot be read"));
        }
        next = page.next;
        runs.extend(page.runs.iter().map(line));
    }
    // What runs comes first, the rest as it began.
    runs.sort_by_key(|run| (run.outcome != "running", std::cmp::Reverse(run.run)));
    if runs.len() > limit {
        runs.truncate(limit);
        next = runs.last().map(|run| run.run);
    }
    if app.ui.is_json() {
        app.ui.json(&RunsJson { runs, next })?;
        return Ok(code);
    }
    if runs.is_empty() {
        let is_all = args.name.is_none() && args.outcome.is_none() && since.is_none();
        app.ui.note(match (limit, is_all && args.before.is_none()) {
            (0, _) => "-n 0 lists nothing",
            (_, true) => "nothing has run yet",
            (_, false) => "no run is such a one",
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
    if let Some(next) = next {
        app.ui.note(format!("there are more: --before {next}"));
    }
    Ok(code)
}

/// The runs of which there is no record: they are running, or died with their process.
fn logged(
    app: &App,
    store: &Store,
    args: &ListArgs,
    since: Option<Timestamp>,
) -> anyhow::Result<Vec<RunLineJson>> {
    let now = Timestamp::now();
    let mut runs = Vec::new();
    for (log, is_running) in logs(&app.outputs())? {
        // It is recorded already, and about to lose its log.
        if store.has_run(&log.run)? {
            continue;
        }
        let outcome = if is_running { "running" } else { "died" };
        let name = args.name.as_ref();
        let is_wanted = args.outcome.is_none_or(|kind| kind == outcome)
            && name.is_none_or(|name| log.what == name.to_string())
            && since.is_none_or(|since| log.at >= since)
            && args.before.is_none_or(|before| log.run < before);
        if is_wanted {
            let wall = now.duration_since(log.at).as_secs_f64() * 1_000.0;
            runs.push(RunLineJson {
                run: log.run,
                at: log.at,
                what: one_line(&log.what, WHAT),
                version: log.version.map(|digest| digest.to_string()),
                outcome,
                wall_ms: is_running.then_some(wall),
            });
        }
    }
    Ok(runs)
}

fn line(run: &RunSummary) -> RunLineJson {
    let what = match (&run.name, &run.program) {
        (Some(name), _) => name.to_string(),
        (None, RunProgram::Subagent { entry, .. }) => entry.to_string(),
        (None, RunProgram::Shell { command }) => one_line(command, WHAT),
    };
    RunLineJson {
        run: run.run,
        at: run.at,
        what,
        version: run.version.map(|digest| digest.to_string()),
        outcome: run.outcome.kind(),
        wall_ms: Some(run.wall_ms),
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

/// `NAME@DIGEST` of each version.
fn shown_depends(depends: &BTreeMap<SubagentName, Digest>) -> Vec<String> {
    let depends = depends.iter();
    depends
        .map(|(name, digest)| format!("{name}@{digest}"))
        .collect()
}

/// The time that a run's clock began with.
fn clock(clock_ms: u64) -> Option<Timestamp> {
    Timestamp::from_millisecond(i64::try_from(clock_ms).ok()?).ok()
}

/// What a run was on and was given, as far as it is known.
fn show_place(ui: &Ui, record: &RunRecord) -> anyhow::Result<()> {
    let place = &record.place;
    let environment = place.environment.map(|environment| environment.layer);
    let clock = record.determinism.clock_ms.and_then(clock);
    let start = match record.report.start {
        StartJson::Cold => "cold",
        StartJson::Leased => "leased",
    };
    let start = match record.report.imports {
        None => start.to_owned(),
        Some(ImportsJson::Ahead) => format!("{start}, with what it imports"),
        Some(ImportsJson::Failed) => {
            format!("{start}, what it imports could not be imported before")
        }
    };
    for (name, value) in [
        ("runtime", place.runtime.clone()),
        ("python", place.python.clone()),
        ("harness", place.harness.map(|digest| digest.to_string())),
        ("environment", environment.map(|digest| digest.to_string())),
        ("clock", clock.map(|at| at.to_string())),
        ("seed", record.determinism.seed.map(|seed| seed.to_string())),
        ("start", Some(start)),
    ] {
        if let Some(value) = value {
            ui.data(field(name, value))?;
        }
    }
    for name in shown_depends(&record.depends) {
        ui.data(field("depends", name))?;
    }
    Ok(())
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
            runtime: record.place.runtime,
            python: record.place.python,
            harness: record.place.harness,
            environment: record.place.environment,
            depends: shown_depends(&record.depends),
            clock: record.determinism.clock_ms.and_then(clock),
            seed: record.determinism.seed,
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
    show_place(ui, &record)?;
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
