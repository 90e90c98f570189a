//! Sandboxes that are started ahead of need.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use runner::{
    DockerOptions, DockerSandboxes, Engine, EngineConfig, Mount, Owner, PoolOptions,
    Sandboxes as _, SlotOptions, Slots, remove_owned,
};
use spec::{ByteSize, Limits, RunOutcome, RunReport, Start};
use tokio::net::{UnixListener, UnixStream};
use tokio::process::Command;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::env::{Env, answer, is_full, subagent};

const QUICK: &str = "def main(q): return {'answer': q}";
/// Longer than anything here takes on a busy machine.
const LONG: Duration = Duration::from_secs(60);

/// Sandboxes with a pool and an owner of their own, so that what they leave can be counted.
pub(crate) struct Pooled {
    pub(crate) env: Env,
    owner: Owner,
}

impl Pooled {
    pub(crate) async fn open(name: &str, pool: PoolOptions) -> Option<Self> {
        let mut env = Env::open().await?;
        let owner = Owner::named(name);
        let options = options(&owner, pool, crate::env::slots());
        env.sandboxes = DockerSandboxes::new(env.engine.clone(), options);
        Some(Self { env, owner })
    }

    /// Has so many sandboxes wait.
    pub(crate) async fn warm(&self, count: usize) {
        let Env {
            image,
            imports,
            limits,
            ..
        } = &self.env;
        self.env.sandboxes.prewarm(image, imports, limits, count);
        self.env.sandboxes.warm().await;
    }

    async fn run(&self) -> RunReport {
        let spec = self.env.spec(subagent(&[("main.py", QUICK)], "ping"));
        let cancel = self.env.cancel.clone();
        let ran = self.env.sandboxes.run(spec, self.env.host(), cancel);
        ran.await.unwrap()
    }

    /// A run that must succeed, and where its sandbox came from.
    async fn start_of_run(&self) -> Start {
        let report = self.run().await;
        assert_eq!(answer(&report), "ping");
        report.timings.start
    }

    async fn containers(&self) -> BTreeSet<String> {
        containers(&self.owner).await
    }

    /// Waits until what is on the engine is as it should be.
    async fn until(&self, what: &str, is: impl Fn(&BTreeSet<String>) -> bool) {
        let deadline = Instant::now() + LONG;
        loop {
            let containers = self.containers().await;
            if is(&containers) {
                return;
            }
            assert!(Instant::now() < deadline, "{what}: {containers:?}");
        }
    }

    /// Ends the pool and checks that it has left nothing.
    pub(crate) async fn close(self) {
        self.env.sandboxes.shutdown().await;
        assert_eq!(self.containers().await, BTreeSet::new());
        assert_eq!(self.env.sandboxes.waiting(), 0);
    }
}

pub(crate) fn options(owner: &Owner, pool: PoolOptions, slots: Slots) -> DockerOptions {
    DockerOptions {
        owner: owner.clone(),
        runtimes: runner::Runtimes::always(crate::env::runtime()),
        slots,
        pool,
        now: Timestamp::now,
    }
}

/// The containers of an owner.
async fn containers(owner: &Owner) -> BTreeSet<String> {
    let filter = format!("label=agentfactory.owner={owner}");
    docker(&["ps", "-aq", "--no-trunc", "--filter", &filter]).await
}

