//! Whole tasks with scripted replies and in-memory sandboxes.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use jiff::Timestamp;
use llm::{ModelRef, Settings};
use orchestrator::{
    Assets, Context, Egress, Factory, FactoryError, TaskBudget, TaskReport, TaskRequest,
    TaskStatus, Unwatched, Watcher,
};
use runner::{FakeSandboxes, ImageId, Program};
use spec::{Digest, LimitSources, Limits, RunOutcome, RunResult, Skill, Tree};
use store::Store;
use tokio_util::sync::CancellationToken;

/// The same time and ids in each run of a test.
#[derive(Debug, Default)]
struct Fixed(AtomicU64);

impl Context for Fixed {
    fn now(&self) -> Timestamp {
        Timestamp::UNIX_EPOCH
    }

    fn next_id(&self) -> uuid::Uuid {
        uuid::Uuid::from_u128(u128::from(self.0.fetch_add(1, Ordering::Relaxed)) + 1)
    }
}

struct Bench {
    folder: tempfile::TempDir,
    factory: Factory,
    sandboxes: FakeSandboxes,
}

fn completed(answer: &str) -> RunOutcome {
    let result = RunResult {
        answer: answer.to_owned(),
        summary: String::new(),
    };
    RunOutcome::Completed { result }
}

fn raised(message: &str) -> RunOutcome {
    RunOutcome::Raised {
        exception: "ValueError".to_owned(),
        message: message.to_owned(),
        traceback: format!(
            "Traceback (most recent call last):\n  File \"a.py\", line 1\nValueError: {message}\n"
        ),
    }
}

impl Bench {
    fn new(script: &str, outcomes: Vec<RunOutcome>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let sandboxes = FakeSandboxes::scripted(outcomes);
        let mut bench = Self {
            factory: Factory {
                store: Arc::new(Store::ensure(&folder.path().join("store")).unwrap()),
                tasks: folder.path().join("tasks"),
                outputs: folder.path().join("outputs"),
                sandboxes: Arc::new(sandboxes.clone()),
                image: ImageId(Digest::of(b"image")),
                harness: None,
                engine: "in memory".to_owned(),
                model: None,
                subagent_model: None,
                egress: Egress::default(),
                environments: None,
                shell: orchestrator::ShellPolicy::default(),
                trust: orchestrator::trust::TrustPolicy::default(),
                assets: Assets::default(),
                context: Arc::new(Fixed::default()),
            },
            folder,
            sandboxes,
        };
        bench.script(script);
        bench
    }

    fn script(&mut self, script: &str) {
        let path: PathBuf = self.folder.path().join("script.yaml");
        std::fs::write(&path, format!("format: 1\n{script}")).unwrap();
        let model = ModelRef {
            provider: "scripted".to_owned(),
            id: path.display().to_string(),
        };
        self.factory.model = Some(llm::connect(&model, &Settings::default()).unwrap());
    }

    async fn solve(&self) -> Result<TaskReport, FactoryError> {
        self.solve_within(TaskBudget::default()).await
    }

    async fn solve_within(&self, budget: TaskBudget) -> Result<TaskReport, FactoryError> {
        let request = TaskRequest {
            task: "Count the lines.".to_owned(),
            tree: Arc::new(Tree::default()),
            mounts: Vec::new(),
            limits: Limits::default().into(),
            budget,
            grantable: BTreeSet::from([Skill::Llm]),
            egress: BTreeSet::new(),
        };
        let watcher: Arc<dyn Watcher> = Arc::new(Unwatched);
        self.factory
            .solve(&request, &watcher, CancellationToken::new())
            .await
    }

    fn heads(&self) -> Vec<String> {
        self.factory
            .store
            .heads()
            .unwrap()
            .iter()
            .map(|head| head.name.to_string())
            .collect()
    }

