//! Stores, versions and runs to try things on.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::json;
use spec::wire::{RunContext, RunJson};
use spec::{
    Digest, FileEntry, Limits, RunId, RunOutcome, RunReport, RunResult, Skill, SubagentName, Tree,
    WorkspacePath,
};
use store::{Act, Exchange, Move, Publication, RunProgram, RunRecord, Store, VersionContent};
use tempfile::TempDir;

pub(crate) struct Home {
    pub(crate) store: Store,
    pub(crate) directory: TempDir,
}

impl Home {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::ensure(&directory.path().join("store")).unwrap();
        Self { store, directory }
    }

    /// The same store as another process sees it.
    pub(crate) fn again(&self) -> Store {
        Store::ensure(self.store.root()).unwrap()
    }

    pub(crate) fn path(&self, relative: &str) -> PathBuf {
        self.store.root().join(relative)
    }

    pub(crate) fn blob(&self, digest: &Digest) -> PathBuf {
        self.path(&format!("blobs/sha256/{}", digest.hex()))
    }

    pub(crate) fn stage(&self, source: &str) -> Digest {
        self.store.stage(&content(source)).unwrap().digest()
    }

    pub(crate) fn findings(&self) -> Vec<String> {
        let report = self.again().fsck(&mut |_| {}).unwrap();
        report.findings.iter().map(ToString::to_string).collect()
    }
}

pub(crate) fn name(text: &str) -> SubagentName {
    text.parse().unwrap()
}

pub(crate) fn path(text: &str) -> WorkspacePath {
    WorkspacePath::from_text(text).unwrap()
}

pub(crate) fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_767_225_600 + second).unwrap()
}

/// A person who says why.
pub(crate) fn by(why: &str) -> Act {
    Act {
        by: Some("ada".to_owned()),
        why: Some(why.to_owned()),
        ..at(3).into()
    }
}

pub(crate) fn content(source: &str) -> VersionContent {
    VersionContent {
        entry: path("main.py"),
        description: "Writes a README.".to_owned(),
        files: vec![
            (path("main.py"), source.as_bytes().to_vec()),
            (
                path("SKILL.md"),
                b"---\nname: readme-writer\n---\n".to_vec(),
            ),
        ],
        skills: [Skill::Llm].into(),
        depends: BTreeMap::new(),
        egress: [].into(),
        limits: None,
        python: "3.13".to_owned(),
        requirements: Vec::new(),
    }
}

pub(crate) fn publication(moves: &[(&str, Option<Digest>, Digest)]) -> Publication {
    let moves = moves.iter().map(|(of, from, to)| Move {
        name: name(of),
        from: *from,
        to: *to,
    });
    Publication {
        moves: moves.collect(),
        at: at(0),
        task: Some("task-1".to_owned()),
        evidence: Vec::new(),
        note: String::new(),
    }
}

pub(crate) fn run_id(number: u128) -> RunId {
    // Version 7, variant 1, and a number that sorts.
    let uuid = 0x0189_0a5d_ac96_7000_8000_0000_0000_0000 | number;
    RunId::from_uuid(uuid::Uuid::from_u128(uuid))
}

/// A record of a run, with what it names put into the store.
pub(crate) fn record(store: &Store, run: RunId, version: Option<Digest>) -> RunRecord {
    let file = FileEntry {
        path: path("README.md"),
        size: 5,
        digest: store.put(b"hello").unwrap(),
        executable: false,
    };
    let input = Tree::default();
    let output = Tree::from_entries(vec![file.clone()]).unwrap();
    let context = RunContext {
        run,
        version,
        input_tree: store.put(&input.to_bytes()).unwrap(),
        output_tree: Some(store.put(&output.to_bytes()).unwrap()),
        writable_mounts: false,
        replayable: true,
    };
    let result = RunResult {
        answer: "done".to_owned(),
        summary: "wrote README.md".to_owned(),
    };
    let report = RunReport {
        outcome: RunOutcome::Completed { result },
        stdout: spec::Captured::default(),
        stderr: spec::Captured::default(),
        changed: vec![file],
        removed: Vec::new(),
        left_behind: Vec::new(),
        usage: spec::RunUsage {
            wall: Duration::from_micros(1_234_567),
            ..spec::RunUsage::default()
        },
        timings: spec::PhaseTimings::default(),
        place: spec::Place::default(),
        imports: spec::Imports::NONE,
    };
    RunRecord {
        at: at(1),
        report: RunJson::new(&report, &context),
        name: Some(name("readme-writer")),
        program: RunProgram::Subagent {
            source: store.put_source(&content("x = 1\n").files).unwrap(),
            entry: path("main.py"),
            query: "write it".to_owned(),
        },
        grants: [Skill::Llm, Skill::ShellCommand].into(),
        egress: [].into(),
        limits: Limits::default(),
        image: Digest::of(b"image"),
        engine: "Docker 20.10, runc".to_owned(),
        mounts: vec!["data".to_owned()],
        depends: [].into(),
        determinism: spec::Determinism::default(),
        place: store::RunPlace::default(),
        cassette: vec![Exchange::new(
            "llm",
            json!({"messages": ["hi"], "id": 9_007_199_254_740_993_u64, "t": 0.1}),
            json!({"ok": "hello", "big": u64::MAX, "small": i64::MIN}),
            Duration::from_millis(12),
            3,
            4,
        )],
    }
}
