//! Requirements that a package index cannot meet: what is said, what to do, and that nothing is left;
//! and what pip is configured to do about an index.

use std::path::Path;

use serde_json::{Value, json};
use testkit::{Site, TestEnv};

use crate::travel::{NOWHERE, home, home_with, index};

const CODE: &str = "def main(query):\n    return {'answer': 'x'}\n";

/// Requirements, what is said of them, and what to do about it.
type Unmet = (
    &'static [&'static str],
    &'static [&'static str],
    &'static str,
);

const UNKNOWN: Unmet = (
    &["nolib"],
    &["there is no `nolib`"],
    "see how its name is written, and which index is used",
);
const SOURCE: Unmet = (
    &["sourcelib"],
    &["`sourcelib` has no wheel", "source only"],
    "only wheels are installed, because building from source runs code",
);
const VERSION: Unmet = (
    &["wordlib>3"],
    &["no version fits `wordlib>3`", "1.0"],
    "ask for a version that the index has",
);
const CONFLICT: Unmet = (
    &["wordlib", "otherlib"],
    &["exclude each other", "extralib"],
    "loosen the versions that exclude each other",
);
/// A good one makes nothing of a bad one beside it.
const BESIDE: Unmet = (
    &["wordlib", "nolib"],
    &["there is no `nolib`"],
    "see how its name is written, and which index is used",
);

/// Runs a file that requires something that cannot be had.
fn check(env: &TestEnv, (requirements, says, hint): Unmet, status: i32) {
    let file = env.write("a.py", CODE);
    let mut arguments = vec!["exec", file.to_str().unwrap()];
    for requirement in requirements {
        arguments.extend(["--requirement", requirement]);
    }
    let run = env.agentfactory(arguments).expect_status(status);
    let hint = format!("hint: {hint}");
    for says in says.iter().chain(&[hint.as_str()]) {
        let said = &run.stderr;
        assert!(
            said.contains(says),
            "{requirements:?}: no `{says}` in {said}"
        );
    }
}

/// That nothing has run, and nothing is half made.
fn check_left(env: &TestEnv) {
    let runs = env.agentfactory(["runs", "list", "--json"]);
    assert_eq!(runs.expect_status(0).json()["runs"], json!([]));
    let kept = env.agentfactory(["env", "list", "--json"]);
    assert_eq!(kept.expect_status(0).json(), json!([]));
    let mut left = Vec::new();
    let cache = env.scratch().join("cache/agentfactory/images/environments");
    walk(&cache, "", &mut left);
    // The lock of whoever makes one, pip, and what the base is.
    let known = ["build.lock", ".whl", ".base.json"];
    left.retain(|name| !known.iter().any(|end| name.ends_with(end)));
    assert_eq!(left, [""; 0]);
}

fn walk(folder: &Path, below: &str, found: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name().into_string().unwrap();
        if entry.file_type().unwrap().is_dir() {
            walk(&entry.path(), &format!("{below}{name}/"), found);
        } else {
            found.push(format!("{below}{name}"));
        }
    }
}

#[test]
fn what_an_index_cannot_give_is_said() {
    let Some(index) = index(None) else { return };
    let Some(env) = home_with(&index) else {
        return;
    };
    for unmet in [UNKNOWN, SOURCE, VERSION, CONFLICT, BESIDE] {
        check(&env, unmet, 4);
    }
    check_left(&env);
    let env = env
        .set("PIP_INDEX_URL", "")
        .set("PIP_CONFIG_FILE", "/dev/null");
    let says: &[&str] = &["no package index is configured"];
    check(&env, (&["wordlib"], says, "name it in PIP_INDEX_URL"), 2);
    check_left(&env);
}

#[test]
fn an_index_that_does_not_answer_is_said() {
    let Some(env) = home(NOWHERE) else { return };
    let says: &[&str] = &["package index"];
    check(&env, (&["wordlib"], says, "see PIP_INDEX_URL"), 5);
    check_left(&env);
}

