//! A lineage of three versions: list, show, log, diff, undo, fsck, deploy.

use std::fs;

use jiff::Timestamp;
use spec::{Digest, Skill, WorkspacePath};
use store::{Move, Publication, Store, VersionContent};

use super::env::Env;

/// Publishes three versions of `counter`, as tasks do, and gives their digests.
pub(crate) fn lineage(env: &Env) -> Vec<Digest> {
    fs::create_dir_all(env.home()).unwrap();
    let store = Store::ensure(&env.home().join("store")).unwrap();
    let path = |text: &str| WorkspacePath::from_text(text).unwrap();
    let mut from = None;
    (1..=3)
        .map(|number| {
            let source = format!("def main(query):\n    return {{'answer': 'version {number}'}}\n");
            let content = VersionContent {
                entry: path("counter.py"),
                description: format!("Counts to {number}.\u{1b}[2J"),
                files: vec![
                    (path("counter.py"), source.into_bytes()),
                    (
                        path("SKILL.md"),
                        b"---\nname: counter\ndescription: c\n---\n".to_vec(),
                    ),
                ],
                skills: if number == 3 {
                    [Skill::Llm].into()
                } else {
                    [].into()
                },
                depends: [].into(),
                egress: [].into(),
                limits: None,
                python: "3.13".to_owned(),
                requirements: Vec::new(),
            };
            let to = store.stage(&content).unwrap().digest();
            let name = "counter".parse().unwrap();
            let publication = Publication {
                moves: vec![Move {
                    name,
                    from: from.replace(to),
                    to,
                }],
                at: Timestamp::from_second(1_800_000_000 + number).unwrap(),
                task: Some(format!("task-{number}")),
                evidence: Vec::new(),
                note: format!("step {number}"),
            };
            store.publish(publication).unwrap();
            to
        })
        .collect()
}

#[test]
fn the_library_is_listed() {
    let env = Env::new();
    let versions = lineage(&env);
    let list = env.run(["list", "--json"]).status(0).json();
    assert_eq!(list["subagents"][0]["name"], "counter");
    assert_eq!(list["subagents"][0]["version"], versions[2].to_string());
    assert_eq!(list["subagents"][0]["versions"], 3);
    assert_eq!(list["subagents"][0]["skills"], serde_json::json!(["llm"]));
    let table = env.run(["list"]).status(0).stdout;
    let lines: Vec<_> = table.lines().collect();
    assert!(
        lines[0].starts_with("NAME     VERSION       VERSIONS  SKILLS  DESCRIPTION"),
        "{table}"
    );
    assert!(lines[1].starts_with(&format!(
        "counter  {}  3         llm     Counts to 3.",
        versions[2].short()
    )));
}

#[test]
fn a_version_is_shown_by_each_form_of_reference() {
    let env = Env::new();
    let versions = lineage(&env);
    let first = versions[0].to_string();
    for reference in [
        first.clone(),
        format!("counter@{first}"),
        versions[0].hex()[..8].to_owned(),
        format!("counter@{}", versions[0].short()),
    ] {
        let show = env.run(["show", &reference, "--json"]).status(0).json();
        assert_eq!(
            (&show["version"], &show["parent"]),
            (&first.as_str().into(), &serde_json::Value::Null)
        );
        assert_eq!(show["is_head"], false);
    }
    let show = env
        .run(["show", "counter", "--json", "--code"])
        .status(0)
        .json();
    assert_eq!(show["parent"], versions[1].to_string());
    assert_eq!(show["published"]["note"], "step 3");
    assert!(
        show["code"][1]["text"]
            .as_str()
            .unwrap()
            .contains("version 3")
    );
    let text = env.run(["show", "counter", "--code"]).status(0).stdout;
    for expected in [
        &versions[2].to_string(),
        &versions[1].to_string(),
        "step 3",
        "task-3",
        "version 3",
    ] {
        assert!(text.contains(expected), "{expected}: {text}");
    }
}

#[test]
fn a_name_that_is_nearly_right_is_suggested() {
    let env = Env::new();
    lineage(&env);
    for command in [
        &["show", "countr"][..],
        &["run", "countr", "q"],
        &["diff", "countr"],
        &["log", "countr"],
    ] {
        let ended = env.run(command).status(3);
        assert_eq!(
            ended.stderr,
            "error: no subagent named `countr`\nhint: did you mean `counter`?\n"
        );
    }
}

#[test]
fn versions_are_compared() {
    let env = Env::new();
    let versions = lineage(&env);
    let diff = env.run(["diff", "counter"]).status(0).stdout;
    for expected in [
        "-    return {'answer': 'version 2'}",
        "+    return {'answer': 'version 3'}",
        "config: skills\n+llm",
    ] {
        assert!(diff.contains(expected), "{diff}");
    }
    let (first, last) = (versions[0].to_string(), versions[2].to_string());
    let json = env.run(["diff", &first, &last, "--json"]).status(0).json();
    assert_eq!(
        (&json["from"], &json["to"]),
        (&first.as_str().into(), &last.as_str().into())
    );
    assert_eq!(json["files"][0]["path"], "counter.py");
    assert_eq!(env.run(["diff", &first, &first]).status(0).stdout, "");
    let ended = env.run(["diff", &first]).status(3);
    assert!(ended.stderr.contains("has no parent"), "{}", ended.stderr);
    let coloured = env
        .run(["diff", "counter", "--color", "always"])
        .status(0)
        .stdout;
    assert!(coloured.contains("\u{1b}[32m+llm\u{1b}[0m"), "{coloured:?}");
}

