//! Sandboxes that were started ahead of need, and wait.
//!
//! Each is handed out once and replaced in the background. What waits for what is decided under one
//! lock, which nobody holds while waiting.

mod class;
mod stock;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::{BoxFuture, poll_fn};
use jiff::Timestamp;
use spec::Ahead;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub(super) use class::Class;
pub use class::{PoolOptions, Warm};
pub(crate) use stock::StockCount;
use stock::{Kept, Next, State, Stock, Waiting};

use super::ready::{Ready, Unready};
use super::removals::Removals;

/// How long a sandbox may wait before it is replaced. Its lease covers this and one run.
pub(super) const WAITING_MAX: Duration = Duration::from_mins(30);

/// Starts sandboxes that will wait.
pub(super) trait Starts: Send + Sync + 'static {
    /// Starts one of a class with the rights and the lease that it will have; `None` when there is
    /// no place for it. `wall` is the longest run it is meant for.
    fn start<'a>(
        &'a self,
        class: &'a Class,
        warm: Warm,
        wall: Duration,
        cancel: &'a CancellationToken,
    ) -> BoxFuture<'a, Result<Option<(Ready, Timestamp)>, Unready>>;

    /// Until when the lease of a sandbox must last for a run of this time that begins now.
    fn lease_of(&self, wall: Duration) -> Timestamp;
}

/// A pool. Dropping it ends what waits; [`Self::shutdown`] also waits for the end.
pub(super) struct Pool {
    shared: Arc<Shared>,
}

struct Shared {
    starts: Arc<dyn Starts>,
    options: PoolOptions,
    removals: Removals,
    state: Mutex<State>,
    jobs: TaskTracker,
    cancel: CancellationToken,
    /// Something changed that decides what is to be started or watched.
    changed: Notify,
}

impl Pool {
    pub(super) fn new(starts: Arc<dyn Starts>, options: PoolOptions, removals: Removals) -> Self {
        let jobs = TaskTracker::new();
        jobs.close();
        Self {
            shared: Arc::new(Shared {
                starts,
                options,
                removals,
                state: Mutex::new(State::new(Instant::now())),
                jobs,
                cancel: CancellationToken::new(),
                changed: Notify::new(),
            }),
        }
    }

    /// Asks for sandboxes that wait, and keeps asking until nobody has used them for the idle time.
    /// With a count of 0 they are removed. Returns at once.
    pub(super) fn prewarm(&self, class: Class, wall: Duration, count: usize) {
        self.want(class, wall, count, Kept::WhileUsed);
    }

    /// The same, whether anybody uses them or not.
    pub(super) fn keep(&self, class: Class, wall: Duration, count: usize) {
        self.want(class, wall, count, Kept::Always);
    }

    fn want(&self, class: Class, wall: Duration, count: usize, kept: Kept) {
        let shared = &self.shared;
        if shared.cancel.is_cancelled() {
            return;
        }
        let wanted = count.min(shared.options.keep);
        let mut state = shared.lock();
        let Some(spare) = state.want(class, wall, wanted, kept, Instant::now()) else {
            return;
        };
        let begins = !std::mem::replace(&mut state.has_jobs, true);
        drop(state);
        shared.discard(spare);
        if begins {
            let keeper = Arc::clone(shared);
            shared.jobs.spawn(async move { keeper.keep().await });
            let stirrer = Arc::clone(shared);
            shared.jobs.spawn(async move { stirrer.stir().await });
            for _ in 0..shared.options.starts.max(1) {
                let refiller = Arc::clone(shared);
                shared.jobs.spawn(async move { refiller.refill().await });
            }
        }
        shared.changed.notify_waiters();
    }

    /// Hands out a sandbox whose lease lasts until then, if one waits: one that is as warm as it should
    /// be, else any.
    pub(super) fn lease(&self, class: &Class, warm: Warm, until: Timestamp) -> Option<Ready> {
        let shared = &self.shared;
        let mut state = shared.lock();
        let (leased, spoilt) = state.lease(class, warm, until, Instant::now())?;
        drop(state);
        shared.discard(spoilt);
        shared.changed.notify_waiters();
        leased
    }

    /// How many sandboxes wait.
    pub(super) fn waiting(&self) -> usize {
        let state = self.shared.lock();
        state.stocks.iter().map(|stock| stock.waiting.len()).sum()
    }

    /// What waits, by what it was made for.
    pub(super) fn stocks(&self) -> Vec<StockCount> {
        let state = self.shared.lock();
        state.stocks.iter().map(Stock::count).collect()
    }

    /// Waits until as many wait as are wanted, or no more can be started.
    pub(super) async fn warm(&self) {
        loop {
            let changed = self.shared.changed.notified();
            let mut changed = std::pin::pin!(changed);
            changed.as_mut().enable();
            let is_warm = {
                let state = self.shared.lock();
                state.is_warm(&self.shared.options)
            };
            if is_warm || self.shared.cancel.is_cancelled() {
                return;
            }
            changed.await;
        }
    }

