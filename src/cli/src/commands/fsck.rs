//! `fsck`: is everything what was written?

use spec::ByteSize;

use super::counted;
use crate::app::App;
use crate::exit::ExitCode;
use crate::ui::{Text, Tone};
use crate::wire::{FsckJson, kind};

/// Checks the whole store.
pub(crate) fn fsck(app: &App) -> anyhow::Result<ExitCode> {
    let store = app.store()?;
    let report = store.fsck(&mut |_| {})?;
    if app.ui.is_json() {
        app.ui.json(&FsckJson::from(&report))?;
    } else {
        for finding in &report.findings {
            let line = Text::new().with(Tone::Bad, format!("{}: ", kind(finding.kind)));
            app.ui.data(line.plain(finding.to_string()))?;
            app.ui.data(
                Text::new()
                    .with(Tone::Good, "  hint: ")
                    .plain(finding.hint()),
            )?;
        }
        app.ui.data(format!(
            "{} ({}), {}, {}, {}: {}",
            counted(report.blobs, "blob"),
            ByteSize::bytes(report.bytes),
            counted(report.versions, "version"),
            counted(report.operations, "operation"),
            counted(report.runs, "run"),
            match report.findings.len() {
                0 => "all is well".to_owned(),
                1 => "1 finding".to_owned(),
                many => format!("{many} findings"),
            }
        ))?;
    }
    Ok(if report.is_clean() {
        ExitCode::Success
    } else {
        ExitCode::Failed
    })
}
