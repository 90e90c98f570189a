//! Environments from a package index of the test's own: resolved, merged, and on their way to homes
//! without an index.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use testkit::{RegistryServer, TestEnv, TestWheel, WheelIndex};

use crate::deploy_image::Tag;

/// An address at which there is no index.
pub(crate) const NOWHERE: &str = "http://index.test:9/simple";
const USES_WORD: &str =
    "import wordlib\n\ndef main(query):\n    return {'answer': wordlib.say(query)}\n";
const WORD: &str = "import extralib\n\ndef say(text):\n    return f'{text} {extralib.MARK}'\n";

/// Distributions that require, exclude and lack each other.
pub(crate) fn index(credentials: Option<&str>) -> Option<WheelIndex> {
    let plain = TestWheel::new;
    WheelIndex::start(
        &[
            TestWheel {
                requires: &["extralib<2"],
                ..plain("wordlib", "1.0", WORD)
            },
            plain("extralib", "1.5", "MARK = '1.5'\n"),
            plain("extralib", "2.5", "MARK = '2.5'\n"),
            TestWheel {
                requires: &["extralib>2"],
                ..plain("otherlib", "1.0", "import extralib\nMARK = extralib.MARK\n")
            },
            TestWheel {
                is_source: true,
                ..plain("sourcelib", "1.0", "")
            },
        ],
        credentials,
    )
}

/// A home with a cache of its own, as another machine has one.
pub(crate) fn home(index: &str) -> Option<TestEnv> {
    let env = TestEnv::with_engine()?;
    let cache = env.scratch().join("cache");
    let env = env.set("XDG_CACHE_HOME", cache.to_str()?);
    Some(env.set("PIP_INDEX_URL", index))
}

/// The same where the index can be reached.
pub(crate) fn home_with(index: &WheelIndex) -> Option<TestEnv> {
    let env = home(&index.url())?;
    env.write("config/agentfactory/config.toml", &index.config());
    let config = env.scratch().join("config");
    Some(env.set("XDG_CONFIG_HOME", config.to_str()?))
}

/// Saves a subagent that requires something, after one run.
fn save(env: &TestEnv, name: &str, code: &str, more: &Value) -> Value {
    let mut arguments = json!({"name": name, "description": "Says.", "code": code, "skills": []});
    for (key, value) in more.as_object().unwrap() {
        arguments[key] = value.clone();
    }
    let script = json!({"format": 1, "agent": [{"calls": [
        {"tool": "create_subagent", "arguments": arguments},
        {"tool": "run_subagent", "arguments": {"name": name, "query": "hello"}},
        {"tool": "finish", "arguments": {"answer": "done", "save": [{"name": name}]}},
    ]}]});
    let file = env.write("session.yaml", &script.to_string());
    let model = format!("scripted:{}", file.display());
    let solved = env.agentfactory(["solve", "Say.", "--model", &model, "--json"]);
    solved.json()
}

fn save_sayer(env: &TestEnv) -> String {
    let solved = save(
        env,
        "sayer",
        USES_WORD,
        &json!({"requirements": ["wordlib"]}),
    );
    let version = solved["saved"][0]["version"].as_str();
    version.unwrap_or_else(|| panic!("{solved:#}")).to_owned()
}

fn say(env: &TestEnv, name: &str) -> String {
    let run = env.agentfactory(["run", name, "hello"]).expect_status(0);
    run.stdout.trim().to_owned()
}

