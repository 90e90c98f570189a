//! `import`: subagents from folders.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use orchestrator::{
    ImportItem, ImportOutcome, ImportRequest, Locks, Unlocked, import_skills, unlocked,
};
use store::Store;

use crate::app::{App, Models};
use crate::args::{SandboxFlags, WhyFlags};
use crate::exit::{ExitCode, Failure, Interrupted};
use crate::ui::{Bar, Live, LiveKind, Text, Tone, Ui};
use crate::wire::{ImportJson, ImportedJson};

/// Save subagents from folders: exported ones, Agent Skills, the reference implementation's
///
/// DIR is a folder with a SKILL.md and a Python file with main(query), a folder of such folders, or
/// one that has skills/subagents. Of each, the files that its entry file needs are saved. One that is
/// refused, such as one whose name is pinned, does not stop the others; what is saved already is not saved again. Requirements that no lock
/// beside them answers, in the front matter or the entry file's own block (PEP 723), are resolved and locked.
#[derive(Debug, Args)]
pub(crate) struct ImportArgs {
    /// The folder
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// Say what would be saved and what would be resolved, and do neither
    #[arg(long)]
    dry_run: bool,
}

/// Imports a folder.
pub(crate) async fn import(app: &App, args: &ImportArgs) -> anyhow::Result<ExitCode> {
    let store = app.store()?;
    // What would be done is said without resolving anything: that asks the index and fills the cache.
    let folders = if args.dry_run {
        Vec::new()
    } else {
        unlocked(&store, &args.folder)?
    };
    let locks = if folders.is_empty() {
        Locks::default()
    } else {
        match lock(app, &store, folders.clone()).await {
            Err(error) if error.is::<Interrupted>() => return Err(error),
            Err(error) => {
                let why = Failure::of(&error);
                Locks::failed(folders, &why.message, why.hint.as_deref())
            }
            Ok(locks) => locks,
        }
    };
    let request = ImportRequest {
        store: &store,
        folder: &args.folder,
        locks,
        dry_run: args.dry_run,
        act: app.act(&WhyFlags::default(), false),
    };
    let bar = Bar::new(&app.ui, "importing");
    let items = import_skills(request, &mut |done, all| bar.at(done, all));
    drop(bar);
    let items = items?;
    let refused = items
        .iter()
        .filter(|item| matches!(item.outcome, ImportOutcome::Refused(_)))
        .count();
    if app.ui.is_json() {
        app.ui.json(&ImportJson {
            dry_run: args.dry_run,
            subagents: items.into_iter().map(document).collect(),
        })?;
    } else {
        for item in items {
            render(&app.ui, item, args.dry_run)?;
        }
    }
    Ok(if refused > 0 {
        ExitCode::Refused
    } else {
        ExitCode::Success
    })
}

/// Resolves what folders require, which needs an engine.
async fn lock(app: &App, store: &Arc<Store>, folders: Vec<Unlocked>) -> anyhow::Result<Locks> {
    let live = Live::start(&app.ui, LiveKind::Build);
    let locks = app
        .interrupts
        .guard(async |cancel| {
            let (models, flags) = (Models::default(), SandboxFlags::default());
            let factory = app.factory(Arc::clone(store), models, flags, &live, &cancel);
            Ok(factory
                .await?
                .lock(folders, &live.watcher(), &cancel)
                .await?)
        })
        .await?;
    live.finish()?;
    Ok(locks)
}

fn document(item: ImportItem) -> ImportedJson {
    let mut notes = item.notes;
    if let ImportOutcome::ToLock { wanted } = &item.outcome {
        notes.push(format!("to be resolved: {}", wanted.join(", ")));
    }
    let (outcome, version, parent, error) = match item.outcome {
        ImportOutcome::Saved {
            version, parent, ..
        } => ("saved", Some(version), parent, None),
        ImportOutcome::ToLock { .. } => ("to-lock", None, None, None),
        ImportOutcome::Unchanged { version } => ("unchanged", Some(version), None, None),
        ImportOutcome::Refused(error) => ("refused", None, None, Some(Failure::of(&error.into()))),
    };
    ImportedJson {
        folder: item.folder.display().to_string(),
        name: item.name,
        outcome,
        version,
        parent,
        notes,
        error: error.as_ref().map(|error| error.message.clone()),
        hint: error.and_then(|error| error.hint),
    }
}

fn render(ui: &Ui, item: ImportItem, dry_run: bool) -> anyhow::Result<()> {
    let folder = item.folder.display().to_string();
    let name = item.name.map_or(folder, |name| name.to_string());
    match item.outcome {
        ImportOutcome::Saved {
            version, parent, ..
        } => {
            let what = match (dry_run, parent) {
                (false, None) => "saved",
                (false, Some(_)) => "saved over its head",
                (true, None) => "would be saved",
                (true, Some(_)) => "would be saved over its head",
            };
            ui.data(
                Text::new()
                    .with(Tone::Strong, name)
                    .plain(format!("@{version} {what}")),
            )?;
        }
        ImportOutcome::ToLock { wanted } => {
            let wanted = spec::printable(&wanted.join(", "), 200);
            ui.data(Text::new().with(Tone::Strong, name).plain(format!(
                " would be saved once this is resolved and locked: {wanted}"
            )))?;
        }
        ImportOutcome::Unchanged { version } => {
            ui.data(
                Text::new()
                    .with(Tone::Strong, name)
                    .plain(format!("@{version} is saved already")),
            )?;
        }
        ImportOutcome::Refused(error) => {
            let failure = Failure::of(&error.into());
            ui.complain(
                Text::new()
                    .with(Tone::Bad, "refused: ")
                    .plain(format!("{name}: {}", failure.message)),
            );
            if let Some(hint) = failure.hint {
                ui.complain(Text::new().with(Tone::Dim, format!("  hint: {hint}")));
            }
        }
    }
    for note in item.notes {
        ui.note(Text::new().with(Tone::Dim, format!("  {note}")));
    }
    Ok(())
}
