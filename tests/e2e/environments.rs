//! Python distributions: locked, installed in sandboxes, the same everywhere; what cannot be had is said.

use std::path::Path;

use serde_json::{Value, json};
use testkit::TestEnv;

/// A home whose environments are its own; what is known of the sandbox image is the user's.
fn env() -> Option<TestEnv> {
    TestEnv::with_index()
}

const IDNA: &str = "def main(query):\n    import idna\n    return {'answer': idna.__version__ + ' ' + idna.__file__}\n";

#[test]
fn a_file_names_what_it_imports() {
    let Some(env) = env() else { return };
    let block = "# /// script\n# dependencies = ['idna==3.10']\n# ///\n";
    let file = env.write("a.py", &format!("{block}{IDNA}"));
    let run = env.agentfactory([Path::new("exec"), &file, Path::new("--json")]);
    let run = run.expect_status(0).json();
    let answer = &run["answer"];
    assert_eq!(
        answer, "3.10 /opt/agentfactory/env/idna/__init__.py",
        "{run:#}"
    );

    let listed = env.agentfactory(["env", "list", "--json"]).expect_status(0);
    let listed = listed.json();
    let found = listed.as_array().unwrap().iter();
    let found: Vec<&Value> = found
        .filter(|one| one["requirements"] == json!(["idna==3.10"]))
        .collect();
    assert!(!found.is_empty(), "{listed:#}");
    let key = found[0]["key"].as_str().unwrap();
    let shown = env.agentfactory(["env", "show", key]).expect_status(0);
    assert!(
        shown.stdout.contains("idna==3.10, 1 wheel"),
        "{}",
        shown.stdout
    );
}

#[test]
fn what_cannot_be_had_is_said() {
    let Some(env) = env() else { return };
    let file = env.write("a.py", IDNA);
    let check = |requirement: &str, status: i32, says: &str| {
        let file = file.to_str().unwrap();
        let run = env.agentfactory(["exec", file, &format!("--requirement={requirement}")]);
        let run = run.expect_status(status);
        assert!(run.stderr.contains(says), "{requirement}: {}", run.stderr);
        assert!(
            run.stderr.contains("hint: "),
            "{requirement}: {}",
            run.stderr
        );
    };
    check("idna==99", 4, "no version fits `idna==99`");
    check("pandas<1.0", 4, "has no wheel");
    check("uwsgi", 4, "source only");
    check("--pre", 2, "not a requirement");
    check(
        "idna @ https://files.example.org/idna.whl",
        2,
        "only the index is used",
    );
}

#[test]
fn a_version_holds_its_lock() {
    let Some(env) = env() else { return };
    let script = json!({"format": 1, "agent": [{"calls": [
        {"tool": "create_subagent", "arguments": {"name": "bad", "description": "Fails.", "code": IDNA,
            "skills": [], "requirements": ["idna==99"]}},
        {"tool": "create_subagent", "arguments": {"name": "namer", "description": "Names.", "code": IDNA,
            "skills": [], "requirements": ["idna==3.10"]}},
        {"tool": "run_subagent", "arguments": {"name": "namer", "query": ""}},
        {"tool": "finish", "arguments": {"answer": "done", "save": [{"name": "namer"}]}},
    ]}]});
    let file = env.write("session.yaml", &script.to_string());
    let model = format!("scripted:{}", file.display());
    let task = env.agentfactory(["solve", "Name.", "--model", &model, "--json"]);
    let task = task.expect_status(0).json();
    assert_eq!(task["status"], "success", "{task:#}");
    let shown = env
        .agentfactory(["show", "namer", "--json"])
        .expect_status(0);
    assert_eq!(shown.json()["requirements"], json!(["idna==3.10"]));
    let run = env.agentfactory(["run", "namer", "x"]).expect_status(0);
    assert!(run.stdout.starts_with("3.10 "), "{}", run.stdout);
    let fsck = env.agentfactory(["fsck"]);
    fsck.expect_status(0);
}

#[test]
fn an_image_that_the_engine_has_lost_is_made_again() {
    let Some(env) = env() else { return };
    let file = env.write("a.py", IDNA);
    let exec = || {
        let exec = ["exec", file.to_str().unwrap(), "--requirement=idna==3.9"];
        let run = env.agentfactory(exec).expect_status(0);
        assert!(run.stdout.starts_with("3.9 "), "{}", run.stdout);
    };
    exec();
    let shown = env.agentfactory(["runs", "show", "last", "--json"]);
    let shown = shown.expect_status(0).json();
    let image = shown["image"].as_str().unwrap();
    let removed = std::process::Command::new("docker")
        .args(["image", "rm", "--force", image])
        .output()
        .unwrap();
    assert!(removed.status.success(), "{removed:?}");
    exec();
}
