//! Many runs in one process, hostile ones among them: what they leave behind would add up.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt as _, stream};
use runner::{DockerSandboxes, Observer, Owner, PoolOptions, RunHost, Sandboxes as _};
use spec::{OutputStream, RunOutcome};
use tokio::process::Command;

use crate::env::{Env, is_full, slots, subagent};

/// Programs, and how each must end.
const MIX: &[(&str, &str)] = &[
    ("def main(q): return {'answer': q}", "completed"),
    (
        "def main(q):\n    open('a', 'w').write('x' * 100000)\n    print('x' * 1000)\n    return {}",
        "completed",
    ),
    (
        "def main(q): return {'answer': str(sum(range(10**5)))}",
        "completed",
    ),
    ("def main(q): raise ValueError(q)", "raised"),
    (
        "import os\ndef main(q): os.kill(os.getpid(), 11)",
        "signalled",
    ),
    ("import os\ndef main(q): os._exit(3)", "exited"),
    (
        "def main(q):\n    while True: print('x' * 60000)",
        "output_limit",
    ),
    (
        "def main(q):\n    a = []\n    while True: a.append(bytearray(10**7))",
        "out_of_memory",
    ),
    (
        "import os, signal\ndef main(q):\n    while True:\n        try:\n            if os.fork() == 0: signal.pause()\n        except OSError: os.kill(os.getpid(), 9)",
        "signalled",
    ),
    (
        "import os\ndef main(q):\n    for fd in range(3, 64):\n        try: os.write(fd, b'\\x16' * 100)\n        except OSError: pass\n    return {}",
        "bad_result",
    ),
    (
        "def main(q):\n    for n in range(999): open(f'/tmp/{n}', 'wb').write(bytes(10**6))",
        "disk_limit",
    ),
    ("def main(q):\n    while True: pass", "timed_out"),
];
/// At once.
const CONCURRENCY: usize = 4;
/// Resident memory that may be new after the first runs, for all that follow.
const GROWTH_KIB: u64 = 24 << 10;

/// A number in `/proc/self/status`. Source: `proc_pid_status(5)`.
fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let value = line.and_then(|line| line.split_ascii_whitespace().next());
    value.unwrap().parse().unwrap()
}

fn open_files() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_leave_nothing_that_adds_up() {
    let Some(mut env) = Env::open().await else {
        return;
    };
    let runs = if is_full() { 2_000 } else { 60 };
    let owner = Owner::named("soak");
    let options = crate::pool::options(&owner, PoolOptions::default(), slots());
    env.sandboxes = DockerSandboxes::new(env.engine.clone(), options);
    env.limits.wall = Duration::from_secs(60);
    env.limits.memory = spec::ByteSize::mib(256);
    env.limits.workspace = spec::ByteSize::mib(32);
    env.sandboxes
        .prewarm(&env.image, &spec::Imports::NONE, &env.limits, 2);

    let mut before = None;
    for part in 0..4 {
        let quarter = (part * runs / 4)..((part + 1) * runs / 4);
        let ended = stream::iter(quarter)
            .map(|number| one(&env, number))
            .buffer_unordered(CONCURRENCY)
            .collect::<Vec<_>>();
        drop(ended.await);
        env.sandboxes.settle().await;
        env.sandboxes.warm().await;
        let now = (resident_kib(), open_files());
        eprintln!(
            "{} of {runs} runs: {} KiB, {} files",
            (part + 1) * runs / 4,
            now.0,
            now.1
        );
        let (memory, files) = *before.get_or_insert(now);
        assert!(
            now.0 <= memory + GROWTH_KIB,
            "memory grew from {memory} to {} KiB",
            now.0
        );
        assert!(
            now.1 <= files + 4,
            "open files grew from {files} to {}",
            now.1
        );
    }
    env.sandboxes.shutdown().await;
    let filter = format!("label=agentfactory.owner={owner}");
    let list = ["ps", "--all", "--quiet", "--filter", &filter];
    let left = Command::new("docker").args(list).output().await.unwrap();
    assert_eq!(String::from_utf8(left.stdout).unwrap(), "");
}

/// Keeps nothing of what is written.
#[derive(Debug)]
struct Unseen;

impl Observer for Unseen {
    fn output(&self, _: OutputStream, _: &[u8]) {}
}

/// One run, which must end as its program says.
async fn one(env: &Env, number: usize) {
    let (source, expected) = MIX[number % MIX.len()];
    let mut spec = env.spec(subagent(&[("main.py", source)], "ping"));
    if expected == "timed_out" {
        spec.limits.wall = Duration::from_secs(1);
    }
    let host = RunHost {
        observer: Arc::new(Unseen),
        ..env.host()
    };
    let ran = env.sandboxes.run(spec, host, env.cancel.clone());
    let report = ran.await.unwrap();
    let outcome = report.outcome;
    assert_eq!(
        outcome.kind(),
        expected,
        "run {number}: {outcome:?}\n{source}"
    );
    let held: BTreeSet<_> = report.changed.iter().map(|file| &file.path).collect();
    assert_eq!(held.len(), report.changed.len());
    if let RunOutcome::Completed { result } = outcome {
        assert!(result.answer.len() < 100);
    }
}
