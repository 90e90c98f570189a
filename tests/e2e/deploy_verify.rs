//! A deployed image answers what the version's recorded runs were answered.

use std::process::Command;

use serde_json::{Value, json};
use testkit::TestEnv;

use crate::deploy_image::{Tag, install};

/// Does with a query what the query says.
const CODE: &str = "
import os, uuid
from helper import double
from llm import call_llm
from tools import execute_shell_command

def main(query):
    kind, _, rest = query.partition(' ')
    if kind == 'file':
        with open(rest) as file:
            return {'answer': file.read().upper(), 'summary': str(os.access('tool.sh', os.X_OK))}
    if kind == 'model':
        return {'answer': call_llm('Be brief.', [{'role': 'user', 'content': rest}]), 'summary': 'asked'}
    if kind == 'shell':
        return {'answer': execute_shell_command(rest), 'summary': 'ran'}
    if kind == 'chance':
        return {'answer': uuid.uuid4().hex, 'summary': ''}
    if kind == 'fail':
        raise ValueError(rest)
    return {'answer': double(query), 'summary': 7}
";

fn verify(env: &TestEnv, tag: &Tag, status: i32) -> Value {
    let arguments = [
        "deploy",
        "many_kinds",
        "--as",
        "image",
        "--verify",
        "--json",
    ];
    let finished = env.agentfactory([&arguments[..], &["--tag", &tag.0]].concat());
    finished.expect_status(status).json()["verified"].clone()
}

/// What came of the recorded runs, the newest first.
fn verdicts(verified: &Value) -> Vec<String> {
    let runs = verified["runs"].as_array().unwrap().iter();
    runs.map(|run| run["verdict"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn recorded_runs_answer_in_the_image_as_they_did_inside() {
    let Some(env) = TestEnv::with_engine() else {
        return;
    };
    install(
        &env,
        "many_kinds",
        CODE,
        &["llm", "shell_command"],
        "plain query",
    );
    let tag = Tag::new(&env);
    env.write("input/deep/words.txt", "words\n");
    let tool = env.write("input/tool.sh", "true\n");
    let made = Command::new("chmod").arg("+x").arg(&tool).status().unwrap();
    assert!(made.success());
    let script = json!({"format": 1, "subagent": [{"text": "a word"}]}).to_string();
    let model = format!("scripted:{}", env.write("model.yaml", &script).display());
    let run = |arguments: &[&str], status: i32| {
        let finished = env.agentfactory([&["run", "many_kinds"], arguments].concat());
        finished.expect_status(status);
    };
    run(&["file deep/words.txt", "--input", "input"], 0);
    run(&["model say it", "--model", &model], 0);
    run(
        &[
            "shell echo $((6*7)); cat /etc/hostname >&2; rm -rf /",
            "--model",
            &model,
        ],
        0,
    );
    run(&["fail now", "--model", &model], 1);
    run(&["-", "--model", &model], 0);

    let verified = verify(&env, &tag, 0);
    let expected = json!({"holds": true, "same": 5});
    assert_eq!(
        json!({"holds": verified["holds"], "same": verified["same"]}),
        expected,
        "{verified}"
    );
    assert_eq!(verdicts(&verified), ["same"; 5]);

    // What is not in a record, or is another thing each time, is not called the same.
    env.write("mounted/x", "x");
    run(
        &[
            "file /mnt/mounted/x",
            "--mount",
            "mounted",
            "--model",
            &model,
        ],
        0,
    );
    run(&["chance", "--model", &model], 0);
    let verified = verify(&env, &tag, 1);
    assert_eq!(verified["holds"], false);
    let expected = [
        "different",
        "skipped",
        "same",
        "same",
        "same",
        "same",
        "same",
    ];
    assert_eq!(verdicts(&verified), expected, "{verified}");
    let why = |index: usize| verified["runs"][index]["why"].as_str().unwrap().to_owned();
    assert!(why(0).contains("its answer is"), "{}", why(0));
    assert!(why(1).contains("folders of the host"), "{}", why(1));
}