async fn docker(arguments: &[&str]) -> BTreeSet<String> {
    let output = Command::new("docker").args(arguments).output().await;
    let text = String::from_utf8(output.unwrap().stdout).unwrap();
    text.lines().map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sandbox_is_handed_out_once_and_replaced() {
    let Some(pooled) = Pooled::open("pool-once", PoolOptions::default()).await else {
        return;
    };
    assert_eq!(pooled.start_of_run().await, Start::Cold);
    assert_eq!(pooled.env.sandboxes.waiting(), 0, "nobody asked for one");
    pooled.warm(1).await;
    let mut seen = BTreeSet::new();
    for _ in 0..3 {
        pooled.env.sandboxes.settle().await;
        let waiting = pooled.containers().await;
        assert_eq!(waiting.len(), 1, "{waiting:?}");
        assert!(seen.is_disjoint(&waiting), "one came back");
        seen.extend(waiting);
        assert_eq!(pooled.start_of_run().await, Start::Leased);
        pooled.env.sandboxes.warm().await;
    }
    pooled.close().await;
}

/// What a program sees of the sandbox that it finds.
const SURROUNDINGS: &str = "
import gc, os, sys, threading
def main(query):
    seen = [sorted(sys.modules), sorted(os.environ.items()), sorted(os.listdir('/proc/self/fd'))]
    seen += [threading.active_count(), len(gc.garbage), sys.path, os.getcwd()]
    for root in ('/workspace', '/code', '/tmp', '/dev/shm'):
        seen += [sorted(files) for _, _, files in os.walk(root)]
    return {'answer': repr(seen)}
";

#[tokio::test(flavor = "multi_thread")]
async fn what_keeps_a_sandbox_awake_leaves_no_trace_in_it() {
    let Some(pooled) = Pooled::open("pool-awake", PoolOptions::default()).await else {
        return;
    };
    let look = async || {
        let spec = pooled.env.spec(subagent(&[("main.py", SURROUNDINGS)], ""));
        let cancel = pooled.env.cancel.clone();
        let ran = pooled.env.sandboxes.run(spec, pooled.env.host(), cancel);
        let report = ran.await.unwrap();
        (report.timings.start, answer(&report).to_owned())
    };
    let (start, expected) = look().await;
    assert_eq!(start, Start::Cold);
    // Those that wait after the first are stirred while the next ones are started.
    for _ in 0..6 {
        pooled.warm(2).await;
        assert_eq!(look().await, (Start::Leased, expected.clone()));
    }
    pooled.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_wait_than_are_allowed() {
    let pool = PoolOptions {
        keep: 2,
        keep_max: 3,
        ..PoolOptions::default()
    };
    let Some(pooled) = Pooled::open("pool-bounds", pool).await else {
        return;
    };
    pooled.warm(50).await;
    assert_eq!(pooled.env.sandboxes.waiting(), 2);
    let Env { image, limits, .. } = &pooled.env;
    let other = Limits {
        pids: limits.pids + 1,
        ..limits.clone()
    };
    pooled
        .env
        .sandboxes
        .prewarm(image, &spec::Imports::NONE, &other, 50);
    pooled.env.sandboxes.warm().await;
    assert_eq!(pooled.env.sandboxes.waiting(), 3);
    // Nobody wants those of the first kind any more.
    pooled
        .env
        .sandboxes
        .prewarm(image, &spec::Imports::NONE, limits, 0);
    pooled.env.sandboxes.warm().await;
    assert_eq!(pooled.env.sandboxes.waiting(), 2);
    pooled.until("two are left", |all| all.len() == 2).await;
    pooled.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_uses_is_removed() {
    let pool = PoolOptions {
        idle: Duration::from_secs(2),
        ..PoolOptions::default()
    };
    let Some(pooled) = Pooled::open("pool-idle", pool).await else {
        return;
    };
    pooled.warm(1).await;
    pooled.until("all are idle", BTreeSet::is_empty).await;
    assert_eq!(pooled.env.sandboxes.waiting(), 0);
    assert_eq!(pooled.start_of_run().await, Start::Cold);
    pooled.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_died_is_replaced_and_never_handed_out() {
    let Some(pooled) = Pooled::open("pool-dead", PoolOptions::default()).await else {
        return;
    };
    pooled.warm(2).await;
    for _ in 0..3 {
        let before = pooled.containers().await;
        let victim = before.first().unwrap();
        docker(&["kill", victim]).await;
        // At once, so that the news may not have come: then the run starts its own.
        let report = pooled.run().await;
        assert_eq!(answer(&report), "ping");
        pooled.env.sandboxes.warm().await;
        pooled.env.sandboxes.settle().await;
        pooled
            .until("two others wait", |all| {
                all.len() == 2 && !all.contains(victim)
            })
            .await;
    }
    pooled.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_of_different_kinds_use_different_sandboxes() {
    let Some(mut pooled) = Pooled::open("pool-kinds", PoolOptions::default()).await else {
        return;
    };
    pooled.warm(1).await;
    let usual = pooled.env.limits.clone();
    let changes: [fn(&mut Limits); 5] = [
        |limits| limits.memory = ByteSize::mib(384),
        |limits| limits.pids -= 1,
        |limits| limits.cpu_millis -= 1,
        |limits| limits.workspace = ByteSize::mib(64),
        |limits| limits.workspace_files -= 1,
    ];
    for change in changes {
        change(&mut pooled.env.limits);
        assert_eq!(pooled.start_of_run().await, Start::Cold);
        pooled.env.limits = usual.clone();
    }
    // Its lease would end before such a run does.
    pooled.env.limits.wall = Duration::from_hours(20);
    assert_eq!(pooled.start_of_run().await, Start::Cold);
    pooled.env.limits = usual.clone();
    if pooled.env.engine.address().starts_with("unix://") {
        let folder = tempfile::tempdir().unwrap();
        pooled.env.mounts = vec![Mount {
            source: folder.path().to_owned(),
            name: "data".to_owned(),
            writable: false,
        }];
        assert_eq!(pooled.start_of_run().await, Start::Cold);
        pooled.env.mounts.clear();
    }
    assert_eq!(pooled.env.sandboxes.waiting(), 1);
    // What the sandbox is told with its run makes no difference.
    pooled.env.limits.wall = Duration::from_secs(5);
    pooled.env.limits.output = ByteSize::kib(1);
    assert_eq!(pooled.start_of_run().await, Start::Leased);
    pooled.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leased_run_has_its_own_limits() {
    let Some(mut pooled) = Pooled::open("pool-limits", PoolOptions::default()).await else {
        return;
    };
    pooled.warm(1).await;
    pooled.env.limits.wall = Duration::from_millis(300);
    let limit = pooled.env.limits.wall;
    let source = "import time\ndef main(q): time.sleep(60)";
    let spec = pooled.env.spec(subagent(&[("main.py", source)], ""));
    let cancel = CancellationToken::new();
    let report = pooled.env.sandboxes.run(spec, pooled.env.host(), cancel);
    let report = report.await.unwrap();
    assert_eq!(report.timings.start, Start::Leased);
    assert!(
        matches!(report.outcome, RunOutcome::TimedOut { limit: l, .. } if l == limit),
        "{report:#?}"
    );
    pooled.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_run_leaves_nothing_wherever_it_is() {
    let Some(mut pooled) = Pooled::open("pool-cancel", PoolOptions::default()).await else {
        return;
    };
    // Before it has a sandbox, and while one is being started.
    for delay in [0, 20, 60, 120] {
        pooled.env.cancel = CancellationToken::new();
        let cancel = pooled.env.cancel.clone();
        let later = async {
            tokio::time::sleep(Duration::from_millis(delay)).await;
            cancel.cancel();
        };
        let (report, ()) = tokio::join!(pooled.run(), later);
        if report.outcome != RunOutcome::Cancelled {
            assert_eq!(answer(&report), "ping");
        }
    }
    pooled.env.sandboxes.settle().await;
    assert_eq!(pooled.containers().await, BTreeSet::new());
    // With one that waits, which is used up.
    pooled.env.cancel = CancellationToken::new();
    pooled.warm(1).await;
    pooled.env.cancel.cancel();
    let report = pooled.run().await;
    assert_eq!(report.outcome, RunOutcome::Cancelled);
    pooled.env.sandboxes.warm().await;
    pooled.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_that_is_dropped_or_closed_while_it_starts_leaves_nothing() {
    let Some(pooled) = Pooled::open("pool-drop", PoolOptions::default()).await else {
        return;
    };
    let Env {
        image,
        limits,
        engine,
        ..
    } = &pooled.env;
    for delay in [0, 50, 150, 400] {
        let options = options(&pooled.owner, PoolOptions::default(), crate::env::slots());
        let sandboxes = DockerSandboxes::new(engine.clone(), options);
        sandboxes.prewarm(image, &spec::Imports::NONE, limits, 2);
        tokio::time::sleep(Duration::from_millis(delay)).await;
        if delay == 150 {
            sandboxes.shutdown().await;
            assert_eq!(pooled.containers().await, BTreeSet::new());
        }
        drop(sandboxes);
        pooled.until("all end", BTreeSet::is_empty).await;
    }
    pooled.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_that_is_used_up_fails_no_run() {
    let Some(pooled) = Pooled::open("pool-burst", PoolOptions::default()).await else {
        return;
    };
    let count = if is_full() { 100 } else { 24 };
    pooled.warm(4).await;
    let mut runs = JoinSet::new();
    for _ in 0..count {
        let spec = pooled.env.spec(subagent(&[("main.py", QUICK)], "ping"));
        let (sandboxes, host) = (pooled.env.sandboxes.clone(), pooled.env.host());
        runs.spawn(async move { sandboxes.run(spec, host, CancellationToken::new()).await });
    }
    let reports = runs.join_all().await;
    assert_eq!(reports.len(), count);
    let mut leased = 0;
    for report in reports {
        let report = report.unwrap();
        assert_eq!(answer(&report), "ping");
        leased += usize::from(report.timings.start == Start::Leased);
    }
    assert!((4..count).contains(&leased), "{leased} of {count}");
    pooled.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leased_sandbox_is_much_faster_than_a_cold_one() {
    let Some(pooled) = Pooled::open("pool-speed", PoolOptions::default()).await else {
        return;
    };
    let (mut cold, mut leased) = (Vec::new(), Vec::new());
    for _ in 0..7 {
        let begun = Instant::now();
        assert_eq!(pooled.start_of_run().await, Start::Cold);
        cold.push(begun.elapsed());
        pooled.env.sandboxes.settle().await;
        pooled.warm(1).await;
        let begun = Instant::now();
        let report = pooled.run().await;
        leased.push(begun.elapsed());
        assert_eq!(report.timings.start, Start::Leased);
        eprintln!("{:?}: {:?}", leased.last().unwrap(), report.timings);
        let Env { image, limits, .. } = &pooled.env;
        pooled
            .env
            .sandboxes
            .prewarm(image, &spec::Imports::NONE, limits, 0);
        pooled.env.sandboxes.warm().await;
    }
    cold.sort();
    leased.sort();
    eprintln!("cold {cold:?}\nleased {leased:?}");
    assert!(4 * leased[3] < cold[3], "{leased:?} {cold:?}");
    pooled.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_is_not_there_is_not_asked_for_forever() {
    let Some(mut pooled) = Pooled::open("pool-image", PoolOptions::default()).await else {
        return;
    };
    pooled.env.image = runner::ImageId(spec::Digest::of(b"no image"));
    tokio::time::timeout(LONG, pooled.warm(2)).await.unwrap();
    assert_eq!(pooled.env.sandboxes.waiting(), 0);
    pooled.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_are_asked_to_wait_than_there_is_place_for() {
    let Some(mut env) = Env::open().await else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let slots = small_slots(folder.path());
    let owner = Owner::named("pool-places");
    let options = options(&owner, PoolOptions::default(), slots.clone());
    env.sandboxes = DockerSandboxes::new(env.engine.clone(), options);
    env.sandboxes
        .prewarm(&env.image, &spec::Imports::NONE, &env.limits, 4);
    tokio::time::timeout(LONG, env.sandboxes.warm())
        .await
        .unwrap();
    assert_eq!(env.sandboxes.waiting(), 1);
    // A permit that was waited for is used, and nothing is waited for twice.
    let permit = slots.permit(&env.cancel).await.unwrap().unwrap();
    let queued = permit.queued;
    env.sandboxes.lend(permit);
    let spec = env.spec(subagent(&[("main.py", QUICK)], "ping"));
    let ran = env.sandboxes.run(spec, env.host(), env.cancel.clone());
    let report = ran.await.unwrap();
    assert_eq!(answer(&report), "ping");
    assert_eq!(report.timings.queue, queued);
    env.sandboxes.shutdown().await;
    assert_eq!(containers(&owner).await, BTreeSet::new());
}

/// One run at once, and one sandbox that waits.
fn small_slots(folder: &Path) -> Slots {
    Slots::open(SlotOptions {
        directory: folder.join("slots"),
        runs_max: 1,
        sandboxes_max: 2,
        queue_timeout: LONG,
    })
    .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_user_of_a_sandbox_that_stays_is_given_to_no_other() {
    let Some(env) = Env::open().await else { return };
    let Some(socket) = env.engine.address().strip_prefix("unix://") else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let slots = small_slots(folder.path());
    let path = folder.path().join("engine.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let config = EngineConfig {
        host: Some(format!("unix://{}", path.display())),
        ..EngineConfig::default()
    };
    let owner = Owner::named("pool-stays");
    let source = "print('begun', flush=True)\ndef main(q):\n    import time; time.sleep(600)";
    let cable = carry(listener, Path::new(socket));
    let mut cable = Box::pin(cable);
    let work = async {
        let engine = Engine::connect(&config).await.unwrap();
        let options = options(&owner, PoolOptions::default(), slots.clone());
        let sandboxes = DockerSandboxes::new(engine, options);
        let spec = env.spec(subagent(&[("main.py", source)], ""));
        let ran = sandboxes.run(spec, env.host(), env.cancel.clone());
        (ran.await, sandboxes)
    };
    let until_begun = async {
        tokio::select! {
            () = &mut cable => {}
            () = env.observer.first.notified() => {}
        }
        // Nothing is carried any more, and what is open stays open.
        drop(std::fs::remove_file(&path));
        drop(cable);
    };
    let ((report, sandboxes), ()) = tokio::join!(work, until_begun);
    let report = report.unwrap();
    assert_eq!(report.outcome.kind(), "sandbox_lost", "{report:#?}");
    let user = async || {
        let permit = slots.permit(&env.cancel).await.unwrap().unwrap();
        let slot = slots.slot(&permit, &env.cancel).await.unwrap().unwrap();
        slot.user()
    };
    assert_eq!(user().await, 60_579, "the first is not known to be gone");
    // The engine is back, and says that it is.
    let listener = UnixListener::bind(&path).unwrap();
    let free = async {
        let deadline = Instant::now() + LONG;
        while user().await != 60_578 {
            assert!(Instant::now() < deadline, "the slot is kept forever");
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        () = carry(listener, Path::new(socket)) => {}
        () = free => {}
    }
    sandboxes.shutdown().await;
    assert_eq!(containers(&owner).await, BTreeSet::new());
}

/// Carries connections to the engine until it is dropped, which cuts all of them.
async fn carry(listener: UnixListener, socket: &Path) {
    let mut connections = JoinSet::new();
    loop {
        let (mut ours, _) = listener.accept().await.unwrap();
        let mut theirs = UnixStream::connect(socket).await.unwrap();
        connections
            .spawn(async move { tokio::io::copy_bidirectional(&mut ours, &mut theirs).await });
    }
}

/// Numbers that look random and are the same in each test. Source: Knuth's MMIX.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: u64) -> u64 {
        let next = self.0.wrapping_mul(6_364_136_223_846_793_005);
        self.0 = next.wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_is_cut_at_any_moment_leaves_nothing() {
    let Some(env) = Env::open().await else { return };
    let Some(socket) = env.engine.address().strip_prefix("unix://") else {
        return;
    };
    let owner = Owner::named("pool-cut");
    let folder = tempfile::tempdir().unwrap();
    // Few, so that one that was lost would be missed.
    let slots = Slots::open(SlotOptions {
        directory: folder.path().join("slots"),
        runs_max: 2,
        sandboxes_max: 4,
        queue_timeout: Duration::from_secs(10),
    })
    .unwrap();
    let mut numbers = Numbers(7);
    let quick = || subagent(&[("main.py", QUICK)], "ping");
    for round in 0..if is_full() { 100 } else { 15 } {
        let path = folder.path().join(format!("{round}.sock"));
        let listener = UnixListener::bind(&path).unwrap();
        let cut_after = Duration::from_millis(numbers.below(700));
        let work = async {
            let config = EngineConfig {
                host: Some(format!("unix://{}", path.display())),
                ..EngineConfig::default()
            };
            let Ok(engine) = Engine::connect(&config).await else {
                return;
            };
            let options = options(&owner, PoolOptions::default(), slots.clone());
            let sandboxes = DockerSandboxes::new(engine, options);
            sandboxes.prewarm(&env.image, &spec::Imports::NONE, &env.limits, 1);
            let endless = async || loop {
                let ran = sandboxes.run(env.spec(quick()), env.host(), env.cancel.clone());
                match ran.await {
                    Ok(report) => match report.outcome {
                        RunOutcome::Completed { .. } => {}
                        RunOutcome::SandboxLost { .. } => return,
                        other => panic!("{other:?}"),
                    },
                    Err(_) => return,
                }
            };
            tokio::join!(endless(), endless());
            sandboxes.shutdown().await;
        };
        let cable = async {
            tokio::select! {
                () = carry(listener, Path::new(socket)) => {}
                () = tokio::time::sleep(cut_after) => {}
            }
            Instant::now()
        };
        let both = async { tokio::join!(work, cable).1 };
        let cut_at = tokio::time::timeout(LONG, both)
            .await
            .expect("nothing hangs");
        let took = cut_at.elapsed();
        assert!(
            took < Duration::from_secs(10),
            "round {round}, cut after {cut_after:?}: {took:?}"
        );
    }
    // What was created and never started has no stream that could end it: that is the reaper's. The
    // engine may still be creating what nobody waits for any more.
    let deadline = Instant::now() + LONG;
    while !containers(&owner).await.is_empty() {
        remove_owned(&env.engine, &owner).await.unwrap();
        assert!(Instant::now() < deadline, "all end");
    }
    // All places are free again, and runs work.
    let options = options(&owner, PoolOptions::default(), slots);
    let sandboxes = DockerSandboxes::new(env.engine.clone(), options);
    sandboxes.prewarm(&env.image, &spec::Imports::NONE, &env.limits, 2);
    sandboxes.warm().await;
    assert_eq!(sandboxes.waiting(), 2);
    let run = || sandboxes.run(env.spec(quick()), env.host(), env.cancel.clone());
    let (first, second) = tokio::join!(run(), run());
    assert_eq!(answer(&first.unwrap()), "ping");
    assert_eq!(answer(&second.unwrap()), "ping");
    sandboxes.shutdown().await;
    assert_eq!(containers(&owner).await, BTreeSet::new());
}