#[test]
fn a_model_is_told_what_an_index_cannot_give_and_goes_on() {
    let Some(index) = index(None) else { return };
    let Some(env) = home_with(&index) else {
        return;
    };
    let told = [UNKNOWN, SOURCE, VERSION, CONFLICT];
    let mut turns: Vec<Value> = Vec::new();
    for (requirements, _, _) in told {
        turns.push(json!({"calls": [{"tool": "create_subagent", "arguments": {
            "name": "bad", "description": "Says.", "code": CODE, "skills": [],
            "requirements": requirements,
        }}]}));
    }
    turns.push(json!({"calls": [{"tool": "finish", "arguments": {"answer": "none"}}]}));
    for (turn, (_, says, hint)) in turns.iter_mut().skip(1).zip(told) {
        turn["expect"] = json!([says, &[hint]].concat());
    }
    let script = json!({"format": 1, "agent": turns});
    let script = env.write("told.yaml", &script.to_string());
    let model = format!("scripted:{}", script.display());
    let solved = env.agentfactory(["solve", "Say.", "--model", &model, "--json"]);
    let solved = solved.expect_status(0).json();
    assert_eq!(solved["saved"], json!([]), "{solved:#}");
    env.agentfactory(["show", "bad"]).expect_status(3);
    check_left(&env);
}

#[test]
fn what_pip_is_told_is_used_or_said() {
    let Some(index) = index(None) else { return };
    let Some(env) = home("http://index.test/simple") else {
        return;
    };
    // Its own proxy is the only one, and the program knows no address of the index.
    let env = env
        .set("PIP_CONFIG_FILE", "/dev/null")
        .set("PIP_PROXY", &format!("http://{}", index.address()))
        .set("HTTP_PROXY", "http://127.0.0.1:9")
        .set("PIP_EXTRA_INDEX_URL", "https://u:s3cret@other.test/simple");
    let file = env.write("a.py", CODE);
    let exec = ["exec", file.to_str().unwrap(), "--requirement=wordlib"];
    let said = env.agentfactory(exec).expect_status(0).stderr;
    let warnings = [
        "warning: pip's `extra-index-url` (PIP_EXTRA_INDEX_URL) is not used here",
        "warning: the package index `http://index.test/simple/` is asked without TLS",
    ];
    for warning in warnings {
        assert_eq!(said.matches(warning).count(), 1, "{said}");
    }
    assert!(!said.contains("s3cret"), "{said}");
    // Where the index is not asked, it is of no interest.
    let said = env.agentfactory(exec).expect_status(0).stderr;
    assert!(!said.contains("warning: "), "{said}");
    env.agentfactory(["list"]).expect_status(0);
}

#[test]
fn the_authorities_that_pip_is_told_of_are_believed() {
    let Some(env) = home("https://index.test/simple") else {
        return;
    };
    let site = Site::https(&["index.test"]);
    let hosts = format!("[egress.hosts]\n'index.test' = '{}'\n", site.address());
    let config = env.write("hosts.toml", &hosts);
    let file = env.write("a.py", CODE);
    let (file, config) = (file.to_str().unwrap(), config.to_str().unwrap());
    let exec = ["exec", file, "--requirement=wordlib", "--config", config];
    let env = env.set("PIP_CONFIG_FILE", "/dev/null").set("PIP_CERT", "");
    env.agentfactory(exec).expect_status(5);
    assert_eq!(site.hits(), [""; 0]);
    let pem = env.write("authority.pem", site.authority_pem());
    let env = env.set("PIP_CERT", pem.to_str().unwrap());
    // It has no wheels, but it is asked.
    let run = env.agentfactory(exec);
    assert_ne!(run.status, 0);
    assert!(!site.hits().is_empty(), "{}", run.stderr);
    // What cannot be read is said to those who need it.
    let env = env.set("PIP_CERT", "/nowhere/ca.pem");
    let run = env.agentfactory(exec).expect_status(2);
    assert!(run.stderr.contains("`/nowhere/ca.pem`"), "{}", run.stderr);
    env.agentfactory(["list"]).expect_status(0);
}