    /// Every step of the task's log.
    fn steps(&self, report: &TaskReport) -> Vec<serde_json::Value> {
        let folder = self
            .folder
            .path()
            .join("tasks")
            .join(report.task.to_string());
        let log = std::fs::read_to_string(folder.join("events.jsonl")).unwrap();
        let steps = log.lines().map(serde_json::from_str);
        steps.collect::<Result<_, _>>().unwrap()
    }

    /// What the model was told before the first turn.
    fn system(&self, report: &TaskReport) -> String {
        let steps = self.steps(report);
        let system = steps.iter().find_map(|step| step["system"].as_str());
        system.unwrap().to_owned()
    }

    /// The answers of the meta skills, as the model read them.
    fn answers(&self, report: &TaskReport) -> Vec<(String, bool, String)> {
        let steps = self.steps(report);
        let steps = steps.iter();
        steps
            .filter(|step| step["step"] == "answered")
            .map(|step| {
                let text = |key: &str| step[key].as_str().unwrap().to_owned();
                (
                    text("skill"),
                    step["is_error"].as_bool().unwrap(),
                    text("content"),
                )
            })
            .collect()
    }
}

const INSTALL: &str = r#"
agent:
  - calls:
      - tool: create_subagent
        arguments: {name: line-counter, description: Counts lines., code: "def main(q):\n    return 1\n", skills: []}
      - tool: run_subagent
        arguments: {name: line-counter, query: count}
  - expect: "ValueError: no file"
    calls:
      - tool: modify_subagent
        arguments: {name: line-counter, old: return 1, new: "return {'answer': '3'}"}
      - tool: run_subagent
        arguments: {name: line-counter, query: count}
  - expect: ["outcome: completed", "answer: 3"]
    calls:
      - tool: finish
        arguments: {answer: three, save: [{name: line-counter, note: first}]}
"#;

#[tokio::test]
async fn a_subagent_is_created_repaired_and_saved() {
    let bench = Bench::new(INSTALL, vec![raised("no file"), completed("3")]);
    let report = bench.solve().await.unwrap();
    // While the model thought, one was started; at the end none is kept.
    assert_eq!(bench.sandboxes.prewarmed(), [1, 0]);
    assert_eq!(
        (report.status, report.answer.as_str(), report.turns),
        (TaskStatus::Success, "three", 3)
    );
    assert_eq!(bench.heads(), ["line-counter"]);
    let version = bench
        .factory
        .store
        .version(&report.saved[0].version)
        .unwrap();
    let source = version
        .content
        .files
        .iter()
        .find(|(path, _)| path.to_string() == "line_counter.py");
    assert_eq!(
        String::from_utf8_lossy(&source.unwrap().1),
        "def main(q):\n    return {'answer': '3'}\n"
    );
    let answers: Vec<_> = bench
        .answers(&report)
        .into_iter()
        .map(|(skill, is_error, _)| (skill, is_error))
        .collect();
    let expected = [
        ("create_subagent", false),
        ("run_subagent", true),
        ("modify_subagent", false),
        ("run_subagent", false),
        ("finish", false),
    ];
    assert_eq!(
        answers,
        expected.map(|(skill, is_error)| (skill.to_owned(), is_error))
    );
}

