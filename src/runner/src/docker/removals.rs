//! The removal of sandboxes that have done their work, beside the runs that come after.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::container::{Container, Removed};
use super::ready::{Ending, Held, Remains};
use super::watch::Watch;

/// Sandboxes that may be on their way out. An engine that removes slower than we start is waited for.
const REMOVALS_MAX: usize = 64;

/// How long after a removal failed it is tried again, and twice as long after each further time.
const RETRY: Duration = Duration::from_secs(1);
/// At most this long.
const RETRY_MAX: Duration = Duration::from_mins(1);
/// How long after we gave up waiting for it an engine may still create a container.
const LATE: Duration = Duration::from_mins(10);

/// Removals under way. Cloning it is cheap.
#[derive(Clone, Debug)]
pub(super) struct Removals {
    jobs: TaskTracker,
    places: Arc<Semaphore>,
}

impl Default for Removals {
    fn default() -> Self {
        let jobs = TaskTracker::new();
        // Closed, it can be waited for; it takes further jobs all the same.
        jobs.close();
        Self {
            jobs,
            places: Arc::new(Semaphore::new(REMOVALS_MAX)),
        }
    }
}

impl Removals {
    /// Begins to remove a sandbox; waits only while too many are being removed.
    pub(super) async fn add(&self, remains: Remains, ending: Ending) {
        let place = Arc::clone(&self.places).acquire_owned().await;
        self.jobs.spawn(async move {
            remains.remove(ending).await;
            drop(place);
        });
    }

    /// The same for one that never ran: those are few.
    pub(super) fn discard(&self, remains: Remains) {
        self.jobs.spawn(async move {
            remains.remove(Ending::Kill).await;
        });
    }

    /// Waits until none is under way.
    pub(super) async fn settle(&self) {
        self.jobs.wait().await;
    }
}

/// Sandboxes that could not be removed, with their slots. Cloning it is cheap.
#[derive(Clone, Debug)]
pub(super) struct Stragglers {
    jobs: TaskTracker,
    cancel: CancellationToken,
}

impl Stragglers {
    pub(super) fn new() -> Self {
        let jobs = TaskTracker::new();
        jobs.close();
        Self {
            jobs,
            cancel: CancellationToken::new(),
        }
    }

    /// Tries to remove one until it is gone: others leave it alone while this process lives.
    pub(super) fn add(&self, container: Container, mut end: Watch, held: Held) {
        self.spawn(held, async move {
            let mut pause = RETRY;
            loop {
                tokio::time::sleep(pause).await;
                if container.remove(&mut end, Ending::Kill).await {
                    return;
                }
                pause = (2 * pause).min(RETRY_MAX);
            }
        });
    }

    /// The same for one that the engine may not have created yet: that it is not there says nothing for
    /// a while.
    pub(super) fn add_late(&self, container: Container, held: Held) {
        self.spawn(held, async move {
            let until = Instant::now() + LATE;
            let mut pause = RETRY;
            loop {
                tokio::time::sleep(pause).await;
                match container.remove_late().await {
                    Removed::Now => return,
                    Removed::NotThere if Instant::now() > until => return,
                    Removed::NotThere | Removed::No => {}
                }
                pause = (2 * pause).min(RETRY_MAX);
            }
        });
    }

    fn spawn(&self, held: Held, removal: impl Future<Output = ()> + Send + 'static) {
        let cancel = self.cancel.clone();
        self.jobs.spawn(async move {
            tokio::select! {
                () = removal => {}
                () = cancel.cancelled() => {}
            }
            drop(held.slot);
        });
    }

    /// Leaves them to the reaper.
    pub(super) async fn abandon(&self) {
        self.cancel.cancel();
        self.jobs.wait().await;
    }
}
