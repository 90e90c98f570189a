//! Code that attacks its sandbox: each case is a file that says what it attempts.

use serde_json::Value;
use testkit::{TestEnv, containers, repository};

/// Runs one hostile file, then a harmless one, and gives the JSON of the first.
fn attack(file: &str, flags: &[&str]) -> Option<Value> {
    let env = TestEnv::with_engine()?
        .set("ANTHROPIC_API_KEY", "agentfactory-test-secret")
        .set("OPENAI_API_KEY", "agentfactory-test-secret");
    let path = repository()
        .join("tests/e2e/security")
        .join(format!("{file}.py"));
    let path = path.to_str().unwrap();
    let mut arguments = vec!["exec", path, "query", "--json"];
    arguments.extend_from_slice(flags);
    if !flags.contains(&"--timeout") {
        arguments.extend(["--timeout", "20s"]);
    }
    let finished = env.agentfactory(&arguments);
    let json = finished.json();
    let succeeded = json["outcome"]["kind"] == "completed";
    assert_eq!(
        finished.status,
        i32::from(!succeeded),
        "{json:#}\n{}",
        finished.stderr
    );
    let run = json["run"].as_str().unwrap();
    assert_eq!(
        containers(&format!("agentfactory.run={run}")),
        Vec::<String>::new()
    );

    let next = env.write(
        "next.py",
        "def main(query):\n    return {'answer': query.upper()}\n",
    );
    let next = env
        .agentfactory(["exec", next.to_str().unwrap(), "works"])
        .expect_status(0);
    assert_eq!(next.stdout.trim_end(), "WORKS");
    Some(json)
}

fn kind(json: &Value) -> &str {
    json["outcome"]["kind"].as_str().unwrap()
}

fn paths(json: &Value, field: &str) -> Vec<String> {
    let list = json[field].as_array().unwrap().iter();
    list.map(|item| item["path"].as_str().unwrap().to_owned())
        .collect()
}

/// Each file, its flags, and how it must end.
macro_rules! ends {
    ($($name:ident($flags:expr) $kind:literal $check:expr;)*) => {$(
        #[test]
        fn $name() {
            let Some(json) = attack(stringify!($name), &$flags) else { return };
            assert_eq!(kind(&json), $kind, "{json:#}");
            let check: fn(&Value) = $check;
            check(&json);
        }
    )*};
}

fn nothing(_: &Value) {}

fn no_answer(json: &Value) {
    assert_eq!(json["answer"], "", "{json:#}");
}

ends! {
    fork_bomb(["--timeout", "3s", "--pids", "64"]) "timed_out" no_answer;
    memory_bomb(["--memory", "128M", "--workspace-size", "16M"]) "out_of_memory" no_answer;
    memory_bomb_in_workspace(["--workspace-size", "8M"]) "disk_limit" no_answer;
    inode_bomb(["--timeout", "60s"]) "disk_limit" no_answer;
    deaf_loop(["--timeout", "2s"]) "timed_out" no_answer;
    catch_all(["--timeout", "2s"]) "timed_out" no_answer;
    os_exit([]) "exited" |json| assert_eq!(json["outcome"]["status"], 0);
    sys_exit([]) "exited" |json| assert_eq!(json["outcome"]["status"], 7);
    exit_at_import([]) "exited" |json| assert_eq!(json["outcome"]["status"], 0);
    result_then_crash([]) "exited" |json| {
        assert_eq!(json["outcome"]["status"], 9);
        no_answer(json);
    };
    output_flood(["--output-size", "256K"]) "output_limit" |json| {
        assert_eq!(json["outcome"]["stream"], "stdout");
        assert_eq!(json["stdout"]["text"].as_str().unwrap().len(), 256 << 10);
        assert_eq!(json["stdout"]["truncated"], true);
    };
    stderr_flood([]) "output_limit" |json| assert_eq!(json["outcome"]["stream"], "stderr");
    nan_result([]) "bad_result" no_answer;
    deep_result([]) "bad_result" no_answer;
    huge_result([]) "bad_result" no_answer;
    non_dict_result([]) "bad_result" no_answer;
    hostile_dict([]) "completed" |json| assert_eq!(json["answer"], "sly");
    forged_stdout([]) "completed" |json| assert_eq!(json["answer"], "still here");
    signals_to_init([]) "completed" |json| {
        assert_eq!(json["answer"], "limits of PID 1 changed: []");
        assert_eq!(paths(json, "files"), ["alive.txt"]);
    };
    daemon([]) "completed" |json| assert!(json["timings_ms"]["run"].as_f64().unwrap() < 10_000.0);
    links([]) "completed" |json| {
        assert_eq!(paths(json, "files"), ["real.txt"]);
        let mut left = paths(json, "left_behind");
        left.sort();
        assert_eq!(left, ["folder/etc", "passwd", "pipe", "root", "shadow", "socket"]);
    };
    names([]) "completed" |json| {
        let files = paths(json, "files");
        assert_eq!(files.len(), 8, "{files:?}");
        assert!(files.iter().all(|path| !path.chars().any(char::is_control)), "{files:?}");
        assert!(files.contains(&"%FF%FE".to_owned()) && files.contains(&"%252e%252e".to_owned()), "{files:?}");
        assert_eq!(json["left_behind"].as_array().unwrap().len(), 1);
    };
    network([]) "completed" |json| assert_eq!(json["answer"], "reached [], interfaces []");
    secrets([]) "completed" |json| assert_eq!(json["answer"], "found []");
    outside_writes([]) "completed" |json| {
        assert_eq!(json["answer"], "wrote []");
        assert_eq!(paths(json, "files"), Vec::<String>::new());
    };
    segfault([]) "signalled" |json| assert_eq!(json["outcome"]["signal"], 11);
    suicide([]) "signalled" |json| assert_eq!(json["outcome"]["signal"], 9);
    kill_everything([]) "completed" nothing;
    request_bomb([]) "completed" |json| {
        assert!(json["answer"].as_str().unwrap().contains("values"), "{json:#}");
    };
    kernel_surface([]) "completed" |json| assert_eq!(json["answer"], "worked: []");
    ungranted([]) "completed" |json| {
        let answer = json["answer"].as_str().unwrap();
        assert_eq!(answer.matches("refused").count(), 4, "{answer}");
        assert!(!answer.contains("executed"), "{answer}");
    };
}

#[test]
fn forged_frames() {
    let Some(json) = attack("forged_frames", &[]) else {
        return;
    };
    // Garbage on its own channel is a bad result; without any, it exits without one.
    assert!(["bad_result", "exited"].contains(&kind(&json)), "{json:#}");
    no_answer(&json);
}
