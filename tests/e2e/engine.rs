//! The engine at another address, gone, or gone in the middle; and whoever owned a sandbox, dead.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use testkit::{Relay, TestEnv, containers};

/// Starts a run that says `begun` and then waits for ever.
fn start_endless(env: &TestEnv) -> Child {
    let file = env.write(
        "endless.py",
        "import time\ndef main(q):\n    print('begun', flush=True)\n    while True:\n        time.sleep(60)\n",
    );
    let mut child = env
        .command(["exec", file.to_str().unwrap(), "q", "--json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let begun = lines
        .by_ref()
        .map(Result::unwrap)
        .find(|line| line.contains("begun"));
    assert!(begun.is_some(), "the run did not begin");
    // Whoever writes must not meet a closed pipe.
    std::thread::spawn(move || lines.for_each(drop));
    child
}

/// Waits, within a bound, for a condition that another process brings about.
fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !holds() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::yield_now();
    }
}

/// The sandboxes that a process owns.
fn sandboxes_of(process: u32) -> Vec<String> {
    let is_owner = |id: &String| {
        let format = "{{index .Config.Labels \"agentfactory.owner\"}}";
        let owner = Command::new("docker")
            .args(["inspect", "--format", format, id])
            .output()
            .unwrap();
        let owner = String::from_utf8_lossy(&owner.stdout).into_owned();
        owner.split('/').nth(2) == Some(&process.to_string())
    };
    containers("agentfactory.run")
        .into_iter()
        .filter(is_owner)
        .collect()
}

#[test]
fn a_remote_engine_works_the_same() {
    let Some(env) = TestEnv::with_engine() else {
        return;
    };
    let relay = Relay::start();
    let env = env.set("DOCKER_HOST", &relay.docker_host());
    env.write("in/a.txt", "text");
    let file = env.write(
        "a.py",
        "def main(q):\n    return {'answer': open('a.txt').read() + q}\n",
    );
    let input = env.scratch().join("in");
    let finished = env
        .agentfactory([
            "exec",
            file.to_str().unwrap(),
            "!",
            "--input",
            input.to_str().unwrap(),
        ])
        .expect_status(0);
    assert_eq!(finished.stdout, "text!\n");
}

#[test]
fn an_engine_that_goes_away_in_the_middle_ends_the_run_and_leaves_nothing() {
    let Some(env) = TestEnv::with_engine() else {
        return;
    };
    let relay = Relay::start();
    let env = env.set("DOCKER_HOST", &relay.docker_host());
    let child = start_endless(&env);
    assert_eq!(sandboxes_of(child.id()).len(), 1);
    relay.cut();
    let id = child.id();
    let output = child.wait_with_output().unwrap();
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["outcome"]["kind"], "sandbox_lost", "{json:#}");
    assert_eq!(output.status.code(), Some(1));
    eventually("the sandbox is gone", || sandboxes_of(id).is_empty());
}

#[test]
fn a_killed_program_leaves_no_sandbox() {
    let Some(env) = TestEnv::with_engine() else {
        return;
    };
    let mut child = start_endless(&env);
    assert_eq!(sandboxes_of(child.id()).len(), 1);
    child.kill().unwrap();
    child.wait().unwrap();
    eventually("the sandbox is gone", || {
        sandboxes_of(child.id()).is_empty()
    });
}

#[test]
fn an_interrupt_stops_the_run_gently() {
    let Some(env) = TestEnv::with_engine() else {
        return;
    };
    let child = start_endless(&env);
    let interrupted = Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status()
        .unwrap();
    assert!(interrupted.success());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130));
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["outcome"]["kind"], "cancelled");
    let run = json["run"].as_str().unwrap();
    assert_eq!(
        containers(&format!("agentfactory.run={run}")),
        Vec::<String>::new()
    );
}

/// A container as a program leaves it that died between two calls: its process is nobody's. And its label.
fn abandoned() -> (String, &'static str) {
    let run = "agentfactory.run=00000000-0000-7000-8000-000000000000";
    let created = Command::new("docker")
        .args(["create", "--label", run])
        .args(["--label", "agentfactory.owner=nobody"])
        .args(["--label", "agentfactory.lease=1"])
        .arg("agentfactory/base:latest")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&created.stderr);
    assert!(created.status.success(), "{said}");
    assert_eq!(containers(run).len(), 1);
    (
        String::from_utf8(created.stdout).unwrap().trim().to_owned(),
        run,
    )
}

#[test]
fn a_container_that_was_created_and_never_started_is_removed_by_the_next_start() {
    let Some(env) = TestEnv::with_engine() else {
        return;
    };
    let file = env.write("a.py", "def main(q):\n    return {}\n");
    let (_, run) = abandoned();
    env.agentfactory(["exec", file.to_str().unwrap(), ""])
        .expect_status(0);
    assert_eq!(containers(run), Vec::<String>::new());
}

#[test]
fn a_start_does_not_wait_for_what_the_engine_takes_long_to_remove() {
    let Some(env) = TestEnv::with_engine() else {
        return;
    };
    let relay = Relay::start();
    let env = env.set("DOCKER_HOST", &relay.docker_host());
    let file = env.write("a.py", "def main(q):\n    return {'answer': q}\n");
    let (id, run) = abandoned();
    relay.hold_removal(&id);
    let begun = Instant::now();
    let finished = env
        .agentfactory(["exec", file.to_str().unwrap(), "!"])
        .expect_status(0);
    assert!(begun.elapsed() < Duration::from_secs(10), "it hung");
    assert_eq!(finished.stdout, "!\n");
    assert!(
        finished.stderr.contains("takes long to remove"),
        "{}",
        finished.stderr
    );
    assert_eq!(containers(run).len(), 1);
    env.set("DOCKER_HOST", "")
        .agentfactory(["exec", file.to_str().unwrap(), ""])
        .expect_status(0);
    assert_eq!(containers(run), Vec::<String>::new());
}

#[test]
fn no_engine_is_said_with_what_to_do() {
    let env = TestEnv::new().set("DOCKER_HOST", "unix:///nonexistent/docker.sock");
    let file = env.write("a.py", "def main(q):\n    return {}\n");
    for arguments in [
        vec!["exec", file.to_str().unwrap(), ""],
        vec!["shell", "true"],
        vec!["images", "build"],
    ] {
        let finished = env.agentfactory(&arguments).expect_status(5);
        assert!(
            finished.stderr.contains("/nonexistent/docker.sock"),
            "{}",
            finished.stderr
        );
        assert!(finished.stderr.contains("hint:"), "{}", finished.stderr);
        assert!(finished.stdout.is_empty(), "{}", finished.stdout);
    }
}