#[test]
fn history_is_logged_and_undone() {
    let env = Env::new();
    let versions = lineage(&env);
    let log = env.run(["log", "counter", "--json"]).status(0).json();
    let numbers: Vec<_> = log["operations"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| &one["operation"])
        .collect();
    assert_eq!(numbers, [3, 2, 1]);
    assert_eq!(
        log["operations"][0]["heads"][0]["from"],
        versions[1].to_string()
    );
    insta::assert_snapshot!(env.run(["log", "-n", "2"]).status(0).stdout, @r"
       3  2027-01-15 08:00:03Z  publish
          counter  d76f6a5c8382 -> 5587d54b699a
          task task-3
          note step 3
       2  2027-01-15 08:00:02Z  publish
          counter  b5399fea0a9d -> d76f6a5c8382
          task task-2
          note step 2
    ");

    let undone = env.run(["undo", "counter", "--json"]).status(0).json();
    assert_eq!(undone["operation"]["undoes"], 3);
    let head =
        |env: &Env| env.run(["list", "--json"]).status(0).json()["subagents"][0]["version"].clone();
    assert_eq!(head(&env), versions[1].to_string());
    env.run(["undo"]).status(0);
    assert_eq!(head(&env), versions[0].to_string());
    env.run(["undo"]).status(0);
    let gone = env.run(["run", "counter", "q"]).status(3);
    assert!(
        gone.stderr.contains("undone") && gone.stderr.contains("hint: "),
        "{}",
        gone.stderr
    );
    let nothing = env.run(["undo"]).status(3);
    assert!(
        nothing.stderr.contains("nothing to undo"),
        "{}",
        nothing.stderr
    );
    env.run(["show", &versions[2].to_string()]).status(0);
    env.run(["fsck"]).status(0);
}

#[test]
fn damage_is_found_and_named() {
    let env = Env::new();
    let versions = lineage(&env);
    let blob = env
        .home()
        .join("store/blobs/sha256")
        .join(versions[2].hex());
    let mut bytes = fs::read(&blob).unwrap();
    bytes[0] ^= 1;
    fs::remove_file(&blob).unwrap();
    fs::write(&blob, bytes).unwrap();
    let fsck = env.run(["fsck", "--json"]).status(1).json();
    assert_eq!(fsck["clean"], false);
    assert_eq!(fsck["findings"][0]["kind"], "damaged");
    let text = env.run(["fsck"]).status(1).stdout;
    assert!(
        text.contains(&versions[2].hex()) && text.contains("hint: "),
        "{text}"
    );
    let list = env.run(["list"]).status(1);
    assert!(
        list.stdout.contains("counter") && list.stderr.contains("fsck"),
        "{}",
        list.stderr
    );
    env.run(["show", "counter"]).status(1);
    env.run(["show", &versions[1].to_string()]).status(0);
}

#[test]
fn a_grant_that_a_version_does_not_have_is_refused() {
    let env = Env::new().set("DOCKER_HOST", "unix:///nonexistent.sock");
    lineage(&env);
    let ended = env
        .run(["run", "counter", "q", "--grant", "shell_command"])
        .status(4);
    assert!(
        ended.stderr.contains("is not granted shell_command"),
        "{}",
        ended.stderr
    );
    // Leaving some out is not refused: what is missing is only the engine.
    env.run(["run", "counter", "q", "--grant", "none"])
        .status(5);
}

#[test]
fn a_version_is_exported_once() {
    let env = Env::new();
    let versions = lineage(&env);
    let deploy = ["deploy", "counter", "--as", "skill", "--to", "out"];
    let deployed = env
        .run(deploy.into_iter().chain(["--json"]))
        .status(0)
        .json();
    assert_eq!(deployed["version"], versions[2].to_string());
    let folder = env.path(deployed["path"].as_str().unwrap());
    for file in deployed["files"].as_array().unwrap() {
        assert!(folder.join(file.as_str().unwrap()).is_file(), "{file}");
    }
    let again = env.run(deploy).status(4);
    assert!(again.stderr.contains("exists already"), "{}", again.stderr);
}

#[test]
fn a_change_of_several_is_undone_as_a_whole() {
    let env = Env::new();
    let versions = lineage(&env);
    let store = Store::ensure(&env.home().join("store")).unwrap();
    let moves = [("counter", Some(versions[2])), ("other", None)];
    let moves = moves.map(|(name, from)| Move {
        name: name.parse().unwrap(),
        from,
        to: versions[0],
    });
    let publication = Publication {
        moves: moves.into(),
        at: Timestamp::from_second(1_900_000_000).unwrap(),
        task: None,
        evidence: Vec::new(),
        note: "note\n   9  2027-01-15 08:00:03Z  publish".to_owned(),
    };
    store.publish(publication).unwrap();
    let log = env.run(["log", "other"]).status(0).stdout;
    assert!(log.contains("\n              9  2027-01-15"), "{log}");
    let refused = env.run(["undo", "counter"]).status(4);
    assert!(
        refused
            .stderr
            .contains("hint: --all takes back other as well"),
        "{}",
        refused.stderr
    );
    env.run(["undo", "counter", "--all"]).status(0);
    env.run(["undo", "counter"]).status(0);
}
