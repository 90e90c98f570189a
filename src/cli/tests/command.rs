//! The program from outside, as far as it needs no engine.
#![expect(clippy::unwrap_used, reason = "what cannot go on has failed")]

#[path = "command/care.rs"]
mod care;
#[path = "command/env.rs"]
mod env;
#[path = "command/library.rs"]
mod library;
#[path = "command/records.rs"]
mod records;

use std::io::Read as _;
use std::process::Stdio;

use env::Env;

#[test]
fn without_arguments_there_is_help() {
    let env = Env::new();
    let ended = env.run([] as [&str; 0]).status(2);
    assert_eq!(ended.stdout, "");
    assert!(
        ended.stderr.contains("Usage: agentfactory"),
        "{}",
        ended.stderr
    );
    let help = env.run(["--help"]).status(0);
    insta::assert_snapshot!("help", help.stdout);
}

#[test]
fn each_command_explains_itself() {
    let env = Env::new();
    for command in ["solve", "run", "exec", "shell"] {
        let help = env.run([command, "--help"]).status(0);
        insta::assert_snapshot!(format!("help_{command}"), help.stdout);
    }
    for command in [
        "list", "show", "log", "diff", "undo", "restore", "tag", "pin", "unpin", "rename",
        "remove", "fsck", "gc", "stats", "search", "reindex", "runs", "deploy", "images", "doctor",
    ] {
        let help = env.run([command, "--help"]).status(0).stdout;
        assert!(help.contains("Usage: agentfactory"), "{help}");
    }
}

#[test]
fn a_wrong_command_line_is_usage_and_names_what_was_meant() {
    let env = Env::new();
    let check = |arguments: &[&str], said: &str| {
        let ended = env.run(arguments).status(2);
        assert!(
            ended.stderr.contains(said),
            "{arguments:?}: {}",
            ended.stderr
        );
        assert_eq!(ended.stdout, "", "{arguments:?}");
    };
    check(&["lst"], "'list'");
    check(&["list", "--jsn"], "'--json'");
    check(&["exec", "a.py", "--timeout", "soon"], "is not a duration");
    check(&["exec", "a.py", "--memory", "lots"], "is not a size");
    check(
        &["exec", "a.py", "--cpus", "0"],
        "is not a number of processors",
    );
    check(&["exec", "a.py", "--grant", "root"], "`shell_command`");
    check(&["exec", "a.py", "--mount", "=x"], "DIR[:rw][=NAME]");
    check(&["exec", "a.py", "--model", "opus"], "PROVIDER:ID");
    check(&["deploy", "x", "--as", "skil", "--to", "y"], "'skill'");
    check(&["show", "../x"], "hint: write NAME");
    check(&["log", "X"], "hint: use 1 to 64 of a-z");
    check(&["shell", "true", "--pids", "2"], "hint: use at least");
    check(
        &["shell", "true", "--memory", "16M"],
        "hint: raise --memory",
    );
    check(&["solve", " ", "--model", "ollama:m"], "the task is empty");
}

#[test]
fn scripts_read_failures_as_json() {
    let env = Env::new();
    let check = |arguments: &[&str], code: &str, status: i32| {
        let ended = env.run(arguments).status(status);
        let json: serde_json::Value = serde_json::from_str(&ended.stdout).unwrap();
        assert_eq!(json["error"]["code"], code, "{}", ended.stdout);
        assert!(ended.stderr.starts_with("error: "), "{}", ended.stderr);
        let message = json["error"]["message"].as_str().unwrap();
        assert!(ended.stderr.contains(message), "{message}");
    };
    check(&["--json", "show", "nobody"], "not_found", 3);
    check(&["show", "x/y", "--json"], "usage", 2);
    check(&["lst", "--json"], "usage", 2);
    check(&["exec", "missing.py", "--json"], "not_found", 3);
    check(&["solve", "task", "--json"], "unavailable", 5);
}

