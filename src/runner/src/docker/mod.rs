//! Sandboxes on the Docker Engine API.

pub(crate) mod calls;
mod collect;
mod container;
mod create;
mod events;
mod outcome;
mod ready;
mod requests;
mod restore;
mod session;
mod streams;
mod watch;
mod write;

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use jiff::Timestamp;
use spec::{Limits, PhaseTimings, RunOutcome, RunReport, limits};
use tokio::sync::OnceCell;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::mount::Granted;
use crate::reap::{self, Owner};
use crate::{Engine, RunHost, RunnerError, SandboxSpec, Sandboxes, mount};
use calls::{call, refusal};
use container::{Container, REMOVAL};
use ready::{Ending, Ready, Remains, Removal, Unready};

/// What a lease lasts beyond everything that has a deadline; clocks of two hosts differ.
const LEASE_SLACK: Duration = Duration::from_mins(5);

/// Sandboxes on a Docker Engine. Cloning it is cheap.
#[derive(Clone, Debug)]
pub struct DockerSandboxes {
    engine: Engine,
    options: Arc<DockerOptions>,
    /// That the engine has seccomp, once it has said so.
    checked: Arc<OnceCell<()>>,
}

/// How sandboxes are made on a Docker Engine.
#[derive(Clone, Debug)]
pub struct DockerOptions {
    /// Who owns the sandboxes, so that others can remove them after a crash.
    pub owner: Owner,
    /// The engine's runtime, such as `crun` or `runsc`; `None` is the engine's default.
    pub runtime: Option<String>,
    /// The clock that leases are written by.
    pub now: fn() -> Timestamp,
}

impl DockerSandboxes {
    /// Sandboxes on this engine. Nothing is asked of it yet.
    pub fn new(engine: Engine, options: DockerOptions) -> Self {
        Self {
            engine,
            options: Arc::new(options),
            checked: Arc::new(OnceCell::new()),
        }
    }

    /// Refuses an engine that cannot filter system calls.
    async fn check_engine(&self) -> Result<(), RunnerError> {
        let check = async {
            let info = call("describe itself", self.engine.docker.info()).await?;
            let options = info.security_options.unwrap_or_default();
            if options.iter().any(|option| option.contains("seccomp")) {
                return Ok(());
            }
            Err(RunnerError::Unsafe {
                why: "it reports no seccomp".to_owned(),
            })
        };
        self.checked.get_or_try_init(|| check).await.copied()
    }

    /// Checks the mounts, which reads directories: their disks may be slow.
    async fn granted(&self, spec: &SandboxSpec) -> Result<Granted, RunnerError> {
        let (mounts, address) = (spec.mounts.clone(), self.engine.address().to_owned());
        let checked = tokio::task::spawn_blocking(move || mount::check(&mounts, &address));
        let granted = checked.await.expect("the check does not panic");
        granted.map_err(RunnerError::Mount)
    }

    async fn run_one(
        &self,
        spec: SandboxSpec,
        host: RunHost,
        cancel: CancellationToken,
    ) -> Result<RunReport, RunnerError> {
        spec.limits.check().map_err(RunnerError::Limits)?;
        restore::check_sizes(&spec)?;
        let granted = self.granted(&spec).await?;
        let begun = Instant::now();
        let ready = Box::pin(self.start(&spec, &granted, &cancel)).await;
        let timings = PhaseTimings {
            lease: begun.elapsed(),
            ..PhaseTimings::default()
        };
        let ready = match ready {
            Ok(ready) => ready,
            Err(Unready::Failed(error)) => return Err(error),
            Err(Unready::Lost(why)) => {
                return Ok(RunReport::without_run(outcome::lost(&why), timings));
            }
            Err(Unready::Cancelled) => {
                return Ok(RunReport::without_run(RunOutcome::Cancelled, timings));
            }
        };
        let ran = session::run(&spec, &host, ready, timings, &cancel).await;
        let gone = ran.remains.remove(ran.ending).await;
        let mut result = ran.report;
        if let Ok(report) = &mut result
            && let RunOutcome::TimedOut { limit, .. } = report.outcome
            && !gone
        {
            // Then it is the engine that is known to have failed, and not the program.
            let limit = limit.as_secs();
            report.outcome = outcome::lost(&format!(
                "after its limit of {limit} s the engine did not confirm that it is gone"
            ));
        }
        result
    }

    /// Starts a sandbox for one run. Nothing of it is left when that fails.
    async fn start(
        &self,
        spec: &SandboxSpec,
        granted: &Granted,
        cancel: &CancellationToken,
    ) -> Result<Ready, Unready> {
        let labels = reap::labels(
            &self.options.owner,
            spec.run,
            lease_end((self.options.now)(), &spec.limits),
        );
        let runtime = self.options.runtime.as_deref();
        let body = create::body(&spec.image, &spec.limits, granted, runtime, labels);
        let name = format!("agentfactory-{}", spec.run);
        let container = Container::new(self.engine.clone(), name);
        // Both at once: the check costs nothing, and nothing starts before it has passed.
        let (created, checked) = tokio::join!(container.create(body), self.check_engine());
        let failed = match (created, checked) {
            (Err(error), _) => match refusal(&error) {
                Some(404) => {
                    let missing = RunnerError::ImageMissing(spec.image.clone());
                    return Err(Unready::Failed(missing));
                }
                // Refused, so there is nothing to remove.
                Some(_) => return Err(Unready::Failed(error)),
                None => Some(error),
            },
            (Ok(()), checked) => checked.err(),
        };
        let remains = Remains {
            end: container.watch(),
            removal: Removal::Container(container.clone()),
        };
        let attached = match failed {
            Some(error) => Err(error),
            None => container.attach().await,
        };
        let ended = match attached {
            Ok(line) => ready::wait(line, remains, granted.uid, container.start(), cancel).await,
            Err(error) => Err((Unready::Failed(error), remains)),
        };
        match ended {
            Ok(ready) => Ok(ready),
            Err((unready, remains)) => {
                remains.remove(Ending::Kill).await;
                Err(unready)
            }
        }
    }
}

impl Sandboxes for DockerSandboxes {
    fn run(
        &self,
        spec: SandboxSpec,
        host: RunHost,
        cancel: CancellationToken,
    ) -> BoxFuture<'_, Result<RunReport, RunnerError>> {
        self.run_one(spec, host, cancel).boxed()
    }
}

/// When a lease may end: after every deadline of the run.
fn lease_end(now: Timestamp, limits: &Limits) -> Timestamp {
    let total = limits.wall
        + 2 * limits::START
        + limits::STOP_GRACE
        + 2 * limits::COLLECT
        + REMOVAL
        + LEASE_SLACK;
    now.checked_add(total).unwrap_or(Timestamp::MAX)
}
