//! What sandboxes are made from.
//!
//! An image of ours is a base with Python and one layer on it: the harness, the shims and bytecode.
//! The base comes from a registry, or from the distribution's packages where no registry is reached.
//! Nothing in an image depends on a clock or on the machine that made it, so the same inputs give the
//! same image.
//!
//! Images that are made of one of these and more layers (environments, deployed versions) are an
//! [`Assembly`]: layers from [`LayerWriter`], an [`ImageConfig`], no build step.

mod apt;
mod archive;
mod assemble;
mod base;
mod bootstrap;
mod compile;
mod config;
mod environment;
mod error;
mod files;
mod join;
mod layer;
mod layout;
mod progress;
mod rebuild;
mod recipe;
mod rootfs;
mod scratch;

use std::ffi::OsString;
use std::path::PathBuf;

use spec::Digest;

use crate::{Engine, ImageId, RunnerError};
use base::Base;
use files::{Cache, Cached, Lock, LockedBase};
use recipe::{Recipe, digest};

pub use archive::LayerFile;
pub use assemble::{Assembly, Parent};
pub use base::image_name;
pub use config::{ImageConfig, LABEL_IMAGE, Platform};
pub use environment::{
    BaseFacts, ENVIRONMENT_ROOT, Environment, EnvironmentLayer, base_facts, is_on_engine,
    load_environment, remove_environment, write_environment_layer,
};
pub use error::ImageError;
pub use layer::{LayerWriter, Written};
pub use layout::Exported;
pub use progress::Progress;
pub use rebuild::{ImageParts, parts, rebuild};
pub use scratch::Scratch;

/// The repository of our images on an engine.
const REPOSITORY: &str = "agentfactory/base";
/// Counts changes of what is in [`ImageConfig`] for our images.
const FORMAT: u32 = 1;
/// Who runs in an image when nobody says otherwise; sandboxes say otherwise.
const USER: &str = "65532:65532";
/// On every image of ours: the format of what is in it.
const LABEL_FORMAT: &str = "agentfactory.format";
/// On every image of ours: the digest of what its base consists of.
const LABEL_BASE: &str = "agentfactory.base";
/// On every image of ours: the version of its Python.
const LABEL_PYTHON: &str = "agentfactory.python";
/// How many of our layers stay cached.
const LAYERS_KEPT: usize = 4;

/// What is built, from what, and where it is remembered.
#[derive(Clone, Debug)]
pub struct BuildRequest<'a> {
    /// The image that ours is made on, by any name that an engine understands. `None` for the
    /// default, or for [`ensure`] what the last build was asked for.
    pub base: Option<String>,
    /// Choose the base anew: ask the registry what the tag stands for now, or use today's packages.
    pub refresh: bool,
    /// Results of finished steps and the record of what was built; may be removed at any time.
    pub cache_dir: PathBuf,
    /// Which base each reference stands for. Worth keeping.
    pub lock_file: PathBuf,
    /// Files that replace those of `images/base`.
    pub overrides_dir: Option<PathBuf>,
    /// Variables for programs of the host that bootstrap a base, such as `http_proxy`. They get
    /// nothing else of our environment.
    pub environment: Vec<(OsString, OsString)>,
    /// Who watches.
    pub progress: &'a dyn Progress,
}

/// An image that is on the engine and ready for use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuiltImage {
    /// What sandboxes are created from.
    pub image: ImageId,
    /// Its name on the engine; `agentfactory/base:latest` is the same image.
    pub tag: String,
    /// The base, by digest where it has one.
    pub base: String,
    /// Where the base came from.
    pub source: BaseSource,
    /// The version of its Python.
    pub python: String,
    /// The interpreter's path in the image.
    pub python_path: String,
    /// Base and layer, unpacked.
    pub size_bytes: u64,
}

/// Where a base came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BaseSource {
    /// The engine had it.
    OnEngine,
    /// The engine pulled it from a registry.
    Pulled,
    /// It is made from the distribution's packages.
    Bootstrapped,
}

/// Builds the image and makes it the one that [`find`] finds.
///
/// What an interrupted build has finished is used by the next one; nothing refers to an image that is
/// not whole. Builds with the same cache wait for each other.
///
/// # Errors
/// [`ImageError`]; then what was found before is found still.
pub async fn build(engine: &Engine, request: &BuildRequest<'_>) -> Result<BuiltImage, ImageError> {
    let progress = request.progress;
    let recipe = Recipe::load(request.overrides_dir.as_deref())?;
    let cache = Cache::open(&request.cache_dir, progress).await?;
    let mut lock = Lock::read(&request.lock_file)?;
    let base = base::ensure(engine, request, &recipe, &cache, &lock).await?;

    let name = format!("layer-{}", layer_key(&recipe, &base).short());
    let ours = if let Some(cached) = cache.get::<compile::Facts>(&name) {
        cached
    } else {
        progress.phase("compiling the harness and the standard library with the image's Python");
        let made = compile::run(engine, &base, &recipe, &cache, &name).await?;
        cache.prune("layer-", LAYERS_KEPT)?;
        made
    };

    let (image, tag) = load(engine, &base, &recipe, &ours, &cache, progress).await?;
    let loaded = base::inspect(engine, &tag).await?;
    let size = loaded.and_then(|image| image.size).unwrap_or_default();
    files::record(&request.cache_dir, &image_key(&recipe, &base.locked), image)?;
    let selected = request.base.clone();
    lock.selected = selected.unwrap_or_else(|| Lock::DEFAULT.to_owned());
    lock.bases.insert(lock.selected.clone(), base.locked);
    lock.write(&request.lock_file)?;
    Ok(BuiltImage {
        image: ImageId(image),
        tag,
        base: base.name,
        source: base.source,
        python: ours.facts.version,
        python_path: ours.facts.executable,
        size_bytes: u64::try_from(size).unwrap_or_default(),
    })
}

