//! Interrupts and kills at any moment: the program ends soon, and nothing of it stays on the engine.

use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;
use testkit::{TestEnv, full_counts};

/// How long a program may take to end after the second interrupt: two seconds, and a busy machine.
const AT_ONCE: Duration = Duration::from_secs(5);
/// How long anything else may take.
const LONG: Duration = Duration::from_secs(30);

/// The containers of a process, running or not.
fn owned_by(process: u32) -> Vec<String> {
    let output = Command::new("docker")
        .args(["ps", "--all", "--no-trunc"])
        .args(["--filter", "label=agentfactory.owner"])
        .args([
            "--format",
            "{{.Label \"agentfactory.owner\"}} {{.ID}} {{.Status}}",
        ])
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let process = process.to_string();
    text.lines()
        .filter(|line| line.split('/').nth(2) == Some(&process))
        .map(str::to_owned)
        .collect()
}

fn signal(child: &Child, name: &str) {
    // One that has ended takes no signal any more.
    Command::new("kill")
        .args([name, &child.id().to_string()])
        .stderr(Stdio::null())
        .status()
        .unwrap();
}

/// Waits for the end, which must come in time.
fn ended_within(child: &mut Child, limit: Duration) -> ExitStatus {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        assert!(
            Instant::now() < deadline,
            "the program goes on for {limit:?}"
        );
        std::thread::yield_now();
    }
}

/// Waits until nothing of some processes is left.
fn until_gone(processes: &[u32]) {
    let deadline = Instant::now() + LONG;
    loop {
        let left: Vec<_> = processes.iter().flat_map(|id| owned_by(*id)).collect();
        if left.is_empty() {
            return;
        }
        assert!(Instant::now() < deadline, "{left:?}");
    }
}

/// Waits until a process has a sandbox.
fn until_there(child: &Child) {
    let deadline = Instant::now() + LONG;
    while owned_by(child.id()).is_empty() {
        assert!(Instant::now() < deadline, "there is no sandbox");
    }
}

fn start(env: &TestEnv, arguments: &[&str]) -> Child {
    env.command(arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// An environment in which `exec` and `solve` run a program that does not want to end.
fn deaf() -> Option<TestEnv> {
    let env = TestEnv::with_engine()?;
    let code = "import signal, time\n\
                def main(q):\n    \
                for n in range(1, 32):\n        \
                if n not in (9, 19): signal.signal(n, signal.SIG_IGN)\n    \
                while True:\n        time.sleep(60)\n";
    env.write("deaf.py", code);
    let script = json!({"format": 1, "agent": [{"calls": [
        {"tool": "create_subagent", "arguments": {
            "name": "deaf", "description": "d", "code": code, "skills": []}},
        {"tool": "run_subagent", "arguments": {"name": "deaf", "query": "q"}}]}]});
    env.write("script.yaml", &script.to_string());
    Some(env)
}

const EXEC: &[&str] = &["exec", "deaf.py", "q"];
const SOLVE: &[&str] = &["solve", "Wait.", "--model", "scripted:script.yaml"];

#[test]
fn two_interrupts_end_it_at_once_and_leave_nothing() {
    let Some(env) = deaf() else { return };
    for arguments in [EXEC, SOLVE] {
        let mut child = start(&env, arguments);
        until_there(&child);
        signal(&child, "-INT");
        signal(&child, "-INT");
        let status = ended_within(&mut child, AT_ONCE);
        assert_eq!(status.code(), Some(130), "{arguments:?}");
        until_gone(&[child.id()]);
    }
}

#[test]
fn one_interrupt_ends_a_deaf_program_too() {
    let Some(env) = deaf() else { return };
    for arguments in [EXEC, SOLVE] {
        let mut child = start(&env, arguments);
        until_there(&child);
        signal(&child, "-INT");
        let status = ended_within(&mut child, LONG);
        assert_eq!(status.code(), Some(130), "{arguments:?}");
        // What it waited for before it ended.
        assert_eq!(owned_by(child.id()), Vec::<String>::new());
    }
}

#[test]
fn interrupts_and_kills_at_any_moment_leave_nothing_to_the_next_program() {
    let Some(env) = deaf() else { return };
    let rounds: u32 = if full_counts() { 100 } else { 12 };
    let mut processes = Vec::new();
    for round in 0..rounds {
        let arguments = if round % 2 == 0 { EXEC } else { SOLVE };
        let mut child = start(&env, arguments);
        processes.push(child.id());
        // Spread over the beginning, where most happens; the order does not matter.
        let moment = Duration::from_millis(u64::from(round * 37 % 100) * 8);
        let until = Instant::now() + moment;
        while Instant::now() < until {
            std::thread::yield_now();
        }
        if round % 3 == 0 {
            signal(&child, "-KILL");
        } else {
            signal(&child, "-INT");
            signal(&child, "-INT");
        }
        let status = ended_within(&mut child, AT_ONCE);
        assert!(!status.success(), "it cannot have come to its end");
    }
    env.write("quick.py", "def main(q):\n    return {'answer': q}\n");
    let next = env
        .agentfactory(["exec", "quick.py", "again"])
        .expect_status(0);
    assert_eq!(next.stdout, "again\n");
    until_gone(&processes);
}