    /// Begins to remove every sandbox that waits; none is started any more.
    pub(super) fn close(&self) {
        self.shared.cancel.cancel();
        self.shared.changed.notify_waiters();
    }

    /// Removes every sandbox that waits; none is started any more.
    pub(super) async fn shutdown(&self) {
        self.close();
        self.shared.jobs.wait().await;
        // Those without jobs have no sandboxes either.
        self.shared.removals.settle().await;
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.cancel.cancel();
    }
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pool")
            .field("options", &self.shared.options)
            .field("waiting", &self.waiting())
            .finish_non_exhaustive()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn discard(&self, waiting: impl IntoIterator<Item = Waiting>) {
        for one in waiting {
            // The line is closed first, so that a kill does not wait for its reader.
            let Ready { remains, .. } = one.ready;
            self.removals.discard(remains);
        }
    }

    /// Starts what is wanted, one after the other, until the end.
    async fn refill(&self) {
        let mut has_waited = false;
        loop {
            let changed = self.changed.notified();
            let mut changed = std::pin::pin!(changed);
            changed.as_mut().enable();
            if self.cancel.is_cancelled() {
                return;
            }
            let now = Instant::now();
            let next = self.lock().next(now, &self.options);
            match next {
                Next::Wait(until) => {
                    let retry = async {
                        match until {
                            Some(until) => tokio::time::sleep_until(until).await,
                            None => std::future::pending().await,
                        }
                    };
                    tokio::select! {
                        () = changed => {}
                        () = retry => {}
                        () = self.cancel.cancelled() => {}
                    }
                }
                Next::Evict(one) => {
                    self.discard([*one]);
                    self.changed.notify_waiters();
                }
                Next::Start(class, warm, wall) => {
                    let hot_until = self.lock().hot_until;
                    // Once: where runs follow each other without a pause, there is no better moment.
                    if hot_until > now && !has_waited {
                        has_waited = true;
                        self.lock().give_up(&class, warm);
                        tokio::select! {
                            () = tokio::time::sleep_until(hot_until) => {}
                            () = self.cancel.cancelled() => {}
                        }
                        continue;
                    }
                    has_waited = false;
                    let imports = self.lock().imports_of(&class);
                    let begins = match imports {
                        Ahead::Nothing | Ahead::Imported => class.clone(),
                        Ahead::Failed => class.without_imports(),
                    };
                    let started = self.starts.start(&begins, warm, wall, &self.cancel).await;
                    let started = started.map(|started| {
                        started.map(|(ready, until)| (Ready { imports, ..ready }, until))
                    });
                    self.put(&class, warm, started);
                }
            }
        }
    }

    /// Takes in a sandbox that was started, or the news that it was not.
    fn put(&self, class: &Class, warm: Warm, started: Result<Option<(Ready, Timestamp)>, Unready>) {
        let spare = {
            let mut state = self.lock();
            // Under the lock: what is put there before the end is drained at the end.
            let is_closed = self.cancel.is_cancelled();
            state.take_in(class, warm, started, is_closed)
        };
        self.discard(spare);
        self.changed.notify_waiters();
    }

    /// Keeps what may be wanted any moment awake, until the end.
    async fn stir(&self) {
        loop {
            let changed = self.changed.notified();
            let mut changed = std::pin::pin!(changed);
            changed.as_mut().enable();
            let (broken, next) = self.lock().stir(Instant::now());
            if !broken.is_empty() {
                self.discard(broken);
                self.changed.notify_waiters();
                continue;
            }
            let due = async {
                match next {
                    Some(next) => tokio::time::sleep_until(next).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = self.cancel.cancelled() => return,
                () = changed => {}
                () = due => {}
            }
        }
    }

    /// Throws out what died, spoke, or has waited for too long, until the end; then everything.
    async fn keep(&self) {
        loop {
            let changed = self.changed.notified();
            let mut changed = std::pin::pin!(changed);
            changed.as_mut().enable();
            let lease_of = |wall| self.starts.lease_of(wall);
            let (old, next) = self.lock().expire(Instant::now(), &self.options, lease_of);
            if !old.is_empty() {
                self.discard(old);
                self.changed.notify_waiters();
                continue;
            }
            let expiry = async {
                match next {
                    Some(next) => tokio::time::sleep_until(next).await,
                    None => std::future::pending().await,
                }
            };
            let spoilt = poll_fn(|cx| self.lock().poll_spoilt(cx));
            tokio::select! {
                biased;
                () = self.cancel.cancelled() => break,
                spoilt = spoilt => {
                    for one in &spoilt {
                        let container = one.ready.remains.name();
                        tracing::warn!(container, "a waiting sandbox ended or spoke");
                    }
                    self.discard(spoilt);
                    self.changed.notify_waiters();
                }
                () = changed => {}
                () = expiry => {}
            }
        }
        let all: Vec<_> = {
            let mut state = self.lock();
            let stocks = state.stocks.iter_mut();
            stocks.flat_map(|stock| stock.waiting.drain(..)).collect()
        };
        self.discard(all);
    }
}

#[cfg(test)]
mod tests;