#[test]
fn what_is_missing_is_not_found() {
    let env = Env::new();
    let check = |arguments: &[&str]| {
        let ended = env.run(arguments).status(3);
        assert!(ended.stderr.starts_with("error: "), "{}", ended.stderr);
    };
    env.write("a.py", "");
    let ended = env.run(["exec", "word-count"]).status(3);
    assert!(
        ended.stderr.contains("`agentfactory run NAME`"),
        "{}",
        ended.stderr
    );
    check(&["exec", "missing.py"]);
    check(&["exec", "a.py", "--input", "missing"]);
    check(&["exec", "a.py", "--workspace", "missing"]);
    check(&["exec", "a.py", "--mount", "missing"]);
    check(&[
        "solve",
        "--question-file",
        "missing.jsonl",
        "--model",
        "ollama:m",
    ]);
    check(&["list", "--config", "missing.toml"]);
    check(&["run", "nobody", "query"]);
    check(&["run", "12345678", "query"]);
    check(&["undo"]);
    check(&["undo", "nobody"]);
    check(&["log", "nobody"]);
    check(&["runs", "show", "0190"]);
}

#[test]
fn an_empty_home_is_no_error() {
    let env = Env::new();
    assert_eq!(env.run(["list"]).status(0).stdout, "");
    assert_eq!(
        env.run(["list", "--json"]).status(0).stdout,
        "{\"subagents\":[],\"total\":0,\"next\":null}\n"
    );
    assert_eq!(
        env.run(["log", "--json"]).status(0).stdout,
        "{\"operations\":[],\"next\":null}\n"
    );
    assert_eq!(
        env.run(["runs", "list", "--json"]).status(0).stdout,
        "{\"runs\":[],\"next\":null}\n"
    );
    assert_eq!(env.run(["fsck", "--json"]).status(0).json()["clean"], true);
    assert_eq!(env.run(["list", "-q"]).status(0).stderr, "");
}

#[test]
fn a_home_that_cannot_be_used_is_named() {
    let env = Env::new();
    let file = env.write("home", "a file");
    for home in [file.to_str().unwrap(), "/proc/agentfactory"] {
        for command in ["list", "fsck"] {
            let ended = env.run(["--home", home, command]).status(1);
            assert!(ended.stderr.contains(home), "{}", ended.stderr);
        }
        let ended = env.run(["--home", home, "doctor"]).status(5);
        assert!(ended.stdout.contains(home), "{}", ended.stdout);
    }
}

#[test]
fn no_engine_is_said_with_what_to_do() {
    let env = Env::new().set("DOCKER_HOST", "unix:///nonexistent.sock");
    env.write("a.py", "def main(q): return {}\n");
    for arguments in [
        &["exec", "a.py"][..],
        &["shell", "true"],
        &["images", "build"],
        &["images", "show"],
        &["solve", "task", "--model", "ollama:m"],
    ] {
        let ended = env.run(arguments).status(5);
        assert!(
            ended.stderr.contains("unix:///nonexistent.sock"),
            "{}",
            ended.stderr
        );
        assert!(
            ended.stderr.contains("hint: start Docker"),
            "{}",
            ended.stderr
        );
        assert_eq!(ended.stdout, "");
    }
    let doctor = env.run(["doctor", "--json"]).status(5).json();
    assert_eq!(doctor["usable"], false);
    let checks = doctor["checks"].as_array().unwrap();
    let engine = checks
        .iter()
        .find(|check| check["topic"] == "engine")
        .unwrap();
    assert_eq!(engine["level"], "error");
    assert!(engine["hint"].as_str().unwrap().contains("DOCKER_HOST"));
}

#[test]
fn a_model_that_is_not_configured_is_said_before_anything_runs() {
    let env = Env::new().set("DOCKER_HOST", "unix:///nonexistent.sock");
    let check = |arguments: &[&str], said: &str| {
        let ended = env.run(arguments).status(5);
        assert!(ended.stderr.contains(said), "{}", ended.stderr);
        assert!(ended.stderr.contains("hint: "), "{}", ended.stderr);
    };
    check(&["solve", "task"], "no model is configured");
    check(
        &["solve", "task", "--model", "anthropic:m"],
        "ANTHROPIC_API_KEY",
    );
    check(&["solve", "task", "--model", "nobody:m"], "nobody");
    let missing = env.run(["solve", "task", "--model", "scripted:missing.yaml"]);
    assert!(missing.status(3).stderr.contains("missing.yaml"));
}

