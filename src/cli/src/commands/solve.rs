//! `solve`: a task, or a file of them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use egress::HostRule;
use orchestrator::wire::TaskJson;
use orchestrator::{Factory, TaskBudget, TaskReport, TaskRequest, TaskStatus, changed_files};
use serde::Deserialize;
use spec::{LimitSources, format_duration, parse_duration};
use store::Store;
use tokio_util::sync::CancellationToken;

use super::shown_version;
use crate::app::{App, Models};
use crate::args::{
    EgressFlags, FolderFlags, Grants, LimitFlags, ModelFlags, SandboxFlags, check_length,
    text_or_stdin,
};
use crate::exit::{ExitCode, Failure, Interrupted, Problem};
use crate::folders::{Folders, Results, name_files};
use crate::ui::{Live, LiveKind, Text, Tone, Ui, continued, one_line, printable};
use crate::wire::QuestionJson;

/// Solve a task with subagents, and save those that are worth it
///
/// The answer is printed on standard output, progress on standard error. Exit code 0 only if the
/// task was solved.
#[derive(Debug, Args)]
pub(crate) struct SolveArgs {
    /// The task, in words; `-` reads it from standard input
    #[arg(
        required_unless_present = "question_file",
        conflicts_with = "question_file"
    )]
    task: Option<String>,
    /// Solve each line of this file: JSON with "question"; all else in a line is ignored
    ///
    /// Each is a task of its own, in order. A bad line or a failed task does not stop the rest.
    /// With --json each line gives one line. With --out each has a folder named by its line.
    #[arg(long, value_name = "FILE.jsonl")]
    question_file: Option<PathBuf>,
    /// Skills that subagents may be granted: `llm`, `shell_command`, `all` or `none` [default: all]
    #[arg(long, value_name = "SKILL,...")]
    grant: Option<Grants>,
    #[command(flatten)]
    models: ModelFlags,
    #[command(flatten)]
    budget: BudgetFlags,
    #[command(flatten)]
    folders: FolderFlags,
    #[command(flatten)]
    network: EgressFlags,
    #[command(flatten)]
    limits: LimitFlags,
    #[command(flatten)]
    sandbox: SandboxFlags,
}

/// Characters of a question that are shown before it is solved.
const ECHO: usize = 100;

/// What a task may use.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Budget options")]
pub(crate) struct BudgetFlags {
    /// Requests to the model [default: 40]
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    turns: Option<u32>,
    /// Tokens read and written, those of subagents included [default: 2000000]
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(1..))]
    tokens: Option<u64>,
    /// Wall time of the whole task, such as 20m [default: 1h]
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    task_timeout: Option<Duration>,
}

impl BudgetFlags {
    /// This budget where it is given, else that of `base`.
    fn over(&self, base: &TaskBudget) -> TaskBudget {
        TaskBudget {
            turns_max: self.turns.unwrap_or(base.turns_max),
            tokens_max: self.tokens.unwrap_or(base.tokens_max),
            wall: self.task_timeout.unwrap_or(base.wall),
        }
    }
}

/// Everything that tasks need but the engine.
struct Solver<'a> {
    app: &'a App,
    store: Arc<Store>,
    folders: Folders,
    limits: LimitSources,
    sandbox: SandboxFlags,
    budget: TaskBudget,
    grantable: Grants,
    egress: BTreeSet<HostRule>,
}

/// Solves one task or many.
pub(crate) async fn solve(app: &App, args: &SolveArgs) -> anyhow::Result<ExitCode> {
    let folders = Folders::resolve(&args.folders)?;
    let limits = app.limits(&args.limits);
    limits.resolve(None)?;
    let questions = match &args.question_file {
        Some(file) => Some(read_questions(file)?),
        None => None,
    };
    let task = args
        .task
        .as_deref()
        .map(|task| text_or_stdin("task", task))
        .transpose()?;
    if task.as_ref().is_some_and(|task| task.trim().is_empty()) {
        return Err(Problem::usage("the task is empty").into());
    }
    let models = Models::of_task(app, &args.models)?;
    let solver = Solver {
        app,
        store: app.store()?,
        folders,
        limits,
        sandbox: args.sandbox,
        budget: args.budget.over(&app.settings.budget),
        grantable: args.grant.clone().unwrap_or_else(Grants::all),
        egress: super::program::granted(app, &args.network)?,
    };
    match (questions, task) {
        (Some(questions), _) => solver.batch(models, questions).await,
        (None, task) => solver.one(models, &task.unwrap_or_default()).await,
    }
}

