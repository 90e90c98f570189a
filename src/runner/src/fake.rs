//! Sandboxes in memory, for tests of whoever runs things in sandboxes.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Read;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use spec::{
    Captured, FileEntry, Imports, LeftBehind, Limits, OutputStream, PhaseTimings, Place,
    RunOutcome, RunReport, RunResult, RunUsage, WorkspacePath,
};
use tokio_util::sync::CancellationToken;

use crate::{ImageId, RunHost, RunnerError, SandboxSpec, Sandboxes, ToolRequest};

type Script = dyn Fn(FakeRun) -> BoxFuture<'static, FakeRun> + Send + Sync;

/// Sandboxes that run a closure instead of a program.
///
/// The rest is as the real ones: limits are checked, output is cut at its limit and ends the run,
/// files go through the host's [`Blobs`](crate::Blobs), unchanged ones are not reported, and cancelling or the
/// wall limit drops the closure and ends the run.
#[derive(Clone)]
pub struct FakeSandboxes {
    script: Arc<Script>,
    specs: Arc<Mutex<Vec<SandboxSpec>>>,
    prewarmed: Arc<Mutex<Vec<usize>>>,
}

impl fmt::Debug for FakeSandboxes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FakeSandboxes").finish_non_exhaustive()
    }
}

impl FakeSandboxes {
    /// Runs `script` for each run; it acts on the run it is given and hands it back.
    pub fn new<F, R>(script: F) -> Self
    where
        F: Fn(FakeRun) -> R + Send + Sync + 'static,
        R: Future<Output = FakeRun> + Send + 'static,
    {
        Self {
            script: Arc::new(move |run| script(run).boxed()),
            specs: Arc::default(),
            prewarmed: Arc::default(),
        }
    }

    /// Ends each run with the next of these outcomes.
    ///
    /// # Panics
    /// When there are more runs than outcomes.
    pub fn scripted(outcomes: impl IntoIterator<Item = RunOutcome>) -> Self {
        let outcomes = Mutex::new(outcomes.into_iter().collect::<Vec<_>>().into_iter());
        Self::new(move |run| {
            let outcome = lock(&outcomes).next();
            let outcome = outcome.expect("the script has an outcome for each run");
            async move { run.end(outcome) }
        })
    }

    /// What has been run so far, in the order of the starts.
    pub fn specs(&self) -> Vec<SandboxSpec> {
        lock(&self.specs).clone()
    }

    /// How many sandboxes were asked for ahead of need, each time.
    pub fn prewarmed(&self) -> Vec<usize> {
        lock(&self.prewarmed).clone()
    }
}

impl Sandboxes for FakeSandboxes {
    fn run(
        &self,
        spec: SandboxSpec,
        host: RunHost,
        cancel: CancellationToken,
    ) -> BoxFuture<'_, Result<RunReport, RunnerError>> {
        async move {
            spec.limits.check().map_err(RunnerError::Limits)?;
            lock(&self.specs).push(spec.clone());
            let stopped = FakeRun::new(spec.clone(), host.clone());
            let limit = spec.limits.wall;
            let run = tokio::select! {
                biased;
                () = cancel.cancelled() => stopped.end(RunOutcome::Cancelled),
                run = (self.script)(FakeRun::new(spec, host)) => run,
                () = tokio::time::sleep(limit) => stopped.end(RunOutcome::TimedOut { clock: spec::Clock::Wall, limit }),
            };
            Ok(run.report())
        }
        .boxed()
    }

    fn prewarm(&self, _: &ImageId, _: &Imports, _: &Limits, count: usize) {
        lock(&self.prewarmed).push(count);
    }
}

/// One run of a [`FakeSandboxes`].
#[derive(Clone, Debug)]
pub struct FakeRun {
    /// What is run.
    pub spec: SandboxSpec,
    /// The host's side.
    pub host: RunHost,
    outcome: RunOutcome,
    output: [Captured; 2],
    changed: BTreeMap<WorkspacePath, FileEntry>,
    removed: Vec<WorkspacePath>,
    left_behind: Vec<LeftBehind>,
}

impl FakeRun {
    fn new(spec: SandboxSpec, host: RunHost) -> Self {
        Self {
            spec,
            host,
            outcome: RunOutcome::Exited { status: 0 },
            output: [Captured::default(), Captured::default()],
            changed: BTreeMap::new(),
            removed: Vec::new(),
            left_behind: Vec::new(),
        }
    }

