//! `deploy`: a version leaves as something that runs without AgentFactory.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use orchestrator::deploy_skill;
use spec::VersionRef;

use crate::app::App;
use crate::exit::ExitCode;
use crate::wire::DeployJson;

/// Export a version as something that runs without AgentFactory
#[derive(Debug, Args)]
pub(crate) struct DeployArgs {
    /// NAME, NAME:TAG, NAME@DIGEST or at least 8 hex digits of a digest
    #[arg(value_name = "REF")]
    reference: String,
    /// What it becomes
    #[arg(long = "as", value_name = "FORM")]
    form: Form,
    /// The folder in which its own folder is made
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
}

/// What a version can become.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Form {
    /// An Agent Skills folder: SKILL.md, and scripts for a bare `python3`
    Skill,
}

/// Exports one version.
pub(crate) fn deploy(app: &App, args: &DeployArgs) -> anyhow::Result<ExitCode> {
    let reference: VersionRef = args.reference.parse()?;
    let store = app.store()?;
    let deployed = match args.form {
        Form::Skill => deploy_skill(&store, &app.assets(), &reference, &args.to)?,
    };
    let path = deployed.path.display().to_string();
    if app.ui.is_json() {
        app.ui.json(&DeployJson {
            path,
            version: deployed.version,
            files: deployed.files,
        })?;
    } else {
        app.ui.data(path)?;
        app.ui.note(format!(
            "version {}, {}; run it with `python3 scripts/run.py \"QUERY\"` in that folder",
            deployed.version.short(),
            super::files_of(deployed.files.len())
        ));
    }
    Ok(ExitCode::Success)
}