impl Solver<'_> {
    async fn one(&self, models: Models, task: &str) -> anyhow::Result<ExitCode> {
        let ui = &self.app.ui;
        let live = Live::start(ui, LiveKind::Task);
        let report = self
            .app
            .interrupts
            .guard(async |cancel| {
                let store = Arc::clone(&self.store);
                let factory = self
                    .app
                    .factory(store, models, self.sandbox, &live, &cancel);
                let factory = factory.await?;
                self.task(&factory, &self.folders, task, &live, cancel)
                    .await
            })
            .await
            .map_err(|error| self.located(&live, error))?;
        let shown = live.finish().and_then(|()| print_answer(ui, &report));
        let (json, delivered) = self.deliver(&self.folders, &report);
        let printed = if ui.is_json() { ui.json(&json) } else { Ok(()) };
        print_summary(ui, &report);
        delivered.and(shown).and(printed)?;
        Ok(exit_code(report.status))
    }

    /// Solves question after question. Only an interrupt, or an engine that cannot be used at all,
    /// ends it early.
    async fn batch(&self, models: Models, questions: Vec<Line>) -> anyhow::Result<ExitCode> {
        let ui = &self.app.ui;
        let count = questions.len();
        let mut failed = Vec::new();
        let live = Live::start(ui, LiveKind::Task);
        let factory = self
            .app
            .interrupts
            .guard(async |cancel| {
                self.app
                    .factory(
                        Arc::clone(&self.store),
                        models,
                        self.sandbox,
                        &live,
                        &cancel,
                    )
                    .await
            })
            .await?;
        live.finish()?;
        for Line { number, question } in questions {
            let folders = self.folders.with_out_below(&number.to_string());
            let (question, problem) = match question {
                Ok(question) => (Some(question), None),
                Err(problem) => (None, Some(problem)),
            };
            let solved = match (&question, problem) {
                (_, Some(problem)) => Err(problem.into()),
                (question, None) => {
                    let question = question.as_deref().unwrap_or_default();
                    let shown = one_line(&printable(question), ECHO);
                    ui.note(Text::new().with(Tone::Strong, format!("line {number}: {shown}")));
                    let live = Live::start(ui, LiveKind::Task);
                    let report = self
                        .app
                        .interrupts
                        .guard(async |cancel| {
                            self.task(&factory, &folders, question, &live, cancel).await
                        })
                        .await
                        .map_err(|error| self.located(&live, error));
                    live.finish()?;
                    report
                }
            };
            let code = match solved {
                Ok(report) => {
                    print_answer(ui, &report)?;
                    let (json, delivered) = self.deliver(&folders, &report);
                    if ui.is_json() {
                        ui.json(&QuestionJson::solved(number, question.as_deref(), &json))?;
                    }
                    print_summary(ui, &report);
                    match delivered {
                        Ok(()) => exit_code(report.status),
                        Err(error) => self.failed_line(number, &error),
                    }
                }
                Err(error) if error.is::<Interrupted>() => return Err(error),
                Err(error) => {
                    if ui.is_json() {
                        let failure = Failure::of(&error);
                        ui.json(&QuestionJson::failed(number, question.as_deref(), &failure))?;
                    }
                    self.failed_line(number, &error)
                }
            };
            match code {
                ExitCode::Success => {}
                ExitCode::Interrupted => return Err(Interrupted.into()),
                _ => failed.push(number.to_string()),
            }
        }
        if failed.is_empty() {
            ui.note(format!("{count} of {count} solved"));
            return Ok(ExitCode::Success);
        }
        let solved = count - failed.len();
        ui.complain(format!(
            "{solved} of {count} solved; not line {}",
            failed.join(", ")
        ));
        Ok(ExitCode::Failed)
    }

    /// Names the task that failed, and its log.
    fn located(&self, live: &Live, error: anyhow::Error) -> anyhow::Error {
        match live.task() {
            Some(task) if !error.is::<Interrupted>() => {
                let log = self.app.tasks().join(&task);
                error.context(format!("task {task}, with its log in `{}`", log.display()))
            }
            _ => error,
        }
    }

    /// Says why a line failed.
    fn failed_line(&self, number: usize, error: &anyhow::Error) -> ExitCode {
        let mut failure = Failure::of(error);
        failure.message = format!("line {number}: {}", failure.message);
        self.app.ui.failure_text(&failure);
        ExitCode::Failed
    }

    async fn task(
        &self,
        factory: &Factory,
        folders: &Folders,
        task: &str,
        live: &Live,
        cancel: CancellationToken,
    ) -> anyhow::Result<TaskReport> {
        let request = TaskRequest {
            task: task.to_owned(),
            tree: folders.import(self.app, &self.store, self.limits.resolve(None)?.workspace)?,
            mounts: folders.mounts().to_vec(),
            limits: self.limits.clone(),
            budget: self.budget.clone(),
            grantable: self.grantable.0.clone(),
            egress: self.egress.clone(),
        };
        Ok(factory.solve(&request, &live.watcher(), cancel).await?)
    }

    /// Brings the results to where they belong.
    fn deliver(&self, folders: &Folders, report: &TaskReport) -> (TaskJson, anyhow::Result<()>) {
        let id = report.task.to_string();
        let changed = changed_files(&report.input, &report.output);
        name_files(&self.app.ui, &changed);
        let results = Results {
            id: &id,
            is_accepted: report.status == TaskStatus::Success,
            base: &report.input,
            tree: &report.output,
            changed: &changed,
        };
        let (delivered, result) = folders.deliver(self.app, &self.store, &results);
        (TaskJson::new(report, delivered.write_back.as_ref()), result)
    }
}

