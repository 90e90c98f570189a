//! What a command leaves on the engine when it ends: nothing.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use runner::Sandboxes;

use crate::interrupt::Interrupts;

/// How long the removal of sandboxes may keep the program from ending. They are the next program's
/// to remove after that.
const GENTLY: Duration = Duration::from_secs(10);
/// The same after a second interrupt; it is shorter than what the program itself gets then.
const AT_ONCE: Duration = Duration::from_millis(1_500);

/// The sandboxes that a command used.
#[derive(Debug, Default)]
pub(crate) struct Closing {
    used: Mutex<Vec<Arc<dyn Sandboxes>>>,
}

impl Closing {
    /// Sees to these when the command has ended.
    pub(crate) fn add(&self, sandboxes: &Arc<dyn Sandboxes>) {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        used.push(Arc::clone(sandboxes));
    }

    /// Waits until nothing is left, within bounds: less long when somebody has interrupted twice.
    pub(crate) async fn close(&self, interrupts: &Interrupts) {
        let used = std::mem::take(&mut *self.used.lock().unwrap_or_else(PoisonError::into_inner));
        if used.is_empty() {
            return;
        }
        let gently = futures::future::join_all(used.iter().map(|one| one.shutdown()));
        tokio::select! {
            biased;
            () = interrupts.twice() => {}
            closed = tokio::time::timeout(GENTLY, gently) => {
                if closed.is_err() {
                    tracing::warn!("sandboxes are left to be removed by the next program");
                }
                return;
            }
        }
        let at_once = futures::future::join_all(used.iter().map(|one| one.remove_all()));
        if tokio::time::timeout(AT_ONCE, at_once).await.is_err() {
            tracing::warn!("sandboxes are left to be removed by the next program");
        }
    }
}
