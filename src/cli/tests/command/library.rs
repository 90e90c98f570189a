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

/// What an operation says of itself, without its id and time.
fn changed(env: &Env, arguments: &[&str]) -> serde_json::Value {
    let json = env
        .run(arguments.iter().chain(&["--json"]))
        .status(0)
        .json();
    let mut operation = json["operation"].clone();
    let fields = operation.as_object_mut().unwrap();
    fields.remove("id").unwrap();
    fields.remove("at").unwrap();
    operation
}

fn head(env: &Env) -> serde_json::Value {
    env.run(["list", "--json"]).status(0).json()["subagents"][0].clone()
}

#[test]
fn a_head_is_pinned_and_moves_only_by_force() {
    let env = Env::new().set("USER", "ada");
    let versions = lineage(&env);
    let pinned = changed(&env, &["pin", "counter", "--why", "it is in use"]);
    assert_eq!(
        pinned,
        serde_json::json!({
            "operation": 4, "kind": "pin", "heads": [], "tags": [], "undoes": null, "task": null,
            "pins": [{"name": "counter", "pinned": true}], "by": "ada", "why": "it is in use",
            "evidence": [], "note": "",
        })
    );
    assert_eq!(head(&env)["pinned"], true);
    let refused = env.run(["restore", "counter@{1}"]).status(4);
    assert!(
        refused.stderr.contains("`counter` is pinned"),
        "{}",
        refused.stderr
    );
    assert!(refused.stderr.contains("hint: "), "{}", refused.stderr);
    env.run(["remove", "counter"]).status(4);
    env.run(["restore", "counter@{1}", "--force"]).status(0);
    assert_eq!(head(&env)["version"], versions[1].to_string());
    env.run(["pin", "counter"]).status(4);
    env.run(["unpin", "counter"]).status(0);
    env.run(["unpin", "counter"]).status(4);
    let text = env.run(["log", "counter", "-n", "5"]).status(0).stdout;
    for expected in ["counter  is pinned", "by   ada", "why  it is in use"] {
        assert!(text.contains(expected), "{text}");
    }
    env.run(["fsck"]).status(0);
}

#[test]
fn a_subagent_is_renamed_and_its_old_name_goes_on_meaning_it() {
    let env = Env::new();
    let versions = lineage(&env);
    changed(&env, &["rename", "counter", "teller"]);
    assert_eq!(head(&env)["name"], "teller");
    let show = env.run(["show", "counter", "--json"]).status(0).json();
    assert_eq!(
        (&show["name"], &show["is_head"]),
        (&"teller".into(), &true.into())
    );
    let note = env.run(["show", "counter"]).status(0).stderr;
    assert!(note.contains("`counter` is called `teller` now"), "{note}");
    let log = env.run(["log", "teller", "--json"]).status(0).json();
    assert_eq!(log["operations"].as_array().unwrap().len(), 4);
    assert_eq!(
        log["operations"][0]["renamed"],
        serde_json::json!([{"from": "counter", "to": "teller"}])
    );
    // The old name is not free.
    env.run(["rename", "teller", "teller"]).status(4);
    let store = Store::ensure(&env.home().join("store")).unwrap();
    let other = Publication {
        moves: vec![Move {
            name: "other".parse().unwrap(),
            from: None,
            to: versions[0],
        }],
        at: Timestamp::from_second(1_900_000_000).unwrap(),
        task: None,
        evidence: Vec::new(),
        note: String::new(),
    };
    store.publish(other).unwrap();
    let taken = env.run(["rename", "other", "counter"]).status(4);
    assert!(
        taken.stderr.contains("former name of `teller`"),
        "{}",
        taken.stderr
    );
    env.run(["undo", "counter"]).status(0);
    assert_eq!(head(&env)["name"], "counter");
    env.run(["fsck"]).status(0);
}

#[test]
fn a_subagent_is_removed_and_brought_back() {
    let env = Env::new();
    let versions = lineage(&env);
    changed(&env, &["remove", "counter", "--why", "not needed"]);
    assert_eq!(env.run(["list", "--json"]).status(0).json()["total"], 0);
    let gone = env.run(["show", "counter"]).status(3);
    assert!(
        gone.stderr.contains("it was removed") && gone.stderr.contains("restore counter@"),
        "{}",
        gone.stderr
    );
    env.run(["remove", "counter"]).status(4);
    // Its history stays.
    env.run(["show", "counter@{2}"]).status(0);
    env.run(["restore", "counter"]).status(0);
    assert_eq!(head(&env)["version"], versions[2].to_string());
    env.run(["restore", "counter"]).status(3);
}

