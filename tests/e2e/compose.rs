//! Subagents that import others: in the sandbox, in the history, again from the record, and outside.

use std::process::Command;

use serde_json::{Value, json};
use testkit::TestEnv;

/// Both have a `helper.py`, and one of the standard library's names is a file of the part.
const PART: &str = "import os\nimport helper\n\nKIND = 'part'\n\ndef main(query):\n    import late\n    here = os.path.dirname(__file__)\n    with open(os.path.join(here, 'data.txt')) as data:\n        return {'answer': f'{helper.NAME}({query}){late.MARK}{data.read()}'}\n";
const WHOLE: &str = "import helper\nimport word_part\nfrom word_part import KIND, main as part\n\ndef main(query):\n    assert part is word_part.main\n    return {'answer': f'{helper.NAME}[{part(query)[\"answer\"]}]{KIND}'}\n";

fn solve(env: &TestEnv, calls: &Value) -> Value {
    let script = json!({"format": 1, "agent": [{"calls": calls}]});
    // JSON is YAML.
    let file = env.write("session.yaml", &script.to_string());
    let model = format!("scripted:{}", file.display());
    env.agentfactory(["solve", "Compose.", "--model", &model, "--json"])
        .expect_status(0)
        .json()
}

fn create_part(mark: &str) -> Value {
    json!({"tool": "create_subagent", "arguments": {"name": "word-part", "description": "A part.",
        "files": [
            {"path": "word_part.py", "code": PART},
            {"path": "helper.py", "code": "NAME = 'part'\n"},
            {"path": "late.py", "code": format!("MARK = '{mark}'\n")},
            {"path": "data.txt", "code": "data"},
        ], "entry": "word_part.py", "skills": []}})
}

/// Saves `word-part`, and `word-whole` which imports it, in one task.
pub(crate) fn install(env: &TestEnv) -> Value {
    let json = solve(
        env,
        &json!([
            create_part("!"),
            {"tool": "run_subagent", "arguments": {"name": "word-part", "query": "q"}},
            {"tool": "create_subagent", "arguments": {"name": "word-whole", "description": "A whole.",
                "files": [
                    {"path": "word_whole.py", "code": WHOLE},
                    {"path": "helper.py", "code": "NAME = 'whole'\n"},
                ], "entry": "word_whole.py", "skills": [], "depends": ["word-part"]}},
            {"tool": "run_subagent", "arguments": {"name": "word-whole", "query": "q"}},
            {"tool": "finish", "arguments": {"answer": "done",
                "save": [{"name": "word-part"}, {"name": "word-whole"}]}},
        ]),
    );
    assert_eq!(json["saved"].as_array().unwrap().len(), 2, "{json:#}");
    json
}

#[test]
fn a_composed_subagent_runs_the_same_everywhere() {
    let Some(env) = TestEnv::with_engine() else {
        return;
    };
    install(&env);
    let answer = "whole[part(x)!data]part";
    let run = env
        .agentfactory(["run", "word-whole", "x", "--json"])
        .expect_status(0)
        .json();
    assert_eq!(run["answer"], answer);

    // A later version of the part changes nothing: the whole names the one that it was made with.
    let part = |env: &TestEnv| {
        env.agentfactory(["show", "word-part", "--json"])
            .expect_status(0)
            .json()["version"]
            .clone()
    };
    let first = part(&env);
    solve(
        &env,
        &json!([
            create_part("?"),
            {"tool": "run_subagent", "arguments": {"name": "word-part", "query": "q"}},
            {"tool": "finish", "arguments": {"answer": "done", "save": [{"name": "word-part"}]}},
        ]),
    );
    assert_ne!(part(&env), first);
    let again = env.agentfactory(["run", "word-whole", "x"]);
    assert_eq!(again.expect_status(0).stdout, format!("{answer}\n"));

    let tree = env
        .agentfactory(["show", "word-whole", "--tree", "--json"])
        .expect_status(0)
        .json();
    assert_eq!(tree["depends"][0]["name"], "word-part");
    assert_eq!(tree["depends"][0]["version"], first);
    let text = env
        .agentfactory(["show", "word-whole", "--tree"])
        .expect_status(0)
        .stdout;
    let expected = format!("└── word-part@{}", first.as_str().unwrap());
    assert_eq!(text.lines().nth(1), Some(expected.as_str()), "{text}");

    let id = run["run"].as_str().unwrap();
    env.agentfactory(["reproduce", id]).expect_status(0);

    // A file of the host can import saved ones too.
    let file = env.write(
        "try.py",
        "def main(query):\n    from word_part import main\n    return main(query)\n",
    );
    let file = file.to_str().unwrap();
    let old = format!("word-part@{}", first.as_str().unwrap());
    let exec = |depends: &str| env.agentfactory(["exec", file, "y", "--depends", depends]);
    assert_eq!(exec("word-part").expect_status(0).stdout, "part(y)?data\n");
    assert_eq!(exec(&old).expect_status(0).stdout, "part(y)!data\n");

    let to = env.scratch().join("skills");
    let to = to.to_str().unwrap();
    env.agentfactory(["deploy", "word-whole", "--as", "skill", "--to", to])
        .expect_status(0);
    let output = Command::new("/usr/bin/python3")
        .arg(env.scratch().join("skills/word-whole/scripts/run.py"))
        .arg("x")
        .current_dir("/")
        .env_clear()
        .output()
        .unwrap();
    let result: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)));
    assert_eq!(result["answer"], answer);
    env.agentfactory(["fsck"]).expect_status(0);
}

#[test]
fn two_versions_of_a_part_live_side_by_side() {
    let Some(env) = TestEnv::with_engine() else {
        return;
    };
    install(&env);
    // `word-whole` has the first part; this one has the second, and imports both of them.
    let both = "import word_part, word_whole\n\ndef main(query):\n    own = word_part.main(query)['answer']\n    return {'answer': own + ' ' + word_whole.main(query)['answer']}\n";
    solve(
        &env,
        &json!([
            create_part("?"),
            {"tool": "run_subagent", "arguments": {"name": "word-part", "query": "q"}},
            {"tool": "create_subagent", "arguments": {"name": "word-both", "description": "Both.",
                "code": both, "skills": [], "depends": ["word-part", "word-whole"]}},
            {"tool": "run_subagent", "arguments": {"name": "word-both", "query": "q"}},
            {"tool": "finish", "arguments": {"answer": "done",
                "save": [{"name": "word-part"}, {"name": "word-both"}]}},
        ]),
    );
    let run = env.agentfactory(["run", "word-both", "x"]).expect_status(0);
    assert_eq!(run.stdout, "part(x)?data whole[part(x)!data]part\n");
    let tree = env
        .agentfactory(["show", "word-both", "--tree"])
        .expect_status(0)
        .stdout;
    assert_eq!(tree.matches("word-part@").count(), 2, "{tree}");
}
