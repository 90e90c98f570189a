//! The removal of sandboxes that have done their work, beside the runs that come after.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::container::Container;
use super::ready::{Ending, Held, Remains};
use super::watch::Watch;

/// Sandboxes that may be on their way out. An engine that removes slower than we start is waited for.
const REMOVALS_MAX: usize = 64;

/// How long after a removal failed it is tried again, and twice as long after each further time.
const RETRY: Duration = Duration::from_secs(1);
/// At most this long.
const RETRY_MAX: Duration = Duration::from_mins(1);

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
    now: fn() -> Timestamp,
}

impl Stragglers {
    pub(super) fn new(now: fn() -> Timestamp) -> Self {
        let jobs = TaskTracker::new();
        jobs.close();
        Self {
            jobs,
            cancel: CancellationToken::new(),
            now,
        }
    }

    /// Tries to remove one until it is gone, or its lease has ended: then it is the reaper's.
    pub(super) fn add(&self, container: Container, mut end: Watch, held: Held) {
        let (now, cancel) = (self.now, self.cancel.clone());
        self.jobs.spawn(async move {
            let mut pause = RETRY;
            let removal = async {
                while now() < held.lease_ends {
                    tokio::time::sleep(pause).await;
                    if container.remove(&mut end, Ending::Kill).await {
                        return;
                    }
                    pause = (2 * pause).min(RETRY_MAX);
                }
            };
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
