//! Limits as a person sets them, and what they end.

use serde_json::{Value, json};
use testkit::TestEnv;

/// Burns processor time in as many processes as the query says.
const BURN: &str = "\
import os
def main(query):
    for _ in range(int(query) - 1):
        if os.fork() == 0:
            break
    while True:
        pass
";

fn exec(env: &TestEnv, code: &str, query: &str, flags: &[&str]) -> Value {
    let file = env.write("program.py", code);
    let mut arguments = vec!["exec", file.to_str().unwrap(), query, "--json"];
    arguments.extend(flags);
    env.agentfactory(arguments).json()
}

#[test]
fn processor_time_of_all_processes_together_is_limited() {
    let Some(env) = TestEnv::with_engine() else {
        return;
    };
    for (processes, cpus) in [("1", "1"), ("4", "2")] {
        let flags = ["--cpu-time", "1s", "--cpus", cpus, "--timeout", "60s"];
        let run = exec(&env, BURN, processes, &flags);
        let expected = json!({"kind": "timed_out", "clock": "cpu", "limit_ms": 1000});
        assert_eq!(run["outcome"], expected, "{processes}");
        let used = run["usage"]["cpu_ms"].as_f64().unwrap();
        assert!((900.0..5_000.0).contains(&used), "{processes}: {used}");
    }
    // Wall time is another clock, and one that sleeps uses no processor.
    let sleep =
        "import time\ndef main(query):\n    time.sleep(2)\n    return {'answer': 'rested'}\n";
    let run = exec(&env, sleep, "", &["--cpu-time", "1s"]);
    assert_eq!(run["answer"], "rested", "{run}");
    let run = exec(&env, BURN, "1", &["--timeout", "1s"]);
    let expected = json!({"kind": "timed_out", "clock": "wall", "limit_ms": 1000});
    assert_eq!(run["outcome"], expected);
}

#[test]
fn files_of_the_workspace_and_of_what_is_collected_are_limited() {
    let Some(env) = TestEnv::with_engine() else {
        return;
    };
    let many = "\
import pathlib
def main(query):
    for number in range(40):
        pathlib.Path(f'{number:02}').write_text('x')
    return {'answer': 'wrote'}
";
    let run = exec(&env, many, "", &["--workspace-files", "20"]);
    assert_eq!(run["outcome"]["kind"], "disk_limit", "{run}");
    assert_eq!(run["outcome"]["limit_files"], 20);

    let run = exec(&env, many, "", &["--collect-files", "3"]);
    assert_eq!(run["outcome"]["kind"], "completed", "{run}");
    let paths: Vec<_> = run["files"].as_array().unwrap().iter().collect();
    assert_eq!(paths.len(), 3);
    let left = run["left_behind"].as_array().unwrap();
    assert_eq!(left.len(), 37);
    assert_eq!(left[0]["why"], "too many files");
}

/// What was given to a run is not taken for removed because it lies deep.
#[test]
fn depth_limits_what_is_collected_and_not_what_is_there() {
    let Some(env) = TestEnv::with_engine() else {
        return;
    };
    env.write("input/a/b/c/old", "old");
    let input = env.scratch().join("input");
    let code = "\
import pathlib
def main(query):
    pathlib.Path('a/new').write_text('x')
    pathlib.Path('a/b/deep').write_text('x')
    return {'answer': pathlib.Path('a/b/c/old').read_text()}
";
    let flags = ["--collect-depth", "2", "--input", input.to_str().unwrap()];
    let run = exec(&env, code, "", &flags);
    assert_eq!(run["answer"], "old", "{run}");
    assert_eq!(run["removed"], json!([]));
    let files = run["files"].as_array().unwrap();
    assert_eq!(files.len(), 1, "{run}");
    assert_eq!(files[0]["path"], "a/new");
    let left = json!([{"path": "a/b/deep", "why": "too deep"}]);
    assert_eq!(run["left_behind"], left);
}

#[test]
fn a_result_and_the_bytes_of_a_stream_are_limited() {
    let Some(env) = TestEnv::with_engine() else {
        return;
    };
    let code = "def main(query):\n    return {'answer': 'x' * int(query)}\n";
    let run = exec(&env, code, "500", &["--result-size", "1K"]);
    assert_eq!(run["outcome"]["kind"], "completed", "{run}");
    let run = exec(&env, code, "2000", &["--result-size", "1K"]);
    assert_eq!(run["outcome"]["kind"], "bad_result", "{run}");

    // The host's own check holds for a child that does not keep to it.
    let liar = "\
import _agentfactory, json, os, struct
def main(query):
    claim = json.dumps({'kind': 'result', 'answer': 'x' * 2000, 'summary': ''}).encode()
    channel = _agentfactory.request.__self__
    channel.send(3, 0, claim)
    os._exit(0)
";
    let run = exec(&env, liar, "", &["--result-size", "1K"]);
    assert_eq!(run["outcome"]["kind"], "bad_result", "{run}");
    assert_eq!(run["answer"], "");
}

#[test]
fn calls_of_tools_are_limited() {
    let Some(env) = TestEnv::with_engine() else {
        return;
    };
    let code = "\
from _agentfactory import request
def main(query):
    answers = [request('shell_command', {'command': 'true'}) for _ in range(4)]
    return {'answer': [str(answer.get('error', 'done'))[:20] for answer in answers]}
";
    let flags = ["--grant", "shell_command", "--tool-calls", "2"];
    let run = exec(&env, code, "", &flags);
    let answer: Value = serde_json::from_str(run["answer"].as_str().unwrap()).unwrap();
    let texts: Vec<_> = answer.as_array().unwrap().iter().collect();
    assert_eq!(texts[..2], ["done", "done"], "{run}");
    assert_eq!(texts[2..], ["a run may ask for to"; 2], "{run}");
}

#[test]
fn nobody_gets_more_than_the_operator_allows() {
    let Some(env) = TestEnv::with_engine() else {
        return;
    };
    let config = "[limits]\ntimeout = '20s'\n[limits.max]\nmemory = '256M'\nworkspace_size = '64M'\ncpu_time = '5s'\n";
    let config = env.write("config.toml", config);
    let file = env.write("program.py", "def main(query):\n    return {}\n");
    let run = |flags: &[&str]| {
        let (config, file) = (config.to_str().unwrap(), file.to_str().unwrap());
        let mut arguments = vec!["--config", config, "exec", file, "--json"];
        arguments.extend(flags);
        env.agentfactory(arguments)
    };
    let refused = run(&["--memory", "1G"]).expect_status(4);
    assert!(
        refused
            .stderr
            .contains("`--memory 1G` is more than is allowed here: at most 256M"),
        "{}",
        refused.stderr
    );
    assert!(
        refused.stderr.contains("[limits.max]"),
        "{}",
        refused.stderr
    );
    // Nobody asked for more: the defaults are lowered.
    let json = run(&[]).expect_status(0).json();
    let id = json["run"].as_str().unwrap();
    let shown = env.agentfactory(["runs", "show", id, "--json"]).json();
    let limits = &shown["limits"];
    assert_eq!(limits["memory_bytes"], 256 << 20, "{limits}");
    assert_eq!(limits["cpu_ms"], 5_000);
    assert_eq!(limits["wall_ms"], 20_000);
}
