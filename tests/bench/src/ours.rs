//! Sandboxes of ours, in this process.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use runner::{
    Broker, DockerOptions, DockerSandboxes, Engine, EngineConfig, ImageId, MemoryBlobs, Observer,
    Owner, PoolOptions, Program, RunHost, SandboxSpec, Sandboxes as _, SlotOptions, Slots,
    SourceFile, ToolRequest,
};
use spec::{
    ByteSize, FileEntry, Imports, Limits, OutputStream, PhaseTimings, RunId, RunOutcome, RunReport,
    Start, Tree, WorkspacePath,
};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::docker;

/// Small files of a workspace.
const MANY: usize = 1_000;
/// Bytes of a large file.
const LARGE: usize = 100_000_000;

/// Sandboxes on the machine's engine.
#[derive(Debug)]
pub(crate) struct Ours {
    engine: Engine,
    runtime: Option<String>,
    image: ImageId,
    slots: Slots,
    /// Those that are leased.
    pool: DockerSandboxes,
    /// Those that are started for each run.
    cold: DockerSandboxes,
    blobs: MemoryBlobs,
    _slots: tempfile::TempDir,
}

/// One run.
#[derive(Clone, Debug)]
pub(crate) struct Job {
    program: Program,
    tree: Arc<Tree>,
    limits: Limits,
    /// Another image than that of all others.
    image: Option<ImageId>,
    imports: Imports,
}

impl Job {
    pub(crate) fn subagent(source: &str) -> Self {
        let path = WorkspacePath::from_text("main.py").expect("a plain name");
        Self {
            program: Program::Subagent {
                files: vec![SourceFile {
                    path: path.clone(),
                    content: source.to_owned().into(),
                }],
                entry: path,
                query: String::new(),
            },
            tree: Arc::default(),
            limits: Limits::default(),
            image: None,
            imports: Imports::NONE,
        }
    }

    /// The same, in the image of an environment, in sandboxes that import this while they wait.
    pub(crate) fn with(self, image: ImageId, imports: Imports) -> Self {
        Self {
            image: Some(image),
            imports,
            ..self
        }
    }

    pub(crate) fn shell(command: &str) -> Self {
        Self {
            program: Program::Shell {
                command: command.to_owned(),
            },
            ..Self::subagent("")
        }
    }

    fn restore(entries: Vec<FileEntry>) -> anyhow::Result<Self> {
        Ok(Self {
            tree: Arc::new(Tree::from_entries(entries)?),
            ..Self::subagent("def main(query):\n    return {}\n")
        })
    }

    pub(crate) fn collect_many() -> Self {
        Self::subagent(&format!(
            "def main(query):\n    for number in range({MANY}):\n        open(f'file-{{number}}', 'w').write('x' * 100)\n    return {{}}\n"
        ))
    }

    pub(crate) fn collect_large() -> Self {
        Self::subagent(&format!(
            "def main(query):\n    open('large', 'wb').write(bytes({LARGE}))\n    return {{}}\n"
        ))
    }
}

/// What a sandbox that waits costs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Waiting {
    pub(crate) mib: f64,
    pub(crate) cpu_percent: f64,
}

impl Ours {
    pub(crate) async fn connect(image: &str, runtime: Option<&str>) -> anyhow::Result<Self> {
        let config = EngineConfig {
            host: variable("DOCKER_HOST"),
            ..EngineConfig::default()
        };
        let engine = Engine::connect(&config).await?;
        let inspect = ["docker", "image", "inspect", "--format", "{{.Id}}", image];
        let image = ImageId(docker::output(&inspect).await?.trim().parse()?);
        let folder = tempfile::tempdir()?;
        let cpus = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let memory = ByteSize::kib(meminfo("MemTotal")?);
        let mut options = SlotOptions::for_machine(PathBuf::from(folder.path()), memory, cpus);
        options.queue_timeout = Duration::from_mins(5);
        let slots = Slots::open(options)?;
        let sandboxes = |pool| -> anyhow::Result<DockerSandboxes> {
            Ok(DockerSandboxes::new(
                engine.clone(),
                DockerOptions {
                    owner: Owner::of_this_process()?,
                    runtimes: runner::Runtimes::always(runtime.map(str::to_owned)),
                    slots: slots.clone(),
                    pool,
                    now: jiff::Timestamp::now,
                },
            ))
        };
        Ok(Self {
            pool: sandboxes(PoolOptions::default())?,
            cold: sandboxes(PoolOptions::default())?,
            runtime: runtime.map(str::to_owned),
            engine: engine.clone(),
            image,
            slots,
            blobs: MemoryBlobs::default(),
            _slots: folder,
        })
    }

