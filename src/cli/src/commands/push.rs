//! `push`: a version goes to a registry.

use clap::Args;
use orchestrator::share::{self, PushRequest, Pushed};
use registry::RegistryRef;
use spec::{ByteSize, Digest};

use super::field;
use crate::app::App;
use crate::exit::{ExitCode, Interrupted};
use crate::ui::{Live, LiveKind};
use crate::wire::{MovedJson, PushJson};

/// Push a version, with what it depends on and what is said about it, to an OCI registry
///
/// Digests stay as they are, and what the registry has already is not sent. The tag moves only to a
/// version that came from the one it is at. Credentials are those of `docker login`.
#[derive(Debug, Args)]
pub(crate) struct PushArgs {
    /// NAME, NAME:TAG, NAME@DIGEST or at least 8 hex digits of a digest
    #[arg(value_name = "REF")]
    reference: String,
    /// Where it goes: REGISTRY/REPO or REGISTRY/REPO:TAG; without a tag, latest
    #[arg(value_name = "REGISTRY/REPO")]
    to: String,
    /// Push the runs that speak for it too: they hold what users asked, and their files
    #[arg(long)]
    with_cases: bool,
    /// Move the tag even away from a version that this one did not come from
    #[arg(long)]
    force: bool,
}

/// Pushes one version.
pub(crate) async fn push(app: &App, args: &PushArgs) -> anyhow::Result<ExitCode> {
    let request = PushRequest {
        version: args.reference.parse()?,
        to: args.to.parse::<RegistryRef>()?,
        with_cases: args.with_cases,
        environments: Some(app.environments()),
        force: args.force,
    };
    let store = app.store()?;
    let live = Live::start(&app.ui, LiveKind::Build);
    let pushed = app
        .interrupts
        .guard(async |cancel| {
            let progress = live.transfer();
            let work = async {
                let repository = app.repository(&request.to.repository).await?;
                let pushed = share::push(&store, &repository, &request, &*progress).await?;
                Ok::<_, anyhow::Error>(pushed)
            };
            tokio::select! {
                pushed = work => pushed,
                () = cancel.cancelled() => Err(Interrupted.into()),
            }
        })
        .await?;
    live.finish()?;
    show(app, &request.to, pushed)?;
    Ok(ExitCode::Success)
}

fn show(app: &App, to: &RegistryRef, pushed: Pushed) -> anyhow::Result<()> {
    tell_missing(app, &pushed.without_environment);
    let reference = format!("{}:{}", to.repository, pushed.tag);
    if app.ui.is_json() {
        return app.ui.json(&PushJson {
            name: pushed.name,
            version: pushed.version,
            reference,
            versions: pushed.versions,
            attachments: pushed.attachments,
            without_environment: pushed.without_environment,
            runs: pushed.runs,
            transferred: MovedJson::from(pushed.moved),
        });
    }
    let ui = &app.ui;
    ui.data(field("pushed", pushed.version.to_string()))?;
    ui.data(field("to", reference))?;
    ui.data(field("transferred", moved(pushed.moved)))?;
    Ok(())
}

/// Says which versions went without their environment.
pub(super) fn tell_missing(app: &App, versions: &[Digest]) {
    for version in versions {
        app.ui.warn(format!(
            "the environment of {} did not go along: its wheels are not on this machine; run it \
             here, then do this again",
            version.short()
        ));
    }
}

/// What a transfer was, for people.
pub(super) fn moved(moved: registry::Moved) -> String {
    format!(
        "{} in {} blobs; {} were there already",
        ByteSize::bytes(moved.bytes),
        moved.blobs,
        moved.skipped
    )
}