#[tokio::test]
async fn a_subagent_has_limits_of_its_own_within_the_maximum() {
    let bench = Bench::new(
        r#"
agent:
  - calls:
      - tool: create_subagent
        arguments: {name: greedy, description: x, code: "x = 1", skills: [], limits: {memory: 64G}}
      - tool: create_subagent
        arguments: {name: wrong, description: x, code: "x = 1", skills: [], limits: {timeout: soon}}
      - tool: create_subagent
        arguments: {name: own, description: x, code: "def main(q):\n    return {}\n", skills: [], limits: {memory: 1G, timeout: 2m}}
      - tool: run_subagent
        arguments: {name: own, query: x}
      - tool: modify_subagent
        arguments: {name: own, limits: {memory: 600M, cpu_time: 30s}}
      - tool: run_subagent
        arguments: {name: own, query: x}
      - tool: finish
        arguments: {answer: done, save: [{name: own}]}
"#,
        vec![completed("1"), completed("2")],
    );
    let report = bench.solve().await.unwrap();
    let refused: Vec<_> = bench
        .answers(&report)
        .into_iter()
        .map(|one| one.1)
        .collect();
    assert_eq!(refused, [true, true, false, false, false, false, false]);
    let answers = bench.answers(&report);
    assert!(
        answers[0].2.contains("`--memory 64G`, at most 2G"),
        "{answers:?}"
    );
    let store = &bench.factory.store;
    let saved = report.saved[0].version;
    let limits = store.version(&saved).unwrap().content.limits.unwrap();
    assert_eq!(limits.memory, Some(spec::ByteSize::mib(600)));
    assert_eq!((limits.wall, limits.pids), (None, None));
    let of_run = |at: usize| store.run(&report.runs[at]).unwrap().limits;
    assert_eq!(of_run(0).wall, std::time::Duration::from_mins(2));
    assert_eq!(of_run(0).memory, spec::ByteSize::mib(1024));
    assert_eq!(of_run(1).cpu, Some(std::time::Duration::from_secs(30)));
    assert_eq!(of_run(1).wall, Limits::default().wall);

    // Saved, it has them wherever it runs; whoever runs it wins, and the operator over all.
    let reference = "own".parse().unwrap();
    let saved = |sources: &LimitSources| {
        let tree = Arc::new(Tree::default());
        let request = bench.factory.saved(&reference, "", tree, sources);
        request.map(|request| request.limits.memory)
    };
    let mut sources = LimitSources::default();
    assert_eq!(saved(&sources).unwrap(), spec::ByteSize::mib(600));
    sources.max.memory = Some(spec::ByteSize::mib(512));
    let error = saved(&sources).unwrap_err();
    assert!(matches!(error, FactoryError::Limits(_)), "{error}");
    assert!(error.hint().unwrap().contains("pass --memory"));
    sources.asked.memory = Some(spec::ByteSize::mib(300));
    assert_eq!(saved(&sources).unwrap(), spec::ByteSize::mib(300));
}

#[tokio::test]
async fn the_next_task_reuses_and_improves_what_was_saved() {
    let mut bench = Bench::new(
        INSTALL,
        vec![
            raised("no file"),
            completed("3"),
            completed("4"),
            raised("x"),
            completed("5"),
        ],
    );
    let first = bench.solve().await.unwrap();
    bench.script(
        r"
agent:
  - calls:
      - tool: run_subagent
        arguments: {name: line-counter, query: again}
  - calls:
      - {tool: finish, arguments: {answer: four, save: []}}
",
    );
    let reuse = bench.solve().await.unwrap();
    assert_eq!((reuse.turns, reuse.saved.len()), (2, 0));
    let Program::Subagent { query, .. } = &bench.sandboxes.specs()[2].program else {
        panic!()
    };
    assert_eq!(query, "again");

    bench.script(
        r#"
agent:
  - calls:
      - tool: run_subagent
        arguments: {name: line-counter, query: more}
  - calls:
      - tool: modify_subagent
        arguments: {name: line-counter, code: "def main(q):\n    return {'answer': q}\n"}
      - tool: run_subagent
        arguments: {name: line-counter, query: more}
      - tool: finish
        arguments: {answer: five, save: [{name: line-counter}]}
"#,
    );
    let evolved = bench.solve().await.unwrap();
    assert_eq!(evolved.saved[0].parent, Some(first.saved[0].version));
    let lineage = bench
        .factory
        .store
        .lineage(&"line-counter".parse().unwrap())
        .unwrap();
    let digests: Vec<_> = lineage.iter().map(|step| step.digest).collect();
    assert_eq!(digests, [first.saved[0].version, evolved.saved[0].version]);
}