#[test]
fn a_wrong_configuration_points_at_its_line() {
    let env = Env::new();
    env.write(
        "config/agentfactory/config.toml",
        "model = \"a:b\"\n\n[limits]\nmemroy = \"1G\"\n",
    );
    let ended = env.run(["list"]).status(2);
    assert!(
        ended
            .stderr
            .contains("config.toml` line 4, column 1: unknown key `memroy`"),
        "{}",
        ended.stderr
    );
    env.write(
        "config/agentfactory/config.toml",
        "[providers.openai]\nkey = \"sk-1234\"\n",
    );
    let ended = env.run(["list"]).status(2);
    assert!(
        ended
            .stderr
            .contains("hint: keys belong in the environment"),
        "{}",
        ended.stderr
    );
    assert!(!ended.stderr.contains("sk-1234"), "{}", ended.stderr);
    env.write("config/agentfactory/config.toml", "skills = 'missing'");
    let ended = env.run(["list"]).status(2);
    assert!(
        ended
            .stderr
            .contains("config/agentfactory/missing` is not a folder"),
        "{}",
        ended.stderr
    );
    env.write("config/agentfactory/config.toml", "");
    let ended = env.set("AGENTFACTORY_LOG", "no=such=filter").run(["list"]);
    assert!(ended.status(2).stderr.contains("AGENTFACTORY_LOG"));
}

#[test]
fn the_dotenv_file_of_the_folder_is_read() {
    let env = Env::new();
    env.write(
        ".env",
        "export AGENTFACTORY_MODEL='ollama:from-file' # mine\nnonsense\n",
    );
    let doctor = env.run(["doctor", "--json"]);
    assert!(
        doctor.stdout.contains("ollama:from-file"),
        "{}",
        doctor.stdout
    );
    assert!(
        doctor.stderr.contains("line 2 of `.env` is ignored"),
        "{}",
        doctor.stderr
    );
    let env = env.set("AGENTFACTORY_MODEL", "ollama:from-environment");
    let doctor = env.run(["doctor", "--json"]);
    assert!(
        doctor.stdout.contains("ollama:from-environment"),
        "{}",
        doctor.stdout
    );
}

#[test]
fn keys_are_never_shown() {
    let env = Env::new()
        .set("ANTHROPIC_API_KEY", "sk-secret-1")
        .set("OPENAI_API_KEY", "sk-secret-2");
    for arguments in [
        &["doctor", "-vv"][..],
        &["doctor", "--json"],
        &["solve", "t", "--model", "anthropic:m", "-vv"],
    ] {
        let env = env.clone_with("DOCKER_HOST", "unix:///nonexistent.sock");
        let ended = env.run(arguments);
        assert!(!ended.stdout.contains("sk-secret"), "{}", ended.stdout);
        assert!(!ended.stderr.contains("sk-secret"), "{}", ended.stderr);
    }
    let doctor = env.run(["doctor"]);
    assert!(
        doctor.stdout.contains("anthropic (ANTHROPIC_API_KEY)"),
        "{}",
        doctor.stdout
    );
}

#[test]
fn a_reader_that_goes_away_ends_it_quietly() {
    let env = Env::new();
    let mut child = env
        .command(["--help"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    assert!(child.wait().unwrap().success());
    library::lineage(&env);
    let mut child = env
        .command(["show", "counter", "--code"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let mut said = String::new();
    child
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut said)
        .unwrap();
    assert!(child.wait().unwrap().success(), "{said}");
    assert_eq!(said, "");
}

#[test]
fn a_full_disk_is_said() {
    let env = Env::new();
    let full = std::fs::OpenOptions::new()
        .write(true)
        .open("/dev/full")
        .unwrap();
    library::lineage(&env);
    let ended = env.command(["list"]).stdout(full).output().unwrap();
    assert_eq!(ended.status.code(), Some(1));
    let said = String::from_utf8(ended.stderr).unwrap();
    assert!(said.contains("standard output cannot be written"), "{said}");
}