fn exit_code(status: TaskStatus) -> ExitCode {
    match status {
        TaskStatus::Success => ExitCode::Success,
        TaskStatus::Cancelled => ExitCode::Interrupted,
        TaskStatus::Failure | TaskStatus::BudgetUsedUp | TaskStatus::NoFinish => ExitCode::Failed,
    }
}

/// The answer is data; why there is none is for people.
fn print_answer(ui: &Ui, report: &TaskReport) -> anyhow::Result<()> {
    let status = report.status;
    if status != TaskStatus::Success {
        let status = status.name().replace('_', " ");
        ui.complain(
            Text::new()
                .with(Tone::Bad, format!("{status}: "))
                .plain(continued(&report.answer, "| ")),
        );
    } else if !ui.is_json() {
        ui.data(report.answer.as_str())?;
    }
    Ok(())
}

/// What was saved, and what it took.
fn print_summary(ui: &Ui, report: &TaskReport) {
    for saved in &report.saved {
        let (from, to) = (shown_version(saved.parent.as_ref()), saved.version.short());
        let text = Text::new()
            .with(Tone::Good, "saved ")
            .with(Tone::Strong, saved.name.as_str());
        let text = text.plain(format!("  {from} -> {to}"));
        ui.note(if saved.head_moved {
            text
        } else {
            text.plain(format!(
                "; another process was first, or its head is pinned: it stays, and this is {}:task-{}",
                saved.name, report.task
            ))
        });
    }
    let (agent, subagents) = (report.agent_tokens, report.subagent_tokens);
    ui.note(Text::new().with(
        Tone::Dim,
        format!(
            "{} turns in {} with {}; tokens read and written: {} and {} by the Meta-Agent, {} and {} by subagents; task {}",
            report.turns,
            format_duration(report.wall),
            report.model,
            agent.input_tokens,
            agent.output_tokens,
            subagents.input_tokens,
            subagents.output_tokens,
            report.task
        ),
    ));
}

/// One line of a question file.
#[derive(Debug)]
struct Line {
    /// From 1.
    number: usize,
    /// The question, or what is wrong with the line.
    question: Result<String, Problem>,
}

fn read_questions(file: &Path) -> Result<Vec<Line>, Problem> {
    let shown = file.display();
    let bytes = std::fs::read(file).map_err(|error| {
        Problem::of_path(format!("the question file `{shown}` cannot be read"), error)
    })?;
    let questions = parse_questions(&bytes);
    if questions.is_empty() {
        return Err(Problem::usage(format!(
            "the question file `{shown}` is empty"
        )));
    }
    Ok(questions)
}

/// Takes a file apart; blank lines are not counted as questions.
fn parse_questions(bytes: &[u8]) -> Vec<Line> {
    #[derive(Deserialize)]
    struct Question {
        question: String,
    }
    let bytes = bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(bytes);
    let lines = bytes.split(|byte| *byte == b'\n').enumerate();
    lines
        .filter(|(_, line)| !line.trim_ascii().is_empty())
        .map(|(index, line)| {
            let parsed = serde_json::from_slice::<Question>(line);
            let question = match parsed {
                Ok(parsed) if parsed.question.trim().is_empty() => {
                    Err(Problem::usage("the question is empty"))
                }
                Ok(parsed) => check_length("question", &parsed.question).map(|()| parsed.question),
                Err(error) => Err(Problem::usage(format!(
                    "it is not JSON with a \"question\": {error}"
                ))),
            };
            Line {
                number: index + 1,
                question,
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_file_is_taken_apart_line_by_line() {
        let text = "\u{feff}{\"question\": \"a\", \"answer\": 1, \"odd\": []}\r\n\n[1]\nno\n{\"question\": \" \"}\n{\"question\":\"b\"}";
        let lines = parse_questions(text.as_bytes());
        let shown: Vec<_> = lines
            .iter()
            .map(|line| (line.number, line.question.is_ok()))
            .collect();
        assert_eq!(
            shown,
            [(1, true), (3, false), (4, false), (5, false), (6, true)]
        );
        assert!(matches!(&lines[0].question, Ok(question) if question == "a"));
        assert!(parse_questions(b"\n \n").is_empty());
        let long = "x".repeat(usize::try_from(spec::limits::QUERY.get()).unwrap());
        let line = |question: &str| format!("{{\"question\": \"{question}\"}}");
        let lines = parse_questions(
            format!("{}\n{}x", line(&long), line(&(long.clone() + "x"))).as_bytes(),
        );
        assert!(lines[0].question.is_ok() && lines[1].question.is_err());
        assert!(parse_questions(b"\xff\xfe")[0].question.is_err());
    }

    #[test]
    fn a_budget_of_nothing_is_refused() {
        use clap::Parser as _;
        for flag in ["--turns", "--tokens", "--task-timeout"] {
            let line = ["agentfactory", "solve", "task", flag, "0"];
            assert!(crate::args::Cli::try_parse_from(line).is_err(), "{flag}");
        }
    }
}
