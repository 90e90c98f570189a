//! The library with a hundred thousand versions: what a publish, a page and a command cost then.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use jiff::Timestamp;
use spec::{Digest, SubagentName, WorkspacePath};
use store::{Move, Publication, Store, VersionContent};
use tokio::process::Command;

use crate::Arguments;
use crate::cli::Program;
use crate::report::Report;
use crate::rows::progress;
use crate::samples::{Samples, ms};

/// Heads that each operation moves while the library is made.
const AT_ONCE: usize = 10;
/// What a command may have, in KiB of memory that can be written.
const MEMORY_KIB: u32 = 200 * 1024;
/// Aims, in milliseconds.
const PUBLISH_MS: f64 = 10.0;
const PAGE_MS: f64 = 50.0;

/// Makes a library and measures what its size costs.
pub(crate) async fn measure(
    arguments: &Arguments,
    versions: usize,
    report: &mut Report,
) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let home = folder.path().join("home");
    std::fs::create_dir_all(&home)?;
    let root = home.join("store");
    let made = tokio::task::spawn_blocking(move || fill(&root, versions)).await??;
    report.fact("versions in the library", versions.to_string());
    report.fact("operations in its log", made.to_string());

    let root = home.join("store");
    let rounds = arguments.rounds;
    let (publish, reindex) =
        tokio::task::spawn_blocking(move || measured(&root, versions, rounds)).await??;
    report.fact("reindex", format!("{:.0} ms", ms(reindex)));

    let program = Program::new(&arguments.agentfactory, &home)?;
    let pages: [(&str, &[&str]); 4] = [
        ("`list`, first page of 100", &["list", "--json"]),
        ("`log`, first page of 100", &["log", "--json"]),
        ("`show NAME`", &["show", "agent-7", "--json"]),
        ("`list` as a table", &["list"]),
    ];
    let mut rows = vec![("publish", publish)];
    for (name, command) in pages {
        let mut samples = Samples::default();
        for round in 0..=rounds {
            let (_, took) = program.call(command).await?;
            if round > 0 {
                samples.add(took);
            }
        }
        rows.push((name, samples));
    }
    for (name, samples) in rows {
        let aim = match name {
            "publish" => Some(PUBLISH_MS),
            "`list`, first page of 100" => Some(PAGE_MS),
            _ => None,
        };
        if let Some(aim) = aim {
            report.at_most(name, "milliseconds", ms(samples.median()), aim);
        }
        report.row(name, samples);
    }
    for command in [
        &["list"][..],
        &["log"],
        &["show", "agent-7"],
        &["show", "agent-7@{0}"],
        &["tag", "agent-7", "bench"],
        &["undo", "agent-7"],
    ] {
        within_memory(&arguments.agentfactory, &home, command).await?;
    }
    report.fact(
        "memory of list, log, show, tag, undo",
        format!("at most {} MiB each", MEMORY_KIB / 1024),
    );
    Ok(())
}

/// Publishes that many versions, two of each subagent, and gives the number of operations.
///
/// It is made in memory, where nothing waits for a disk, and copied to where it is measured.
fn fill(root: &Path, versions: usize) -> anyhow::Result<u64> {
    let memory = PathBuf::from("/dev/shm");
    let fast = if memory.is_dir() {
        tempfile::tempdir_in(memory)?
    } else {
        tempfile::tempdir()?
    };
    let made = fast.path().join("store");
    let store = Store::ensure(&made)?;
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
    let operations = store.log_page(None, None, 1)?;
    let copied = std::process::Command::new("cp")
        .arg("-r")
        .args([&made, root])
        .status()?;
    ensure!(copied.success(), "the library could not be copied");
    Ok(operations.first().map_or(0, |last| last.seq))
}

/// Publishes, one version at a time, and makes the index anew.
fn measured(root: &Path, versions: usize, rounds: usize) -> anyhow::Result<(Samples, Duration)> {
    let store = Store::ensure(root)?;
    let began = Instant::now();
    store.reindex()?;
    let reindex = began.elapsed();
    let mut samples = Samples::default();
    let name = name(7)?;
    for round in 0..=rounds.max(100) {
        let from = store.head(&name)?.map(|head| head.digest);
        let content = content(versions + round)?;
        let to = store.stage(&content)?.digest();
        let moves = vec![Move {
            name: name.clone(),
            from,
            to,
        }];
        let began = Instant::now();
        store.publish(publication(moves, round)?)?;
        if round > 0 {
            samples.add(began.elapsed());
        }
    }
    Ok((samples, reindex))
}

fn name(number: usize) -> anyhow::Result<SubagentName> {
    Ok(format!("agent-{number}").parse()?)
}

fn publication(moves: Vec<Move>, at: usize) -> anyhow::Result<Publication> {
    Ok(Publication {
        moves,
        at: Timestamp::from_second(1_800_000_000 + i64::try_from(at)?)?,
        task: Some(format!("task-{at}")),
        evidence: Vec::new(),
        note: "it does what was asked".to_owned(),
    })
}

fn content(number: usize) -> anyhow::Result<VersionContent> {
    let path = |text: &str| WorkspacePath::from_text(text).context("a path");
    let source = "def main(query):\n    return {'answer': query, 'summary': ''}\n";
    Ok(VersionContent {
        entry: path("main.py")?,
        description: format!("Answers question {number} from its text, and says how."),
        files: vec![(path("main.py")?, source.into())],
        skills: [].into(),
        depends: [].into(),
        egress: [].into(),
        limits: None,
        python: "3.13".to_owned(),
        requirements: Vec::new(),
    })
}

/// Runs a command that can have only so much memory.
async fn within_memory(program: &Path, home: &Path, command: &[&str]) -> anyhow::Result<()> {
    let limit = format!("ulimit -d {MEMORY_KIB}; exec \"$@\"");
    let done = Command::new("sh")
        .args(["-c", &limit, "sh"])
        .arg(program)
        .args(command)
        .env("AGENTFACTORY_HOME", home)
        .output()
        .await?;
    ensure!(
        done.status.success(),
        "`agentfactory {}` failed with {} MiB of memory: {}",
        command.join(" "),
        MEMORY_KIB / 1024,
        String::from_utf8_lossy(&done.stderr)
    );
    Ok(())
}