#[test]
fn a_pulled_version_runs_without_cache_and_index() {
    let Some(index) = index(None) else { return };
    let (Some(here), Some(there)) = (home_with(&index), home(NOWHERE)) else {
        return;
    };
    let Some(server) = RegistryServer::start("") else {
        return;
    };
    let version = save_sayer(&here);
    let place = format!("{}/team/sayer", server.host());
    let pushed = here.agentfactory(["push", "sayer", &place, "--json"]);
    let pushed = pushed.expect_status(0).json();
    assert_eq!(pushed["without_environment"], json!([]));
    let pulled = there.agentfactory(["pull", &place, "--json"]);
    assert_eq!(pulled.expect_status(0).json()["version"], version);
    let asked = index.seen().len();
    assert_eq!(say(&there, "sayer"), "hello 1.5");
    assert_eq!(index.seen().len(), asked);

    // The layer is the one that was made from the index, so images are the same, too.
    let layer = |env: &TestEnv| {
        let listed = env.agentfactory(["env", "list", "--json"]).expect_status(0);
        listed.json()[0]["layer"].clone()
    };
    assert_eq!(layer(&here), layer(&there));
    let images = [&here, &there].map(|env| {
        let tag = Tag::new(env);
        let image = [
            "deploy", "sayer", "--as", "image", "--json", "--tag", &tag.0,
        ];
        let image = env.agentfactory(image).expect_status(0).json()["image"].clone();
        let run = Command::new("docker")
            .args(["run", "--rm", "--network=none", &tag.0, "hello"])
            .output()
            .unwrap();
        let said: Value = serde_json::from_slice(&run.stdout).unwrap();
        assert_eq!(said["answer"], "hello 1.5");
        image
    });
    assert_eq!(images[0], images[1]);

    // And from nothing once more, from what came along: no index is known at all.
    let there = there
        .set("PIP_INDEX_URL", "")
        .set("PIP_CONFIG_FILE", "/dev/null");
    let reference = format!("sayer@{version}");
    let again = there.agentfactory(["reproduce", &reference, "--json"]);
    let again = again.json();
    for check in again["checks"].as_array().unwrap() {
        let what = check["what"].as_str().unwrap();
        let is_ours = what.starts_with("environment") || ["source", "manifest"].contains(&what);
        assert!(!is_ours || check["equal"] == true, "{again:#}");
    }
    for env in [&here, &there] {
        env.agentfactory(["fsck"]).expect_status(0);
    }
    // Somebody else's eyes, where they are here.
    let seen = Command::new("skopeo")
        .args(["inspect", "--raw", "--tls-verify=false"])
        .arg(format!("docker://{place}:latest"))
        .output();
    match seen {
        Ok(seen) => {
            let manifest: Value = serde_json::from_slice(&seen.stdout).unwrap();
            let kind = "application/vnd.agentfactory.subagent.v1";
            assert_eq!(manifest["artifactType"], kind, "{manifest:#}");
        }
        Err(_) => eprintln!("SKIPPED: there is no skopeo"),
    }
}

#[test]
fn a_copied_version_runs_without_cache_and_index() {
    let Some(index) = index(None) else { return };
    let (Some(here), Some(there)) = (home_with(&index), home(NOWHERE)) else {
        return;
    };
    save_sayer(&here);
    here.agentfactory(["key", "generate", "release"])
        .expect_status(0);
    here.agentfactory(["sign", "sayer", "--key", "release"])
        .expect_status(0);
    let to = there.home().to_str().unwrap();
    let copied = here.agentfactory(["copy", "sayer", "--to", to, "--json"]);
    assert_eq!(copied.expect_status(0).json()["attachments"], 2);
    assert_eq!(say(&there, "sayer"), "hello 1.5");
    there.agentfactory(["fsck"]).expect_status(0);

    // What no head uses goes, its wheels too; what came along stays.
    there.agentfactory(["remove", "sayer"]).expect_status(0);
    let removed = there.agentfactory(["env", "gc", "--json"]).expect_status(0);
    assert_eq!(removed.json().as_array().unwrap().len(), 1);
    let wheels = there
        .scratch()
        .join("cache/agentfactory/images/environments/wheels");
    let left = std::fs::read_dir(wheels).unwrap().count();
    assert_eq!(left, 0);
}

