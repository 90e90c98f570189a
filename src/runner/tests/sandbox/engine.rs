//! Engines that vanish, and sandboxes that nobody owns.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use runner::{
    DockerOptions, DockerSandboxes, Engine, EngineConfig, Owner, PoolOptions, Program, RunnerError,
    Sandboxes as _, reap, remove_owned,
};
use spec::{RunId, RunOutcome};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::process::Command;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::env::{Env, exists, subagent};

/// Stands between us and the engine until it is cut; when frozen it keeps all connections, takes
/// new ones, and passes nothing.
async fn relay(listener: UnixListener, socket: &Path, frozen: CancellationToken) {
    let mut connections = JoinSet::new();
    loop {
        let (mut ours, _) = listener.accept().await.unwrap();
        let mut theirs = UnixStream::connect(socket).await.unwrap();
        let frozen = frozen.clone();
        connections.spawn(async move {
            let copy = tokio::io::copy_bidirectional(&mut ours, &mut theirs);
            if frozen.run_until_cancelled(copy).await.is_none() {
                let (_ours, _theirs) = (ours, theirs);
                std::future::pending::<()>().await;
            }
        });
    }
}

/// Sandboxes on the engine that is reached by this socket.
async fn sandboxes(socket: &Path) -> DockerSandboxes {
    let config = EngineConfig {
        host: Some(format!("unix://{}", socket.display())),
        ..EngineConfig::default()
    };
    let engine = Engine::connect(&config).await.unwrap();
    let options = DockerOptions {
        owner: Owner::of_this_process().unwrap(),
        runtimes: runner::Runtimes::default(),
        slots: crate::env::slots(),
        pool: PoolOptions::default(),
        now: Timestamp::now,
    };
    DockerSandboxes::new(engine, options)
}

/// A subagent that never ends.
fn endless() -> Program {
    let source = "import time\nprint('begun')\ndef main(q): time.sleep(600)";
    subagent(&[("main.py", source)], "")
}