#[tokio::test]
async fn a_pinned_head_stays_and_what_a_task_made_of_it_is_kept_under_a_tag() {
    let mut bench = Bench::new(
        INSTALL,
        vec![raised("no file"), completed("3"), completed("5")],
    );
    let first = bench.solve().await.unwrap();
    let name = "line-counter".parse().unwrap();
    let store = Arc::clone(&bench.factory.store);
    store.pin(&name, Timestamp::UNIX_EPOCH).unwrap();
    bench.script(
        r#"
agent:
  - calls:
      - tool: modify_subagent
        arguments: {name: line-counter, code: "def main(q):\n    return {'answer': q}\n"}
      - tool: run_subagent
        arguments: {name: line-counter, query: more}
      - tool: finish
        arguments: {answer: five, save: [{name: line-counter}]}
"#,
    );
    let second = bench.solve().await.unwrap();
    assert_eq!(second.status, TaskStatus::Success);
    assert!(!second.saved[0].head_moved);
    let head = store.head(&name).unwrap().unwrap();
    assert_eq!(
        (head.digest, head.is_pinned),
        (first.saved[0].version, true)
    );
    let kept = format!("line-counter:task-{}", second.task);
    let kept = store.resolve(&kept.parse().unwrap()).unwrap();
    assert_eq!(kept.digest, second.saved[0].version);
}

#[tokio::test]
async fn what_a_task_makes_stays_its_own_until_finish_accepts_it() {
    let script = r#"
agent:
  - calls:
      - tool: create_subagent
        arguments: {name: one, description: d, code: "x = 1", skills: []}
      - tool: finish
        arguments: {answer: a, save: [{name: one}]}
      - tool: run_subagent
        arguments: {name: one, query: q}
      - tool: finish
        arguments: {answer: a, save: [{name: one}]}
  - calls:
      - {tool: finish, arguments: {answer: gave up, save: [{name: one}], status: failure}}
      - {tool: finish, arguments: {answer: gave up, save: [], status: failure}}
"#;
    let bench = Bench::new(script, vec![raised("x")]);
    let report = bench.solve().await.unwrap();
    assert_eq!(report.status, TaskStatus::Failure);
    assert_eq!(bench.heads(), Vec::<String>::new());
    let refused = bench
        .answers(&report)
        .iter()
        .filter(|(skill, is_error, _)| skill == "finish" && *is_error)
        .count();
    assert_eq!(refused, 3);
}

#[tokio::test]
async fn a_call_that_does_not_fit_is_answered_with_what_would() {
    let cases = [
        (
            r"{tool: no_such_tool, arguments: {}}",
            "there is no tool `no_such_tool`; there are create_subagent",
        ),
        (
            r"{tool: run_subagent, arguments: {name: x}}",
            "missing field `query`",
        ),
        (
            r"{tool: run_subagent, arguments: {name: x, query: q, extra: 1}}",
            "unknown field `extra`",
        ),
        (
            r"{tool: run_subagent, arguments: {name: [1], query: q}}",
            "invalid type",
        ),
        (
            r"{tool: run_subagent, arguments: {name: nobody, query: q}}",
            "there is no subagent `nobody`",
        ),
        (
            r"{tool: run_subagent, arguments: {name: ../x, query: q}}",
            "cannot name a subagent",
        ),
        (
            r"{tool: create_subagent, arguments: {name: tools, description: d, code: x, skills: []}}",
            "reserved",
        ),
        (
            r"{tool: create_subagent, arguments: {name: a, description: d, code: x, skills: [browser]}}",
            "skills: llm",
        ),
        (
            r"{tool: create_subagent, arguments: {name: a, description: d, code: x, skills: [shell_command]}}",
            "does not allow",
        ),
        (
            r"{tool: create_subagent, arguments: {name: a, description: d, files: [{path: ../a.py, code: x}], skills: []}}",
            "not a path",
        ),
        (
            r"{tool: create_subagent, arguments: {name: a, description: d, skills: []}}",
            "give `code`",
        ),
        (
            r"{tool: modify_subagent, arguments: {name: a, old: x}}",
            "there is no subagent `a`",
        ),
        (
            r"{tool: view_subagent_code, arguments: {name: a@123}}",
            "does not name a version",
        ),
        (
            r"{tool: get_skill_description, arguments: {skill: nothing}}",
            "there is no subagent `nothing`",
        ),
        (
            r"{tool: finish, arguments: {save: []}}",
            "missing field `answer`",
        ),
        (
            r"{tool: finish, arguments: {answer: a, save: [{name: a}]}}",
            "there is no subagent `a`",
        ),
    ];
    let calls: Vec<_> = cases
        .iter()
        .map(|(call, _)| format!("      - {call}"))
        .collect();
    let calls = calls.join(
        "
",
    );
    let script = format!(
        "agent:\n  - calls:\n{calls}\n      - {{tool: finish, arguments: {{answer: done, save: []}}}}\n"
    );
    let bench = Bench::new(&script, Vec::new());
    let report = bench.solve().await.unwrap();
    let answers = bench.answers(&report);
    assert_eq!(answers.len(), cases.len() + 1);
    for ((call, expected), (_, is_error, content)) in cases.iter().zip(&answers) {
        assert!(*is_error && content.contains(expected), "{call}: {content}");
    }
}