    pub(crate) fn engine(&self) -> String {
        self.engine.describe()
    }

    /// A workspace of many small files.
    pub(crate) fn restore_many(&self) -> anyhow::Result<Job> {
        let entries = (0..MANY).map(|number| {
            let content = format!("{number:0100}");
            self.entry(
                &format!("folder-{}/file-{number}", number % 10),
                content.as_bytes(),
            )
        });
        Job::restore(entries.collect::<anyhow::Result<_>>()?)
    }

    /// A workspace of one large file.
    pub(crate) fn restore_large(&self) -> anyhow::Result<Job> {
        let entry = self.entry("large", &vec![7; LARGE])?;
        Job::restore(vec![entry])
    }

    fn entry(&self, path: &str, content: &[u8]) -> anyhow::Result<FileEntry> {
        Ok(FileEntry {
            path: WorkspacePath::from_text(path)?,
            size: content.len() as u64,
            digest: self.blobs.put(content),
            executable: false,
        })
    }

    /// One run in a sandbox that waits for it.
    pub(crate) async fn leased(&self, job: &Job) -> anyhow::Result<Duration> {
        Ok(self.leased_phases(job).await?.0)
    }

    /// The same, with the time of each phase.
    pub(crate) async fn leased_phases(
        &self,
        job: &Job,
    ) -> anyhow::Result<(Duration, PhaseTimings)> {
        let image = self.image_of(job);
        self.pool.prewarm(image, &job.imports, &job.limits, 2);
        self.pool.warm().await;
        let (report, took) = self.run(&self.pool, job).await?;
        if report.timings.start != Start::Leased {
            bail!("no sandbox was ready");
        }
        Ok((took, report.timings))
    }

    /// Keeps no sandbox for such a run any more.
    pub(crate) fn give_up(&self, job: &Job) {
        let image = self.image_of(job);
        self.pool.prewarm(image, &job.imports, &job.limits, 0);
    }

    /// One run in a sandbox of the pool, or in one that is started for it.
    pub(crate) async fn pooled(&self, job: &Job) -> anyhow::Result<(Duration, Start)> {
        let image = self.image_of(job);
        self.pool
            .prewarm(image, &job.imports, &job.limits, usize::MAX);
        let (report, took) = self.run(&self.pool, job).await?;
        Ok((took, report.timings.start))
    }

    /// One run in a sandbox that is started for it.
    pub(crate) async fn cold(&self, job: &Job) -> anyhow::Result<Duration> {
        Ok(self.run(&self.cold, job).await?.1)
    }

    /// Waits until nothing happens on the engine that is our doing.
    pub(crate) async fn settle(&self) -> anyhow::Result<()> {
        self.pool.warm().await;
        self.pool.settle().await;
        self.cold.settle().await;
        Ok(())
    }

    pub(crate) async fn shutdown(&self) {
        self.pool.shutdown().await;
        self.cold.shutdown().await;
    }

    async fn run(
        &self,
        sandboxes: &DockerSandboxes,
        job: &Job,
    ) -> anyhow::Result<(RunReport, Duration)> {
        let (sandboxes, spec) = (sandboxes.clone(), self.spec(job));
        let host = self.host(Arc::new(Nobody));
        // In a job, as a program that serves many runs it.
        let mut jobs = JoinSet::new();
        jobs.spawn(async move {
            let began = Instant::now();
            let report = sandboxes.run(spec, host, CancellationToken::new()).await;
            (report, began.elapsed())
        });
        let (report, took) = jobs.join_next().await.context("a job")??;
        let report = report?;
        match report.outcome {
            RunOutcome::Completed { .. } | RunOutcome::Exited { status: 0 } => Ok((report, took)),
            outcome => bail!("a run failed: {outcome:?}"),
        }
    }

    /// Runs until it is killed, and says on standard output when the program runs.
    pub(crate) async fn run_for_ever(&self) -> anyhow::Result<()> {
        let job = Job::subagent(
            "import time\ndef main(query):\n    print('running', flush=True)\n    time.sleep(600)\n",
        );
        let host = self.host(Arc::new(Aloud));
        let run = self
            .cold
            .run(self.spec(&job), host, CancellationToken::new());
        bail!("the victim ended: {:?}", run.await?.outcome);
    }

    fn image_of<'a>(&'a self, job: &'a Job) -> &'a ImageId {
        job.image.as_ref().unwrap_or(&self.image)
    }

