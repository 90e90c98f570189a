//! The library with a hundred thousand versions: what a publish, a page, a search and a command cost then.

mod blobs;
mod fill;
mod memory;

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::ensure;
use store::{Move, Store};

use crate::Arguments;
use crate::cli::Program;
use crate::report::Report;
use crate::rows::progress;
use crate::samples::{Samples, ms};
use fill::{Numbers, RARE_NAME, word};

/// What a command may have, in MiB.
const MEMORY_MIB: f64 = 200.0;
/// Aims, in milliseconds.
const PUBLISH_MS: f64 = 10.0;
const PAGE_MS: f64 = 50.0;
const SEARCH_MS: f64 = 15.0;
/// Questions of each kind.
const QUESTIONS: usize = 60;
/// How long the folder of runs is left alone before searches are measured: then nothing is new in it.
const SETTLED: Duration = Duration::from_secs(4);

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
    let filled = root.clone();
    let made = tokio::task::spawn_blocking(move || {
        fill::in_memory(&filled, |store| fill::fill(store, versions))
    });
    report.fact("versions in the library, and runs", versions.to_string());
    report.fact("operations in its log", made.await??.to_string());

    let rounds = arguments.rounds;
    let inside = tokio::task::spawn_blocking(move || measured(&root, versions, rounds)).await??;
    report.fact("reindex", format!("{:.0} ms", ms(inside.reindex)));
    report.at_most(
        "publish",
        "milliseconds",
        ms(inside.publish.median()),
        PUBLISH_MS,
    );
    let p99 = ms(inside.search.at(0.99));
    report.at_most("`search`, p99", "milliseconds", p99, SEARCH_MS);
    report.row("publish", inside.publish);
    report.row("`search`, of all kinds", inside.search);
    for (kind, samples) in inside.kinds {
        report.row(kind, samples);
    }

    commands(arguments, &home, report).await?;
    for command in [
        &["list"][..],
        &["log"],
        &["show", "agent-7"],
        &["show", "agent-7@{0}"],
        &["tag", "agent-7", "bench"],
        &["undo", "agent-7"],
        &["search", "answers a question"],
        &["search", "qestion anwser"],
        &["runs", "list"],
        &["runs", "list", "--name", RARE_NAME],
        &["stats"],
        &["gc", "--dry-run"],
        &["fsck"],
        &["reindex"],
    ] {
        progress(&format!("memory of {}", command.join(" ")));
        let peak = memory::peak(&arguments.agentfactory, &home, command).await?;
        let what = format!("`{}`, most memory", command.join(" "));
        report.at_most(&what, "MiB", peak, MEMORY_MIB);
    }
    let mut of_blobs = Report::default();
    let path = folder.path().to_owned();
    let of_blobs = tokio::task::spawn_blocking(move || {
        blobs::measure(&path, &mut of_blobs).map(|()| of_blobs)
    });
    report.append(of_blobs.await??);
    Ok(())
}

/// What the program takes, as a person calls it.
async fn commands(arguments: &Arguments, home: &Path, report: &mut Report) -> anyhow::Result<()> {
    let program = Program::new(&arguments.agentfactory, home)?;
    let pages: [(&'static str, &[&str]); 7] = [
        ("`list`, first page of 100", &["list", "--json"]),
        ("`log`, first page of 100", &["log", "--json"]),
        ("`show NAME`", &["show", "agent-7", "--json"]),
        ("`list` as a table", &["list"]),
        (
            "`search`, a fresh process",
            &["search", "answers a question", "--json"],
        ),
        ("`runs list`, first page", &["runs", "list", "--json"]),
        (
            "`runs list --name NAME`, few of many",
            &["runs", "list", "--name", RARE_NAME, "--json"],
        ),
    ];
    for (name, command) in pages {
        let mut samples = Samples::default();
        for round in 0..=arguments.rounds {
            let (_, took) = program.call(command).await?;
            if round > 0 {
                samples.add(took);
            }
        }
        if name == "`list`, first page of 100" {
            report.at_most(name, "milliseconds", ms(samples.median()), PAGE_MS);
        }
        report.row(name, samples);
    }
    Ok(())
}

/// What is measured inside this process.
struct Inside {
    publish: Samples,
    search: Samples,
    kinds: Vec<(&'static str, Samples)>,
    reindex: Duration,
}

/// Publishes, one version at a time, makes the indexes anew, and searches.
fn measured(root: &Path, versions: usize, rounds: usize) -> anyhow::Result<Inside> {
    let store = Store::ensure(root)?;
    progress("reindex");
    let began = Instant::now();
    store.reindex()?;
    store.reindex_search(&mut |_| {})?;
    let reindex = began.elapsed();
    let mut publish = Samples::default();
    let name = fill::name(7)?;
    for round in 0..=rounds.max(100) {
        let from = store.head(&name)?.map(|head| head.digest);
        let to = store.stage(&fill::content(versions + round)?)?.digest();
        let moves = vec![Move {
            name: name.clone(),
            from,
            to,
        }];
        let began = Instant::now();
        store.publish(fill::publication(moves, round)?)?;
        if round > 0 {
            publish.add(began.elapsed());
        }
    }
    std::thread::sleep(SETTLED);
    // Another process, with nothing in memory.
    let (kinds, search) = searched(&Store::ensure(root)?)?;
    Ok(Inside {
        publish,
        search,
        kinds,
        reindex,
    })
}

/// Searches for all kinds of things, in turn.
fn searched(store: &Store) -> anyhow::Result<(Vec<(&'static str, Samples)>, Samples)> {
    let mut numbers = Numbers::new(11);
    let mut some = |from: usize, to: usize, count: usize| {
        let span = (to - from) as u64;
        let words = (0..count).map(|_| from + usize::try_from(numbers.next() % span).unwrap_or(0));
        words.map(word).collect::<Vec<_>>().join(" ")
    };
    let mut kinds = [
        ("`search` of rare words", Vec::new()),
        ("`search` of common words", Vec::new()),
        ("`search` of words that are misspelled", Vec::new()),
        ("`search` of what is not there", Vec::new()),
        ("`search` of a long text", Vec::new()),
        ("`search` of a name", Vec::new()),
    ];
    for number in 0..QUESTIONS {
        let questions = [
            some(2_000, 3_500, 2),
            format!("answers question from text {}", some(0, 20, 2)),
            some(0, 3_500, 2).replace("ken", "kne").replace("so", "os"),
            format!("xylophone{number} qwertz{number}"),
            some(0, 3_500, 40),
            format!("agent-{}", number * 37),
        ];
        for ((_, all), question) in kinds.iter_mut().zip(questions) {
            all.push(question);
        }
    }
    let mut rows: Vec<(&'static str, Samples)> = kinds
        .iter()
        .map(|(kind, _)| (*kind, Samples::default()))
        .collect();
    let mut search = Samples::default();
    store.search("the first one opens the index", 10, &mut |_| {})?;
    for number in 0..QUESTIONS {
        for ((kind, questions), (_, samples)) in kinds.iter().zip(&mut rows) {
            let began = Instant::now();
            let found = store.search(&questions[number], 10, &mut |_| {})?;
            let took = began.elapsed();
            samples.add(took);
            search.add(took);
            let is_there = kind.ends_with("name") || kind.contains("common");
            ensure!(
                !is_there || !found.is_empty(),
                "nothing fits `{}`",
                questions[number]
            );
        }
    }
    Ok((rows, search))
}
