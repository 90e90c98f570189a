//! Sandboxes that were started ahead of need, and wait.
//!
//! Each is handed out once and replaced in the background. What waits for what is decided under one
//! lock, which nobody holds while waiting.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures::future::{BoxFuture, poll_fn};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use spec::{Ahead, Imports, Limits};
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::ready::{Ready, Unready};
use super::removals::Removals;
use crate::pool_process::WantedLimits;
use crate::{ImageId, Program, RunnerError};

/// How long after a sandbox was handed out none is started: the run has the processors to itself.
const HOT: Duration = Duration::from_millis(10);
/// How long a sandbox may wait before it is replaced. Its lease covers this and one run.
pub(super) const WAITING_MAX: Duration = Duration::from_mins(30);
/// After a failed start, the next one comes after this, and twice as long after each further one.
const RETRY: Duration = Duration::from_millis(500);
/// Failed starts in a row after which the next one comes after a longer pause, or when somebody asks
/// again.
const FAILURES_MAX: u32 = 5;
/// That pause.
const GAVE_UP: Duration = Duration::from_mins(1);
/// How long after there was no place for a sandbox it is looked for again: other processes come and
/// go.
const NO_PLACE: Duration = Duration::from_secs(2);
/// Sandboxes of a class in a row that are lost while they import, after which they import nothing: it
/// may need more memory than they have, or do what a run would notice.
const IMPORTS_LOST_MAX: u32 = 2;
/// A class that was used within this time keeps its sandboxes when others want them. A pool process
/// asks for what it always keeps more often than this.
const SPARED: Duration = Duration::from_secs(30);

/// How many sandboxes wait for runs, and how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolOptions {
    /// Sandboxes that wait for runs of one kind: the same image and limits.
    pub keep: usize,
    /// Sandboxes that wait, in all.
    pub keep_max: usize,
    /// After this time without a run of their kind they are removed.
    pub idle: Duration,
    /// Sandboxes that are started at once; one for two processors leaves runs their time.
    pub starts: usize,
}

impl Default for PoolOptions {
    fn default() -> Self {
        Self {
            keep: 4,
            keep_max: 16,
            idle: Duration::from_mins(5),
            starts: 1,
        }
    }
}

/// What the creation of a sandbox depends on: runs of one class can use each other's sandboxes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Class {
    pub(super) image: ImageId,
    /// What it imports before it is ready. A run may notice what it did not ask for.
    pub(super) imports: Imports,
    /// Limits that the sandbox learns only with its run are the default ones.
    pub(super) limits: Limits,
}

impl Class {
    pub(super) fn new(image: &ImageId, imports: &Imports, limits: &Limits) -> Self {
        Self {
            image: image.clone(),
            imports: imports.clone(),
            limits: Limits {
                // It is the lease's.
                wall: Limits::default().wall,
                ..WantedLimits::of(limits).limits()
            },
        }
    }

    /// The same, but that nothing is imported ahead.
    pub(super) fn without_imports(&self) -> Self {
        Self {
            imports: Imports::NONE,
            ..self.clone()
        }
    }
}

/// What a sandbox has started ahead of its run, besides the interpreter that every one has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Warm {
    /// Nothing: for subagents.
    #[default]
    Interpreter,
    /// A shell too: for commands. It can run a subagent, a little later.
    Shell,
}

impl Warm {
    /// What suits a program.
    pub(super) fn of(program: &Program) -> Self {
        match program {
            Program::Subagent { .. } => Self::Interpreter,
            Program::Shell { .. } => Self::Shell,
        }
    }
}

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

struct State {
    stocks: Vec<Stock>,
    /// Until when no sandbox is started.
    hot_until: Instant,
    /// Whether the jobs run.
    has_jobs: bool,
}

/// The sandboxes of one class.
struct Stock {
    class: Class,
    /// How many are to wait.
    wanted: usize,
    /// The longest run that was asked for.
    wall: Duration,
    waiting: VecDeque<Waiting>,
    starting: usize,
    /// Whether commands were run: then one of those that wait has a shell.
    runs_commands: bool,
    /// One with a shell is being started.
    starts_shell: bool,
    used_at: Instant,
    failures: u32,
    /// Those that were lost while they imported, or after, in a row.
    imports_lost: u32,
    retry_at: Instant,
    /// The next start comes after a pause, which nobody is to wait for.
    is_stuck: bool,
    /// Why the last start failed.
    failure: Option<String>,
}