    fn spec(&self, job: &Job) -> SandboxSpec {
        SandboxSpec {
            run: RunId::from_uuid(uuid::Uuid::now_v7()),
            image: self.image_of(job).clone(),
            program: job.program.clone(),
            tree: Arc::clone(&job.tree),
            mounts: Vec::new(),
            limits: job.limits.clone(),
            determinism: spec::Determinism::default(),
            imports: job.imports.clone(),
            runtime: None,
            proxy: None,
        }
    }

    fn host(&self, observer: Arc<dyn Observer>) -> RunHost {
        RunHost {
            blobs: Arc::new(self.blobs.clone()),
            broker: Arc::new(Nobody),
            observer,
        }
    }

    /// Starts sandboxes that wait and says what one of them costs the machine: the difference in
    /// available memory, and the time its processes take while they wait.
    pub(crate) async fn waiting(&self, count: usize, watched: Duration) -> anyhow::Result<Waiting> {
        let none = &Imports::NONE;
        self.pool.prewarm(&self.image, none, &Limits::default(), 0);
        self.settle().await?;
        let sandboxes = DockerSandboxes::new(
            self.engine.clone(),
            DockerOptions {
                owner: Owner::of_this_process()?,
                runtimes: runner::Runtimes::always(self.runtime.clone()),
                slots: self.slots.clone(),
                pool: PoolOptions {
                    keep: count,
                    keep_max: count,
                    ..PoolOptions::default()
                },
                now: jiff::Timestamp::now,
            },
        );
        tokio::time::sleep(watched).await;
        let before = meminfo("MemAvailable")?;
        sandboxes.prewarm(&self.image, none, &Limits::default(), count);
        sandboxes.warm().await;
        let started = sandboxes.waiting();
        tokio::time::sleep(watched).await;
        let after = meminfo("MemAvailable")?;
        let ticks = ticks_of_sandboxes()?;
        tokio::time::sleep(watched).await;
        let ticks = ticks_of_sandboxes()?.saturating_sub(ticks);
        sandboxes.shutdown().await;
        if started != count {
            bail!("{started} of {count} sandboxes wait");
        }
        #[expect(clippy::cast_precision_loss, reason = "megabytes and seconds")]
        Ok(Waiting {
            mib: before.saturating_sub(after) as f64 / 1024.0 / count as f64,
            // Source: `proc_pid_stat(5)`: hundredths of a second.
            cpu_percent: ticks as f64 / watched.as_secs_f64() / count as f64,
        })
    }
}

/// Kibibytes. Source: `proc_meminfo(5)`.
fn meminfo(name: &str) -> anyhow::Result<u64> {
    let text = std::fs::read_to_string("/proc/meminfo")?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let value = line.and_then(|line| line.split_ascii_whitespace().next()?.parse().ok());
    value.with_context(|| format!("/proc/meminfo has no {name}"))
}

/// Processor time of all harnesses. Source: `proc_pid_stat(5)`, fields 14 and 15.
fn ticks_of_sandboxes() -> anyhow::Result<u64> {
    let mut ticks = 0;
    for process in std::fs::read_dir("/proc")? {
        let folder = process?.path();
        let command = std::fs::read(folder.join("cmdline")).unwrap_or_default();
        if !command.windows(10).any(|part| part == b"harness.py") {
            continue;
        }
        let stat = std::fs::read_to_string(folder.join("stat")).unwrap_or_default();
        let after = stat.rsplit(')').next().unwrap_or_default();
        let fields = after.split_ascii_whitespace().skip(11).take(2);
        ticks += fields
            .filter_map(|field| field.parse::<u64>().ok())
            .sum::<u64>();
    }
    Ok(ticks)
}

#[expect(
    clippy::disallowed_methods,
    reason = "the bench is told where the engine is"
)]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Nobody watches, and nothing is answered.
#[derive(Debug)]
struct Nobody;

impl Observer for Nobody {
    fn output(&self, _stream: OutputStream, _bytes: &[u8]) {}
}

impl Broker for Nobody {
    fn answer(&self, _request: ToolRequest) -> BoxFuture<'_, serde_json::Value> {
        async { serde_json::json!({ "error": "nobody answers" }) }.boxed()
    }
}

/// Says what the program says.
#[derive(Debug)]
struct Aloud;

impl Observer for Aloud {
    #[expect(
        clippy::print_stdout,
        reason = "whoever kills this process waits for it"
    )]
    fn output(&self, _stream: OutputStream, bytes: &[u8]) {
        println!("{}", String::from_utf8_lossy(bytes).trim_end());
    }
}
