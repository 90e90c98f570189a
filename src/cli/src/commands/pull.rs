//! `pull`: a version comes from a registry.

use clap::Args;
use orchestrator::share::{self, PullRequest, Pulled};
use registry::RegistryRef;

use super::push::moved;
use super::{field, joined, shown_version};
use crate::app::App;
use crate::args::WhyFlags;
use crate::exit::{ExitCode, Interrupted};
use crate::ui::{Live, LiveKind};
use crate::wire::{MovedJson, PullJson};

/// Pull a version, with what it depends on and what is said about it, from an OCI registry
///
/// Its digest is what it was where it was pushed. The head of its name moves only when all of it is
/// here and right, and only forward: if it came from the head that is here; `undo` takes that back.
#[derive(Debug, Args)]
pub(crate) struct PullArgs {
    /// Where it is: REGISTRY/REPO:TAG or REGISTRY/REPO@DIGEST; without either, the tag latest
    #[arg(value_name = "REGISTRY/REPO")]
    from: String,
    /// What it is called here [default: the last word of REPO]
    #[arg(long = "as", value_name = "NAME")]
    name: Option<String>,
    /// Pull the runs that speak for it too, if they were pushed
    #[arg(long)]
    with_cases: bool,
    /// Move the head even if it is pinned, away from a version that this one did not come from, or back
    #[arg(long)]
    force: bool,
}

/// Pulls one version.
pub(crate) async fn pull(app: &App, args: &PullArgs) -> anyhow::Result<ExitCode> {
    let request = PullRequest {
        from: args.from.parse::<RegistryRef>()?,
        name: args.name.as_deref().map(str::parse).transpose()?,
        with_cases: args.with_cases,
        force: args.force,
        trust: app.trust()?,
        act: app.act(&WhyFlags::default(), args.force),
    };
    let store = app.store()?;
    let live = Live::start(&app.ui, LiveKind::Build);
    let pulled = app
        .interrupts
        .guard(async |cancel| {
            let progress = live.transfer();
            let work = async {
                let repository = app.repository(&request.from.repository).await?;
                let pulled = share::pull(&store, &repository, &request, &*progress).await?;
                Ok::<_, anyhow::Error>(pulled)
            };
            tokio::select! {
                pulled = work => pulled,
                () = cancel.cancelled() => Err(Interrupted.into()),
            }
        })
        .await?;
    live.finish()?;
    show(app, pulled)?;
    Ok(ExitCode::Success)
}

fn show(app: &App, pulled: Pulled) -> anyhow::Result<()> {
    let is_new = pulled.is_new();
    if pulled.refused > 0 {
        app.ui.warn(format!(
            "{} of what is said about it were left there: environments that hold what the version's lock does not \
             name, or what is of another form, incomplete or too large",
            pulled.refused
        ));
    }
    if app.ui.is_json() {
        return app.ui.json(&PullJson {
            name: pulled.name,
            version: pulled.version,
            before: pulled.before,
            is_new,
            versions: pulled.versions,
            attachments: pulled.attachments,
            refused: pulled.refused,
            runs: pulled.runs,
            transferred: MovedJson::from(pulled.moved),
        });
    }
    let ui = &app.ui;
    ui.data(field(
        "pulled",
        format!("{}@{}", pulled.name, pulled.version),
    ))?;
    if is_new {
        ui.data(field("before", shown_version(pulled.before.as_ref())))?;
    } else {
        ui.note("it is the head already");
    }
    if !pulled.runs.is_empty() {
        ui.data(field("runs", joined(&pulled.runs)))?;
    }
    ui.data(field("transferred", moved(pulled.moved)))?;
    Ok(())
}