#[tokio::test]
async fn a_syntax_error_is_told_before_a_run_is_spent() {
    let script = r#"
agent:
  - calls:
      - tool: create_subagent
        arguments: {name: one, description: d, code: "x = 1\ny = = 2\n", skills: []}
      - {tool: finish, arguments: {answer: a, save: []}}
"#;
    let bench = Bench::new(script, Vec::new());
    let report = bench.solve().await.unwrap();
    assert!(
        bench.answers(&report)[0]
            .2
            .contains("syntax error in one.py, line 2")
    );
}

#[tokio::test]
async fn budgets_end_a_task() {
    let script = r"
agent:
  - {repeat: true, calls: [{tool: list_saved_subagents}], usage: {input_tokens: 100, output_tokens: 1}}
";
    let bench = Bench::new(script, Vec::new());
    let turns = TaskBudget {
        turns_max: 3,
        ..TaskBudget::default()
    };
    let report = bench.solve_within(turns).await.unwrap();
    assert_eq!((report.status, report.turns), (TaskStatus::BudgetUsedUp, 3));
    let tokens = TaskBudget {
        tokens_max: 150,
        ..TaskBudget::default()
    };
    let report = bench.solve_within(tokens).await.unwrap();
    assert_eq!((report.status, report.turns), (TaskStatus::BudgetUsedUp, 2));
}

#[tokio::test]
async fn a_model_that_only_talks_is_nudged_and_then_left() {
    let bench = Bench::new("agent: [{repeat: true, text: Hello.}]", Vec::new());
    let report = bench.solve().await.unwrap();
    assert_eq!(
        (report.status, report.turns, report.answer.as_str()),
        (TaskStatus::NoFinish, 3, "Hello.")
    );
}

#[tokio::test]
async fn a_version_that_lost_the_race_for_its_name_is_kept_under_a_tag() {
    let bench = Bench::new(INSTALL, vec![raised("no file"), completed("3")]);
    let other = Bench::new(INSTALL, vec![raised("no file"), completed("3")]);
    // The rival publishes another version of the same name while the task is on its way.
    let theirs = {
        let report = other.solve().await.unwrap();
        let mut content = other
            .factory
            .store
            .version(&report.saved[0].version)
            .unwrap()
            .content;
        content.description = "Theirs.".to_owned();
        content
    };
    let store = Arc::clone(&bench.factory.store);
    let publish = move || {
        let staged = store.stage(&theirs).unwrap().digest();
        let name = "line-counter".parse().unwrap();
        store
            .publish(store::Publication {
                moves: vec![store::Move {
                    name,
                    from: None,
                    to: staged,
                }],
                at: Timestamp::UNIX_EPOCH,
                task: None,
                evidence: Vec::new(),
                note: String::new(),
            })
            .unwrap();
        staged
    };
    let outcomes = std::sync::Mutex::new(vec![completed("3"), raised("no file")]);
    let publish = std::sync::Mutex::new(Some(publish));
    let published = Arc::new(std::sync::Mutex::new(None));
    let seen = Arc::clone(&published);
    let mut factory = bench.factory.clone();
    factory.sandboxes = Arc::new(FakeSandboxes::new(move |run| {
        if let Some(publish) = publish.lock().unwrap().take() {
            *seen.lock().unwrap() = Some(publish());
        }
        let outcome = outcomes.lock().unwrap().pop().unwrap();
        async move { run.end(outcome) }
    }));
    let bench = Bench { factory, ..bench };
    let report = bench.solve().await.unwrap();
    assert_eq!(report.status, TaskStatus::Success);
    assert!(!report.saved[0].head_moved);
    let resolve = |text: &str| {
        bench
            .factory
            .store
            .resolve(&text.parse().unwrap())
            .unwrap()
            .digest
    };
    assert_eq!(Some(resolve("line-counter")), *published.lock().unwrap());
    assert_eq!(
        resolve(&format!("line-counter:task-{}", report.task)),
        report.saved[0].version
    );
}

