//! A lineage of versions: show, log, diff, undo; the same content has the same digest; kills lose nothing.

use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use testkit::{TestEnv, full_counts};

/// The source of the n-th version of the subagent `counter`.
fn source(number: u32) -> String {
    format!("def main(query):\n    return {{'answer': f'version {number} of {{query}}'}}\n")
}

/// A scripted session that installs or evolves `counter` to its n-th version.
fn session(env: &TestEnv, number: u32) -> String {
    let make = if number == 1 {
        json!({"tool": "create_subagent", "arguments":
            {"name": "counter", "description": "Counts.", "code": source(number), "skills": []}})
    } else {
        json!({"tool": "modify_subagent", "arguments": {"name": "counter", "code": source(number)}})
    };
    let script = json!({"format": 1, "agent": [{"calls": [
        make,
        {"tool": "run_subagent", "arguments": {"name": "counter", "query": "this"}},
        {"tool": "finish", "arguments": {"answer": "done", "save": [{"name": "counter", "note": format!("step {number}")}]}},
    ]}]});
    // JSON is YAML.
    let file = env.write(&format!("session-{number}.yaml"), &script.to_string());
    format!("scripted:{}", file.display())
}

fn solve(env: &TestEnv, number: u32) -> Value {
    let model = session(env, number);
    let json = env
        .agentfactory(["solve", "Count.", "--model", &model, "--json"])
        .expect_status(0)
        .json();
    assert_eq!(json["status"], "success", "{json:#}");
    assert!(json["model"].as_str().unwrap().starts_with("scripted:"));
    json
}

fn head(env: &TestEnv) -> Option<String> {
    let list = env.agentfactory(["list", "--json"]).expect_status(0).json();
    let found = list.to_string();
    found
        .split("sha256:")
        .nth(1)
        .map(|rest| format!("sha256:{}", &rest[..64]))
}

#[test]
fn a_lineage_of_three_can_be_shown_compared_and_undone() {
    let Some(env) = TestEnv::with_engine() else {
        return;
    };
    let versions: Vec<String> = (1..=3)
        .map(|number| {
            solve(&env, number)["saved"][0]["version"]
                .as_str()
                .unwrap()
                .to_owned()
        })
        .collect();
    assert_eq!(head(&env).as_ref(), Some(&versions[2]));

    let shown = env
        .agentfactory(["show", "counter", "--json"])
        .expect_status(0)
        .stdout;
    assert!(
        shown.contains(&versions[2]) && shown.contains(&versions[1]),
        "digest and parent: {shown}"
    );
    let log = env.agentfactory(["log", "counter"]).expect_status(0).stdout;
    assert!(log.contains("step 1") && log.contains("step 3"), "{log}");
    let diff = env
        .agentfactory(["diff", &versions[0], &versions[2]])
        .expect_status(0)
        .stdout;
    assert!(
        diff.contains("-    return {'answer': f'version 1 of {query}'}"),
        "{diff}"
    );
    assert!(
        diff.contains("+    return {'answer': f'version 3 of {query}'}"),
        "{diff}"
    );

    let run = |reference: &str| {
        env.agentfactory(["run", reference, "x"])
            .expect_status(0)
            .stdout
    };
    assert_eq!(run("counter"), "version 3 of x\n");
    assert_eq!(run(&versions[0]), "version 1 of x\n");
    assert_eq!(
        run(&versions[1]["sha256:".len()..][..8]),
        "version 2 of x\n"
    );

    env.agentfactory(["undo", "counter"]).expect_status(0);
    assert_eq!(head(&env).as_ref(), Some(&versions[1]));
    assert_eq!(run("counter"), "version 2 of x\n");
    env.agentfactory(["undo", "counter"]).expect_status(0);
    assert_eq!(head(&env).as_ref(), Some(&versions[0]));
    assert_eq!(
        run(&versions[2]),
        "version 3 of x\n",
        "what was undone is still there by its hash"
    );
    env.agentfactory(["fsck"]).expect_status(0);

    let unknown = env.agentfactory(["run", "countr", "x"]).expect_status(3);
    assert!(
        unknown.stderr.contains("hint: did you mean `counter`?"),
        "{}",
        unknown.stderr
    );
}

#[test]
fn two_homes_give_the_same_source_the_same_digest() {
    let (Some(one), Some(two)) = (TestEnv::with_engine(), TestEnv::with_engine()) else {
        return;
    };
    let digest = |env: &TestEnv| solve(env, 1)["saved"][0]["version"].clone();
    assert_eq!(digest(&one), digest(&two));
}

#[test]
fn two_programs_that_publish_at_once_lose_nothing() {
    let Some(env) = TestEnv::with_engine() else {
        return;
    };
    solve(&env, 1);
    let children: Vec<_> = (2..=4)
        .map(|number| {
            let model = session(&env, number);
            env.command(["solve", "Count.", "--model", &model, "--json"])
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap()
        })
        .collect();
    for child in children {
        let output = child.wait_with_output().unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        let json: Value = serde_json::from_slice(&output.stdout).unwrap();
        // The head is one of them; whoever came too late still has what it made, by its hash.
        let version = json["saved"][0]["version"].as_str().unwrap();
        env.agentfactory(["show", version]).expect_status(0);
    }
    env.agentfactory(["fsck"]).expect_status(0);
}

/// Kills the program at moments spread over its whole life; what was acknowledged stays.
#[test]
fn kills_at_random_moments_lose_nothing() {
    let Some(env) = TestEnv::with_engine() else {
        return;
    };
    let began = Instant::now();
    solve(&env, 1);
    let life = began.elapsed();
    let kills = if full_counts() { 200 } else { 20 };
    // A fixed seed: a failure can be run again. Source: the constants of Knuth's MMIX.
    let mut random = 0x5eed_u64;
    let mut number = 1;
    for _ in 0..kills {
        number += 1;
        let before = head(&env).unwrap();
        let model = session(&env, number);
        let mut child = env
            .command(["solve", "Count.", "--model", &model, "--json"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let share = f64::from(u32::try_from(random >> 40).unwrap()) / f64::from(1_u32 << 24);
        let moment = Instant::now() + Duration::from_secs_f64(life.as_secs_f64() * 1.1 * share);
        while Instant::now() < moment && child.try_wait().unwrap().is_none() {
            std::thread::sleep(Duration::from_millis(1)); // The random moment is the point of this test.
        }
        drop(child.kill());
        let ended = child.wait().unwrap();
        let checked = env.agentfactory(["fsck", "--json"]);
        assert_eq!(checked.status, 0, "{}\n{}", checked.stdout, checked.stderr);
        let after = head(&env).unwrap();
        if ended.success() {
            assert_ne!(after, before, "an acknowledged version became the head");
        }
        // Whatever the head is, it is whole.
        env.agentfactory(["show", &after]).expect_status(0);
    }
    let run = env.agentfactory(["run", "counter", "x"]).expect_status(0);
    assert!(run.stdout.starts_with("version "), "{}", run.stdout);
}
