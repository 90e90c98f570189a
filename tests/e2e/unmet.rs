//! Requirements that a package index cannot meet: what is said, what to do, and that nothing is left.

use std::path::Path;

use serde_json::{Value, json};
use testkit::TestEnv;

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