/// Waits until a sandbox has gone because its stream has ended.
async fn wait_until_gone(run: &RunId) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while exists(run).await {
        assert!(
            Instant::now() < deadline,
            "the end of its stream ends the sandbox"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_vanishes_loses_the_sandbox_and_nothing_stays() {
    let Some(env) = Env::open().await else { return };
    let Some(socket) = env.engine.address().strip_prefix("unix://") else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("engine.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let never = CancellationToken::new();
    let mut relay = Box::pin(relay(listener, Path::new(socket), never));
    let work = async {
        let sandboxes = sandboxes(&path).await;
        let spec = env.spec(endless());
        let run = spec.run;
        let report = sandboxes.run(spec, env.host(), env.cancel.clone()).await;
        (report.unwrap(), run)
    };
    let relay_until_output = async {
        tokio::select! {
            () = &mut relay => {}
            () = env.observer.first.notified() => {}
        }
        drop(relay);
        Instant::now()
    };
    let ((report, run), cut_at) = tokio::join!(work, relay_until_output);
    assert!(cut_at.elapsed() < Duration::from_secs(10));
    let RunOutcome::SandboxLost { why } = &report.outcome else {
        panic!("{report:#?}");
    };
    assert!(
        why.starts_with("it ended without a report") || why.starts_with("its stream"),
        "{why}"
    );
    wait_until_gone(&run).await;
}

/// Passes everything on, but that the first container to be created is created late: its client is
/// hung up on, and the engine hears of it once it was asked to remove what it does not have.
async fn late_relay(listener: UnixListener, socket: &Path) {
    let (refused, mut is_first) = (Arc::new(Notify::new()), true);
    let mut connections = JoinSet::new();
    loop {
        let (mut ours, _) = listener.accept().await.unwrap();
        let mut theirs = UnixStream::connect(socket).await.unwrap();
        let mut head = vec![0; 64 << 10];
        let length = ours.read(&mut head).await.unwrap();
        head.truncate(length);
        let has = |word: &[u8]| head.windows(word.len()).any(|part| part == word);
        let is_create = head.starts_with(b"POST") && has(b"/containers/create");
        let is_removal = head.starts_with(b"DELETE");
        let is_late = is_create && std::mem::take(&mut is_first);
        let refused = Arc::clone(&refused);
        connections.spawn(async move {
            if is_late {
                // The rest of it is on its way, or here.
                let rest = ours.read_buf(&mut head);
                drop(tokio::time::timeout(Duration::from_millis(100), rest).await);
                drop(ours);
                refused.notified().await;
                theirs.write_all(&head).await.unwrap();
                theirs.read_u8().await.unwrap();
                return;
            }
            theirs.write_all(&head).await.unwrap();
            if is_removal {
                let mut answer = vec![0; 4096];
                let length = theirs.read(&mut answer).await.unwrap();
                ours.write_all(&answer[..length]).await.unwrap();
                refused.notify_one();
            }
            drop(tokio::io::copy_bidirectional(&mut ours, &mut theirs).await);
        });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sandbox_that_the_engine_creates_late_is_removed() {
    let Some(env) = Env::open().await else { return };
    let Some(socket) = env.engine.address().strip_prefix("unix://") else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("engine.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let work = async {
        let sandboxes = sandboxes(&path).await;
        let spec = env.spec(endless());
        let run = spec.run;
        let error = sandboxes.run(spec, env.host(), env.cancel.clone()).await;
        assert!(
            matches!(error, Err(RunnerError::Engine { .. })),
            "{error:?}"
        );
        let deadline = Instant::now() + Duration::from_secs(60);
        while !exists(&run).await {
            assert!(Instant::now() < deadline, "the engine creates it");
        }
        // Its owner lives, so it is nobody else's to remove.
        while exists(&run).await {
            assert!(Instant::now() < deadline, "it is removed");
        }
    };
    tokio::select! {
        () = work => {}
        () = late_relay(listener, Path::new(socket)) => {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_hangs_does_not_outlast_the_deadline() {
    let Some(mut env) = Env::open().await else {
        return;
    };
    let Some(socket) = env.engine.address().strip_prefix("unix://") else {
        return;
    };
    env.limits.wall = Duration::from_secs(1);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("engine.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let frozen = CancellationToken::new();
    let relay = relay(listener, Path::new(socket), frozen.clone());
    let work = async {
        let sandboxes = sandboxes(&path).await;
        let spec = env.spec(endless());
        let run = spec.run;
        let freeze = async {
            env.observer.first.notified().await;
            frozen.cancel();
            Instant::now()
        };
        let ran = sandboxes.run(spec, env.host(), env.cancel.clone());
        let (report, frozen_at) = tokio::join!(ran, freeze);
        (report.unwrap(), run, frozen_at.elapsed())
    };
    let (report, run, took) = tokio::select! {
        done = work => done,
        () = relay => panic!("the relay ended"),
    };
    assert!(took < Duration::from_secs(15), "{took:?}");
    let RunOutcome::SandboxLost { why } = &report.outcome else {
        panic!("{report:#?}");
    };
    assert!(why.contains("did not confirm"), "{why}");
    wait_until_gone(&run).await;
}

/// Creates a container with the labels of a sandbox, and starts it or not.
async fn container(env: &Env, owner: &str, lease: i64, start: bool) -> String {
    let labels = [
        format!("agentfactory.owner={owner}"),
        format!("agentfactory.lease={lease}"),
        "agentfactory.run=test".to_owned(),
    ];
    let mut docker = Command::new("docker");
    docker.args(["create", "-i", "--network", "none", "--entrypoint", "cat"]);
    for label in &labels {
        docker.args(["--label", label]);
    }
    let output = docker.arg(env.image.0.to_string()).output().await.unwrap();
    let id = String::from_utf8(output.stdout).unwrap().trim().to_owned();
    assert_eq!(id.len(), 64, "{}", String::from_utf8_lossy(&output.stderr));
    if start {
        let started = Command::new("docker")
            .args(["start", &id])
            .output()
            .await
            .unwrap();
        assert!(started.status.success());
    }
    id
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_owns_is_reaped_and_nothing_else() {
    let Some(env) = Env::open().await else { return };
    let now = Timestamp::now();
    let later = now.as_second() + 600;
    let alive = Owner::of_this_process().unwrap().to_string();
    let (here, _) = alive.rsplit_once('/').unwrap();
    let dead = format!("{here}/1");
    let elsewhere = "another-1/boot/1/1";
    let gone = [
        container(&env, &dead, later, true).await,
        container(&env, &dead, later, false).await,
        container(&env, elsewhere, now.as_second() - 1, false).await,
        container(&env, "nonsense", now.as_second() - 1, false).await,
    ];
    let kept = [
        container(&env, &alive, later, true).await,
        container(&env, &alive, now.as_second() - 1, false).await,
        container(&env, elsewhere, later, false).await,
    ];
    reap(&env.engine, now).await.unwrap();
    let is_there = async |id: &str| {
        let inspect = Command::new("docker").args(["inspect", id]).output();
        inspect.await.unwrap().status.success()
    };
    for id in &gone {
        assert!(!is_there(id).await, "{id}");
    }
    for id in &kept {
        assert!(is_there(id).await, "{id}");
        let removed = Command::new("docker")
            .args(["rm", "-f", id])
            .output()
            .await
            .unwrap();
        assert!(removed.status.success());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn all_sandboxes_of_one_owner_are_removed_at_once() {
    let Some(env) = Env::open().await else { return };
    let description = env.engine.describe();
    assert!(description.starts_with("docker "), "{description}");
    assert!(description.contains(", api 1."), "{description}");
    // Another owner than the rest of the tests, which run at the same time.
    let owner = Owner::named("removed-at-once");
    let later = Timestamp::now().as_second() + 600;
    container(&env, &owner.to_string(), later, true).await;
    container(&env, &owner.to_string(), later, false).await;
    assert_eq!(remove_owned(&env.engine, &owner).await.unwrap(), 2);
    assert_eq!(remove_owned(&env.engine, &owner).await.unwrap(), 0);
}