#[test]
fn a_version_has_what_its_dependencies_require() {
    let Some(index) = index(None) else { return };
    let Some(env) = home_with(&index) else {
        return;
    };
    save_sayer(&env);
    let code = "from sayer import main as part\n\ndef main(query):\n    return part(query)\n";
    let solved = save(&env, "asker", code, &json!({"depends": ["sayer"]}));
    assert_eq!(solved["status"], "success", "{solved:#}");
    let shown = env
        .agentfactory(["show", "asker", "--json"])
        .expect_status(0);
    let both = json!(["extralib==1.5", "wordlib==1.0"]);
    assert_eq!(shown.json()["requirements"], both);
    assert_eq!(say(&env, "asker"), "hello 1.5");
    // Its own requirements are resolved beside theirs, or it is said why they cannot be.
    let more = json!({"depends": ["sayer"], "requirements": ["extralib"]});
    let solved = save(&env, "second", code, &more);
    assert_eq!(solved["status"], "success", "{solved:#}");
    let shown = env
        .agentfactory(["show", "second", "--json"])
        .expect_status(0);
    assert_eq!(shown.json()["requirements"], both);
    let file = env.write("c.py", code);
    let run = env.agentfactory([
        Path::new("exec"),
        &file,
        Path::new("--depends=sayer"),
        Path::new("--requirement=otherlib"),
    ]);
    let run = run.expect_status(4);
    assert!(run.stderr.contains("exclude each other"), "{}", run.stderr);
    assert!(
        run.stderr.contains("locked to extralib==1.5, wordlib==1.0"),
        "{}",
        run.stderr
    );
}

#[test]
fn imported_requirements_are_locked_and_leave_again() {
    let Some(index) = index(None) else { return };
    let (Some(env), Some(other)) = (home_with(&index), home_with(&index)) else {
        return;
    };
    let block = "# /// script\n# dependencies = ['extralib<2']\n# ///\n";
    let matter = "---\nname: sayer\ndescription: Says.\nrequirements: [wordlib]\n---\n";
    let bad = "---\nname: bad\ndescription: Bad.\nrequirements: [nolib]\n---\n";
    for env in [&env, &other] {
        env.write("in/sayer/SKILL.md", matter);
        env.write("in/sayer/sayer.py", &format!("{block}{USES_WORD}"));
        env.write("in/bad/SKILL.md", bad);
        env.write(
            "in/bad/bad.py",
            "def main(query):\n    return {'answer': ''}\n",
        );
        let imported = env
            .agentfactory(["import", "in", "--json"])
            .expect_status(4);
        let imported = imported.json();
        let items = imported["subagents"].as_array().unwrap();
        assert_eq!(items[0]["outcome"], "refused", "{imported:#}");
        assert!(items[0]["error"].as_str().unwrap().contains("`nolib`"));
        assert_eq!(items[1]["outcome"], "saved", "{imported:#}");
    }
    let shown = |env: &TestEnv| env.agentfactory(["show", "sayer", "--json"]).json();
    let (one, two) = (shown(&env), shown(&other));
    assert_eq!(
        one["requirements"],
        json!(["extralib==1.5", "wordlib==1.0"])
    );
    assert!(one["version"].is_string(), "{one:#}");
    assert_eq!(one["version"], two["version"]);
    assert_eq!(say(&env, "sayer"), "hello 1.5");
    // The same again changes nothing.
    let again = env
        .agentfactory(["import", "in/sayer", "--json"])
        .expect_status(0);
    assert_eq!(again.json()["subagents"][0]["outcome"], "unchanged");

    // It says what it needs, and runs where that is.
    let to = env.scratch().join("out");
    let to = to.to_str().unwrap();
    env.agentfactory(["deploy", "sayer", "--as", "skill", "--to", to])
        .expect_status(0);
    let folder = env.scratch().join("out/sayer");
    let skill = std::fs::read_to_string(folder.join("SKILL.md")).unwrap();
    assert!(!skill.contains("standard library only"), "{skill}");
    assert!(skill.contains("wordlib==1.0"), "{skill}");
    let target = env.scratch().join("installed");
    let installed = Command::new("python3")
        .args(["-m", "pip", "install", "--quiet", "--index-url"])
        .arg(format!("http://{}/simple", index.address()))
        .args([
            "--only-binary",
            ":all:",
            "--require-hashes",
            "-r",
            "requirements.txt",
            "--target",
        ])
        .arg(&target)
        .env_remove("PIP_FIND_LINKS")
        .current_dir(&folder)
        .status();
    assert!(installed.unwrap().success());
    let run = Command::new("python3")
        .args(["scripts/run.py", "hello"])
        .env("PYTHONPATH", &target)
        .current_dir(&folder)
        .output()
        .unwrap();
    let said: Value = serde_json::from_slice(&run.stdout).unwrap();
    assert_eq!(said["answer"], "hello 1.5");
}