#[tokio::test]
async fn what_cannot_be_composed_is_refused_with_what_to_do() {
    let script = r#"
agent:
  - calls:
      - {tool: create_subagent, arguments: {name: asker, description: Asks., code: "def main(q): pass", skills: [llm]}}
      - {tool: create_subagent, arguments: {name: early, description: x, code: "import asker", skills: [llm], depends: [asker]}}
      - {tool: run_subagent, arguments: {name: asker, query: q}}
      - {tool: create_subagent, arguments: {name: poor, description: x, code: "import asker", skills: [], depends: [asker]}}
      - {tool: create_subagent, arguments: {name: twice, description: x, code: "import asker", skills: [llm], depends: [asker, asker]}}
      - {tool: create_subagent, arguments: {name: lost, description: x, code: "import asker", skills: [llm], depends: [nobody]}}
      - {tool: create_subagent, arguments: {name: clash, description: x, skills: [llm], depends: [asker], entry: clash.py,
          files: [{path: clash.py, code: "import asker"}, {path: asker.py, code: ""}]}}
      - {tool: create_subagent, arguments: {name: rich, description: x, code: "import asker", skills: [llm], depends: [asker]}}
      - {tool: modify_subagent, arguments: {name: asker, code: "import rich", depends: [rich]}}
      - {tool: run_subagent, arguments: {name: rich, query: q}}
      - {tool: modify_subagent, arguments: {name: asker, code: "import rich", depends: [rich]}}
      - {tool: modify_subagent, arguments: {name: rich, skills: []}}
      - {tool: finish, arguments: {answer: done, save: [{name: asker}, {name: rich}]}}
"#;
    let bench = Bench::new(script, vec![completed("one"), completed("two")]);
    let report = bench.solve().await.unwrap();
    let answers = bench.answers(&report);
    let said = |at: usize, is_error: bool, text: &str| {
        let (skill, failed, content) = &answers[at];
        assert_eq!(*failed, is_error, "{at} {skill}: {content}");
        assert!(content.contains(text), "{at} {skill}: {content}");
    };
    said(1, true, "run it first");
    said(3, true, "it depends on `asker`");
    said(3, true, "add llm to its `skills`");
    said(4, true, "names `asker` twice");
    said(5, true, "there is no subagent `nobody`");
    said(6, true, "a file of it has that name");
    said(7, false, "`from asker import main`");
    said(8, true, "run it first");
    // A circle through the version of `asker` that `rich` was made with.
    said(10, true, "`asker` would depend on itself");
    said(11, true, "add llm to its `skills`");
    assert_eq!(bench.heads(), ["asker", "rich"]);
    let head = bench
        .factory
        .store
        .resolve(&"rich".parse().unwrap())
        .unwrap();
    let version = bench.factory.store.version(&head.digest).unwrap();
    let asker = bench
        .factory
        .store
        .resolve(&"asker".parse().unwrap())
        .unwrap();
    assert_eq!(
        version.content.depends,
        [("asker".parse().unwrap(), asker.digest)].into()
    );

    // What ran was composed, and the record says of what.
    let specs = bench.sandboxes.specs();
    let Program::Subagent { files, .. } = &specs[1].program else {
        panic!("a subagent ran");
    };
    let paths: Vec<_> = files.iter().map(|file| file.path.to_string()).collect();
    let folder = format!("_depends/asker@{}", &asker.digest.hex()[..16]);
    assert!(paths.contains(&format!("{folder}/asker.py")), "{paths:?}");
    assert!(paths.contains(&"asker/__init__.py".to_owned()), "{paths:?}");
    let record = bench.factory.store.run(&report.runs[1]).unwrap();
    assert_eq!(record.depends, version.content.depends);
}

