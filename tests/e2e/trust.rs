//! `[trust]` wherever something saved runs: by itself, imported, depended on, made or run again.

use serde_json::{Value, json};
use testkit::{Finished, RegistryServer, TestEnv};

use crate::compose::install;

const IMPORTS: &str =
    "from word_part import main as part\n\ndef main(query):\n    return part(query)\n";

/// A home with `word-part` and `word-whole`, which depends on it, and two keys.
fn home() -> Option<TestEnv> {
    let env = TestEnv::with_engine()?;
    install(&env);
    for key in ["release", "other"] {
        env.agentfactory(["key", "generate", key]).expect_status(0);
    }
    Some(env)
}

fn version(env: &TestEnv, name: &str) -> String {
    let shown = env.agentfactory(["show", name, "--json"]).expect_status(0);
    shown.json()["version"].as_str().unwrap().to_owned()
}

/// The first digits of a version, as messages have them.
fn short(version: &str) -> &str {
    &version["sha256:".len()..][..12]
}

fn refused(finished: Finished, says: &[&str]) {
    let finished = finished.expect_status(4);
    for says in says.iter().chain(&["hint: "]) {
        let said = &finished.stderr;
        assert!(said.contains(says), "no `{says}` in {said}");
    }
}

#[test]
fn what_nobody_vouches_for_does_not_run_in_any_way() {
    let Some(env) = home() else { return };
    let text = "[trust]\nrequire = 'signed'\nkeys = ['release']\n";
    let config = env.write("signed.toml", text);
    let config = ["--config", config.to_str().unwrap()];
    let (part, whole) = (version(&env, "word-part"), version(&env, "word-whole"));
    let run = env.agentfactory(["run", "word-whole", "x", "--json"]);
    let run = run.expect_status(0).json();
    let file = env.write("imports.py", IMPORTS);
    let (reference, run) = (format!("word-whole@{whole}"), run["run"].as_str().unwrap());
    let again = ["reproduce", run];
    let anew = ["reproduce", &reference];
    let exec = ["exec", file.to_str().unwrap(), "x", "--depends=word-part"];
    let runs = ["run", "word-whole", "x"];
    let verify = ["deploy", "word-whole", "--as", "image", "--verify"];
    let ask = |what: &[&str]| env.agentfactory([what, &config].concat());

    let unsigned = |version: &str| {
        let sign = format!("`sign {version} --key NAME`");
        [
            format!("the version {} is not signed", short(version)),
            sign,
        ]
    };
    let of_whole = unsigned(&whole);
    let of_whole = of_whole.each_ref().map(String::as_str);
    for what in [&again[..], &anew, &runs, &verify] {
        refused(ask(what), &of_whole);
    }
    let of_part = unsigned(&part);
    refused(ask(&exec), &of_part.each_ref().map(String::as_str));
    let left: Vec<String> = std::fs::read_dir(env.home())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with("reproduce-"))
        .collect();
    assert_eq!(left, [""; 0]);

    // As the hint says it.
    let sign = ["sign", short(&whole), "--key", "release", "--json"];
    let signed = env.agentfactory(sign).expect_status(0).json();
    assert_eq!(signed["depends"], json!([part]), "{signed:#}");
    for what in [&again[..], &exec, &runs] {
        ask(what).expect_status(0);
    }
    env.agentfactory(["fsck"]).expect_status(0);
}

#[test]
fn a_part_answers_to_the_rule_of_its_own_name() {
    let (Some(here), Some(there)) = (home(), TestEnv::with_engine()) else {
        return;
    };
    let Some(server) = RegistryServer::start("") else {
        return;
    };
    here.agentfactory(["sign", "word-whole", "--key", "release"])
        .expect_status(0);
    let key = |name: &str| {
        let shown = here.agentfactory(["key", "show", name, "--json"]);
        shown.expect_status(0).json()["public"].clone()
    };
    let text = format!(
        "[trust]\nrequire = 'signed'\nkeys = [{}]\n\
         [[trust.rules]]\nname = 'word-part'\nkeys = [{}]\n",
        key("release"),
        key("other")
    );
    let place = format!("{}/team/word-whole", server.host());
    let (part, whole) = (version(&here, "word-part"), version(&here, "word-whole"));
    let depends = format!("the version {} depends on `word-part`", short(&whole));
    let no_key = format!("no trusted key has signed the version {}", short(&part));
    let says = [depends.as_str(), no_key.as_str(), "`keys` in [trust]"];
    let configs = [&here, &there].map(|env| env.write("rules.toml", &text));
    let configs = configs.each_ref().map(|file| file.to_str().unwrap());
    let run = ["run", "word-whole", "x", "--config", configs[0]];
    let pull = ["pull", &place, "--config", configs[1]];

    here.agentfactory(["push", "word-whole", &place])
        .expect_status(0);
    refused(here.agentfactory(run), &says);
    let verify = ["verify", "word-whole", "--json", "--config", configs[0]];
    let verified: Value = here.agentfactory(verify).expect_status(4).json();
    assert!(
        verified["why"].as_str().unwrap().contains(&no_key),
        "{verified:#}"
    );
    refused(there.agentfactory(pull), &says);
    there.agentfactory(["show", "word-whole"]).expect_status(3);

    here.agentfactory(["sign", "word-part", "--key", "other"])
        .expect_status(0);
    here.agentfactory(["push", "word-whole", &place])
        .expect_status(0);
    here.agentfactory(run).expect_status(0);
    there.agentfactory(pull).expect_status(0);
    let run = ["run", "word-whole", "x", "--config", configs[1]];
    there.agentfactory(run).expect_status(0);
}
