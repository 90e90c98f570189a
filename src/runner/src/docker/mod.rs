//! Sandboxes on the Docker Engine API.

pub(crate) mod calls;
mod collect;
pub(crate) mod container;
mod create;
mod events;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
pub(crate) mod hand_out;
mod outcome;
mod pool;
mod ready;
mod removals;
mod requests;
mod restore;
mod session;
mod start;
mod streams;
mod trial;
mod watch;
mod write;

use std::sync::{Arc, Mutex, PoisonError};

use futures::FutureExt as _;
use futures::future::BoxFuture;
use jiff::Timestamp;
use spec::{Imports, Limits, PhaseTimings, RunOutcome, RunReport, Start};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::mount::Checked;
use crate::reap::{self, Owner};
use crate::watchdog::{self, Watchdog};
use crate::{
    Engine, ImageId, Permit, RunHost, RunnerError, Runtimes, SandboxSpec, Sandboxes, Slots, mount,
};
use container::{SILENCE, silence};
use pool::{Class, Pool};
use ready::{Ending, Ready, Removal, Unready};
use removals::Removals;
use session::Ran;
use start::{Order, Starter};

pub use pool::{PoolOptions, Warm};
pub use trial::{Trial, TrialEnd};

/// How often the engine is asked for sandboxes that are to be removed.
const REMOVE_ROUNDS: usize = 3;

/// Sandboxes on a Docker Engine. Cloning it is cheap.
///
/// Sandboxes are started ahead of need when [`Sandboxes::prewarm`] says so. When the last clone is
/// dropped, those that wait end; [`Sandboxes::shutdown`] waits until all are gone.
#[derive(Clone, Debug)]
pub struct DockerSandboxes {
    starter: Arc<Starter>,
    pool: Arc<Pool>,
    removals: Removals,
    lent: Arc<Mutex<Option<Permit>>>,
}

/// How sandboxes are made on a Docker Engine.
#[derive(Clone, Debug)]
pub struct DockerOptions {
    /// Who owns the sandboxes, so that others can remove them after a crash.
    pub owner: Owner,
    /// Which of the engine's runtimes sandboxes run under.
    pub runtimes: Runtimes,
    /// How many sandboxes there may be, and as whom they run.
    pub slots: Slots,
    /// How many wait, and how long.
    pub pool: PoolOptions,
    /// The clock that leases are written by.
    pub now: fn() -> Timestamp,
}

impl DockerSandboxes {
    /// Sandboxes on this engine. Nothing is asked of it yet.
    pub fn new(engine: Engine, options: DockerOptions) -> Self {
        let removals = Removals::default();
        let counts = options.slots.options();
        let places = counts.sandboxes_max.saturating_sub(counts.runs_max);
        let places = usize::try_from(places).unwrap_or(usize::MAX);
        let pool = PoolOptions {
            keep: options.pool.keep.min(places),
            keep_max: options.pool.keep_max.min(places),
            ..options.pool.clone()
        };
        let starter = Arc::new(Starter::new(engine, Arc::new(options)));
        Self {
            pool: Arc::new(Pool::new(Arc::clone(&starter) as _, pool, removals.clone())),
            starter,
            removals,
            lent: Arc::new(Mutex::new(None)),
        }
    }

    /// Gives the next run a permit that was waited for already.
    pub fn lend(&self, permit: Permit) {
        let mut lent = self.lent.lock().unwrap_or_else(PoisonError::into_inner);
        *lent = Some(permit);
    }

    /// A permit for a run: one that was lent, else one that is waited for.
    async fn permit(&self, cancel: &CancellationToken) -> Result<Option<Permit>, RunnerError> {
        let lent = {
            let mut lent = self.lent.lock().unwrap_or_else(PoisonError::into_inner);
            lent.take()
        };
        match lent {
            Some(permit) => Ok(Some(permit)),
            None => self.starter.options.slots.permit(cancel).await,
        }
    }

    /// How many sandboxes wait for runs.
    pub fn waiting(&self) -> usize {
        self.pool.waiting()
    }