/// Publishes subagents that count, and one that plays.
fn save_many(store: &Store, count: usize) {
    let path = spec::WorkspacePath::from_text("main.py").unwrap();
    let named: Vec<(String, String)> = (0..count)
        .map(|number| {
            (
                format!("counter-{number:03}"),
                format!("Counts in way {number}."),
            )
        })
        .chain([("lutist".to_owned(), "Plays the lute.".to_owned())])
        .collect();
    let moves = named.into_iter().map(|(name, description)| {
        let content = store::VersionContent {
            entry: path.clone(),
            description,
            files: vec![(path.clone(), b"def main(query): return {}\n".to_vec())],
            skills: BTreeSet::new(),
            depends: [].into(),
            egress: BTreeSet::new(),
            limits: None,
            python: "3.13".to_owned(),
            requirements: Vec::new(),
        };
        store::Move {
            name: name.parse().unwrap(),
            from: None,
            to: store.stage(&content).unwrap().digest(),
        }
    });
    let publication = store::Publication {
        moves: moves.collect(),
        at: Timestamp::UNIX_EPOCH,
        task: None,
        evidence: Vec::new(),
        note: String::new(),
    };
    store.publish(publication).unwrap();
}

/// The model is told of the few that fit, and finds the others.
#[tokio::test]
async fn of_many_saved_subagents_the_few_that_fit_are_shown() {
    let script = r"
agent:
  - calls:
      - {tool: search_subagents, arguments: {query: somebody who playes a lutte}}
      - {tool: search_subagents, arguments: {query: qqqqqq}}
      - {tool: list_saved_subagents, arguments: {}}
      - {tool: list_saved_subagents, arguments: {after: counter-049}}
      - {tool: list_saved_subagents, arguments: {after: zzz}}
      - {tool: list_saved_subagents, arguments: {after: ../x}}
      - {tool: finish, arguments: {answer: a, save: []}}
";
    for (count, shown, rest) in [(3, 4, None), (70, 12, Some("59 more are saved"))] {
        let bench = Bench::new(script, Vec::new());
        save_many(&bench.factory.store, count);
        let report = bench.solve().await.unwrap();
        let system = bench.system(&report);
        let named =
            |text: &str| text.matches("\n- counter-").count() + text.matches("\n- lutist").count();
        assert_eq!(named(&system), shown, "{system}");
        assert!(rest.is_none_or(|rest| system.contains(rest)), "{system}");
        assert_eq!(system.contains("more are saved"), rest.is_some());
        let answers = bench.answers(&report);
        assert!(
            answers[0].2.starts_with("- lutist: Plays the lute. ("),
            "{answers:?}"
        );
        assert!(answers[0].2.lines().count() <= 10);
        let page = |at: usize| answers[at].2.lines().count();
        if count == 70 {
            // A line says where the next page begins.
            assert_eq!((page(2), page(3)), (51, 21));
            assert!(
                answers[2].2.contains("after `counter-049`"),
                "{}",
                answers[2].2
            );
        } else {
            assert_eq!((page(2), page(3)), (4, 1));
        }
        assert_eq!(answers[4].2, "(no more)\n");
        assert!(answers[5].1, "{answers:?}");
    }
}
