//! `env`: the Python distributions of subagents, installed.

use std::collections::BTreeSet;

use clap::Subcommand;
use orchestrator::EnvironmentState;
use serde::Serialize;
use spec::Digest;
use store::Requirement;

use super::{field, joined};
use crate::app::App;
use crate::exit::{ExitCode, Problem};

/// List, show and remove environments: installed Python distributions, which versions share
#[derive(Debug, Subcommand)]
pub(crate) enum EnvCommand {
    /// List the environments in the cache, which all homes share
    List,
    /// Show what is in one
    Show {
        /// At least 8 hex digits of its key
        #[arg(value_name = "KEY")]
        key: String,
    },
    /// Remove the environments that no head of this home uses, and their images
    ///
    /// Each can be made again: a version holds its lock. What was resolved for files without a version
    /// is forgotten, and is resolved anew.
    Gc {
        /// Only say what would be removed
        #[arg(long)]
        dry_run: bool,
    },
}

/// One environment, in JSON.
#[derive(Serialize)]
struct EnvJson {
    key: Digest,
    layer: Digest,
    size: u64,
    python: String,
    requirements: Vec<String>,
    images: Vec<Digest>,
}

impl From<&EnvironmentState> for EnvJson {
    fn from(state: &EnvironmentState) -> Self {
        Self {
            key: state.key,
            layer: state.layer,
            size: state.size.get(),
            python: state.python.clone(),
            requirements: state.requirements.iter().map(exact).collect(),
            images: state.images.values().copied().collect(),
        }
    }
}

fn exact(one: &Requirement) -> String {
    format!("{}=={}", one.name, one.version)
}

/// Does what is asked.
pub(crate) async fn environments(app: &App, command: &EnvCommand) -> anyhow::Result<ExitCode> {
    match command {
        EnvCommand::List => list(app, &app.environments().list()?),
        EnvCommand::Show { key } => show(app, key),
        EnvCommand::Gc { dry_run } => gc(app, *dry_run).await,
    }
}

fn list(app: &App, states: &[EnvironmentState]) -> anyhow::Result<ExitCode> {
    if app.ui.is_json() {
        app.ui
            .json(&states.iter().map(EnvJson::from).collect::<Vec<_>>())?;
        return Ok(ExitCode::Success);
    }
    if states.is_empty() {
        app.ui.note("there is none".to_owned());
    }
    for state in states {
        let what = joined(state.requirements.iter().map(exact));
        let line = format!("{}  {:>8}  {what}", state.key.short(), state.size);
        app.ui.data(line)?;
    }
    Ok(ExitCode::Success)
}

fn show(app: &App, key: &str) -> anyhow::Result<ExitCode> {
    let states = app.environments().list()?;
    let digits = key.strip_prefix("sha256:").unwrap_or(key);
    let mut found = states
        .iter()
        .filter(|state| digits.len() >= 8 && state.key.hex().starts_with(digits));
    let (Some(state), None) = (found.next(), found.next()) else {
        let key = spec::printable(key, 80);
        return Err(
            Problem::not_found(format!("there is no environment `{key}`, or several"))
                .hint("`agentfactory env list` shows them; give at least 8 digits")
                .into(),
        );
    };
    if app.ui.is_json() {
        app.ui.json(&EnvJson::from(state))?;
        return Ok(ExitCode::Success);
    }
    app.ui.data(field("key", state.key.to_string()))?;
    app.ui.data(field("layer", state.layer.to_string()))?;
    app.ui.data(field("size", state.size.to_string()))?;
    app.ui.data(field("python", state.python.clone()))?;
    app.ui
        .data(field("images", joined(state.images.values())))?;
    for one in &state.requirements {
        let wheels = match one.wheels.len() {
            1 => "1 wheel".to_owned(),
            count => format!("{count} wheels"),
        };
        app.ui
            .data(field("requirement", format!("{}, {wheels}", exact(one))))?;
    }
    Ok(ExitCode::Success)
}

async fn gc(app: &App, dry_run: bool) -> anyhow::Result<ExitCode> {
    let store = app.store()?;
    let mut used: BTreeSet<Vec<Requirement>> = BTreeSet::new();
    for head in store.heads()? {
        let mut requirements = store.version(&head.digest)?.content.requirements;
        requirements.sort();
        used.insert(requirements);
    }
    let is_kept = |state: &EnvironmentState| used.contains(&state.requirements);
    let settings = app.environments();
    let removed = if dry_run {
        let states = settings.list()?;
        states.into_iter().filter(|state| !is_kept(state)).collect()
    } else {
        app.interrupts
            .guard(async |cancel| Ok(settings.remove(is_kept, &cancel).await?))
            .await?
    };
    list(app, &removed)?;
    let freed = removed.iter().map(|state| state.size.get()).sum();
    let freed = spec::ByteSize::bytes(freed);
    let done = if dry_run { "would free" } else { "freed" };
    app.ui.note(format!("{done} {freed} in the cache"));
    Ok(ExitCode::Success)
}
