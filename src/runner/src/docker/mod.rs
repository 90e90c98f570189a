//! Sandboxes on the Docker Engine API.

pub(crate) mod calls;
mod collect;
mod create;
mod events;
mod outcome;
mod restore;
mod session;
mod watch;
mod write;

use std::sync::Arc;
use std::time::Duration;

use bollard::Docker;
use bollard::query_parameters::{
    AttachContainerOptions, CreateContainerOptions, RemoveContainerOptions, StartContainerOptions,
};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use jiff::Timestamp;
use spec::{Limits, RunOutcome, RunReport, limits};
use tokio::sync::OnceCell;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::mount::Granted;
use crate::reap::{self, Owner};
use crate::{Engine, RunHost, RunnerError, SandboxSpec, Sandboxes, mount};
use calls::{call, refusal};
use session::Ending;
use watch::{Gone, Watch};

/// How long the removal of a sandbox may take: the engine unmounts its file systems.
const REMOVAL: Duration = Duration::from_secs(30);
/// How long an engine that is removing a sandbox may be silent before it counts as hung. It answers
/// pings even when it is too busy for anything else.
const SILENCE: Duration = Duration::from_secs(6);
/// How long the engine is left alone after it has answered a ping.
const PING_PAUSE: Duration = Duration::from_secs(1);
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
        let name = format!("agentfactory-{}", spec.run);
        let labels = reap::labels(
            &self.options.owner,
            spec.run,
            lease_end((self.options.now)(), &spec.limits),
        );
        let runtime = self.options.runtime.as_deref();
        let body = create::body(&spec.image, &spec.limits, &granted, runtime, labels);
        let options = CreateContainerOptions {
            name: Some(name.clone()),
            platform: String::new(),
        };
        let create = call(
            "create a sandbox",
            self.engine.docker.create_container(Some(options), body),
        );
        // Both at once: the check costs nothing, and nothing starts before it has passed.
        let (created, checked) = tokio::join!(create, self.check_engine());
        let mut sandbox = Sandbox {
            watch: Watch::new(self.engine.docker.clone(), name.clone()),
            engine: &self.engine,
            name,
        };
        let (mut result, ending) = match (created, checked) {
            (Ok(_), Ok(())) => sandbox.run(&spec, &host, &cancel, begun).await,
            (Ok(_), Err(error)) => (Err(error), Ending::Kill),
            (Err(error), _) => match refusal(&error) {
                Some(404) => return Err(RunnerError::ImageMissing(spec.image)),
                // Refused, so there is nothing to remove.
                Some(_) => return Err(error),
                None => (Err(error), Ending::Kill),
            },
        };
        let gone = sandbox.remove(ending).await;
        if let Ok(report) = &mut result
            && let RunOutcome::TimedOut { limit } = report.outcome
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

/// One container, created.
struct Sandbox<'a> {
    engine: &'a Engine,
    name: String,
    watch: Watch,
}

impl Sandbox<'_> {
    /// Attaches, starts, and sees the run to its end. The container may still be there after it.
    async fn run(
        &mut self,
        spec: &SandboxSpec,
        host: &RunHost,
        cancel: &CancellationToken,
        begun: Instant,
    ) -> (Result<RunReport, RunnerError>, Ending) {
        let docker = &self.engine.docker;
        let options = AttachContainerOptions {
            stream: true,
            stdin: true,
            stdout: true,
            stderr: true,
            ..AttachContainerOptions::default()
        };
        let attach = call(
            "attach to a sandbox",
            docker.attach_container(&self.name, Some(options)),
        );
        let attached = match attach.await {
            Ok(attached) => attached,
            Err(error) => return (Err(error), Ending::Kill),
        };
        let start = call(
            "start a sandbox",
            docker.start_container(&self.name, None::<StartContainerOptions>),
        );
        session::run(spec, host, begun, attached, start, &mut self.watch, cancel).await
    }

    /// Removes the container if it does not go by itself, and says whether it is gone.
    ///
    /// A failure is only logged: the run's report is worth more, and the reaper comes again. An
    /// engine that has fallen silent is not waited for.
    async fn remove(&mut self, ending: Ending) -> bool {
        let docker = self.engine.docker.clone();
        let removed = tokio::select! {
            removed = tokio::time::timeout(REMOVAL, self.see_off(ending)) => removed.unwrap_or(false),
            () = silence(&docker) => false,
        };
        if !removed {
            tracing::error!(container = self.name, "a sandbox could not be removed");
        }
        removed
    }

    async fn see_off(&mut self, ending: Ending) -> bool {
        if ending == Ending::ByItself && self.is_gone(REMOVAL / 2).await {
            return true;
        }
        let options = RemoveContainerOptions {
            force: true,
            ..RemoveContainerOptions::default()
        };
        let removal = call(
            "remove a sandbox",
            self.engine
                .docker
                .remove_container(&self.name, Some(options)),
        );
        match removal.await {
            Ok(()) => true,
            Err(error) => match refusal(&error) {
                Some(404) => true,
                // Its removal is under way.
                Some(409) => self.is_gone(REMOVAL).await,
                _ => false,
            },
        }
    }

    async fn is_gone(&mut self, limit: Duration) -> bool {
        matches!(self.watch.gone_within(limit).await, Gone::Removed(_))
    }
}

/// Returns when the engine does not answer any more.
async fn silence(docker: &Docker) {
    while let Ok(Ok(_)) = tokio::time::timeout(SILENCE, docker.ping()).await {
        tokio::time::sleep(PING_PAUSE).await;
    }
}
