//! What a run writes, for other processes: while it runs, after its end, after its process died.

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use testkit::TestEnv;

/// How long anything may take.
const LONG: Duration = Duration::from_secs(60);

/// Writes lines until a file tells it to end.
const TALK: &str = "\
import os, sys, time
def main(query):
    number = 0
    while not os.path.exists('/mnt/signals/end'):
        print('line', number, flush=True)
        print('err', number, file=sys.stderr, flush=True)
        number += 1
        time.sleep(0.02)
    sys.stdout.buffer.write(b'\\xff\\x00')
    sys.stdout.flush()
    return {'answer': str(number)}
";

struct Talking {
    env: TestEnv,
    child: Child,
    run: String,
}

impl Talking {
    /// A run that is running, in another process; it ends by [`Self::end`].
    fn start() -> Option<Self> {
        let env = TestEnv::with_engine()?;
        let file = env.write("talk.py", TALK);
        env.write("signals/none", "");
        let signals = env.scratch().join("signals");
        let child = env
            .command([
                "exec",
                file.to_str().unwrap(),
                "--json",
                "--timeout",
                "60s",
                "--mount",
                signals.to_str().unwrap(),
            ])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut talking = Self {
            env,
            child,
            run: String::new(),
        };
        let deadline = Instant::now() + LONG;
        while talking.run.is_empty() {
            assert!(Instant::now() < deadline, "no run is listed");
            let list = talking.env.agentfactory(["runs", "list", "--json"]).json();
            let runs = list["runs"].as_array().unwrap();
            if let Some(run) = runs.iter().find(|run| run["outcome"] == "running") {
                run["run"].as_str().unwrap().clone_into(&mut talking.run);
            }
        }
        Some(talking)
    }

    fn end(&self) {
        self.env.write("signals/end", "");
    }

    fn follow(&self, more: &[&str]) -> Child {
        let mut arguments = vec![
            "runs", "output", &self.run, "--follow", "--stream", "stdout",
        ];
        arguments.extend(more);
        self.env
            .command(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }
}

impl Drop for Talking {
    fn drop(&mut self) {
        // Where a test failed, its run must not go on.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[test]
fn a_run_is_followed_by_another_process_and_resumed_where_a_reader_was_killed() {
    let Some(mut talking) = Talking::start() else {
        return;
    };
    let mut first = talking.follow(&[]);
    let mut lines = BufReader::new(first.stdout.take().unwrap()).lines();
    let mut seen = String::new();
    for _ in 0..5 {
        seen.push_str(&lines.next().unwrap().unwrap());
        seen.push('\n');
    }
    first.kill().unwrap();
    first.wait().unwrap();
    assert!(seen.starts_with("line 0\nline 1\n"), "{seen}");

    // It has not ended, so there is no record yet.
    let show = talking.env.agentfactory(["runs", "show", &talking.run]);
    let show = show.expect_status(3);
    assert!(show.stderr.contains("has not ended yet"), "{}", show.stderr);

    let second = talking.follow(&["--from", &seen.len().to_string()]);
    talking.end();
    let second = second.wait_with_output().unwrap();
    assert!(second.status.success());
    let mut all = seen.into_bytes();
    all.extend(second.stdout);

    let mut finished = String::new();
    let mut out = talking.child.stdout.take().unwrap();
    out.read_to_string(&mut finished).unwrap();
    let finished: Value = serde_json::from_str(&finished).unwrap();
    let count: u32 = finished["answer"].as_str().unwrap().parse().unwrap();
    let mut expected = String::new();
    for number in 0..count {
        writeln!(expected, "line {number}").unwrap();
    }
    assert_eq!(all, [expected.as_bytes(), b"\xff\x00"].concat());

    // After the end, the record says the same, byte for byte.
    let after = talking.follow(&[]).wait_with_output().unwrap();
    assert_eq!(after.stdout, all);
    let part = talking.env.agentfactory([
        "runs",
        "output",
        &talking.run,
        "--json",
        "--from",
        "stdout=7",
        "--from",
        "stderr=999999",
    ]);
    let part = part.expect_status(0);
    let lines: Vec<Value> = part
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert_eq!(lines[0]["offset"], 7);
    assert!(lines[0]["base64"].is_string(), "{lines:?}");
    assert_eq!(lines[1]["outcome"], "completed");
    assert_eq!(lines[1]["running"], false);
    let left = std::fs::read_dir(talking.env.home().join("outputs")).unwrap();
    assert_eq!(left.count(), 0, "the log is gone");
}

#[test]
fn following_ends_when_the_process_that_runs_it_dies() {
    let Some(mut talking) = Talking::start() else {
        return;
    };
    let mut follower = talking.follow(&[]);
    let mut out = BufReader::new(follower.stdout.take().unwrap());
    let mut line = String::new();
    out.read_line(&mut line).unwrap();
    assert_eq!(line, "line 0\n");
    talking.child.kill().unwrap();
    talking.child.wait().unwrap();
    let mut rest = String::new();
    out.read_to_string(&mut rest).unwrap();
    let mut said = String::new();
    follower
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut said)
        .unwrap();
    assert!(follower.wait().unwrap().success());
    assert!(said.contains("died"), "{said}");
    let list = talking.env.agentfactory(["runs", "list", "--json"]).json();
    assert_eq!(list["runs"][0]["outcome"], "died");
    // What it wrote before is still there.
    let again = talking.follow(&[]).wait_with_output().unwrap();
    assert_eq!(again.stdout, format!("{line}{rest}").into_bytes());
}
