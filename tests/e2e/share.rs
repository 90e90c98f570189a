//! A version from one home to another, through a real registry, with a signature.

use serde_json::json;
use testkit::{RegistryServer, TestEnv};

const CODE: &str = "def main(query):\n    return {'answer': query.upper(), 'summary': ''}\n";

/// Saves a subagent `shouter`.
fn save(env: &TestEnv) -> String {
    let script = json!({"format": 1, "agent": [{"calls": [
        {"tool": "create_subagent", "arguments":
            {"name": "shouter", "description": "Shouts.", "code": CODE, "skills": []}},
        {"tool": "run_subagent", "arguments": {"name": "shouter", "query": "this"}},
        {"tool": "finish", "arguments": {"answer": "done", "save": [{"name": "shouter", "note": "x"}]}},
    ]}]});
    // JSON is YAML.
    let file = env.write("session.yaml", &script.to_string());
    let model = format!("scripted:{}", file.display());
    let solved = env.agentfactory(["solve", "Shout.", "--model", &model, "--json"]);
    let json = solved.expect_status(0).json();
    json["saved"][0]["version"].as_str().unwrap().to_owned()
}

#[test]
fn a_signed_version_goes_from_home_to_home() {
    let (Some(here), Some(there)) = (TestEnv::with_engine(), TestEnv::with_engine()) else {
        return;
    };
    let Some(server) = RegistryServer::start("") else {
        return;
    };
    let place = format!("{}/team/shouter", server.host());
    let version = save(&here);
    let key = here.agentfactory(["key", "generate", "release", "--json"]);
    let key = key.expect_status(0).json()["public"]
        .as_str()
        .unwrap()
        .to_owned();
    let config = there.write(
        "config.toml",
        &format!("[trust]\nrequire = 'signed'\nkeys = ['{key}']\n"),
    );
    let config = config.to_str().unwrap();

    here.agentfactory(["push", "shouter", &place])
        .expect_status(0);
    let refused = there
        .agentfactory(["pull", &place, "--config", config])
        .expect_status(4);
    assert!(
        refused.stderr.contains("is not signed"),
        "{}",
        refused.stderr
    );
    assert!(refused.stderr.contains("hint: "), "{}", refused.stderr);
    there.agentfactory(["show", "shouter"]).expect_status(3);
    here.agentfactory(["verify", "shouter"]).expect_status(4);

    here.agentfactory(["sign", "shouter", "--key", "release"])
        .expect_status(0);
    here.agentfactory(["verify", "shouter"]).expect_status(0);
    let pushed = here.agentfactory(["push", "shouter", &place, "--with-cases", "--json"]);
    let pushed = pushed.expect_status(0).json();
    assert_eq!(
        (pushed["attachments"].as_u64(), pushed["runs"].as_u64()),
        (Some(1), Some(1))
    );
    let pulled = there.agentfactory([
        "pull",
        &place,
        "--as",
        "loud",
        "--with-cases",
        "--config",
        config,
        "--json",
    ]);
    let pulled = pulled.expect_status(0).json();
    assert_eq!(pulled["version"], version);
    assert_eq!(pulled["runs"].as_array().unwrap().len(), 1);
    let verified = there.agentfactory(["verify", "loud", "--config", config, "--json"]);
    let verified = verified.expect_status(0).json();
    assert_eq!(verified["signatures"][0]["key"], key);
    let run = there
        .agentfactory(["run", "loud", "hello", "--config", config])
        .expect_status(0);
    assert!(run.stdout.contains("HELLO"), "{}", run.stdout);
    there.agentfactory(["fsck"]).expect_status(0);

    // What is made here is demanded as much: nobody has vouched for it.
    let own = save(&there);
    assert_eq!(own, version);
    let unsigned = TestEnv::with_engine().unwrap();
    save(&unsigned);
    let refused = unsigned
        .agentfactory(["run", "shouter", "x", "--config", config])
        .expect_status(4);
    assert!(
        refused.stderr.contains("is not signed"),
        "{}",
        refused.stderr
    );
    // Somebody else's key is no trusted one.
    unsigned
        .agentfactory(["key", "generate", "mine"])
        .expect_status(0);
    unsigned
        .agentfactory(["sign", "shouter", "--key", "mine"])
        .expect_status(0);
    let refused = unsigned
        .agentfactory(["run", "shouter", "x", "--config", config])
        .expect_status(4);
    assert!(
        refused.stderr.contains("no trusted key"),
        "{}",
        refused.stderr
    );
}
