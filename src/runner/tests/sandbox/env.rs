//! What the tests share: an engine, an image, and runs.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use runner::{
    Broker, DockerOptions, DockerSandboxes, Engine, EngineConfig, ImageId, MemoryBlobs, Mount,
    Observer, Owner, PoolOptions, Program, RunHost, SandboxSpec, Sandboxes as _, SlotOptions,
    Slots, SourceFile, ToolRequest,
};
use serde_json::{Value, json};
use spec::{
    ByteSize, Determinism, FileEntry, Imports, Limits, OutputStream, RunId, RunOutcome, RunReport,
    Tree, WorkspacePath,
};
use tokio::process::Command;
use tokio_util::sync::CancellationToken;

/// An engine with an image, and what a run needs on our side.
pub(crate) struct Env {
    pub(crate) engine: Engine,
    pub(crate) sandboxes: DockerSandboxes,
    pub(crate) image: ImageId,
    pub(crate) blobs: MemoryBlobs,
    pub(crate) observer: Arc<Recorder>,
    pub(crate) broker: Arc<dyn Broker>,
    pub(crate) limits: Limits,
    pub(crate) imports: Imports,
    pub(crate) determinism: Determinism,
    pub(crate) tree: Tree,
    pub(crate) mounts: Vec<Mount>,
    pub(crate) cancel: CancellationToken,
}

#[expect(
    clippy::disallowed_methods,
    reason = "tests are told where the engine is"
)]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// The runtime that is tested.
pub(crate) fn runtime() -> Option<String> {
    variable("AGENTFACTORY_TEST_RUNTIME")
}

/// Whether the full counts are to be run instead of a sample.
pub(crate) fn is_full() -> bool {
    variable("AGENTFACTORY_TEST_FULL").is_some()
}

impl Env {
    /// Connects; `None`, said aloud, where there is nothing to connect to.
    pub(crate) async fn open() -> Option<Self> {
        let missing = |what: &str| {
            let required = variable("AGENTFACTORY_TEST_REQUIRE_ENGINE").is_some_and(|v| v == "1");
            assert!(!required, "{what}, and AGENTFACTORY_TEST_REQUIRE_ENGINE=1");
            eprintln!("SKIPPED: {what}");
            None
        };
        let config = EngineConfig {
            host: variable("DOCKER_HOST"),
            ..EngineConfig::default()
        };
        let engine = match Engine::connect(&config).await {
            Ok(engine) => engine,
            Err(error) => return missing(&format!("no engine: {error}")),
        };
        let name = variable("AGENTFACTORY_TEST_IMAGE");
        let name = name.as_deref().unwrap_or("agentfactory/base:latest");
        let inspect = ["image", "inspect", "--format", "{{.Id}}", name];
        let output = Command::new("docker").args(inspect).output().await.unwrap();
        let id = String::from_utf8(output.stdout).unwrap();
        let Ok(id) = id.trim().parse() else {
            return missing(&format!("there is no image `{name}`"));
        };
        let image = ImageId(id);
        let options = DockerOptions {
            owner: Owner::of_this_process().unwrap(),
            runtimes: runner::Runtimes::always(runtime()),
            slots: slots(),
            pool: PoolOptions::default(),
            now: jiff::Timestamp::now,
        };
        Some(Self {
            sandboxes: DockerSandboxes::new(engine.clone(), options),
            engine,
            image,
            blobs: MemoryBlobs::default(),
            observer: Arc::default(),
            broker: Arc::new(NoTools),
            limits: Limits {
                wall: Duration::from_secs(20),
                ..Limits::default()
            },
            imports: Imports::NONE,
            determinism: Determinism::default(),
            tree: Tree::default(),
            mounts: Vec::new(),
            cancel: CancellationToken::new(),
        })
    }

    /// Adds a file to the workspace.
    pub(crate) fn file(mut self, path: &str, content: &[u8]) -> Self {
        let mut entries = self.tree.entries().to_vec();
        entries.push(FileEntry {
            path: WorkspacePath::from_text(path).unwrap(),
            size: content.len() as u64,
            digest: self.blobs.put(content),
            executable: false,
        });
        self.tree = Tree::from_entries(entries).unwrap();
        self
    }

