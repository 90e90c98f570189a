//! `exec` and `shell`: any program in a sandbox, files in and out.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use serde_json::Value;
use testkit::{TestEnv, repository};

/// Runs source with flags and gives the JSON, after a check against its schema.
fn exec(env: &TestEnv, source: &str, query: &str, flags: &[&str]) -> Value {
    let file = env.write("subagent.py", source);
    let mut arguments = vec!["exec", file.to_str().unwrap(), query, "--json"];
    arguments.extend_from_slice(flags);
    let json = env.agentfactory(&arguments).json();
    check_schema(&json);
    json
}

fn check_schema(json: &Value) {
    let schema = fs::read(repository().join("src/spec/schemas/run.v1.json")).unwrap();
    let schema: Value = serde_json::from_slice(&schema).unwrap();
    if let Err(error) = jsonschema::validate(&schema, json) {
        panic!("{error}\n{json:#}");
    }
}

fn kind(json: &Value) -> &str {
    json["outcome"]["kind"].as_str().unwrap()
}

fn paths(json: &Value, field: &str) -> Vec<String> {
    json[field]
        .as_array()
        .unwrap()
        .iter()
        .map(|file| file["path"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn the_answer_is_printed_and_everything_else_goes_to_stderr() {
    let Some(env) = TestEnv::with_engine() else {
        return;
    };
    let source = "def main(query):\n    print('noise')\n    return {'answer': query[::-1], 'summary': 'reversed', 'x': 1}\n";
    let file = env.write("a.py", source);
    let finished = env
        .agentfactory(["exec", file.to_str().unwrap(), "abc"])
        .expect_status(0);
    assert_eq!(finished.stdout, "cba\n");
    assert!(
        finished.stderr.contains("noise") && finished.stderr.contains("reversed"),
        "{}",
        finished.stderr
    );
}

#[test]
fn a_failure_shows_the_traceback_with_the_source_line() {
    let Some(env) = TestEnv::with_engine() else {
        return;
    };
    let file = env.write(
        "a.py",
        "import json\n\ndef main(query):\n    return {'answer': json.loads(query)['key']}\n",
    );
    let finished = env
        .agentfactory(["exec", file.to_str().unwrap(), "{}"])
        .expect_status(1);
    assert_eq!(finished.stdout, "");
    for expected in [
        "return {'answer': json.loads(query)['key']}",
        "KeyError: 'key'",
        "line 4",
    ] {
        assert!(
            finished.stderr.contains(expected),
            "{expected}: {}",
            finished.stderr
        );
    }
    assert!(!finished.stderr.contains("harness"), "{}", finished.stderr);
}

#[test]
fn results_are_held_to_their_contract() {
    let Some(env) = TestEnv::with_engine() else {
        return;
    };
    let check = |source: &str, expected: &str, answer: &str| {
        let json = exec(&env, source, "q", &[]);
        assert_eq!(
            (kind(&json), json["answer"].as_str().unwrap()),
            (expected, answer),
            "{source}\n{json:#}"
        );
    };
    check("def main(q): return {}", "completed", "");
    check("def main(q): return {'answer': None}", "completed", "");
    check(
        "def main(q): return {'answer': {'a': [1, 'ü']}}",
        "completed",
        "{\"a\": [1, \"ü\"]}",
    );
    check("def main(q): return 'text'", "bad_result", "");
    check("async def main(q): return {}", "bad_result", "");
    check("main = 3", "bad_result", "");
    check("x = 1", "bad_result", "");
    check("def main(): return {}", "raised", "");
    check("def main(q):\n  raise KeyboardInterrupt", "raised", "");
    check("def main(q:\n", "raised", "");
    check(
        "import nothing_of_this_name\ndef main(q): return {}",
        "raised",
        "",
    );
}

#[test]
fn files_beside_the_entry_file_are_importable_and_only_those_it_imports() {
    let Some(env) = TestEnv::with_engine() else {
        return;
    };
    env.write("helper.py", "VALUE = 'from the helper'\n");
    env.write("unrelated.py", "raise SystemExit(1)\n");
    let source = "import os, helper\ndef main(q):\n    here = os.path.dirname(helper.__file__)\n    return {'answer': helper.VALUE + ' ' + ' '.join(sorted(f for f in os.listdir(here) if f.endswith('.py')))}\n";
    let json = exec(&env, source, "", &[]);
    assert_eq!(json["answer"], "from the helper helper.py subagent.py");
}

#[test]
fn files_go_in_and_what_changed_comes_out() {
    let Some(env) = TestEnv::with_engine() else {
        return;
    };
    env.write("in/keep.txt", "keep");
    env.write("in/edit.txt", "old");
    env.write("in/sub/drop.txt", "drop");
    let source = r"
import os, pathlib
def main(query):
    assert os.getcwd() == '/workspace'
    pathlib.Path('edit.txt').write_text('new')
    os.remove('sub/drop.txt')
    pathlib.Path('made').mkdir()
    pathlib.Path('made/run.sh').write_text('#!/bin/sh')
    os.chmod('made/run.sh', 0o755)
    return {'answer': pathlib.Path('keep.txt').read_text()}
";
    let input = env.scratch().join("in");
    let out = env.scratch().join("out");
    let json = exec(
        &env,
        source,
        "",
        &[
            "--input",
            input.to_str().unwrap(),
            "--out",
            out.to_str().unwrap(),
        ],
    );
    assert_eq!(json["answer"], "keep");
    assert_eq!(paths(&json, "files"), ["edit.txt", "made/run.sh"]);
    assert_eq!(json["removed"], serde_json::json!(["sub/drop.txt"]));
    assert_eq!(fs::read_to_string(out.join("edit.txt")).unwrap(), "new");
    assert_eq!(
        fs::metadata(out.join("made/run.sh"))
            .unwrap()
            .permissions()
            .mode()
            & 0o111,
        0o111
    );
    assert_eq!(
        fs::read_to_string(input.join("edit.txt")).unwrap(),
        "old",
        "--input is never written"
    );
    assert_ne!(json["input_tree"], json["output_tree"]);
}

#[test]
fn a_workspace_is_written_back_only_after_success() {
    let Some(env) = TestEnv::with_engine() else {
        return;
    };
    env.write("ws/a.txt", "old");
    let folder = env.scratch().join("ws");
    let flags = ["--workspace", folder.to_str().unwrap()];
    let json = exec(
        &env,
        "def main(q):\n    open('a.txt', 'w').write('new')\n    raise ValueError(q)\n",
        "x",
        &flags,
    );
    assert_eq!(kind(&json), "raised");
    assert_eq!(fs::read_to_string(folder.join("a.txt")).unwrap(), "old");
    let json = exec(
        &env,
        "def main(q):\n    open('a.txt', 'w').write('new')\n    return {}\n",
        "x",
        &flags,
    );
    assert_eq!(kind(&json), "completed");
    assert_eq!(fs::read_to_string(folder.join("a.txt")).unwrap(), "new");
}

#[test]
fn an_edit_made_during_the_run_is_a_conflict_and_nothing_is_lost() {
    let Some(env) = TestEnv::with_engine() else {
        return;
    };
    env.write("ws/a.txt", "old");
    let folder = env.scratch().join("ws");
    // The run says when it has begun, and the edit is made then.
    let file = env.write(
        "slow.py",
        "import time\ndef main(q):\n    print('begun', flush=True)\n    time.sleep(2)\n    open('a.txt', 'w').write('ours')\n    open('b.txt', 'w').write('ours')\n    return {}\n",
    );
    let mut child = env
        .command([
            "exec",
            file.to_str().unwrap(),
            "q",
            "--workspace",
            folder.to_str().unwrap(),
        ])
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut stderr = std::io::BufReader::new(child.stderr.take().unwrap());
    let mut said = String::new();
    while !said.contains("begun") {
        assert_ne!(
            std::io::BufRead::read_line(&mut stderr, &mut said).unwrap(),
            0,
            "{said}"
        );
    }
    fs::write(folder.join("a.txt"), "theirs").unwrap();
    std::io::Read::read_to_string(&mut stderr, &mut said).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(4), "{said}");
    assert!(said.contains("a.txt"), "{said}");
    assert_eq!(fs::read_to_string(folder.join("a.txt")).unwrap(), "theirs");
    assert!(
        !folder.join("b.txt").exists(),
        "nothing is written next to a conflict"
    );
    let recovered = walk(&env.home().join("recovered"));
    assert!(
        recovered.iter().any(|path| path.ends_with("/b.txt")),
        "{recovered:?}"
    );
}

fn walk(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for item in fs::read_dir(folder).unwrap() {
        let path = item.unwrap().path();
        if path.is_dir() {
            found.extend(walk(&path));
        } else {
            found.push(path.display().to_string());
        }
    }
    found
}

#[test]
fn a_mount_is_read_only_unless_said() {
    let Some(env) = TestEnv::with_engine() else {
        return;
    };
    env.write("data/x.txt", "data");
    let data = env.scratch().join("data");
    let source = "def main(q):\n    text = open('/mnt/data/x.txt').read()\n    try:\n        open('/mnt/data/y.txt', 'w').write('written')\n    except OSError as error:\n        text += f' {error.strerror}'\n    return {'answer': text}\n";
    let json = exec(&env, source, "", &["--mount", data.to_str().unwrap()]);
    assert_eq!(json["answer"], "data Read-only file system");
    assert_eq!(json["writable_mounts"], false);

    let writable = format!("{}:rw=data", data.display());
    let file = env.scratch().join("subagent.py");
    let refused = env.agentfactory(["exec", file.to_str().unwrap(), "", "--mount", &writable]);
    if fs::metadata(&data).is_ok_and(|metadata| std::os::unix::fs::MetadataExt::uid(&metadata) == 0)
    {
        assert_ne!(refused.status, 0);
        assert!(
            refused.stderr.contains("root") && refused.stderr.contains("hint:"),
            "{}",
            refused.stderr
        );
        // The engine must reach it as another user.
        std::os::unix::fs::chown(&data, Some(12_345), Some(12_345)).unwrap();
        fs::set_permissions(env.scratch(), fs::Permissions::from_mode(0o755)).unwrap();
    }
    let json = exec(&env, source, "", &["--mount", &writable]);
    assert_eq!(
        (json["answer"].as_str().unwrap(), &json["writable_mounts"]),
        ("data", &Value::Bool(true))
    );
    assert_eq!(fs::read_to_string(data.join("y.txt")).unwrap(), "written");
}

#[test]
fn a_thousand_files_and_a_large_one_survive_the_round_trip() {
    let Some(env) = TestEnv::with_engine() else {
        return;
    };
    for number in 0..1_000 {
        env.write(
            &format!("in/d{}/f{number}.txt", number % 7),
            &number.to_string(),
        );
    }
    let source = r"
import os
def main(query):
    count = 0
    for folder, _, names in os.walk('.'):
        for name in names:
            path = os.path.join(folder, name)
            text = open(path).read()
            assert name == f'f{text}.txt'
            open(path, 'w').write(text * 2)
            count += 1
    with open('large.bin', 'wb') as file:
        for number in range(60):
            file.write(bytes([number]) * (1 << 20))
    return {'answer': str(count)}
";
    let input = env.scratch().join("in");
    let out = env.scratch().join("out");
    let json = exec(
        &env,
        source,
        "",
        &[
            "--input",
            input.to_str().unwrap(),
            "--out",
            out.to_str().unwrap(),
        ],
    );
    assert_eq!(json["answer"], "1000");
    assert_eq!(json["files"].as_array().unwrap().len(), 1_001);
    assert_eq!(fs::read_to_string(out.join("d3/f10.txt")).unwrap(), "1010");
    let large = fs::read(out.join("large.bin")).unwrap();
    assert_eq!(
        (large.len(), large[5 << 20], large[59 << 20]),
        (60 << 20, 5, 59)
    );
}

#[test]
fn a_granted_shell_command_works_on_the_same_workspace() {
    let Some(env) = TestEnv::with_engine() else {
        return;
    };
    env.write("in/a.txt", "one\ntwo\n");
    let source = r#"
from tools import execute_shell_command
def main(query):
    open("b.txt", "w").write("three\n")
    first = execute_shell_command("cat a.txt b.txt | wc -l; echo problem >&2; echo made > c.txt")
    long = execute_shell_command("seq 100000")
    return {"answer": first + "|" + open("c.txt").read(), "summary": str(len(long))}
"#;
    let input = env.scratch().join("in");
    let json = exec(
        &env,
        source,
        "",
        &[
            "--input",
            input.to_str().unwrap(),
            "--grant",
            "shell_command",
        ],
    );
    let answer = json["answer"].as_str().unwrap();
    assert!(
        answer.starts_with('3') && answer.contains("[Stderr]:") && answer.ends_with("|made\n"),
        "{answer}"
    );
    let length: usize = json["summary"].as_str().unwrap().parse().unwrap();
    assert!((5_000..5_200).contains(&length), "{length}");
    assert_eq!(paths(&json, "files"), ["b.txt", "c.txt"]);
    assert_eq!(json["usage"]["skills"]["shell_command"]["calls"], 2);
}

#[test]
fn a_shell_command_runs_and_its_status_is_ours() {
    let Some(env) = TestEnv::with_engine() else {
        return;
    };
    let finished = env
        .agentfactory(["shell", "echo out; echo err >&2; id -u"])
        .expect_status(0);
    assert!(finished.stdout.starts_with("out\n"), "{}", finished.stdout);
    assert_ne!(finished.stdout.lines().nth(1), Some("0"));
    assert!(finished.stderr.contains("err"), "{}", finished.stderr);
    let finished = env
        .agentfactory(["shell", "exit 3", "--json"])
        .expect_status(1);
    let json = finished.json();
    check_schema(&json);
    assert_eq!(
        (kind(&json), &json["outcome"]["status"]),
        ("exited", &Value::from(3))
    );
    let json = env
        .agentfactory(["shell", "true", "--json"])
        .expect_status(0)
        .json();
    assert_eq!(
        (kind(&json), &json["outcome"]["status"]),
        ("exited", &Value::from(0))
    );
}

#[test]
fn the_standard_library_works_in_the_sandbox() {
    let Some(env) = TestEnv::with_engine() else {
        return;
    };
    let source = r#"
import asyncio, concurrent.futures, hashlib, multiprocessing, sqlite3, subprocess, sys, tempfile, threading, zipfile
def square(x): return x * x
async def both():
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", "print(6 * 7)", stdout=subprocess.PIPE)
    out, _ = await process.communicate()
    return out.decode().strip()
def main(query):
    done = [asyncio.run(both())]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        done.append(sum(pool.map(square, range(10))))
    with multiprocessing.get_context("fork").Pool(2) as pool:
        done.append(sum(pool.map(square, range(10))))
    base = sqlite3.connect("data.db")
    base.execute("create table t (x)")
    base.executemany("insert into t values (?)", [(n,) for n in range(100)])
    base.commit()
    done.append(base.execute("select sum(x) from t").fetchone()[0])
    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(folder + "/a.zip", "w") as archive:
        archive.writestr("x", "y")
    done.append(hashlib.sha256(b"").hexdigest()[:4])
    return {"answer": repr(done)}
"#;
    let json = exec(&env, source, "", &[]);
    assert_eq!(json["answer"], "['42', 285, 285, 4950, 'e3b0']", "{json:#}");
}
