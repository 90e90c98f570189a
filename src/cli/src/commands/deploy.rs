//! `deploy`: a version leaves as something that runs without AgentFactory.

use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use clap::{Args, ValueEnum};
use orchestrator::{
    DeployedImage, ImageRequest, Verdict, Verification, VerifiedRun, deploy_image, deploy_skill,
    push_image, verify_image,
};
use registry::{Moved, RegistryRef, RepositoryName, Target};
use runner::images::{self, Scratch};
use runner::{Engine, ImageId};
use spec::{ByteSize, Digest, VersionRef};
use store::Store;
use tokio_util::sync::CancellationToken;

use super::field;
use crate::app::{App, Models};
use crate::args::SandboxFlags;
use crate::exit::{ExitCode, Interrupted, Problem};
use crate::ui::{Live, LiveKind};
use crate::wire::{DeployImageJson, DeployJson, MovedJson, VerifiedJson};

/// Export a version as something that runs without AgentFactory
#[derive(Debug, Args)]
pub(crate) struct DeployArgs {
    /// NAME, NAME:TAG, NAME@DIGEST or at least 8 hex digits of a digest
    #[arg(value_name = "REF")]
    reference: String,
    /// What it becomes
    #[arg(long = "as", value_name = "FORM")]
    form: Form,
    /// Skill: the folder in which its own folder is made
    #[arg(long, value_name = "DIR", required_if_eq("form", "skill"))]
    to: Option<PathBuf>,
    /// Image: its name on the engine [default: agentfactory/subagent/NAME, with the tags latest and
    /// 12 hex digits of the version]
    #[arg(long, value_name = "NAME[:TAG]")]
    tag: Option<String>,
    /// Image: also write it as an OCI image layout; the folder must not be there
    #[arg(long, value_name = "layout:DIR")]
    output: Option<Output>,
    /// Image: also push it to a registry, unchanged [default tag: latest]
    ///
    /// What the registry has already is not sent. Credentials are those of `docker login`.
    #[arg(long, value_name = "REGISTRY/REPO[:TAG]")]
    push: Option<String>,
    /// Image: also run the version's newest completed runs in it, and compare the answers
    ///
    /// Files and the answers of tools come from their records; runs that used the network, folders of
    /// the host, a fixed clock or fixed random numbers are skipped. The exit code is 1 if any differs.
    #[arg(long)]
    verify: bool,
}

/// What a version can become.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Form {
    /// An Agent Skills folder: SKILL.md, and scripts for a bare `python3`
    Skill,
    /// A container image: `docker run IMAGE "QUERY"` prints the result as JSON
    Image,
}

/// Where an image is written to, besides the engine.
#[derive(Clone, Debug)]
struct Output(PathBuf);

impl FromStr for Output {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.strip_prefix("layout:") {
            Some(folder) if !folder.is_empty() => Ok(Self(folder.into())),
            _ => Err("write `layout:DIR`".to_owned()),
        }
    }
}

impl DeployArgs {
    /// Whether the engine is asked for anything.
    pub(crate) fn needs_engine(&self) -> bool {
        self.form == Form::Image
    }

    /// Refuses what does not go together.
    fn check(&self) -> Result<(), Problem> {
        let of_image = [
            ("--tag", self.tag.is_some()),
            ("--output", self.output.is_some()),
            ("--push", self.push.is_some()),
            ("--verify", self.verify),
        ];
        let of_skill = [("--to", self.to.is_some())];
        let (form, others) = match self.form {
            Form::Skill => ("skill", &of_image[..]),
            Form::Image => ("image", &of_skill[..]),
        };
        match others.iter().find(|(_, given)| *given) {
            Some((flag, _)) => Err(Problem::usage(format!(
                "`{flag}` does not go with `--as {form}`"
            ))),
            None => Ok(()),
        }
    }
}

