//! `stats`: what fills the disk.

use std::fs;
use std::path::Path;

use clap::Args;
use spec::ByteSize;
use store::StoreStats;

use super::counted;
use super::field;
use crate::app::App;
use crate::exit::ExitCode;
use crate::ui::{Meter, Table};
use crate::wire::{AmountJson, NameSizeJson, StatsJson};

/// Show what the library holds and what fills the disk
#[derive(Debug, Args)]
pub(crate) struct StatsArgs {
    /// How many of the largest subagents are shown
    #[arg(long, value_name = "NUMBER", default_value_t = 10)]
    largest: usize,
}

/// Folders that are looked into below a folder: caches are shallow.
const DEPTH_MAX: usize = 16;

/// Counts.
pub(crate) fn stats(app: &App, args: &StatsArgs) -> anyhow::Result<ExitCode> {
    let store = app.store()?;
    let meter = Meter::start(&app.ui);
    let stats = store.stats(args.largest, &mut |progress| {
        let (done, total) = (progress.done, progress.total);
        meter.say(
            format_args!("looking at versions and runs: {done} of {total}"),
            done,
        );
    })?;
    drop(meter);
    let cache = app.settings.user_cache.as_deref();
    let environments = app.environments();
    let stats = StatsJson::new(
        stats,
        |path| size_of(path, 0),
        cache,
        (&environments.cache, environments.list()?.len()),
        &[app.tasks(), app.outputs()],
    );
    if app.ui.is_json() {
        app.ui.json(&stats)?;
    } else {
        show(app, &stats)?;
    }
    Ok(ExitCode::Success)
}

fn show(app: &App, stats: &StatsJson) -> anyhow::Result<()> {
    let size = |bytes: u64| ByteSize::bytes(bytes).to_string();
    let amount = |amount: &AmountJson| format!("{} in {} blobs", size(amount.bytes), amount.blobs);
    let StatsJson {
        names,
        versions,
        operations,
        runs,
        ..
    } = stats;
    app.ui.data(field(
        "holds",
        [
            counted(*names, "subagent"),
            counted(*versions, "version"),
            counted(*operations, "operation"),
            counted(*runs, "run"),
        ]
        .join(", "),
    ))?;
    let rows = [
        ("content", amount(&stats.content)),
        ("  versions", amount(&stats.of_versions)),
        ("  runs", amount(&stats.of_runs)),
        ("  cassettes", amount(&stats.of_cassettes)),
        (
            "  unnamed",
            format!("{}, which `gc` removes", amount(&stats.unnamed)),
        ),
        (
            "shared",
            format!(
                "{} more, were each kept for itself",
                size(stats.shared_bytes)
            ),
        ),
        ("log", size(stats.log_bytes)),
        ("tasks", size(stats.tasks_bytes)),
        ("outputs", size(stats.outputs_bytes)),
        ("temporary", size(stats.temporary.bytes)),
        (
            "cache",
            format!(
                "{}, images and environments, of all homes",
                size(stats.cache_bytes)
            ),
        ),
        (
            "environments",
            format!(
                "{} of that in {}, which `env gc` removes where no head uses them",
                size(stats.environments_bytes),
                stats.environments
            ),
        ),
    ];
    for (name, text) in rows {
        app.ui.data(field(name, text))?;
    }
    if !stats.largest.is_empty() {
        let mut table = Table::new(&["NAME", "VERSIONS", "SIZE", "ITS OWN"]);
        for one in &stats.largest {
            table.row(&[
                one.name.to_string(),
                one.versions.to_string(),
                size(one.bytes),
                size(one.own_bytes),
            ]);
        }
        app.ui.data("")?;
        for line in table.render(app.ui.width()) {
            app.ui.data(line)?;
        }
    }
    if stats.unreadable > 0 {
        app.ui.warn(format!(
            "{} versions or runs cannot be read; `agentfactory fsck` says more",
            stats.unreadable
        ));
    }
    Ok(())
}

impl StatsJson {
    fn new(
        stats: StoreStats,
        size_of: impl Fn(&Path) -> u64,
        cache: Option<&Path>,
        (environments, count): (&Path, usize),
        [tasks, outputs]: &[std::path::PathBuf; 2],
    ) -> Self {
        Self {
            names: stats.names,
            versions: stats.versions,
            operations: stats.operations,
            runs: stats.runs,
            content: stats.content.into(),
            of_versions: stats.of_versions.into(),
            of_runs: stats.of_runs.into(),
            of_cassettes: stats.of_cassettes.into(),
            unnamed: stats.unnamed.into(),
            shared_bytes: stats.shared.get(),
            unreadable: stats.unreadable,
            log_bytes: stats.log.get(),
            temporary: stats.temporary.into(),
            tasks_bytes: size_of(tasks),
            outputs_bytes: size_of(outputs),
            cache_bytes: cache.map_or(0, &size_of),
            environments_bytes: size_of(environments),
            environments: count,
            largest: stats
                .largest
                .into_iter()
                .map(|one| NameSizeJson {
                    name: one.name,
                    versions: one.versions,
                    bytes: one.size.get(),
                    own_bytes: one.own.get(),
                })
                .collect(),
        }
    }
}

/// Bytes of the files in a folder; what cannot be read is not counted, and links are not followed.
fn size_of(path: &Path, depth: usize) -> u64 {
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    let sizes = entries.map(|entry| match entry.metadata() {
        Ok(found) if found.is_file() => found.len(),
        Ok(found) if found.is_dir() && depth < DEPTH_MAX => size_of(&entry.path(), depth + 1),
        _ => 0,
    });
    sizes.sum()
}