/// How many sandboxes of one kind there are.
#[derive(Clone, Debug)]
pub(crate) struct StockCount {
    pub(crate) image: ImageId,
    pub(crate) imports: Imports,
    /// Those that the sandboxes are created with; the others are the default ones.
    pub(crate) limits: Limits,
    pub(crate) wanted: usize,
    pub(crate) waiting: usize,
    pub(crate) starting: usize,
    /// Why the last start failed.
    pub(crate) failure: Option<String>,
}

struct Waiting {
    ready: Ready,
    warm: Warm,
    since: Instant,
    lease_ends: Timestamp,
}

/// What a job that starts sandboxes does next.
enum Next {
    Start(Class, Warm, Duration),
    /// Remove one that nobody has used for long: another is wanted in its place.
    Evict(Box<Waiting>),
    Wait(Option<Instant>),
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
                state: Mutex::new(State {
                    stocks: Vec::new(),
                    hot_until: Instant::now(),
                    has_jobs: false,
                }),
                jobs,
                cancel: CancellationToken::new(),
                changed: Notify::new(),
            }),
        }
    }

    /// Asks for sandboxes that wait, and keeps asking until nobody has used them for the idle time.
    /// With a count of 0 they are removed. Returns at once.
    pub(super) fn prewarm(&self, class: Class, wall: Duration, count: usize) {
        let shared = &self.shared;
        if shared.cancel.is_cancelled() {
            return;
        }
        let now = Instant::now();
        let wanted = count.min(shared.options.keep);
        let mut state = shared.lock();
        let stock = match state.stocks.iter_mut().find(|stock| stock.class == class) {
            Some(stock) => stock,
            None if wanted == 0 => return,
            None => {
                state.stocks.push(Stock {
                    class,
                    wanted,
                    wall,
                    waiting: VecDeque::new(),
                    starting: 0,
                    runs_commands: false,
                    starts_shell: false,
                    used_at: now,
                    failures: 0,
                    imports_lost: 0,
                    retry_at: now,
                    is_stuck: false,
                    failure: None,
                });
                state.stocks.last_mut().expect("it was just added")
            }
        };
        stock.wanted = wanted;
        stock.used_at = now;
        (stock.failures, stock.retry_at, stock.is_stuck) = (0, now, false);
        let mut spare = Vec::new();
        if wall > stock.wall {
            // The leases of those that wait are too short for it.
            stock.wall = wall;
            spare.extend(stock.waiting.drain(..));
        }
        spare.extend(stock.waiting.drain(wanted.min(stock.waiting.len())..));
        let begins = !std::mem::replace(&mut state.has_jobs, true);
        drop(state);
        shared.discard(spare);
        if begins {
            let keeper = Arc::clone(shared);
            shared.jobs.spawn(async move { keeper.keep().await });
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
        let (mut leased, mut spoilt) = (None, Vec::new());
        let mut state = shared.lock();
        let stock = state
            .stocks
            .iter_mut()
            .find(|stock| stock.class == *class)?;
        let now = Instant::now();
        stock.used_at = now;
        stock.runs_commands |= warm == Warm::Shell;
        while leased.is_none()
            && let Some(at) = stock.best(warm, until)
            && let Some(mut one) = stock.waiting.remove(at)
        {
            if one.is_spoilt(&mut Context::from_waker(Waker::noop())) {
                spoilt.push(one);
            } else {
                leased = Some(one.ready);
            }
        }
        if leased.is_some() {
            state.hot_until = now + HOT;
        }
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
        let count = |stock: &Stock| StockCount {
            image: stock.class.image.clone(),
            imports: stock.class.imports.clone(),
            limits: stock.class.limits.clone(),
            wanted: stock.wanted,
            waiting: stock.waiting.len(),
            starting: stock.starting,
            failure: stock.failure.clone(),
        };
        state.stocks.iter().map(count).collect()
    }

    /// Waits until as many wait as are wanted, or no more can be started.
    pub(super) async fn warm(&self) {
        loop {
            let changed = self.shared.changed.notified();
            let mut changed = std::pin::pin!(changed);
            changed.as_mut().enable();
            let is_warm = {
                let state = self.shared.lock();
                let room = self.shared.options.keep_max > state.count();
                let lacks = |stock: &Stock| {
                    let may_start = room && !stock.is_stuck;
                    stock.starting > 0 || (may_start && stock.waiting.len() < stock.wanted)
                };
                !state.stocks.iter().any(lacks)
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

    fn discard(&self, waiting: Vec<Waiting>) {
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
                    self.discard(vec![*one]);
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
        let mut spare = Vec::new();
        let mut state = self.lock();
        state.give_up(class, warm);
        let stock = state.stocks.iter_mut().find(|stock| stock.class == *class);
        match (started, stock) {
            (Ok(Some((ready, lease_ends))), stock) => {
                let since = Instant::now();
                let one = Waiting {
                    ready,
                    warm,
                    since,
                    lease_ends,
                };
                match stock {
                    Some(stock)
                        if stock.waiting.len() < stock.wanted && !self.cancel.is_cancelled() =>
                    {
                        (stock.failures, stock.is_stuck) = (0, false);
                        if one.ready.imports == Ahead::Imported {
                            stock.imports_lost = 0;
                        }
                        stock.failure = None;
                        stock.waiting.push_back(one);
                    }
                    _ => spare.push(one),
                }
            }
            (Ok(None), Some(stock)) => {
                stock.is_stuck = true;
                stock.retry_at = Instant::now() + NO_PLACE;
            }
            (Err(Unready::Cancelled), _) | (Ok(None) | Err(_), None) => {}
            (Err(Unready::Failed(RunnerError::ImageMissing(image))), Some(stock)) => {
                // It does not come back by itself.
                stock.failures = FAILURES_MAX;
                stock.failed(&RunnerError::ImageMissing(image).to_string());
            }
            (Err(Unready::Failed(error)), Some(stock)) => stock.failed(&error.to_string()),
            (Err(Unready::Lost(why)), Some(stock)) if stock.imports() == Ahead::Imported => {
                stock.imports_lost += 1;
                let imports = &stock.class.imports;
                tracing::info!(why, ?imports, "a sandbox was lost while it imported ahead");
            }
            (Err(Unready::Lost(why)), Some(stock)) => stock.failed(&why),
        }
        drop(state);
        self.discard(spare);
        self.changed.notify_waiters();
    }

    /// Throws out what died, spoke, or has waited for too long, until the end; then everything.
    async fn keep(&self) {
        loop {
            let changed = self.changed.notified();
            let mut changed = std::pin::pin!(changed);
            changed.as_mut().enable();
            let (old, next) = self.lock().expire(Instant::now(), &self.options);
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
                        tracing::warn!(sandbox = ?one.ready, "a waiting sandbox ended or spoke");
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

impl State {
    fn count(&self) -> usize {
        let stocks = self.stocks.iter();
        stocks
            .map(|stock| stock.waiting.len() + stock.starting)
            .sum()
    }

    /// What is to be started next; it counts as being started from then on.
    fn next(&mut self, now: Instant, options: &PoolOptions) -> Next {
        let is_full = self.count() >= options.keep_max;
        let mut until = None;
        // What was used last is what will be used next.
        let mut chosen: Option<&mut Stock> = None;
        for stock in &mut self.stocks {
            let missing = stock
                .wanted
                .saturating_sub(stock.waiting.len() + stock.starting);
            if missing == 0 {
                continue;
            }
            if stock.retry_at > now {
                until =
                    Some(until.map_or(stock.retry_at, |until: Instant| until.min(stock.retry_at)));
                continue;
            }
            if chosen
                .as_ref()
                .is_none_or(|last| last.used_at < stock.used_at)
            {
                chosen = Some(stock);
            }
        }
        match chosen {
            Some(stock) if is_full => {
                let used_at = stock.used_at;
                self.evict(used_at, now, until)
            }
            Some(stock) => {
                stock.starting += 1;
                let warm = stock.next_warm();
                stock.starts_shell |= warm == Warm::Shell;
                Next::Start(stock.class.clone(), warm, stock.wall)
            }
            None => Next::Wait(until),
        }
    }

    /// Takes one of those that were unused for longest, and before then.
    fn evict(&mut self, used_at: Instant, now: Instant, until: Option<Instant>) -> Next {
        let stocks = self.stocks.iter_mut();
        let idle = stocks.filter(|stock| stock.used_at < used_at && !stock.waiting.is_empty());
        let Some(stock) = idle.min_by_key(|stock| stock.used_at) else {
            return Next::Wait(until);
        };
        let spared_until = stock.used_at + SPARED;
        if spared_until > now {
            return Next::Wait(Some(
                until.map_or(spared_until, |until| until.min(spared_until)),
            ));
        }
        let one = stock.waiting.pop_front().expect("it is not empty");
        // It is not to be started again before somebody asks.
        stock.wanted = stock.waiting.len();
        Next::Evict(Box::new(one))
    }

    /// Whether one of this class is to import what it can, and what is said of it then.
    fn imports_of(&self, class: &Class) -> Ahead {
        let stock = self.stocks.iter().find(|stock| stock.class == *class);
        stock.map_or(Ahead::Nothing, Stock::imports)
    }

    /// One of this class is not being started any more.
    fn give_up(&mut self, class: &Class, warm: Warm) {
        if let Some(stock) = self.stocks.iter_mut().find(|stock| stock.class == *class) {
            stock.starting = stock.starting.saturating_sub(1);
            stock.starts_shell &= warm != Warm::Shell;
        }
    }

    /// Takes out what has waited for too long, and says when to look again.
    fn expire(&mut self, now: Instant, options: &PoolOptions) -> (Vec<Waiting>, Option<Instant>) {
        let (mut old, mut next) = (Vec::new(), None);
        let mut look = |at: Instant| next = Some(next.map_or(at, |next: Instant| next.min(at)));
        self.stocks.retain_mut(|stock| {
            let idle_at = stock.used_at + options.idle;
            if idle_at <= now {
                stock.wanted = 0;
            }
            if stock.wanted == 0 {
                old.extend(stock.waiting.drain(..));
                return stock.starting > 0;
            }
            look(idle_at);
            while stock
                .waiting
                .front()
                .is_some_and(|one| one.since + WAITING_MAX <= now)
            {
                old.extend(stock.waiting.pop_front());
            }
            if let Some(oldest) = stock.waiting.front() {
                look(oldest.since + WAITING_MAX);
            }
            true
        });
        (old, next)
    }

    /// Takes out what has ended or spoken; each that waits wakes the caller when it does.
    fn poll_spoilt(&mut self, cx: &mut Context<'_>) -> Poll<Vec<Waiting>> {
        let mut spoilt = Vec::new();
        for stock in &mut self.stocks {
            let mut at = 0;
            while at < stock.waiting.len() {
                if stock.waiting[at].is_spoilt(cx) {
                    spoilt.extend(stock.waiting.remove(at));
                } else {
                    at += 1;
                }
            }
        }
        if spoilt.is_empty() {
            Poll::Pending
        } else {
            Poll::Ready(spoilt)
        }
    }
}

impl Stock {
    /// Which of those that wait suits best, of those whose lease lasts until then.
    fn best(&self, warm: Warm, until: Timestamp) -> Option<usize> {
        let lasting = |one: &Waiting| one.lease_ends >= until;
        let suits = |one: &Waiting| lasting(one) && one.warm == warm;
        let best = self.waiting.iter().position(suits);
        best.or_else(|| self.waiting.iter().position(lasting))
    }

    /// What the next one is to have: one with a shell is enough where commands were run.
    fn next_warm(&self) -> Warm {
        let has_shell = self.waiting.iter().any(|one| one.warm == Warm::Shell);
        if self.runs_commands && !self.starts_shell && !has_shell {
            Warm::Shell
        } else {
            Warm::Interpreter
        }
    }

    /// What becomes of the imports of the next one.
    fn imports(&self) -> Ahead {
        if self.class.imports.is_empty() {
            Ahead::Nothing
        } else if self.imports_lost < IMPORTS_LOST_MAX {
            Ahead::Imported
        } else {
            Ahead::Failed
        }
    }

    fn failed(&mut self, why: &str) {
        let pause = RETRY * 2_u32.saturating_pow(self.failures.min(FAILURES_MAX));
        self.failures = self.failures.saturating_add(1);
        // Those that wait are as good as ever.
        self.is_stuck = self.failures >= FAILURES_MAX;
        self.retry_at = Instant::now() + if self.is_stuck { GAVE_UP } else { pause };
        self.failure = Some(why.to_owned());
        tracing::info!(why, "a sandbox could not be started ahead of need");
    }
}

impl Waiting {
    /// Whether it has ended or said anything since READY.
    fn is_spoilt(&mut self, cx: &mut Context<'_>) -> bool {
        self.ready.line.output.as_mut().poll_next(cx).is_ready()
            || self.ready.remains.end.poll_gone(cx).is_ready()
    }
}

#[cfg(test)]
mod tests {
    use futures::{FutureExt as _, StreamExt as _};

    use super::super::ready::{Line, Remains, Removal};
    use super::super::watch::Watch;
    use super::*;

    /// Starts nothing: the tests say what came of it.
    struct Nothing;

    impl Starts for Nothing {
        fn start<'a>(
            &'a self,
            _class: &'a Class,
            _warm: Warm,
            _wall: Duration,
            _cancel: &'a CancellationToken,
        ) -> BoxFuture<'a, Result<Option<(Ready, Timestamp)>, Unready>> {
            async { Ok(None) }.boxed()
        }
    }

    fn ready() -> Ready {
        let line = Line {
            input: Box::pin(tokio::io::sink()),
            output: futures::stream::pending().boxed(),
        };
        let remains = Remains {
            removal: Removal::PoolProcess,
            end: Watch::new(std::future::pending()),
            held: None,
        };
        Ready::at_other_end(line, remains, "3.12".to_owned(), Ahead::Nothing, 1)
    }

    fn class(pids: u32) -> Class {
        let limits = Limits {
            pids,
            ..Limits::default()
        };
        let image = ImageId(spec::Digest::of(b"image"));
        Class::new(&image, &Imports::NONE, &limits)
    }

    fn stock(pids: u32, wanted: usize, waiting: usize, used_at: Instant) -> Stock {
        let one = || Waiting {
            ready: ready(),
            warm: Warm::Interpreter,
            since: used_at,
            lease_ends: Timestamp::MAX,
        };
        Stock {
            class: class(pids),
            wanted,
            wall: Duration::from_secs(1),
            waiting: std::iter::repeat_with(one).take(waiting).collect(),
            starting: 0,
            runs_commands: false,
            starts_shell: false,
            used_at,
            failures: 0,
            imports_lost: 0,
            // Long ago.
            retry_at: used_at
                .checked_sub(Duration::from_secs(60))
                .unwrap_or(used_at),
            is_stuck: false,
            failure: None,
        }
    }

    fn pool(keep_max: usize, stocks: Vec<Stock>) -> Pool {
        let options = PoolOptions {
            keep_max,
            ..PoolOptions::default()
        };
        let pool = Pool::new(Arc::new(Nothing), options, Removals::default());
        pool.shared.lock().stocks = stocks;
        pool
    }

    #[tokio::test]
    async fn starts_that_fail_cost_no_sandbox_that_waits() {
        let now = Instant::now();
        let pool = pool(16, vec![stock(9, 4, 2, now)]);
        let Pool { shared } = &pool;
        for failed in 0..2 * FAILURES_MAX {
            shared.put(
                &class(9),
                Warm::Interpreter,
                Err(Unready::Lost("it broke".to_owned())),
            );
            assert_eq!(shared.lock().stocks[0].is_stuck, failed + 1 >= FAILURES_MAX);
        }
        let missing = RunnerError::ImageMissing(class(9).image);
        shared.put(&class(9), Warm::Interpreter, Err(Unready::Failed(missing)));
        let (old, _) = shared.lock().expire(now, &shared.options);
        assert_eq!((old.len(), pool.waiting()), (0, 2));
        assert_eq!(pool.stocks()[0].wanted, 4);
        // Nobody waits for the next start, and it comes.
        pool.warm().now_or_never().unwrap();
        let next = |at| shared.lock().next(at, &shared.options);
        assert!(matches!(next(Instant::now()), Next::Wait(Some(_))));
        let later = Instant::now() + GAVE_UP;
        assert!(matches!(next(later), Next::Start(..)));
    }

    #[tokio::test]
    async fn what_cannot_be_imported_ahead_is_given_up() {
        let now = Instant::now();
        let mut stock = stock(9, 4, 0, now);
        stock.class.imports = Imports::of(["quick"]);
        let class = stock.class.clone();
        let pool = pool(16, vec![stock]);
        let Pool { shared } = &pool;
        let lost = || Err(Unready::Lost("it was killed".to_owned()));
        let put = |started| shared.put(&class, Warm::Interpreter, started);
        let imports = || shared.lock().imports_of(&class);
        let one = |imports| {
            let ready = Ready { imports, ..ready() };
            Ok(Some((ready, Timestamp::MAX)))
        };
        // One that was lost between others says nothing.
        put(lost());
        put(one(Ahead::Imported));
        put(lost());
        assert_eq!(imports(), Ahead::Imported);
        put(lost());
        assert_eq!(imports(), Ahead::Failed);
        assert_eq!(pool.stocks()[0].failure, None, "the next one can start");
        put(one(Ahead::Failed));
        assert_eq!(imports(), Ahead::Failed);
        // From here on it is no import that fails.
        put(lost());
        assert!(pool.stocks()[0].failure.is_some());
    }

    #[tokio::test]
    async fn no_place_is_no_failure() {
        let now = Instant::now();
        let pool = pool(16, vec![stock(9, 4, 2, now)]);
        let Pool { shared } = &pool;
        for _ in 0..2 * FAILURES_MAX {
            shared.put(&class(9), Warm::Interpreter, Ok(None));
        }
        pool.warm().now_or_never().unwrap();
        assert_eq!((pool.waiting(), pool.stocks()[0].wanted), (2, 4));
        let mut state = shared.lock();
        assert_eq!(state.stocks[0].failures, 0);
        let later = Instant::now() + NO_PLACE;
        assert!(matches!(
            state.next(later, &shared.options),
            Next::Start(..)
        ));
    }

    #[tokio::test]
    async fn what_is_idle_for_longest_makes_place_for_what_is_used() {
        let begun = Instant::now();
        let at = |seconds| begun + Duration::from_secs(seconds);
        let stocks = || {
            vec![
                stock(1, 4, 0, at(6)),
                stock(2, 2, 2, at(5)),
                stock(3, 2, 2, at(1)),
                stock(4, 2, 0, at(0)),
            ]
        };
        let kept = pool(4, stocks());
        let options = &kept.shared.options;
        let mut state = kept.shared.lock();
        let waiting = |state: &State| {
            let stocks = state.stocks.iter();
            stocks.map(|stock| stock.waiting.len()).collect::<Vec<_>>()
        };
        // One that was used a moment ago is spared for a while.
        match state.next(at(30), options) {
            Next::Wait(until) => assert_eq!(until, Some(at(31))),
            _ => panic!("all are spared"),
        }
        let mut evicted = Vec::new();
        for started in 1..=4 {
            match state.next(at(40), options) {
                Next::Evict(one) => evicted.push(one),
                _ => panic!("there is one to be evicted"),
            }
            match state.next(at(40), options) {
                Next::Start(chosen, ..) => assert_eq!(chosen, class(1)),
                _ => panic!("it is started in its place"),
            }
            assert_eq!(state.stocks[0].starting, started);
        }
        assert_eq!(waiting(&state), [0, 0, 0, 0]);
        assert!(evicted[..2].iter().all(|one| one.since == at(1)));
        assert!(matches!(state.next(at(99), options), Next::Wait(None)));
    }

    #[test]
    fn what_clients_ask_for_is_what_sandboxes_are_sorted_by() {
        let image = ImageId(spec::Digest::of(b"image"));
        let usual = Limits::default();
        let of = |limits: &Limits| Class::new(&image, &Imports::NONE, limits);
        let mut told = usual.clone();
        told.wall *= 2;
        told.tool_calls += 1;
        assert_eq!(of(&usual), of(&told));
        let changes: [fn(&mut Limits); 5] = [
            |limits| limits.memory = spec::ByteSize::mib(333),
            |limits| limits.cpu_millis += 1,
            |limits| limits.pids += 1,
            |limits| limits.workspace = spec::ByteSize::mib(33),
            |limits| limits.workspace_files += 1,
        ];
        for change in changes {
            let mut other = usual.clone();
            change(&mut other);
            assert_ne!(of(&usual), of(&other));
            assert_eq!(of(&other).limits, other, "nothing is lost on the way");
        }
    }
}
