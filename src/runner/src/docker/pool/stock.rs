//! What waits for what, and what is to be done about it. Nothing here waits itself.

use std::collections::VecDeque;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::BytesMut;
use jiff::Timestamp;
use spec::{Ahead, Imports, Limits};
use tokio::time::Instant;

use super::WAITING_MAX;
use super::class::{Class, PoolOptions, Warm};
use crate::ImageId;
use crate::RunnerError;
use crate::docker::ready::{Ready, Unready};
use crate::frames::{put, to_sandbox};

/// How long after a sandbox was handed out none is started: the run has the processors to itself.
const HOT: Duration = Duration::from_millis(10);
/// After a failed start, the next one comes after this, and twice as long after each further one.
const RETRY: Duration = Duration::from_millis(500);
/// Failed starts in a row after which the next one comes after a longer pause, or when somebody asks
/// again.
pub(super) const FAILURES_MAX: u32 = 5;
/// Classes that are kept. Each new one takes the place of the one that was unused for longest.
pub(super) const CLASSES_MAX: usize = 64;
/// That pause.
pub(super) const GAVE_UP: Duration = Duration::from_mins(1);
/// How long after there was no place for a sandbox it is looked for again: other processes come and
/// go.
pub(super) const NO_PLACE: Duration = Duration::from_secs(2);
/// Sandboxes of a class in a row that are lost while they import, after which they import nothing: it
/// may need more memory than they have, or do what a run would notice.
const IMPORTS_LOST_MAX: u32 = 2;
/// How often those are stirred that may be wanted any moment: machines begin to forget what was not used
/// for a tenth of a second.
pub(super) const STIR_EVERY: Duration = Duration::from_millis(100);
/// A class that was used within this time keeps its sandboxes when others want them, and has them stirred.
pub(super) const SPARED: Duration = Duration::from_secs(30);

pub(super) struct State {
    pub(super) stocks: Vec<Stock>,
    /// Until when no sandbox is started.
    pub(super) hot_until: Instant,
    /// When those that wait were last stirred.
    pub(super) stirred_at: Instant,
    /// Whether the jobs run.
    pub(super) has_jobs: bool,
}

/// How long sandboxes are kept that nobody uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kept {
    /// For the idle time, and as long as no others are wanted in their place.
    WhileUsed,
    /// Until somebody says otherwise.
    Always,
}

