//! Sandboxes that are used by another process than the one that started them: both sides of it.

use spec::{Ahead, Imports, Limits, PhaseTimings, RunReport, Start};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::DockerSandboxes;
use super::events::Events;
use super::outcome;
use super::pool::{Class, Starts, Warm};
use super::restore;
use super::session::{self, Ran};
use crate::watchdog::Watchdog;
use crate::{ImageId, RunHost, RunnerError, SandboxSpec};

pub(crate) use super::pool::StockCount;
pub(crate) use super::ready::{Diagnosis, Ending, Line, Ready, Remains, Removal, Said, Unready};
pub(crate) use super::watch::{Gone, Watch};

impl DockerSandboxes {
    /// A sandbox for somebody else's run: one that waits, else one that is started now. `None` when
    /// there is no place for one, or as many as may are being started.
    pub(crate) async fn hand_out(
        &self,
        image: &ImageId,
        warm: Warm,
        imports: &Imports,
        limits: &Limits,
        starts: &Semaphore,
        cancel: &CancellationToken,
    ) -> Result<Option<(Ready, Start)>, Unready> {
        let class = Class::new(image, imports, limits);
        let until = self.starter.lease_of(limits.wall);
        if let Some(ready) = self.pool.lease(&class, warm, until) {
            return Ok(Some((ready, Start::Leased)));
        }
        let Ok(_turn) = starts.try_acquire() else {
            return Ok(None);
        };
        // The program imports what it needs itself: nobody waits for more.
        let class = class.without_imports();
        let started = Starts::start(&*self.starter, &class, warm, limits.wall, cancel);
        Ok(started.await?.map(|(ready, _)| (ready, Start::Cold)))
    }

    /// Keeps so many of a kind from now on, whether anybody uses them or not.
    pub(crate) fn keep(&self, image: &ImageId, limits: &Limits, count: usize) {
        let class = Class::new(image, &Imports::NONE, limits);
        self.pool.keep(class, limits.wall, count);
    }

    /// Watches the memory of a sandbox that was handed out, where the runtime does not.
    pub(crate) async fn watch(&self, removal: &Removal, limits: &Limits) -> Option<Watchdog> {
        let runtime = self.starter.options.runtimes.default.as_deref();
        self.watchdog(removal, runtime, limits).await
    }

    /// What waits, by what it was made for.
    pub(crate) fn stocks(&self) -> Vec<StockCount> {
        self.pool.stocks()
    }
}

impl Ready {
    /// A sandbox that another process has read READY of.
    pub(crate) fn at_other_end(
        line: Line,
        remains: Remains,
        python: String,
        imports: Ahead,
        uid: u32,
    ) -> Self {
        Self {
            line,
            events: Events::after_ready(),
            diagnosis: Diagnosis::default(),
            python,
            imports,
            uid,
            remains,
        }
    }
}

/// Sees a run to its end in a sandbox that another process removes, and says whether the program
/// began.
pub(crate) async fn run_there(
    spec: &SandboxSpec,
    host: &RunHost,
    ready: Ready,
    timings: PhaseTimings,
    cancel: &CancellationToken,
) -> (Result<RunReport, RunnerError>, bool) {
    let checked = spec.limits.check().map_err(RunnerError::Limits);
    if let Err(error) = checked.and_then(|()| restore::check_sizes(spec)) {
        return (Err(error), false);
    }
    let Ran {
        report,
        remains,
        ending,
        began,
    } = session::run(spec, host, ready, timings, cancel).await;
    let gone = remains.remove(ending).await;
    (outcome::unless_gone(report, gone), began)
}
