//! `key`: the keys that sign versions.

use clap::Subcommand;
use orchestrator::trust::{KeyFolder, KeyInfo};

use super::field;
use crate::app::App;
use crate::exit::ExitCode;
use crate::wire::{KeyJson, KeysJson};

/// Make and show the Ed25519 keys that sign versions
#[derive(Debug, Subcommand)]
pub(crate) enum KeyCommand {
    /// Make a key; its file in HOME/keys is for you alone, and is never replaced
    Generate {
        /// What it is called: 1 to 64 of a-z, 0-9, `-`, `_` and `.`
        name: String,
    },
    /// List the keys of this home
    List,
    /// Show the public half of a key, as `keys` of the table `trust` takes it
    Show {
        /// What it is called
        name: String,
    },
}

/// Makes or shows keys.
pub(crate) fn key(app: &App, command: &KeyCommand) -> anyhow::Result<ExitCode> {
    let keys = KeyFolder::new(&app.settings.home);
    match command {
        KeyCommand::Generate { name } => one(app, &keys.generate(name)?),
        KeyCommand::Show { name } => one(
            app,
            &KeyInfo {
                public: keys.public(name)?,
                name: name.clone(),
            },
        ),
        KeyCommand::List => list(app, &keys.list()?),
    }
}

fn one(app: &App, key: &KeyInfo) -> anyhow::Result<ExitCode> {
    if app.ui.is_json() {
        app.ui.json(&KeyJson::from(key))?;
    } else {
        app.ui.data(field("name", &key.name))?;
        app.ui.data(field("public", key.public.to_string()))?;
        app.ui.data(field("id", key.public.id()))?;
    }
    Ok(ExitCode::Success)
}

fn list(app: &App, keys: &[KeyInfo]) -> anyhow::Result<ExitCode> {
    if app.ui.is_json() {
        let keys = keys.iter().map(KeyJson::from).collect();
        app.ui.json(&KeysJson { keys })?;
        return Ok(ExitCode::Success);
    }
    if keys.is_empty() {
        app.ui
            .note("there are no keys: make one with `key generate NAME`");
    }
    for key in keys {
        app.ui.data(field(&key.name, key.public.to_string()))?;
    }
    Ok(ExitCode::Success)
}