    /// Waits until as many sandboxes wait as [`Sandboxes::prewarm`] asked for, or until no more can
    /// be started.
    pub async fn warm(&self) {
        self.pool.warm().await;
    }

    /// Waits until the sandboxes of all runs that have ended are gone.
    pub async fn settle(&self) {
        self.removals.settle().await;
    }

    /// Checks the mounts, which reads directories: their disks may be slow.
    async fn check_mounts(&self, spec: &SandboxSpec) -> Result<Checked, RunnerError> {
        if spec.mounts.is_empty() {
            return Ok(mount::none());
        }
        let (mounts, address) = (
            spec.mounts.clone(),
            self.starter.engine.address().to_owned(),
        );
        let checked = tokio::task::spawn_blocking(move || mount::check(&mounts, &address));
        let checked = checked.await.expect("the check does not panic");
        checked.map_err(RunnerError::Mount)
    }

    async fn run_one(
        &self,
        spec: SandboxSpec,
        host: RunHost,
        cancel: CancellationToken,
    ) -> Result<RunReport, RunnerError> {
        spec.limits.check().map_err(RunnerError::Limits)?;
        restore::check_sizes(&spec)?;
        let mounts = self.check_mounts(&spec).await?;
        let slots = &self.starter.options.slots;
        let mut timings = PhaseTimings::default();
        let Some(permit) = self.permit(&cancel).await? else {
            return Ok(RunReport::without_run(RunOutcome::Cancelled, timings));
        };
        timings.queue = permit.queued;
        let begun = Instant::now();
        let runtime = self.runtime_of(&spec).await;
        if let Some(ready) = self.lease(&spec, runtime.as_deref()) {
            timings.lease = begun.elapsed();
            timings.start = Start::Leased;
            let runtime = runtime.as_deref();
            let ran = self.converse(&spec, &host, ready, runtime, timings, &cancel);
            let ran = ran.await;
            match &ran.report {
                Ok(RunReport {
                    outcome: RunOutcome::SandboxLost { why },
                    ..
                }) if !ran.began => {
                    tracing::warn!(why, "a sandbox that waited was lost before its run began");
                    self.removals.add(ran.remains, ran.ending).await;
                    timings.start = Start::Cold;
                }
                _ => return self.end(ran).await,
            }
        }
        let slot = tokio::select! {
            biased;
            slot = slots.slot(&permit, &cancel) => slot?,
            // The slots of sandboxes that it cannot remove stay taken.
            () = silence(&self.starter.engine.docker) => {
                return Err(RunnerError::EngineTimeout {
                    action: "answer",
                    seconds: SILENCE.as_secs(),
                });
            }
        };
        let Some(slot) = slot else {
            return Ok(RunReport::without_run(RunOutcome::Cancelled, timings));
        };
        let granted = mounts.granted(slot.user());
        let order = Order {
            id: spec.run,
            image: &spec.image,
            warm: Warm::of(&spec.program),
            // The program imports what it needs itself: nobody waits for more.
            imports: &Imports::NONE,
            limits: &spec.limits,
            granted: &granted,
            runtime: runtime.as_deref(),
            slot,
            lease_ends: self.starter.lease_of(spec.limits.wall),
        };
        let ready = Box::pin(self.starter.start(order, &cancel)).await;
        timings.lease = begun.elapsed();
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
        let runtime = runtime.as_deref();
        let ran = self.converse(&spec, &host, ready, runtime, timings, &cancel);
        self.end(ran.await).await
    }

    /// The runtime of one run: the operator's, else the one that it wants, where the engine has that.
    async fn runtime_of(&self, spec: &SandboxSpec) -> Option<String> {
        if let Some(chosen) = self.starter.options.runtimes.of(spec) {
            return Some(chosen.to_owned());
        }
        let wanted = spec.runtime.as_deref()?;
        let known = self.starter.capabilities().await.ok()?;
        // What the engine takes anyway need not be said to it, and waits in the pool.
        let is_said = known.check_runtime(wanted).is_ok() && known.runtime(None) != Some(wanted);
        is_said.then(|| wanted.to_owned())
    }

