//! A full disk, a home that cannot be written, damage, no engine.

use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use serde_json::json;
use testkit::{TestEnv, program};

/// Runs the program with a home on a file system of its own, a small one; `None` where only root may.
fn on_a_small_disk(env: &TestEnv, size: &str, commands: &str) -> Option<std::process::Output> {
    let mount = env.scratch().join("small");
    std::fs::create_dir_all(&mount).unwrap();
    let script = format!(
        "mount -t tmpfs -o size={size} tmpfs {mount} && export AGENTFACTORY_HOME={mount}/home && af={program} && {commands}",
        mount = mount.display(),
        program = program().display(),
    );
    let mut command = Command::new("unshare");
    command
        .args(["--mount", "sh", "-c", &script])
        .current_dir(env.scratch());
    let output = command.output().ok()?;
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    if stderr.contains("unshare failed") || stderr.contains("only root can") {
        return None;
    }
    Some(output)
}

#[test]
fn a_full_disk_is_said_and_loses_nothing() {
    let Some(env) = TestEnv::with_engine() else {
        return;
    };
    let save = json!({"format": 1, "agent": [{"calls": [
        {"tool": "create_subagent", "arguments": {"name": "one", "description": "d", "code": "def main(q):\n    return {'answer': q}\n", "skills": []}},
        {"tool": "run_subagent", "arguments": {"name": "one", "query": "q"}},
        {"tool": "finish", "arguments": {"answer": "a", "save": [{"name": "one"}]}}]}]});
    env.write("save.yaml", &save.to_string());
    env.write(
        "large.py",
        "def main(q):\n    open('large', 'wb').write(b'x' * (8 << 20))\n    return {}\n",
    );
    let commands = "$af solve Save. --model scripted:save.yaml >/dev/null 2>&1 || exit 91; \
                    $af exec large.py ''; echo status $?; \
                    rm -rf $AGENTFACTORY_HOME/store/tmp/x; $af fsck --json >/dev/null || exit 92; \
                    $af show one >/dev/null || exit 93";
    let Some(output) = on_a_small_disk(&env, "2m", commands) else {
        eprintln!("SKIPPED: only root can mount");
        return;
    };
    let stdout = String::from_utf8_lossy(&output.stdout);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stdout}{stderr}");
    assert!(stdout.contains("status 1"), "{stdout}{stderr}");
    assert!(
        stderr.contains("error:") && stderr.contains("hint:"),
        "{stderr}"
    );
    assert!(
        stderr.to_lowercase().contains("space") || stderr.to_lowercase().contains("full"),
        "{stderr}"
    );
}

#[test]
fn a_home_that_cannot_be_made_is_said() {
    let env = TestEnv::new();
    let file = env.write("file", "");
    let home = file.join("home");
    for arguments in [vec!["list"], vec!["fsck"], vec!["undo"]] {
        let finished = env
            .command(&arguments)
            .env("AGENTFACTORY_HOME", &home)
            .output()
            .unwrap();
        let stderr = String::from_utf8_lossy(&finished.stderr);
        assert!(!finished.status.success());
        assert!(
            stderr.contains(home.to_str().unwrap()) && stderr.contains("hint:"),
            "{stderr}"
        );
    }
}

#[test]
fn a_damaged_byte_is_found_and_said() {
    let Some(env) = TestEnv::with_engine() else {
        return;
    };
    let file = env.write("a.py", "def main(q):\n    return {'answer': q}\n");
    env.agentfactory(["exec", file.to_str().unwrap(), "x"])
        .expect_status(0);
    env.agentfactory(["fsck"]).expect_status(0);
    let blobs = env.home().join("store/blobs/sha256");
    let blob = std::fs::read_dir(&blobs)
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    let mut content = std::fs::read(&blob).unwrap();
    content[0] ^= 1;
    std::fs::set_permissions(&blob, std::fs::Permissions::from_mode(0o644)).unwrap();
    std::fs::write(&blob, content).unwrap();
    let finished = env.agentfactory(["fsck"]).expect_status(1);
    let name = blob.file_name().unwrap().to_str().unwrap();
    assert!(
        format!("{}{}", finished.stdout, finished.stderr).contains(name),
        "{}",
        finished.stdout
    );
}

#[test]
fn doctor_says_what_to_do_without_an_engine() {
    let env = TestEnv::new().set("DOCKER_HOST", "tcp://127.0.0.1:9");
    let finished = env.agentfactory(["doctor", "--json"]).expect_status(5);
    let json = finished.json();
    assert_eq!(json["usable"], false);
    let checks = json["checks"].as_array().unwrap();
    assert!(
        checks.iter().any(|check| check["topic"] == "engine"
            && check["level"] == "error"
            && check["hint"].is_string()),
        "{json:#}"
    );
}
