//! `diff`: what changed from one version to another.

use clap::Args;
use spec::VersionRef;

use super::show::published;
use crate::app::App;
use crate::exit::{ExitCode, Problem};
use crate::ui::{Text, Tone, Ui};
use crate::wire::DiffJson;

/// Show what changed between two versions, or from a version's parent to it
#[derive(Debug, Args)]
pub(crate) struct DiffArgs {
    /// The version before; alone, the version after, against its parent
    #[arg(value_name = "REF")]
    first: String,
    /// The version after
    #[arg(value_name = "REF")]
    second: Option<String>,
}

/// Compares two versions.
pub(crate) fn diff(app: &App, args: &DiffArgs) -> anyhow::Result<ExitCode> {
    let first: VersionRef = args.first.parse()?;
    let second = args
        .second
        .as_deref()
        .map(str::parse::<VersionRef>)
        .transpose()?;
    let store = app.store()?;
    let resolved = app.resolve(&store, &first)?;
    let (from, to) = if let Some(second) = second {
        (resolved.digest, app.resolve(&store, &second)?.digest)
    } else {
        let parent = published(&store, &resolved)?.and_then(|step| step.parent);
        let parent = parent.ok_or_else(|| {
            Problem::not_found(format!("`{first}` has no parent to compare with")).hint(format!(
                "`agentfactory show --code {first}` shows all of it"
            ))
        })?;
        (parent, resolved.digest)
    };
    let difference = store.diff(&from, &to)?;
    let document = DiffJson {
        from: difference.from,
        to: difference.to,
        files: difference.files.iter().map(Into::into).collect(),
        config: difference.config.iter().map(Into::into).collect(),
    };
    if app.ui.is_json() {
        app.ui.json(&document)?;
    } else {
        render(&app.ui, &document)?;
    }
    Ok(ExitCode::Success)
}

fn render(ui: &Ui, difference: &DiffJson) -> anyhow::Result<()> {
    if difference.files.is_empty() && difference.config.is_empty() {
        ui.note("no difference");
    }
    for field in &difference.config {
        ui.data(Text::new().with(Tone::Strong, format!("config: {}", field.field)))?;
        for (sign, tone, values) in [
            ("-", Tone::Removed, &field.removed),
            ("+", Tone::Added, &field.added),
        ] {
            for line in values.iter().flat_map(|value| value.lines()) {
                ui.data(Text::new().with(tone, format!("{sign}{line}")))?;
            }
        }
    }
    for file in &difference.files {
        let Some(text) = &file.text else {
            ui.data(format!("{}: {}, not text", file.path, file.kind))?;
            continue;
        };
        for (number, line) in text.lines().enumerate() {
            let tone = match line.chars().next() {
                _ if number < 2 => Tone::Strong,
                Some('+') => Tone::Added,
                Some('-') => Tone::Removed,
                Some('@') => Tone::Position,
                _ => Tone::Plain,
            };
            ui.data(Text::new().with(tone, line))?;
        }
    }
    Ok(())
}