    /// The name of a runtime; `None` is the engine's default one.
    pub(crate) async fn name_of(&self, runtime: Option<&str>) -> Option<String> {
        let known = self.starter.capabilities().await.ok();
        let name = known.map_or(runtime, |known| known.runtime(runtime));
        name.map(str::to_owned)
    }

    /// Sees a run to its end, and watches its memory where its runtime does not.
    async fn converse(
        &self,
        spec: &SandboxSpec,
        host: &RunHost,
        ready: Ready,
        runtime: Option<&str>,
        timings: PhaseTimings,
        cancel: &CancellationToken,
    ) -> Ran {
        let removal = &ready.remains.removal;
        let watchdog = self.watchdog(removal, runtime, &spec.limits);
        let watchdog = watchdog.await;
        let mut ran = session::run(spec, host, ready, timings, cancel).await;
        if watchdog.is_some_and(|watchdog| watchdog.has_ended_it()) {
            watchdog::judge(&mut ran.report, &spec.limits);
        }
        if let Ok(report) = &mut ran.report {
            report.place.runtime = self.name_of(runtime).await;
        }
        ran
    }

    /// Watches the memory of a sandbox, where its runtime does not.
    async fn watchdog(
        &self,
        removal: &Removal,
        runtime: Option<&str>,
        limits: &Limits,
    ) -> Option<Watchdog> {
        let enforced = match self.starter.capabilities().await {
            Ok(capabilities) => capabilities.enforces_memory(runtime),
            // Without an answer nothing could have been started.
            Err(_) => true,
        };
        match removal {
            Removal::Container(container) if !enforced => {
                Some(Watchdog::start(container.clone(), limits))
            }
            Removal::Container(_) | Removal::PoolProcess => None,
        }
    }

    /// A sandbox that waits, if there is one for this run. What is mounted is decided when a sandbox
    /// is created, and so is its runtime: a run that wants others starts its own.
    fn lease(&self, spec: &SandboxSpec, runtime: Option<&str>) -> Option<Ready> {
        let default = self.starter.options.runtimes.default.as_deref();
        if !spec.mounts.is_empty() || runtime != default {
            return None;
        }
        let class = Class::new(&spec.image, &spec.imports, &spec.limits);
        let until = self.starter.lease_of(spec.limits.wall);
        self.pool.lease(&class, Warm::of(&spec.program), until)
    }

    /// Removes what is left of a run: at once where that says something about it, else beside what
    /// comes next.
    async fn end(&self, ran: Ran) -> Result<RunReport, RunnerError> {
        let Ran {
            report: result,
            remains,
            ending,
            ..
        } = ran;
        if ending == Ending::ByItself {
            self.removals.add(remains, ending).await;
            return result;
        }
        let gone = remains.remove(ending).await;
        outcome::unless_gone(result, gone)
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

    fn prewarm(&self, image: &ImageId, imports: &Imports, limits: &Limits, count: usize) {
        // What cannot be run says so when it is run.
        if limits.check().is_ok() {
            self.pool
                .prewarm(Class::new(image, imports, limits), limits.wall, count);
        }
    }

    fn shutdown(&self) -> BoxFuture<'_, ()> {
        async {
            self.pool.shutdown().await;
            self.starter.stragglers.abandon().await;
        }
        .boxed()
    }

    fn remove_all(&self) -> BoxFuture<'_, ()> {
        async {
            self.pool.close();
            let owner = &self.starter.options.owner;
            // What was being created meanwhile is there a moment later.
            for _ in 0..REMOVE_ROUNDS {
                match reap::remove_owned(&self.starter.engine, owner).await {
                    Ok(0) => break,
                    Ok(_) => {}
                    Err(error) => {
                        tracing::error!(%error, "sandboxes could not be removed");
                        break;
                    }
                }
            }
            self.shutdown().await;
        }
        .boxed()
    }
}