/// Whether any file below a folder holds some bytes.
fn holds(folder: &Path, wanted: &[u8]) -> bool {
    let entries = std::fs::read_dir(folder).unwrap().flatten();
    entries.into_iter().any(|entry| {
        let path = entry.path();
        match entry.file_type().unwrap() {
            kind if kind.is_dir() => holds(&path, wanted),
            kind if kind.is_file() => {
                let bytes = std::fs::read(&path).unwrap();
                bytes.windows(wanted.len()).any(|found| found == wanted)
            }
            _ => false,
        }
    })
}

#[test]
fn a_password_for_the_index_stays_outside_of_everything() {
    let Some(index) = index(Some("me:s3cret@x")) else {
        return;
    };
    // Behind a proxy, where every name is this index; the program knows no address of it.
    let proxy = format!("http://{}", index.address());
    let Some(env) = home("http://me:s3cret%40x@index.test/simple") else {
        return;
    };
    let env = env.set("HTTP_PROXY", &proxy);
    let code = format!("import os\n{USES_WORD}");
    let file = env.write("a.py", &code);
    let exec = [
        "exec",
        file.to_str().unwrap(),
        "hi",
        "--requirement=wordlib",
        "--json",
    ];
    let run = env.agentfactory(exec).expect_status(0);
    assert_eq!(run.json()["answer"], "hi 1.5");
    let seen = index.seen();
    assert!(!seen.is_empty());
    for request in &seen {
        let target = &request.target;
        assert!(target.starts_with("http://index.test/"), "{target}");
    }
    // "me:s3cret@x"
    for secret in ["s3cret", "bWU6czNjcmV0QHg"] {
        assert!(!run.stdout.contains(secret) && !run.stderr.contains(secret));
        assert!(!holds(env.home(), secret.as_bytes()));
        assert!(!holds(&env.scratch().join("cache"), secret.as_bytes()));
    }
    // Without it, or with another one, the index says no.
    let other = env.set("PIP_INDEX_URL", "http://me:wrong@index.test/simple");
    let run = other.agentfactory(["exec", exec[1], "--requirement=otherlib"]);
    let run = run.expect_status(5);
    assert!(run.stderr.contains("401"), "{}", run.stderr);
    assert!(!run.stderr.contains("wrong"), "{}", run.stderr);
    // What it is told by the netrc file is as good.
    let netrc = other.write("netrc", "machine index.test login me password s3cret@x\n");
    let env = other
        .set("PIP_INDEX_URL", "http://index.test/simple")
        .set("NETRC", netrc.to_str().unwrap());
    let exec = [
        "exec",
        exec[1],
        "hi",
        "--requirement=wordlib",
        "--requirement=extralib",
    ];
    env.agentfactory(exec).expect_status(0);
    // A proxy of another kind is refused before anything is asked.
    let env = env.set("HTTP_PROXY", "socks5://me:s3cret@127.0.0.1:1");
    let run = env.agentfactory(["exec", file.to_str().unwrap(), "--requirement=otherlib"]);
    let run = run.expect_status(2);
    assert!(
        run.stderr.contains("only proxies at http://"),
        "{}",
        run.stderr
    );
    assert!(!run.stderr.contains("s3cret"), "{}", run.stderr);
}