#[test]
fn a_tag_is_given_moved_and_taken_away() {
    let env = Env::new();
    let versions = lineage(&env);
    changed(&env, &["tag", "counter@{1}", "stable"]);
    let show = |reference: &str| env.run(["show", reference, "--json"]);
    let stable = show("counter:stable").status(0).json();
    assert_eq!(stable["version"], versions[1].to_string());
    env.run(["tag", "counter", "stable"]).status(0);
    env.run(["tag", "counter", "stable"]).status(4);
    env.run(["tag", "counter", "-x"]).status(2);
    env.run(["tag", "counter", "a b"]).status(4);
    env.run(["tag", "counter", "--remove"]).status(2);
    let removed = changed(&env, &["tag", "counter:stable", "--remove"]);
    assert_eq!(removed["kind"], "untag");
    show("counter:stable").status(3);
}

#[test]
fn earlier_heads_are_named_by_number() {
    let env = Env::new();
    let versions = lineage(&env);
    for (reference, expected) in [("counter@{0}", 2), ("counter@{1}", 1), ("counter@{2}", 0)] {
        let show = env.run(["show", reference, "--json"]).status(0).json();
        assert_eq!(
            show["version"],
            versions[expected].to_string(),
            "{reference}"
        );
    }
    let before = env.run(["show", "counter@{3}"]).status(3);
    assert!(
        before.stderr.contains("its head moved 3 times"),
        "{}",
        before.stderr
    );
    env.run(["diff", "counter@{2}", "counter"]).status(0);
}

#[test]
fn lists_and_logs_come_in_pages() {
    let env = Env::new();
    let versions = lineage(&env);
    let store = Store::ensure(&env.home().join("store")).unwrap();
    let moves = ["a", "b", "c"].map(|name| Move {
        name: name.parse().unwrap(),
        from: None,
        to: versions[0],
    });
    let publication = Publication {
        moves: moves.into(),
        at: Timestamp::from_second(1_900_000_000).unwrap(),
        task: None,
        evidence: Vec::new(),
        note: String::new(),
    };
    store.publish(publication).unwrap();
    let names = |page: &serde_json::Value| -> Vec<String> {
        let all = page["subagents"].as_array().unwrap().iter();
        all.map(|one| one["name"].as_str().unwrap().to_owned())
            .collect()
    };
    let page = env.run(["list", "-n", "3", "--json"]).status(0).json();
    assert_eq!(names(&page), ["a", "b", "c"]);
    assert_eq!((&page["total"], &page["next"]), (&4.into(), &"c".into()));
    let page = env.run(["list", "--after", "c", "--json"]).status(0).json();
    assert_eq!(
        (names(&page), page["next"].is_null()),
        (vec!["counter".to_owned()], true)
    );
    let note = env.run(["list", "-n", "1"]).status(0).stderr;
    assert!(note.contains("4 in all: `--after a` lists more"), "{note}");
    let log = env.run(["log", "-n", "3", "--json"]).status(0).json();
    assert_eq!(log["next"], 2);
    let log = env.run(["log", "--before", "2", "--json"]).status(0).json();
    assert_eq!(
        (&log["operations"][0]["operation"], log["next"].is_null()),
        (&1.into(), true)
    );
}