/// Finds the image that is used now: what the last build made, if the harness is still that one.
///
/// # Errors
/// [`RunnerError::ImageMissing`] when it was built and this engine does not have it.
pub async fn find(
    engine: &Engine,
    request: &BuildRequest<'_>,
) -> Result<Option<ImageId>, ImageError> {
    let recipe = Recipe::load(request.overrides_dir.as_deref())?;
    let lock = Lock::read(&request.lock_file)?;
    let selected = request.base.as_ref().unwrap_or(&lock.selected);
    let Some(base) = lock.bases.get(selected) else {
        return Ok(None);
    };
    let known = files::recorded(&request.cache_dir, &image_key(&recipe, base))?;
    for image in &known {
        if base::inspect(engine, &image.to_string()).await?.is_some() {
            return Ok(Some(ImageId(*image)));
        }
    }
    match known.into_iter().next() {
        Some(image) => Err(RunnerError::ImageMissing(ImageId(image)).into()),
        None => Ok(None),
    }
}

/// What decides which image is used now, without asking an engine: two requests with the same key
/// use the same image. `None` before the first build.
///
/// # Errors
/// [`ImageError`] when the files of the image cannot be read.
pub fn key(request: &BuildRequest<'_>) -> Result<Option<Digest>, ImageError> {
    let recipe = Recipe::load(request.overrides_dir.as_deref())?;
    let lock = Lock::read(&request.lock_file)?;
    let selected = request.base.as_ref().unwrap_or(&lock.selected);
    Ok(lock
        .bases
        .get(selected)
        .map(|base| image_key(&recipe, base)))
}

/// What the image that is used now was built as, the last one first, without asking an engine.
///
/// # Errors
/// [`ImageError`] when the files of the image, or what is remembered of it, cannot be read.
pub fn recorded(request: &BuildRequest<'_>) -> Result<Vec<ImageId>, ImageError> {
    let Some(key) = key(request)? else {
        return Ok(Vec::new());
    };
    let images = files::recorded(&request.cache_dir, &key)?;
    Ok(images.into_iter().map(ImageId).collect())
}

/// The digest of our part of the image that is used now: the harness and the shims, and how their
/// bytecode is made.
///
/// # Errors
/// [`ImageError`] when the files of the image cannot be read.
pub fn harness(request: &BuildRequest<'_>) -> Result<Digest, ImageError> {
    Ok(Recipe::load(request.overrides_dir.as_deref())?.digest())
}

/// Finds the image that is used now, or builds it.
///
/// # Errors
/// [`ImageError`], as from [`build`].
pub async fn ensure(engine: &Engine, request: &BuildRequest<'_>) -> Result<ImageId, ImageError> {
    match find(engine, request).await {
        Ok(Some(image)) => return Ok(image),
        Ok(None) | Err(ImageError::Engine(RunnerError::ImageMissing(_))) => {}
        Err(error) => return Err(error),
    }
    let mut request = request.clone();
    if request.base.is_none() {
        let selected = Lock::read(&request.lock_file)?.selected;
        request.base = Some(selected).filter(|selected| selected != Lock::DEFAULT);
    }
    build(engine, &request).await.map(|built| built.image)
}

/// What decides our layer.
fn layer_key(recipe: &Recipe, base: &Base) -> Digest {
    digest(&(FORMAT, recipe.digest(), base.content()))
}

/// What decides which image is used: the harness and the locked base.
fn image_key(recipe: &Recipe, base: &LockedBase) -> Digest {
    digest(&(FORMAT, recipe.digest(), base))
}

/// Puts our layer on the base, on the engine.
async fn load(
    engine: &Engine,
    base: &Base,
    recipe: &Recipe,
    ours: &Cached<compile::Facts>,
    cache: &Cache,
    progress: &dyn Progress,
) -> Result<(Digest, String), ImageError> {
    let image = Assembly {
        parent: Some(base.id.clone()),
        layers: vec![ours.file()],
        config: image_config(base, recipe, ours),
    };
    let tag = format!("{REPOSITORY}:{}", image.config.digest().short());
    let tags = [tag.clone(), format!("{REPOSITORY}:latest")];
    let loaded = image
        .load(engine, &tags, &cache.partial(), progress)
        .await?;
    Ok((loaded.0, tag))
}

fn image_config(base: &Base, recipe: &Recipe, ours: &Cached<compile::Facts>) -> ImageConfig {
    let mut layers = base.layers.clone();
    layers.push(ours.layer.digest);
    let mut labels = std::collections::BTreeMap::from([
        (LABEL_IMAGE, "base".to_owned()),
        (LABEL_FORMAT, FORMAT.to_string()),
        ("agentfactory.harness", recipe.digest().to_string()),
        (LABEL_BASE, base.content().to_string()),
        (LABEL_PYTHON, ours.facts.version.clone()),
    ]);
    if let LockedBase::Registry { digest, .. } = base.locked {
        // Source: the OCI image specification's annotation keys.
        labels.insert("org.opencontainers.image.base.digest", digest.to_string());
    }
    let labels = labels.into_iter();
    ImageConfig {
        platform: base.platform.clone(),
        environment: compile::environment(base),
        entrypoint: ours.facts.entrypoint(),
        user: USER.to_owned(),
        working_dir: "/workspace".to_owned(),
        labels: labels
            .map(|(name, value)| (name.to_owned(), value))
            .collect(),
        layers,
    }
}
