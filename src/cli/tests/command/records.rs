//! Recorded runs: shown, and their files fetched.

use std::fs;
use std::time::Duration;

use jiff::Timestamp;
use spec::wire::{RunContext, RunJson};
use spec::{
    Captured, Digest, FileEntry, Limits, PhaseTimings, RunId, RunOutcome, RunReport, RunUsage,
    Tree, WorkspacePath,
};
use store::{RunProgram, RunRecord, Store};

use super::env::Env;

/// Records a command that left a file and ended with a status.
pub(crate) fn recorded(env: &Env, status: u8) -> RunId {
    fs::create_dir_all(env.home()).unwrap();
    let store = Store::ensure(&env.home().join("store")).unwrap();
    let run = RunId::from_uuid(uuid::Uuid::now_v7());
    let file = FileEntry {
        path: WorkspacePath::from_text("out/README.md").unwrap(),
        size: 5,
        digest: store.put(b"hello").unwrap(),
        executable: false,
    };
    let output = Tree::from_entries(vec![file.clone()]).unwrap();
    let report = RunReport {
        outcome: RunOutcome::Exited { status },
        stdout: Captured::default(),
        stderr: Captured::default(),
        changed: vec![file],
        removed: Vec::new(),
        left_behind: Vec::new(),
        usage: RunUsage {
            wall: Duration::from_millis(5),
            ..RunUsage::default()
        },
        timings: PhaseTimings::default(),
        place: spec::Place::default(),
        imports: spec::Imports::NONE,
    };
    let context = RunContext {
        run,
        version: None,
        input_tree: store.put(&Tree::default().to_bytes()).unwrap(),
        output_tree: Some(store.put(&output.to_bytes()).unwrap()),
        writable_mounts: false,
        replayable: true,
    };
    let record = RunRecord {
        at: Timestamp::from_second(1_700_000_000).unwrap(),
        report: RunJson::new(&report, &context),
        name: None,
        program: RunProgram::Shell {
            command: "true".to_owned(),
        },
        grants: [].into(),
        egress: [].into(),
        limits: Limits::default(),
        image: Digest::of(b"image"),
        engine: "an engine".to_owned(),
        mounts: Vec::new(),
        depends: [].into(),
        determinism: spec::Determinism::default(),
        place: store::RunPlace::default(),
        cassette: Vec::new(),
    };
    store.record_run(&record).unwrap();
    run
}

#[test]
fn a_command_has_failed_only_with_a_status() {
    let env = Env::new();
    for (status, failed) in [(0, false), (3, true)] {
        let run = recorded(&env, status).to_string();
        let shown = env.run(["runs", "show", &run]).status(0);
        assert!(
            shown
                .stdout
                .contains(&format!("ended with status {status}")),
            "{}",
            shown.stdout
        );
        assert_eq!(
            shown.stderr.contains("failed: "),
            failed,
            "{}",
            shown.stderr
        );
    }
}

#[test]
fn the_files_of_a_run_are_listed_and_fetched() {
    let env = Env::new();
    let run = recorded(&env, 0).to_string();
    let listed = env.run(["runs", "files", &run[..13]]).status(0);
    assert!(listed.stdout.contains("out/README.md"), "{}", listed.stdout);
    let fetched = env
        .run(["runs", "files", &run, "--to", "there", "--json"])
        .status(0)
        .json();
    assert_eq!(fetched["files"][0]["path"], "out/README.md");
    assert_eq!(fetched["path"], "there");
    assert_eq!(fs::read(env.path("there/out/README.md")).unwrap(), b"hello");
    env.run(["runs", "files", &run, "--to", "there"]).status(0);
    env.write("file", "");
    env.run(["runs", "files", &run, "--to", "file"]).status(4);
    env.run(["runs", "files", "ffff"]).status(3);
}