    /// Writes output, as the program would.
    #[must_use]
    pub fn print(mut self, stream: OutputStream, text: &str) -> Self {
        let limit = self.spec.limits.output;
        let captured = match stream {
            OutputStream::Stdout => &mut self.output[0],
            OutputStream::Stderr => &mut self.output[1],
        };
        let room = usize::try_from(limit.get()).unwrap_or(usize::MAX) - captured.content.len();
        let kept = &text.as_bytes()[..text.len().min(room)];
        captured.content.extend_from_slice(kept);
        captured.bytes += text.len() as u64;
        if captured.is_truncated() {
            self.outcome = RunOutcome::OutputLimit { stream, limit };
        }
        self.host.observer.output(stream, kept);
        self
    }

    /// Asks the broker, as the shims would.
    pub async fn ask(&self, tool: &str, arguments: serde_json::Value) -> serde_json::Value {
        let request = ToolRequest {
            tool: tool.to_owned(),
            arguments,
        };
        self.host.broker.answer(request).await
    }

    /// Reads a file of the workspace, as it is now.
    pub fn read(&self, path: &str) -> Option<Vec<u8>> {
        let path = WorkspacePath::from_text(path).ok()?;
        if self.removed.contains(&path) {
            return None;
        }
        let entry = self
            .changed
            .get(&path)
            .or_else(|| self.spec.tree.find(&path))?;
        let mut content = Vec::new();
        let mut file = self.host.blobs.open(&entry.digest).ok()?;
        file.read_to_end(&mut content).ok()?;
        Some(content)
    }

    /// Writes a file of the workspace.
    ///
    /// # Panics
    /// When the path is none, or the blobs cannot be written: the test is wrong.
    #[must_use]
    pub fn write(mut self, path: &str, content: &[u8]) -> Self {
        let path = WorkspacePath::from_text(path).expect("a test names valid paths");
        let mut sink = self.host.blobs.create().expect("blobs can be written");
        sink.write_all(content).expect("blobs can be written");
        let entry = FileEntry {
            path: path.clone(),
            size: content.len() as u64,
            digest: sink.finish().expect("blobs can be written"),
            executable: false,
        };
        self.removed.retain(|removed| *removed != path);
        if self.spec.tree.find(&path) == Some(&entry) {
            self.changed.remove(&path);
        } else {
            self.changed.insert(path, entry);
        }
        self
    }

    /// Removes a file of the workspace.
    ///
    /// # Panics
    /// When the path is none: the test is wrong.
    #[must_use]
    pub fn remove(mut self, path: &str) -> Self {
        let path = WorkspacePath::from_text(path).expect("a test names valid paths");
        self.changed.remove(&path);
        if self.spec.tree.find(&path).is_some() && !self.removed.contains(&path) {
            self.removed.push(path);
        }
        self
    }

    /// Leaves something behind, as a link or a device would be.
    #[must_use]
    pub fn leave(mut self, path: &str, why: &str) -> Self {
        self.left_behind.push(LeftBehind {
            path: path.to_owned(),
            why: why.to_owned(),
        });
        self
    }

    /// Ends with this outcome, unless a limit ended the run already.
    #[must_use]
    pub fn end(mut self, outcome: RunOutcome) -> Self {
        if !matches!(self.outcome, RunOutcome::OutputLimit { .. }) {
            self.outcome = outcome;
        }
        self
    }

    /// Ends with a result.
    #[must_use]
    pub fn complete(self, answer: &str, summary: &str) -> Self {
        self.end(RunOutcome::Completed {
            result: RunResult {
                answer: answer.to_owned(),
                summary: summary.to_owned(),
            },
        })
    }

    fn report(mut self) -> RunReport {
        self.removed.sort();
        let [stdout, stderr] = self.output;
        RunReport {
            outcome: self.outcome,
            stdout,
            stderr,
            changed: self.changed.into_values().collect(),
            removed: self.removed,
            left_behind: self.left_behind,
            usage: RunUsage {
                wall: Duration::from_millis(1),
                ..RunUsage::default()
            },
            timings: PhaseTimings::default(),
            place: Place::default(),
            imports: Imports::NONE,
        }
    }
}

/// A panic elsewhere leaves plain values as they are.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
