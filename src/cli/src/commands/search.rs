//! `search`: finds saved subagents. `reindex`: makes what is derived anew.

use clap::Args;
use store::Found;

use crate::app::App;
use crate::args::check_length;
use crate::exit::ExitCode;
use crate::ui::{Meter, Table};
use crate::wire::{FoundJson, ReindexJson, SearchJson};

/// Find saved subagents by what they do: names, documentation, code, what was asked of them
///
/// Ordered by how well they fit; among those that fit about as well, by how often their runs completed, then by time.
#[derive(Debug, Args)]
pub(crate) struct SearchArgs {
    /// What is looked for, in words; spelling may differ
    query: String,
    /// How many are shown
    #[arg(long, value_name = "NUMBER", default_value_t = 10)]
    limit: usize,
}

/// The most that can be asked for at once.
const LIMIT_MAX: usize = 200;

/// Searches.
pub(crate) fn search(app: &App, args: &SearchArgs) -> anyhow::Result<ExitCode> {
    check_length("query", &args.query)?;
    let store = app.store()?;
    let meter = Meter::start(&app.ui);
    let found = store.search(&args.query, args.limit.min(LIMIT_MAX), &mut |done| {
        meter.say(format_args!("reading versions: {done}"), done);
    })?;
    drop(meter);
    if app.ui.is_json() {
        let subagents = found.into_iter().map(FoundJson::from).collect();
        app.ui.json(&SearchJson { subagents })?;
    } else if found.is_empty() {
        app.ui.note("nothing fits; `agentfactory list` shows all");
    } else {
        let mut table = Table::new(&["NAME", "VERSION", "COMPLETED", "MEDIAN", "DESCRIPTION"]);
        for one in &found {
            table.row(&row(one));
        }
        for line in table.render(app.ui.width()) {
            app.ui.data(line)?;
        }
    }
    Ok(ExitCode::Success)
}

fn row(one: &Found) -> [String; 5] {
    let median = one
        .median_ms
        .map(|ms| std::time::Duration::from_secs_f64(ms.max(0.0) / 1_000.0));
    [
        one.name.to_string(),
        one.version.short(),
        format!("{} of {}", one.completed, one.runs),
        median.map_or_else(|| "-".to_owned(), spec::format_duration),
        one.description.clone(),
    ]
}

impl From<Found> for FoundJson {
    fn from(one: Found) -> Self {
        Self {
            name: one.name,
            version: one.version,
            description: one.description,
            fit: one.fit,
            runs: one.runs,
            completed: one.completed,
            proven: one.proven,
            median_ms: one.median_ms,
        }
    }
}

/// Makes both indexes anew.
pub(crate) fn reindex(app: &App) -> anyhow::Result<ExitCode> {
    let store = app.store()?;
    let history = store.reindex()?;
    let meter = Meter::start(&app.ui);
    let search = store.reindex_search(&mut |done| {
        meter.say(format_args!("reading versions: {done}"), done);
    })?;
    drop(meter);
    let made = ReindexJson {
        operations: history.operations,
        subagents: search.subagents,
        unreadable: search.unreadable,
        runs: search.runs,
    };
    if app.ui.is_json() {
        app.ui.json(&made)?;
    } else {
        app.ui.data(format!(
            "made anew from the store: {} operations; {} subagents and {} runs to search",
            made.operations, made.subagents, made.runs
        ))?;
    }
    if made.unreadable > 0 {
        app.ui.warn(format!(
            "{} versions cannot be read; `agentfactory fsck` says more",
            made.unreadable
        ));
    }
    Ok(ExitCode::Success)
}
