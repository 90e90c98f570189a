//! What `deploy` exports runs without us.

use std::process::Command;

use serde_json::json;
use testkit::{EndpointProtocol, EndpointReply, ModelEndpoint, Said, TestEnv};

/// Saves a subagent that asks the model.
fn install(env: &TestEnv) {
    let code = "import helper\nfrom llm import call_llm\n\ndef main(query):\n    print('noise')\n    return {'answer': helper.wrap(call_llm('Be brief.', [{'role': 'user', 'content': query}])), 'summary': 'asked'}\n";
    let script = json!({
        "format": 1,
        "agent": [{"calls": [
            {"tool": "create_subagent", "arguments": {"name": "word_asker", "description": "Asks: for \"words\".",
                "files": [{"path": "word_asker.py", "code": code}, {"path": "helper.py", "code": "def wrap(text):\n    return f'<{text}>'\n"}],
                "entry": "word_asker.py", "skills": ["llm"]}},
            {"tool": "run_subagent", "arguments": {"name": "word_asker", "query": "q"}},
            {"tool": "finish", "arguments": {"answer": "done", "save": [{"name": "word_asker"}]}},
        ]}],
        "subagent": [{"text": "scripted word"}],
    });
    let script = env.write("install.yaml", &script.to_string());
    let model = format!("scripted:{}", script.display());
    env.agentfactory(["solve", "Ask.", "--model", &model])
        .expect_status(0);
}

#[test]
fn an_exported_folder_runs_on_a_bare_python_outside() {
    let Some(env) = TestEnv::with_engine() else {
        return;
    };
    install(&env);
    let to = env.scratch().join("skills");
    let finished = env.agentfactory([
        "deploy",
        "word_asker",
        "--as",
        "skill",
        "--to",
        to.to_str().unwrap(),
    ]);
    finished.expect_status(0);
    // The format wants the folder's name, and no underscores.
    let folder = to.join("word-asker");
    let skill = std::fs::read_to_string(folder.join("SKILL.md")).unwrap();
    assert!(
        skill.starts_with("---\nname: word-asker\ndescription: \"Asks: for \\\"words\\\".\"\n"),
        "{skill}"
    );
    assert!(
        skill.contains("sha256:") && !skill.contains("{{"),
        "{skill}"
    );

    for protocol in [EndpointProtocol::Anthropic, EndpointProtocol::OpenAi] {
        let replies = [
            EndpointReply::status(529, "overloaded"),
            Said::text("spoken").into(),
        ];
        let endpoint = ModelEndpoint::of(protocol)
            .key("k")
            .replies(replies)
            .start();
        let (model, key, url) = match protocol {
            EndpointProtocol::Anthropic => {
                ("anthropic:m", "ANTHROPIC_API_KEY", "ANTHROPIC_BASE_URL")
            }
            EndpointProtocol::OpenAi => ("openai:m", "OPENAI_API_KEY", "OPENAI_BASE_URL"),
        };
        let output = Command::new("/usr/bin/python3")
            .arg(folder.join("scripts/run.py"))
            .arg("say it")
            .current_dir("/")
            .env_clear()
            .env("AGENTFACTORY_MODEL", model)
            .env(key, "k")
            .env(url, endpoint.url())
            .output()
            .unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{stderr}");
        let result: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(result, json!({"answer": "<spoken>", "summary": "asked"}));
        assert!(stderr.contains("noise"), "{stderr}");
        assert!(
            endpoint
                .received()
                .last()
                .unwrap()
                .body
                .to_string()
                .contains("say it")
        );
    }

    // In an empty environment it says what is missing, and does not crash.
    let output = Command::new("/usr/bin/python3")
        .arg(folder.join("scripts/run.py"))
        .arg("q")
        .env_clear()
        .output()
        .unwrap();
    assert!(output.status.success());
    assert!(
        String::from_utf8_lossy(&output.stdout).contains("Error:"),
        "{output:?}"
    );

    let again = env.agentfactory([
        "deploy",
        "word_asker",
        "--as",
        "skill",
        "--to",
        to.to_str().unwrap(),
    ]);
    assert_eq!(again.status, 4, "{}", again.stderr);
    assert!(again.stderr.contains("exists already"), "{}", again.stderr);
}