    pub(crate) fn spec(&self, program: Program) -> SandboxSpec {
        SandboxSpec {
            run: RunId::from_uuid(uuid::Uuid::now_v7()),
            image: self.image.clone(),
            program,
            tree: Arc::new(self.tree.clone()),
            mounts: self.mounts.clone(),
            limits: self.limits.clone(),
            determinism: self.determinism,
            imports: self.imports.clone(),
            runtime: None,
            proxy: None,
        }
    }

    pub(crate) fn host(&self) -> RunHost {
        RunHost {
            blobs: Arc::new(self.blobs.clone()),
            broker: Arc::clone(&self.broker),
            observer: Arc::clone(&self.observer) as Arc<dyn Observer>,
        }
    }

    /// Runs and checks that the container is gone.
    pub(crate) async fn run(&self, program: Program) -> RunReport {
        let spec = self.spec(program);
        let run = spec.run;
        let report = self
            .sandboxes
            .run(spec, self.host(), self.cancel.clone())
            .await
            .unwrap();
        self.sandboxes.settle().await;
        assert!(!exists(&run).await, "the sandbox is gone");
        report
    }

    /// Runs a subagent of one file with the query `ping`.
    pub(crate) async fn python(&self, source: &str) -> RunReport {
        self.run(subagent(&[("main.py", source)], "ping")).await
    }

    pub(crate) async fn shell(&self, command: &str) -> RunReport {
        let command = command.to_owned();
        self.run(Program::Shell { command }).await
    }

    /// The content of what a run changed.
    pub(crate) fn changed(&self, report: &RunReport) -> BTreeMap<String, Vec<u8>> {
        let files = report.changed.iter();
        files
            .map(|file| (file.path.to_string(), self.blobs.get(&file.digest).unwrap()))
            .collect()
    }
}

/// Whether the container of a run is still on the engine.
pub(crate) async fn exists(run: &RunId) -> bool {
    let output = Command::new("docker")
        .args([
            "ps",
            "-aq",
            "--filter",
            &format!("label=agentfactory.run={run}"),
        ])
        .output()
        .await
        .unwrap();
    !output.stdout.is_empty()
}

pub(crate) fn subagent(files: &[(&str, &str)], query: &str) -> Program {
    let file = |(path, content): &(&str, &str)| SourceFile {
        path: WorkspacePath::from_text(path).unwrap(),
        content: Bytes::copy_from_slice(content.as_bytes()),
    };
    Program::Subagent {
        files: files.iter().map(file).collect(),
        entry: WorkspacePath::from_text(files[0].0).unwrap(),
        query: query.to_owned(),
    }
}

/// The answer of a completed run; anything else fails the test with the whole report.
pub(crate) fn answer(report: &RunReport) -> &str {
    match &report.outcome {
        RunOutcome::Completed { result } => &result.answer,
        _ => panic!("{report:#?}\n{}", stderr(report)),
    }
}

pub(crate) fn stdout(report: &RunReport) -> String {
    String::from_utf8_lossy(&report.stdout.content).into_owned()
}

pub(crate) fn stderr(report: &RunReport) -> String {
    String::from_utf8_lossy(&report.stderr.content).into_owned()
}

/// Keeps what was shown live.
#[derive(Debug, Default)]
pub(crate) struct Recorder {
    pub(crate) shown: Mutex<Vec<u8>>,
    pub(crate) first: tokio::sync::Notify,
}

impl Observer for Recorder {
    fn output(&self, _: OutputStream, bytes: &[u8]) {
        self.shown.lock().unwrap().extend_from_slice(bytes);
        self.first.notify_one();
    }
}

/// Refuses everything.
#[derive(Debug)]
pub(crate) struct NoTools;

impl Broker for NoTools {
    fn answer(&self, request: ToolRequest) -> BoxFuture<'_, Value> {
        async move { json!({"error": format!("{} is not granted", request.tool)}) }.boxed()
    }
}

/// Slots that all tests share.
pub(crate) fn slots() -> Slots {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("slots");
    Slots::open(SlotOptions::for_machine(
        directory,
        ByteSize::mib(16 << 10),
        4,
    ))
    .unwrap()
}