/// The sandboxes of one class.
pub(super) struct Stock {
    pub(super) class: Class,
    pub(super) kept: Kept,
    /// How many are to wait.
    pub(super) wanted: usize,
    /// The longest run that was asked for.
    pub(super) wall: Duration,
    pub(super) waiting: VecDeque<Waiting>,
    pub(super) starting: usize,
    /// Whether commands were run: then one of those that wait has a shell.
    pub(super) runs_commands: bool,
    /// One with a shell is being started.
    pub(super) starts_shell: bool,
    pub(super) used_at: Instant,
    /// When one was last handed out.
    pub(super) leased_at: Option<Instant>,
    pub(super) failures: u32,
    /// Those that were lost while they imported, in a row.
    pub(super) imports_lost: u32,
    pub(super) retry_at: Instant,
    /// The next start comes after a pause, which nobody is to wait for.
    pub(super) is_stuck: bool,
    /// Why the last start failed.
    pub(super) failure: Option<String>,
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

pub(super) struct Waiting {
    pub(super) ready: Ready,
    pub(super) warm: Warm,
    pub(super) since: Instant,
    pub(super) lease_ends: Timestamp,
    /// Half a message was sent to it.
    pub(super) is_broken: bool,
}

/// What a job that starts sandboxes does next.
pub(super) enum Next {
    Start(Class, Warm, Duration),
    /// Remove one that nobody has used for long: another is wanted in its place.
    Evict(Box<Waiting>),
    Wait(Option<Instant>),
}

impl State {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            stocks: Vec::new(),
            hot_until: now,
            stirred_at: now,
            has_jobs: false,
        }
    }

    /// So many of a class are to wait from now on, for runs of at most this time. Returns those that are
    /// of no use then; none where nothing was wanted before either.
    pub(super) fn want(
        &mut self,
        class: Class,
        wall: Duration,
        wanted: usize,
        kept: Kept,
        now: Instant,
    ) -> Option<Vec<Waiting>> {
        let mut spare = Vec::new();
        let at = match self.stocks.iter().position(|stock| stock.class == class) {
            Some(at) => at,
            None if wanted == 0 => return None,
            None => {
                if self.stocks.len() >= CLASSES_MAX {
                    spare.extend(self.forget_oldest()?.waiting);
                }
                self.stocks.push(Stock::new(class, wall, now));
                self.stocks.len() - 1
            }
        };
        let stock = &mut self.stocks[at];
        stock.wanted = wanted;
        if wanted == 0 || kept == Kept::Always {
            stock.kept = kept;
        }
        stock.used_at = now;
        (stock.failures, stock.retry_at, stock.is_stuck) = (0, now, false);
        if wall > stock.wall {
            // The leases of those that wait are too short for it.
            stock.wall = wall;
            spare.extend(stock.waiting.drain(..));
        }
        spare.extend(stock.waiting.drain(wanted.min(stock.waiting.len())..));
        Some(spare)
    }

    /// Takes out the class that was unused for longest, of those of which none is being started.
    fn forget_oldest(&mut self) -> Option<Stock> {
        let stocks = self.stocks.iter().enumerate();
        let idle = stocks.filter(|(_, stock)| stock.kept == Kept::WhileUsed && stock.starting == 0);
        let (at, _) = idle.min_by_key(|(_, stock)| stock.used_at)?;
        Some(self.stocks.remove(at))
    }

    /// A sandbox whose lease lasts until then, if one waits, and those that were found to be spoilt; none
    /// where no such class is kept.
    pub(super) fn lease(
        &mut self,
        class: &Class,
        warm: Warm,
        until: Timestamp,
        now: Instant,
    ) -> Option<(Option<Ready>, Vec<Waiting>)> {
        let (mut leased, mut spoilt) = (None, Vec::new());
        let mut stocks = self.stocks.iter_mut();
        let stock = stocks.find(|stock| stock.class == *class)?;
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
            stock.leased_at = Some(now);
            self.hot_until = now + HOT;
        }
        Some((leased, spoilt))
    }

    /// Takes in a sandbox that was started, or the news that it was not. Returns those that are of no
    /// use.
    pub(super) fn take_in(
        &mut self,
        class: &Class,
        warm: Warm,
        started: Result<Option<(Ready, Timestamp)>, Unready>,
        is_closed: bool,
    ) -> Option<Waiting> {
        self.give_up(class, warm);
        let mut stocks = self.stocks.iter_mut();
        let stock = stocks.find(|stock| stock.class == *class);
        match (started, stock) {
            (Ok(Some((ready, lease_ends))), stock) => {
                let one = Waiting {
                    ready,
                    warm,
                    since: Instant::now(),
                    lease_ends,
                    is_broken: false,
                };
                match stock {
                    Some(stock) if stock.waiting.len() < stock.wanted && !is_closed => {
                        stock.started(one);
                    }
                    _ => return Some(one),
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
        None
    }

    /// Stirs what may be wanted any moment, and says when to do so again; none while nothing is. Returns
    /// those that are of no use after it, too.
    pub(super) fn stir(&mut self, now: Instant) -> (Vec<Waiting>, Option<Instant>) {
        let is_used = |stock: &&mut Stock| {
            let used = stock.leased_at.is_some_and(|at| now < at + SPARED);
            used && !stock.waiting.is_empty()
        };
        let mut used = self.stocks.iter_mut().filter(is_used).peekable();
        if used.peek().is_none() {
            return (Vec::new(), None);
        }
        let due = self.hot_until.max(self.stirred_at + STIR_EVERY);
        if due > now {
            return (Vec::new(), Some(due));
        }
        let mut broken = Vec::new();
        for stock in used {
            let stirred = std::mem::take(&mut stock.waiting).into_iter();
            let (lost, kept): (Vec<_>, Vec<_>) =
                stirred.map(Waiting::stir).partition(|one| one.is_broken);
            stock.waiting = kept.into();
            broken.extend(lost);
        }
        self.stirred_at = now;
        (broken, Some(now + STIR_EVERY))
    }

    /// Whether as many wait as are wanted, or no more can be started.
    pub(super) fn is_warm(&self, options: &PoolOptions) -> bool {
        let room = options.keep_max > self.count();
        let lacks = |stock: &Stock| {
            let may_start = room && !stock.is_stuck;
            stock.starting > 0 || (may_start && stock.waiting.len() < stock.wanted)
        };
        !self.stocks.iter().any(lacks)
    }

    pub(super) fn count(&self) -> usize {
        let stocks = self.stocks.iter();
        stocks
            .map(|stock| stock.waiting.len() + stock.starting)
            .sum()
    }

    /// What is to be started next; it counts as being started from then on.
    pub(super) fn next(&mut self, now: Instant, options: &PoolOptions) -> Next {
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
        let idle = stocks.filter(|stock| {
            stock.kept == Kept::WhileUsed && stock.used_at < used_at && !stock.waiting.is_empty()
        });
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
    pub(super) fn imports_of(&self, class: &Class) -> Ahead {
        let stock = self.stocks.iter().find(|stock| stock.class == *class);
        stock.map_or(Ahead::Nothing, Stock::imports)
    }

    /// One of this class is not being started any more.
    pub(super) fn give_up(&mut self, class: &Class, warm: Warm) {
        if let Some(stock) = self.stocks.iter_mut().find(|stock| stock.class == *class) {
            stock.starting = stock.starting.saturating_sub(1);
            stock.starts_shell &= warm != Warm::Shell;
        }
    }

    /// Takes out what has waited for too long, and says when to look again. `lease_of` is until when a
    /// lease must last for a run of a time.
    pub(super) fn expire(
        &mut self,
        now: Instant,
        options: &PoolOptions,
        lease_of: impl Fn(Duration) -> Timestamp,
    ) -> (Vec<Waiting>, Option<Instant>) {
        let (mut old, mut next) = (Vec::new(), None);
        let mut look = |at: Instant| next = Some(next.map_or(at, |next: Instant| next.min(at)));
        self.stocks.retain_mut(|stock| {
            let idle_at = stock.used_at + options.idle;
            if stock.kept == Kept::WhileUsed && idle_at <= now {
                stock.wanted = 0;
            }
            if stock.wanted == 0 {
                old.extend(stock.waiting.drain(..));
                return stock.starting > 0;
            }
            if stock.kept == Kept::WhileUsed {
                look(idle_at);
            }
            // A clock that was put forward, or a machine that slept, ends leases before their time; and
            // one that was being started when longer runs were asked for is for shorter ones.
            let until = lease_of(stock.wall);
            let is_old = |one: &Waiting| one.since + WAITING_MAX <= now || one.lease_ends < until;
            let waiting = std::mem::take(&mut stock.waiting).into_iter();
            let (expired, kept): (Vec<_>, Vec<_>) = waiting.partition(is_old);
            stock.waiting = kept.into();
            old.extend(expired);
            if let Some(oldest) = stock.waiting.front() {
                look(oldest.since + WAITING_MAX);
            }
            true
        });
        (old, next)
    }

    /// Takes out what has ended or spoken; each that waits wakes the caller when it does.
    pub(super) fn poll_spoilt(&mut self, cx: &mut Context<'_>) -> Poll<Vec<Waiting>> {
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
    pub(super) fn new(class: Class, wall: Duration, now: Instant) -> Self {
        Self {
            class,
            kept: Kept::WhileUsed,
            wanted: 0,
            wall,
            waiting: VecDeque::new(),
            starting: 0,
            runs_commands: false,
            starts_shell: false,
            used_at: now,
            leased_at: None,
            failures: 0,
            imports_lost: 0,
            retry_at: now,
            is_stuck: false,
            failure: None,
        }
    }

    pub(super) fn count(&self) -> StockCount {
        StockCount {
            image: self.class.image.clone(),
            imports: self.class.imports.clone(),
            limits: self.class.limits.clone(),
            wanted: self.wanted,
            waiting: self.waiting.len(),
            starting: self.starting,
            failure: self.failure.clone(),
        }
    }

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

    fn started(&mut self, one: Waiting) {
        (self.failures, self.is_stuck) = (0, false);
        if one.ready.imports == Ahead::Imported {
            self.imports_lost = 0;
        }
        self.failure = None;
        self.waiting.push_back(one);
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
    /// Has it use what a run uses. One that takes nothing at the moment is left alone.
    fn stir(mut self) -> Self {
        if !self.ready.events.wants_stirring() {
            return self;
        }
        let mut frame = BytesMut::new();
        put(&mut frame, to_sandbox::STIR, &[]);
        let cx = &mut Context::from_waker(Waker::noop());
        let input = &mut self.ready.line.input;
        if let Poll::Ready(written) = input.as_mut().poll_write(cx, &frame) {
            self.is_broken |= !matches!(written, Ok(length) if length == frame.len());
            // What cannot leave at once leaves with what follows.
            drop(input.as_mut().poll_flush(cx));
        }
        self
    }

    /// Whether it has ended or said anything since READY.
    fn is_spoilt(&mut self, cx: &mut Context<'_>) -> bool {
        self.is_broken
            || self.ready.line.output.as_mut().poll_next(cx).is_ready()
            || self.ready.remains.end.poll_gone(cx).is_ready()
    }
}