/// Exports one version as a folder.
pub(crate) fn deploy(app: &App, args: &DeployArgs) -> anyhow::Result<ExitCode> {
    args.check()?;
    let reference: VersionRef = args.reference.parse()?;
    let store = app.store()?;
    let to = args.to.as_deref().unwrap_or(".".as_ref());
    let deployed = deploy_skill(&store, &app.assets(), &reference, to)?;
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

/// Exports one version as a container image.
pub(crate) async fn image(app: &App, args: &DeployArgs) -> anyhow::Result<ExitCode> {
    args.check()?;
    let reference: VersionRef = args.reference.parse()?;
    let tags = args.tag.as_deref().map(images::image_name).transpose()?;
    let push = args.push.as_deref().map(push_target).transpose()?;
    if let Some(Output(to)) = &args.output
        && to.symlink_metadata().is_ok()
    {
        let to = to.display();
        return Err(Problem::refused(format!("`{to}` exists already"))
            .hint("name a folder that is not there: a layout appears complete or not at all")
            .into());
    }
    let store = app.store()?;
    // Making its environment takes a while, in which its name may come to mean another version.
    let reference = store.resolve(&reference)?.exact();
    let live = Live::start(&app.ui, LiveKind::Build);
    let done = app
        .interrupts
        .guard(async |cancel| {
            let progress = live.progress();
            let cache = app.image_request(&()).cache_dir.join("deploy");
            let scratch = Scratch::create(&cache)?;
            let load = async {
                let engine = Engine::connect(&app.settings.engine).await?;
                let parent = parent(app, &engine, &store, &reference, &live, &cancel).await?;
                let request = ImageRequest {
                    reference,
                    parent,
                    tags: tags.into_iter().collect(),
                    scratch: scratch.path(),
                    progress: &*progress,
                };
                let deployed = deploy_image(&engine, &store, &app.assets(), &request).await?;
                Ok::<_, anyhow::Error>((engine, deployed))
            };
            let (engine, deployed) = tokio::select! {
                loaded = load => loaded?,
                () = cancel.cancelled() => return Err(Interrupted.into()),
            };
            let mut done = Done {
                deployed,
                verification: None,
                left: None,
            };
            if args.verify {
                // It removes its containers itself when it is cancelled.
                let (trust, image) = (app.trust()?, &done.deployed);
                let runtime = app.settings.runtimes.default.as_deref();
                let verified =
                    verify_image(&engine, &store, &trust, image, runtime, &*progress, &cancel);
                let verified = verified.await?;
                done.verification = Some(verified.ok_or(Interrupted)?);
            }
            if done.holds() && (args.output.is_some() || push.is_some()) {
                let leave = leave(
                    app,
                    args,
                    push.as_ref(),
                    &engine,
                    &done.deployed,
                    &scratch,
                    &live,
                );
                done.left = tokio::select! {
                    left = leave => Some(left?),
                    () = cancel.cancelled() => return Err(Interrupted.into()),
                };
            }
            Ok(done)
        })
        .await?;
    live.finish()?;
    show(app, args, &done)?;
    Ok(if done.holds() {
        ExitCode::Success
    } else {
        ExitCode::Failed
    })
}

/// What was done.
struct Done {
    deployed: DeployedImage,
    verification: Option<Verification>,
    /// None when it did not leave the engine.
    left: Option<Left>,
}

/// An image that left the engine.
struct Left {
    /// The digest of its manifest.
    manifest: Digest,
    /// The bytes of all blobs.
    size: u64,
    /// Where it was pushed to, and what that moved.
    pushed: Option<(String, Moved)>,
}

impl Done {
    /// Whether no recorded run differs.
    fn holds(&self) -> bool {
        self.verification.as_ref().is_none_or(Verification::holds)
    }
}

/// Where an image is pushed to: a repository and a tag.
fn push_target(text: &str) -> anyhow::Result<(RepositoryName, String)> {
    let reference: RegistryRef = text.parse()?;
    match reference.target_or_latest() {
        Target::Tag(tag) => Ok((reference.repository, tag)),
        Target::Digest(_) => Err(Problem::usage(format!(
            "`{reference}` ends in a digest: what is pushed has its own",
            reference = spec::printable(text, 200)
        ))
        .hint("write REGISTRY/REPO[:TAG]")
        .into()),
    }
}

/// What a version is put on: the sandbox image, or its environment.
async fn parent(
    app: &App,
    engine: &Engine,
    store: &Arc<Store>,
    reference: &VersionRef,
    live: &Live,
    cancel: &CancellationToken,
) -> anyhow::Result<ImageId> {
    let content = store.version(&store.resolve(reference)?.digest)?.content;
    if content.requirements.is_empty() {
        let progress = live.progress();
        return Ok(images::ensure(engine, &app.image_request(&*progress)).await?);
    }
    let (models, flags) = (Models::default(), SandboxFlags::default());
    let factory = app
        .factory(Arc::clone(store), models, flags, live, cancel)
        .await?;
    let (requirements, python) = (&content.requirements, &content.python);
    let watcher = live.watcher();
    let environment = factory.environment(requirements, python, &watcher, cancel);
    Ok(environment.await?.image)
}

/// Writes and pushes an image that is on the engine.
async fn leave(
    app: &App,
    args: &DeployArgs,
    push: Option<&(RepositoryName, String)>,
    engine: &Engine,
    deployed: &DeployedImage,
    scratch: &Scratch,
    live: &Live,
) -> anyhow::Result<Left> {
    let progress = live.progress();
    let exported = deployed.export(engine, scratch.path(), &*progress);
    let mut exported = exported.await?;
    if let Some(Output(to)) = &args.output {
        exported = deployed.write_layout(exported, to).await?;
    }
    let mut pushed = None;
    if let Some((name, tag)) = push {
        let repository = app.repository(name).await?;
        let moved = push_image(&exported, &repository, tag, &*live.transfer()).await?;
        pushed = Some((format!("{name}:{tag}"), moved));
    }
    Ok(Left {
        manifest: exported.digest(),
        size: exported.size_bytes(),
        pushed,
    })
}

fn show(app: &App, args: &DeployArgs, done: &Done) -> anyhow::Result<()> {
    let (deployed, left) = (&done.deployed, done.left.as_ref());
    let layout = args.output.as_ref().filter(|_| left.is_some());
    let layout = layout.map(|Output(folder)| folder.display().to_string());
    let pushed = left.and_then(|left| left.pushed.as_ref());
    if app.ui.is_json() {
        return app.ui.json(&DeployImageJson {
            name: deployed.name.clone(),
            version: deployed.version,
            image: deployed.image.0,
            config: deployed.config,
            tags: deployed.tags.clone(),
            manifest: left.map(|left| left.manifest),
            size_bytes: left.map(|left| left.size),
            layout,
            pushed: pushed.map(|(reference, _)| reference.clone()),
            transferred: pushed.map(|(_, moved)| MovedJson::from(*moved)),
            verified: done.verification.as_ref().map(VerifiedJson::new),
        });
    }
    let ui = &app.ui;
    ui.data(field("image", deployed.image.0.to_string()))?;
    ui.data(field("tags", deployed.tags.join(", ")))?;
    let version = format!("{}@{}", deployed.name, deployed.version);
    ui.data(field("version", version))?;
    if let Some(Left { manifest, size, .. }) = left {
        ui.data(field("manifest", manifest.to_string()))?;
        ui.data(field("size", ByteSize::bytes(*size).to_string()))?;
    }
    if let Some(folder) = layout {
        ui.data(field("layout", folder))?;
    }
    if let Some((reference, moved)) = pushed {
        ui.data(field("pushed to", reference.clone()))?;
        ui.data(field("transferred", super::push::moved(*moved)))?;
    }
    if let Some(verification) = &done.verification {
        show_verification(app, verification)?;
    }
    if !done.holds() && (args.output.is_some() || args.push.is_some()) {
        ui.warn("it was not written or pushed, because it does not answer as recorded");
    }
    let name = deployed.tags.first().map_or("IMAGE", String::as_str);
    ui.note(format!(
        "run it with `docker run --rm --read-only --network none --cap-drop ALL {name} \"QUERY\"`"
    ));
    Ok(())
}

fn show_verification(app: &App, verification: &Verification) -> anyhow::Result<()> {
    let runs = &verification.runs;
    for VerifiedRun { run, verdict } in runs {
        match verdict {
            Verdict::Same => {}
            Verdict::Different { why } => app.ui.complain(format!("run {run}: {why}")),
            Verdict::Skipped { why } => app.ui.note(format!("run {run} was skipped: {why}")),
        }
    }
    let same = verification.same();
    let text = format!("{same} of {} completed runs answer as recorded", runs.len());
    app.ui.data(field("verified", text))?;
    if same == 0 {
        app.ui.warn("no recorded run could speak for the image");
    }
    Ok(())
}