#[test]
fn branches_are_drawn() {
    let env = Env::new().set("USER", "ada");
    let versions = lineage(&env);
    env.run(["undo", "counter"]).status(0);
    env.run(["restore", "counter@{3}"]).status(0);
    let store = Store::ensure(&env.home().join("store")).unwrap();
    let mut content = store.version(&versions[0]).unwrap().content;
    content.description = "Counts otherwise.".to_owned();
    let to = store.stage(&content).unwrap().digest();
    let name: spec::SubagentName = "counter".parse().unwrap();
    let publication = Publication {
        moves: vec![Move {
            name: name.clone(),
            from: store.head(&name).unwrap().map(|head| head.digest),
            to,
        }],
        at: Timestamp::from_second(1_900_000_000).unwrap(),
        task: Some("task-4".to_owned()),
        evidence: Vec::new(),
        note: String::new(),
    };
    store.publish(publication).unwrap();
    insta::assert_snapshot!(env.run(["log", "counter", "--graph"]).status(0).stdout, @r"
    * 24baa6971b3d  2030-03-17 17:46:40Z  operation 6  (head)
    |  task task-4
    | * 5587d54b699a  2027-01-15 08:00:03Z  operation 3  (undone)
    | |  task task-3
    | |  why  step 3
    | * d76f6a5c8382  2027-01-15 08:00:02Z  operation 2
    | |  task task-2
    | |  why  step 2
    |/
    * b5399fea0a9d  2027-01-15 08:00:01Z  operation 1
      task task-1
      why  step 1
    ");
    let graph = env
        .run(["log", "counter", "--graph", "--json"])
        .status(0)
        .json();
    let edges: Vec<_> = graph["versions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (one["operation"].as_u64(), one["parent_operation"].as_u64()))
        .collect();
    assert_eq!(
        edges,
        [
            (Some(6), Some(1)),
            (Some(3), Some(2)),
            (Some(2), Some(1)),
            (Some(1), None)
        ]
    );
    env.run(["log", "--graph"]).status(2);
}

/// The engine that one folder needs is not there: the other is imported, and nothing is asked for `--dry-run`.
#[test]
fn a_folder_that_needs_an_engine_stops_no_other() {
    let env = Env::new().set("DOCKER_HOST", "unix:///nonexistent.sock");
    let folder = env.home().join("skills");
    for (name, more) in [("plain", ""), ("wants", "requirements: [six]\n")] {
        let below = folder.join(name);
        fs::create_dir_all(&below).unwrap();
        let matter = format!("---\nname: {name}\n{more}---\n");
        fs::write(below.join("SKILL.md"), matter).unwrap();
        let source = "def main(query):\n    return {'answer': query}\n";
        fs::write(below.join(format!("{name}.py")), source).unwrap();
    }
    let folder = folder.to_str().unwrap();
    let tried = env.run(["import", folder, "--dry-run", "--json"]).status(0);
    let tried = tried.json();
    assert_eq!(tried["subagents"][0]["outcome"], "saved");
    assert_eq!(tried["subagents"][1]["outcome"], "to-lock");
    let done = env.run(["import", folder, "--json"]);
    let done = done.json();
    assert_eq!(done["subagents"][0]["outcome"], "saved");
    assert_eq!(done["subagents"][1]["outcome"], "refused");
    let hint = done["subagents"][1]["hint"].as_str().unwrap();
    assert!(hint.contains("DOCKER_HOST"), "{hint}");
    let again = env.run(["export", "plain", folder]);
    assert!(again.stderr.contains("hint: "), "{}", again.stderr);
    // Each name is apart from what it names, and one thing is one.
    let stats = env.run(["stats"]).status(0).stdout;
    assert!(
        stats.contains("1 subagent, 1 version, 1 operation, 0 runs"),
        "{stats}"
    );
    assert!(stats.contains("environments 0 of that in 0,"), "{stats}");
}

#[test]
fn an_import_leaves_what_is_pinned_and_the_log_says_who_did_it() {
    let env = Env::new().set("USER", "ada");
    lineage(&env);
    env.run(["pin", "counter"]).status(0);
    let folder = env.home().join("skills");
    for name in ["counter", "plain"] {
        let below = folder.join(name);
        fs::create_dir_all(&below).unwrap();
        fs::write(below.join("SKILL.md"), format!("---\nname: {name}\n---\n")).unwrap();
        let source = "def main(query):\n    return {'answer': query}\n";
        fs::write(below.join(format!("{name}.py")), source).unwrap();
    }
    let before = head(&env);
    let done = env.run(["import", folder.to_str().unwrap()]).status(4);
    for told in ["`counter` is pinned", "`unpin counter`"] {
        assert!(done.stderr.contains(told), "{}", done.stderr);
    }
    assert_eq!(head(&env)["version"], before["version"]);
    let log = env.run(["log", "plain", "--json"]).status(0).json();
    assert_eq!(log["operations"][0]["by"], "ada");
    let there = env.home().join("there");
    env.run(["copy", "plain", "--to", there.to_str().unwrap()])
        .status(0);
    let copied = Store::ensure(&there.join("store")).unwrap();
    let log = copied.log(None).unwrap();
    assert_eq!(log[0].by.as_deref(), Some("ada"));
}
