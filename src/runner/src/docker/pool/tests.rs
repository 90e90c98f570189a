use bytes::BytesMut;
use futures::{FutureExt as _, StreamExt as _};

use spec::{Imports, Limits};
use tokio::io::AsyncReadExt as _;

use super::stock::{CLASSES_MAX, FAILURES_MAX, GAVE_UP, NO_PLACE, SPARED, STIR_EVERY};
use super::*;
use crate::docker::events::Events;
use crate::docker::ready::{Line, Remains, Removal};
use crate::docker::watch::Watch;
use crate::frames::{put_message, to_host, to_sandbox};
use crate::{ImageId, RunnerError};

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

    fn lease_of(&self, _wall: Duration) -> Timestamp {
        Timestamp::UNIX_EPOCH
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
        is_broken: false,
    };
    // Its last failure, if any, is long ago.
    let retry_at = used_at.checked_sub(Duration::from_secs(60));
    Stock {
        wanted,
        waiting: std::iter::repeat_with(one).take(waiting).collect(),
        retry_at: retry_at.unwrap_or(used_at),
        ..Stock::new(class(pids), Duration::from_secs(1), used_at)
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
    let lease_of = |_| Timestamp::UNIX_EPOCH;
    let (old, _) = shared.lock().expire(now, &shared.options, lease_of);
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

#[tokio::test]
async fn what_is_always_kept_is_not_idle_and_not_in_the_way() {
    let begun = Instant::now();
    let pool = pool(4, vec![stock(1, 2, 2, begun), stock(2, 2, 2, begun)]);
    let options = &pool.shared.options;
    let mut state = pool.shared.lock();
    let (wall, later) = (Duration::from_secs(1), begun + 2 * options.idle);
    let want = |state: &mut State, wanted, kept| {
        drop(state.want(class(1), wall, wanted, kept, begun).unwrap());
    };
    want(&mut state, 2, Kept::Always);
    // Who asks for the same for a while does not change that.
    want(&mut state, 2, Kept::WhileUsed);
    let lease_of = |_| Timestamp::UNIX_EPOCH;
    let (old, _) = state.expire(later, options, lease_of);
    assert_eq!((old.len(), state.stocks.len()), (2, 1));
    assert!(state.stocks[0].class == class(1));
    state.stocks.push(stock(3, 4, 2, later));
    let next = state.next(later, options);
    assert!(matches!(next, Next::Wait(None)), "nothing is evicted");
    want(&mut state, 0, Kept::WhileUsed);
    let (_, next) = state.expire(begun, options, lease_of);
    assert_eq!(state.stocks.len(), 1);
    assert_eq!(next, Some(later + options.idle));
}

#[tokio::test]
async fn there_are_so_many_classes_at_most() {
    let begun = Instant::now();
    let pool = pool(4, vec![stock(1, 2, 0, begun), stock(2, 2, 1, begun)]);
    let mut state = pool.shared.lock();
    state.stocks[0].kept = Kept::Always;
    for pids in 3..=u32::try_from(CLASSES_MAX).unwrap() + 1 {
        let now = begun + Duration::from_secs(u64::from(pids));
        let wall = Duration::from_secs(1);
        let spare = state.want(class(pids), wall, 1, Kept::WhileUsed, now);
        let is_last = usize::try_from(pids).unwrap() > CLASSES_MAX;
        assert_eq!(spare.unwrap().len(), usize::from(is_last), "{pids}");
    }
    assert_eq!(state.stocks.len(), CLASSES_MAX);
    assert!(state.stocks.iter().any(|stock| stock.class == class(1)));
    assert!(!state.stocks.iter().any(|stock| stock.class == class(2)));
}

#[tokio::test]
async fn what_would_not_outlast_a_run_is_replaced() {
    let now = Instant::now();
    let pool = pool(16, vec![stock(9, 2, 2, now)]);
    let options = &pool.shared.options;
    let mut state = pool.shared.lock();
    let (before, after) = (Timestamp::UNIX_EPOCH, Timestamp::MAX);
    state.stocks[0].waiting[1].lease_ends = before;
    // The clock was put forward, or longer runs are asked for now.
    let (old, _) = state.expire(now, options, |_| after);
    assert_eq!((old.len(), state.stocks[0].waiting.len()), (1, 1));
    assert!(matches!(state.next(now, options), Next::Start(..)));
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

#[tokio::test]
async fn what_was_wanted_a_moment_ago_is_stirred() {
    let begun = Instant::now();
    let at = |millis| begun + Duration::from_millis(millis);
    let (ours, mut theirs) = tokio::io::duplex(5);
    let mut used = stock(9, 4, 2, begun);
    used.waiting[1].ready.line.input = Box::pin(ours);
    let header = serde_json::json!({"protocol": 1, "python": "3", "stir": true, "size": 0});
    let mut frame = BytesMut::new();
    put_message(&mut frame, to_host::READY, &header, &[]);
    let mut events = Events::default();
    events.feed(&frame);
    events.next().unwrap();
    used.waiting[1].ready.events = events;
    let mut state = State::new(begun);
    state.stocks = vec![used, stock(8, 4, 1, begun)];
    let stir = |state: &mut State, now| {
        let (broken, next) = state.stir(now);
        (broken.len(), next)
    };
    assert_eq!(stir(&mut state, at(0)), (0, None), "nobody came yet");
    let leased = state.lease(&class(9), Warm::Interpreter, Timestamp::MIN, at(0));
    assert!(leased.unwrap().0.is_some());
    let (now, next) = (begun + STIR_EVERY, begun + 2 * STIR_EVERY);
    // The run that was begun has the processors to itself.
    assert_eq!(stir(&mut state, at(1)), (0, Some(now)));
    assert_eq!(stir(&mut state, now), (0, Some(next)));
    assert_eq!(stir(&mut state, now), (0, Some(next)));
    let mut sent = [0; 10];
    // It takes five bytes more, and then nothing.
    theirs.read_exact(&mut sent[..5]).await.unwrap();
    assert_eq!(sent[..5], [to_sandbox::STIR, 0, 0, 0, 0]);
    assert_eq!(stir(&mut state, next), (0, Some(next + STIR_EVERY)));
    let third = next + STIR_EVERY;
    assert_eq!(stir(&mut state, third), (0, Some(third + STIR_EVERY)));
    // Of one that took half of it nobody knows what it will take for the beginning of a run.
    theirs.read_exact(&mut sent[..3]).await.unwrap();
    let fourth = third + STIR_EVERY;
    assert_eq!(stir(&mut state, fourth), (1, Some(fourth + STIR_EVERY)));
    assert_eq!(
        (state.stocks[0].waiting.len(), state.stocks[1].waiting.len()),
        (0, 1)
    );
    assert_eq!(stir(&mut state, begun + SPARED), (0, None));
    drop(theirs);
}
