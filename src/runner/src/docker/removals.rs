//! The removal of sandboxes that have done their work, beside the runs that come after.

use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

use super::ready::{Ending, Remains};

/// Sandboxes that may be on their way out. An engine that removes slower than we start is waited for.
const REMOVALS_MAX: usize = 64;

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
