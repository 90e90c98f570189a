//! `export`: a version as a folder that can be imported again.

use std::path::PathBuf;

use clap::Args;
use orchestrator::export_version;
use spec::VersionRef;

use super::files_of;
use crate::app::App;
use crate::exit::ExitCode;
use crate::wire::ExportJson;

/// Write a version as a folder that can be read, changed and imported again
///
/// The folder is DIR/NAME: the files as they are, with their SKILL.md, and in .agentfactory what a
/// person does not write. Imported unchanged it has the same digest.
#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    /// NAME, NAME:TAG, NAME@DIGEST or at least 8 hex digits of a digest
    #[arg(value_name = "REF")]
    reference: String,
    /// The folder in which its own folder is made
    #[arg(value_name = "DIR")]
    to: PathBuf,
    /// Its recorded runs too, with what users asked and gave
    #[arg(long)]
    with_cases: bool,
}

/// Exports a version.
pub(crate) fn export(app: &App, args: &ExportArgs) -> anyhow::Result<ExitCode> {
    let reference: VersionRef = args.reference.parse()?;
    let store = app.store()?;
    let exported = export_version(&store, &reference, &args.to, args.with_cases)?;
    if app.ui.is_json() {
        app.ui.json(&ExportJson {
            path: exported.path.display().to_string(),
            name: exported.name,
            version: exported.version,
            files: exported.files,
            depends: exported.depends,
            runs: exported.runs,
        })?;
    } else {
        app.ui.data(exported.path.display().to_string())?;
        app.ui.note(format!(
            "{}@{}: {}, {} dependencies, {} recorded runs",
            exported.name,
            exported.version.short(),
            files_of(exported.files),
            exported.depends,
            exported.runs
        ));
    }
    Ok(ExitCode::Success)
}
