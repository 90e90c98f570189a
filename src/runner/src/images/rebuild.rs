//! The image again, from nothing, to see whether it is the same.

use std::path::Path;

use spec::Digest;

use super::assemble::Parent;
use super::base::{self, Base};
use super::config::ImageConfig;
use super::files::{Cache, Lock, LockedBase};
use super::recipe::Recipe;
use super::{BuildRequest, ImageError, bootstrap, compile, image_config, layer_key};
use crate::{Engine, ImageId};

/// What an image of ours consists of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageParts {
    /// The content of its base: layers, platform and path.
    pub base: Option<Digest>,
    /// Our files in it, and how their bytecode is made.
    pub harness: Option<Digest>,
    /// The version of its Python.
    pub python: Option<String>,
    /// Our layer: the uppermost.
    pub layer: Option<Digest>,
    /// Its configuration, which names the layers: the image's id on engines that keep it so.
    pub config: Digest,
    /// `NAME=VERSION` of each package of the distribution in a base that was made from them.
    pub packages: Vec<String>,
}

/// What an image of the engine consists of.
///
/// # Errors
/// [`crate::RunnerError::ImageMissing`] when the engine has it not, and the engine's errors.
pub async fn parts(engine: &Engine, image: &ImageId) -> Result<ImageParts, ImageError> {
    let config = Parent::inspect(engine, image).await?.config;
    let packages = match config.layers.first() {
        Some(lowest) => bootstrap::packages(engine, *lowest).await?,
        None => Vec::new(),
    };
    Ok(ImageParts::of(&config, packages))
}

/// Makes the image that is used now once more, and says what it consists of. Nothing that was made
/// before is used but the choice of the base: one from a registry is the one that was locked, and the
/// packages of one that is made from them are today's. `scratch` is an empty folder.
///
/// The image itself is not loaded. A base that turns out to be another one stays on the engine.
///
/// # Errors
/// As of [`super::build`].
pub async fn rebuild(
    engine: &Engine,
    request: &BuildRequest<'_>,
    scratch: &Path,
) -> Result<ImageParts, ImageError> {
    let progress = request.progress;
    let recipe = Recipe::load(request.overrides_dir.as_deref())?;
    let cache = Cache::open(scratch, progress).await?;
    let lock = Lock::read(&request.lock_file)?;
    let mut request = request.clone();
    if request.base.is_none() && lock.selected != Lock::DEFAULT {
        request.base = Some(lock.selected.clone());
    }
    let base = match lock.bases.get(&lock.selected) {
        Some(LockedBase::Bootstrap { .. }) => {
            let settings = &recipe.settings.bootstrap;
            bootstrap::ensure(engine, &request, settings, &cache, None).await?
        }
        _ => base::ensure(engine, &request, &recipe, &cache, &lock).await?,
    };
    progress.phase("compiling the harness and the standard library with the image's Python");
    let name = format!("layer-{}", layer_key(&recipe, &base).short());
    let ours = compile::run(engine, &base, &recipe, &cache, &name).await?;
    let config = image_config(&base, &recipe, &ours);
    Ok(ImageParts::of(&config, packages_of(engine, &base).await?))
}

async fn packages_of(engine: &Engine, base: &Base) -> Result<Vec<String>, ImageError> {
    match base.locked {
        LockedBase::Bootstrap { layer, .. } => bootstrap::packages(engine, layer).await,
        LockedBase::Registry { .. } | LockedBase::Engine { .. } => Ok(Vec::new()),
    }
}

impl ImageParts {
    fn of(config: &ImageConfig, packages: Vec<String>) -> Self {
        let label = |name: &str| config.labels.get(name);
        let digest = |name: &str| label(name).and_then(|text| text.parse().ok());
        Self {
            base: digest("agentfactory.base"),
            harness: digest("agentfactory.harness"),
            python: label("agentfactory.python").cloned(),
            layer: config.layers.last().copied(),
            config: config.digest(),
            packages,
        }
    }
}
