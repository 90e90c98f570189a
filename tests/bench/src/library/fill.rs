//! A library as large as somebody's after years: versions, their words, and runs.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use jiff::Timestamp;
use spec::wire::{RunContext, RunJson};
use spec::{Digest, Limits, RunId, RunOutcome, RunReport, SubagentName, Tree, WorkspacePath};
use store::{Move, Publication, RunPlace, RunProgram, RunRecord, Store, VersionContent};

use crate::rows::progress;

/// Heads that each operation moves while the library is made.
const AT_ONCE: usize = 10;
/// Of so many runs one is that of a rare name.
const RARE: usize = 2_000;
/// The name that few runs have.
pub(super) const RARE_NAME: &str = "rare";
/// Words that texts are made from: the first are in many texts, the last in few.
const WORDS: usize = 4_000;
/// Words of a description and of a documentation.
const DESCRIPTION: usize = 12;
const DOCUMENTATION: usize = 60;

/// Numbers that look like chance and are the same each time. Source: Marsaglia, Xorshift RNGs (2003).
#[derive(Clone, Debug)]
pub(super) struct Numbers(u64);

impl Numbers {
    pub(super) fn new(seed: usize) -> Self {
        Self((seed as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, most: usize) -> usize {
        usize::try_from(self.next() % most as u64).unwrap_or_default()
    }

    /// Small numbers far more often than large ones, as words are.
    fn rank(&mut self, most: usize) -> usize {
        let (a, b, c) = (self.below(most), self.below(most), self.below(most));
        a.min(b).min(c) * (a.max(1)) / most
    }
}

/// A word that can be spoken, one for each number.
pub(super) fn word(number: usize) -> String {
    const PARTS: &[&str] = &[
        "ta", "re", "mi", "so", "lu", "ken", "dor", "pa", "vi", "zan", "cho", "be", "fy", "gal",
        "nor", "qui",
    ];
    let mut word = String::new();
    let mut left = number + PARTS.len();
    while left > 0 {
        word.push_str(PARTS[left % PARTS.len()]);
        left /= PARTS.len();
    }
    word
}

fn words(numbers: &mut Numbers, count: usize) -> String {
    let all: Vec<String> = (0..count).map(|_| word(numbers.rank(WORDS))).collect();
    all.join(" ")
}

/// Makes a store in memory, where nothing waits for a disk, and copies it to where it is measured.
pub(super) fn in_memory<T>(
    root: &Path,
    make: impl FnOnce(&Store) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let memory = PathBuf::from("/dev/shm");
    let fast = if memory.is_dir() {
        tempfile::tempdir_in(memory)?
    } else {
        tempfile::tempdir()?
    };
    let store = fast.path().join("store");
    let answer = make(&Store::ensure(&store)?)?;
    let copied = std::process::Command::new("cp")
        .arg("-r")
        .args([&store, root])
        .status()?;
    ensure!(copied.success(), "the library could not be copied");
    // What is measured next must not wait for that.
    std::process::Command::new("sync").status()?;
    Ok(answer)
}

/// Publishes that many versions, two of each subagent, records as many runs, and gives the number of operations.
pub(super) fn fill(store: &Store, versions: usize) -> anyhow::Result<u64> {
    let mut heads: Vec<Option<Digest>> = vec![None; versions.div_ceil(2)];
    let numbers: Vec<usize> = (0..versions).collect();
    for (at, several) in numbers.chunks(AT_ONCE).enumerate() {
        let mut moves = Vec::new();
        for number in several {
            let of = number % heads.len();
            let to = store.stage(&content(*number)?)?.digest();
            let from = heads[of].replace(to);
            let name = name(of)?;
            moves.push(Move { name, from, to });
        }
        store.publish(publication(moves, at)?)?;
        if at % 100 == 0 {
            progress(&format!("version {}/{versions}", at * AT_ONCE));
        }
    }
    runs(store, versions, heads.len())?;
    let operations = store.log_page(None, None, 1)?;
    Ok(operations.first().map_or(0, |last| last.seq))
}

fn runs(store: &Store, count: usize, names: usize) -> anyhow::Result<()> {
    let tree = store.put(&Tree::default().to_bytes())?;
    let source = store.put_source(&content(0)?.files)?;
    for number in 0..count {
        let run = run_id(number)?;
        let context = RunContext {
            run,
            version: None,
            input_tree: tree,
            output_tree: Some(tree),
            writable_mounts: false,
            replayable: true,
        };
        let outcome = match number % 10 {
            0 => RunOutcome::Cancelled,
            _ => RunOutcome::Completed {
                result: spec::RunResult {
                    answer: format!("answer {number}"),
                    summary: "it went well".to_owned(),
                },
            },
        };
        let report = RunReport {
            outcome,
            stdout: spec::Captured::default(),
            stderr: spec::Captured::default(),
            changed: Vec::new(),
            removed: Vec::new(),
            left_behind: Vec::new(),
            imports: spec::Imports::NONE,
            usage: spec::RunUsage {
                wall: Duration::from_millis(40),
                ..spec::RunUsage::default()
            },
            timings: spec::PhaseTimings::default(),
            place: spec::Place::default(),
        };
        let subagent = if number % RARE == 7 {
            RARE_NAME.parse()?
        } else {
            name(number % names)?
        };
        store.record_run(&RunRecord {
            at: at(number)?,
            report: RunJson::new(&report, &context),
            name: Some(subagent),
            program: RunProgram::Subagent {
                source,
                entry: path("main.py")?,
                query: words(&mut Numbers::new(number), 6),
            },
            grants: [].into(),
            egress: [].into(),
            limits: Limits::default(),
            image: Digest::of(b"image"),
            engine: "Docker".to_owned(),
            place: RunPlace::default(),
            depends: [].into(),
            determinism: spec::Determinism::default(),
            mounts: Vec::new(),
            cassette: Vec::new(),
        })?;
        if number % 1_000 == 0 {
            progress(&format!("run {number}/{count}"));
        }
    }
    Ok(())
}

fn at(number: usize) -> anyhow::Result<Timestamp> {
    let seconds = 1_800_000_000 + i64::try_from(number)?;
    Ok(Timestamp::from_second(seconds)?)
}

/// The id that a run of that second would have.
fn run_id(number: usize) -> anyhow::Result<RunId> {
    let milliseconds = u128::try_from(at(number)?.as_millisecond())?;
    let uuid = milliseconds << 80 | 0x7000 << 64 | 0x8000 << 48 | number as u128;
    Ok(RunId::from_uuid(uuid::Uuid::from_u128(uuid)))
}

pub(super) fn name(number: usize) -> anyhow::Result<SubagentName> {
    Ok(format!("agent-{number}").parse()?)
}

pub(super) fn publication(moves: Vec<Move>, number: usize) -> anyhow::Result<Publication> {
    Ok(Publication {
        moves,
        at: at(number)?,
        task: Some(format!("task-{number}")),
        evidence: Vec::new(),
        note: "it does what was asked".to_owned(),
    })
}

fn path(text: &str) -> anyhow::Result<WorkspacePath> {
    WorkspacePath::from_text(text).context("a path")
}

pub(super) fn content(number: usize) -> anyhow::Result<VersionContent> {
    let mut numbers = Numbers::new(number);
    let description = format!(
        "Answers question {number} from its text: {}.",
        words(&mut numbers, DESCRIPTION)
    );
    let documentation = words(&mut numbers, DOCUMENTATION);
    let function = word(numbers.rank(WORDS));
    let source = format!(
        "def {function}(query):\n    return query\n\n\ndef main(query):\n    return {{'answer': {function}(query), 'summary': ''}}\n"
    );
    Ok(VersionContent {
        entry: path("main.py")?,
        description,
        files: vec![
            (path("main.py")?, source.into()),
            (path("SKILL.md")?, documentation.into()),
        ],
        skills: [].into(),
        depends: [].into(),
        egress: [].into(),
        limits: None,
        python: "3.13".to_owned(),
        requirements: Vec::new(),
    })
}
