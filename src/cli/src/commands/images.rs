//! `images`: what sandboxes are made from.

use clap::Subcommand;
use runner::Engine;
use runner::images::{self, BaseSource, BuiltImage};
use spec::ByteSize;

use super::field;
use crate::app::App;
use crate::exit::{ExitCode, Problem};
use crate::ui::{Live, LiveKind};
use crate::wire::{ImageJson, ImageShowJson};

/// Build and show the image that sandboxes are made from
#[derive(Debug, Subcommand)]
pub(crate) enum ImagesCommand {
    /// Build the sandbox image; steps that are done already are not done again
    ///
    /// Runs and tasks do this by themselves when it is needed.
    Build {
        /// The image with Python that it is made on [default: the official slim Python image, or,
        /// where no registry can be reached, one made from the distribution's packages]
        #[arg(long, value_name = "IMAGE")]
        base: Option<String>,
        /// Choose the base anew, instead of the one that was locked by the first build
        #[arg(long)]
        refresh: bool,
    },
    /// Show which image is used now
    Show,
}

/// Builds or shows the image.
pub(crate) async fn images(app: &App, command: &ImagesCommand) -> anyhow::Result<ExitCode> {
    match command {
        ImagesCommand::Build { base, refresh } => build(app, base.clone(), *refresh).await,
        ImagesCommand::Show => show(app).await,
    }
}

async fn build(app: &App, base: Option<String>, refresh: bool) -> anyhow::Result<ExitCode> {
    let live = Live::start(&app.ui, LiveKind::Build);
    let built = app
        .interrupts
        .guard(async |cancel| {
            let progress = live.progress();
            let request = images::BuildRequest {
                base,
                refresh,
                ..app.image_request(&*progress)
            };
            let work = async {
                let engine = Engine::connect(&app.settings.engine).await?;
                Ok::<_, anyhow::Error>(images::build(&engine, &request).await?)
            };
            tokio::select! {
                built = work => built,
                () = cancel.cancelled() => Err(crate::exit::Interrupted.into()),
            }
        })
        .await?;
    live.finish()?;
    let BuiltImage {
        image,
        tag,
        base,
        source,
        python,
        python_path,
        size_bytes,
    } = built;
    if app.ui.is_json() {
        app.ui.json(&ImageJson {
            image: image.0,
            tag,
            base,
            source: match source {
                BaseSource::OnEngine => "on_engine",
                BaseSource::Pulled => "pulled",
                BaseSource::Bootstrapped => "bootstrapped",
            },
            python,
            python_path,
            size_bytes,
        })?;
        return Ok(ExitCode::Success);
    }
    let source = match source {
        BaseSource::OnEngine => "which the engine had",
        BaseSource::Pulled => "pulled",
        BaseSource::Bootstrapped => "made from the distribution's packages",
    };
    app.ui.data(field("image", image.0.to_string()))?;
    app.ui.data(field("tag", tag))?;
    app.ui.data(field("base", format!("{base}, {source}")))?;
    app.ui
        .data(field("python", format!("{python} at {python_path}")))?;
    app.ui
        .data(field("size", ByteSize::bytes(size_bytes).to_string()))?;
    Ok(ExitCode::Success)
}

async fn show(app: &App) -> anyhow::Result<ExitCode> {
    let engine = Engine::connect(&app.settings.engine).await?;
    let found = images::find(&engine, &app.image_request(&())).await?;
    let image = found.ok_or_else(|| {
        Problem::not_found("no sandbox image has been built yet")
            .hint("build it with `agentfactory images build`")
    })?;
    if app.ui.is_json() {
        app.ui.json(&ImageShowJson { image: image.0 })?;
    } else {
        app.ui.data(image.0.to_string())?;
    }
    Ok(ExitCode::Success)
}
