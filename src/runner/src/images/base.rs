//! The image that ours is made on: from the engine, from a registry, or bootstrapped.

use std::collections::HashMap;
use std::time::Duration;

use bollard::errors::Error;
use bollard::models::ImageInspect;
use bollard::query_parameters::CreateImageOptionsBuilder;
use futures::StreamExt as _;
use spec::Digest;

use super::bootstrap;
use super::config::Platform;
use super::files::{Cache, Lock, LockedBase};
use super::recipe::{Recipe, digest};
use super::{BaseSource, BuildRequest, ImageError, Progress};
use crate::docker::calls::{call, refusal};
use crate::{Engine, RunnerError};

/// How long the engine may say nothing while it pulls. It reports several times a second while it
/// downloads, and gives up itself where a connection is refused or a name unknown.
const PULL_IDLE: Duration = Duration::from_secs(30);

/// Where programs are looked for in an image that does not say.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A base that is on the engine.
#[derive(Clone, Debug)]
pub(super) struct Base {
    /// How it is called, for people.
    pub(super) name: String,
    /// How the engine calls it.
    pub(super) id: String,
    pub(super) layers: Vec<Digest>,
    pub(super) platform: Platform,
    /// Its `PATH`.
    pub(super) path: String,
    pub(super) locked: LockedBase,
    pub(super) source: BaseSource,
}

impl Base {
    /// Describes an image of the engine.
    pub(super) fn of(
        image: ImageInspect,
        name: String,
        locked: LockedBase,
        source: BaseSource,
    ) -> Result<Self, ImageError> {
        let layers = layers(&image, &name)?;
        let platform = Platform::of(&image);
        let environment = image.config.and_then(|config| config.env);
        let path = environment
            .iter()
            .flatten()
            .find_map(|variable| variable.strip_prefix("PATH="))
            .unwrap_or(DEFAULT_PATH)
            .to_owned();
        Ok(Self {
            id: image.id.unwrap_or_else(|| name.clone()),
            layers,
            platform,
            name,
            path,
            locked,
            source,
        })
    }

    /// The digest of what the base consists of, however it is called.
    pub(super) fn content(&self) -> Digest {
        digest(&(&self.layers, &self.platform, &self.path))
    }
}

/// The diff ids of an image's layers.
pub(super) fn layers(image: &ImageInspect, name: &str) -> Result<Vec<Digest>, ImageError> {
    let layers = image.root_fs.iter().flat_map(|root| root.layers.iter());
    layers
        .flatten()
        .map(|layer| layer.parse())
        .collect::<Result<_, _>>()
        .map_err(|_| ImageError::NotWhatWasSent(name.to_owned()))
}

/// Looks for an image on the engine.
pub(super) async fn inspect(
    engine: &Engine,
    image: &str,
) -> Result<Option<ImageInspect>, RunnerError> {
    match call("look for an image", engine.docker.inspect_image(image)).await {
        Ok(image) => Ok(Some(image)),
        Err(error) if refusal(&error) == Some(404) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Gets the base that is asked for; it is locked only when the whole build has succeeded.
pub(super) async fn ensure(
    engine: &Engine,
    request: &BuildRequest<'_>,
    recipe: &Recipe,
    cache: &Cache,
    lock: &Lock,
) -> Result<Base, ImageError> {
    let progress = request.progress;
    let locked = |name: &str| lock.bases.get(name).filter(|_| !request.refresh);
    if let Some(named) = &request.base {
        let reference = Reference::parse(named)?;
        let locked = locked(named);
        return from_engine_or_registry(engine, &reference, locked, request.refresh, progress)
            .await;
    }
    let reference = Reference::parse(&recipe.settings.image)?;
    let locked = locked(Lock::DEFAULT);
    let settings = &recipe.settings.bootstrap;
    let bootstrap = || bootstrap::ensure(engine, request, settings, cache, locked);
    match locked {
        // The recipe may name another image than when the lock was written.
        Some(
            base @ LockedBase::Registry {
                reference: name, ..
            },
        ) if *name == reference.text => {
            from_engine_or_registry(engine, &reference, Some(base), false, progress).await
        }
        Some(LockedBase::Bootstrap { .. }) => bootstrap().await,
        _ => {
            let refresh = request.refresh;
            let pulled = from_engine_or_registry(engine, &reference, None, refresh, progress).await;
            let pull = match pulled {
                Err(error @ ImageError::Pull { .. }) => error,
                other => return other,
            };
            progress.note(&format!(
                "{pull}; the base is made from the distribution's packages instead"
            ));
            bootstrap().await.map_err(|error| ImageError::NoBase {
                pull: Box::new(pull),
                bootstrap: Box::new(error),
            })
        }
    }
}

/// Checks a name for an image that is to be made, and gives it the tag `latest` if it has none.
///
/// # Errors
/// [`ImageError::Reference`] for what is no name, or names an image by its digest;
/// [`ImageError::Reserved`] for the images that sandboxes are made from.
pub fn image_name(text: &str) -> Result<String, ImageError> {
    let Reference {
        repository,
        tag,
        digest,
        ..
    } = Reference::parse(text)?;
    if digest.is_some() {
        return Err(ImageError::Reference(text.to_owned()));
    }
    if matches!(
        familiar(&repository),
        "agentfactory/base" | "agentfactory/bootstrap"
    ) {
        return Err(ImageError::Reserved(text.to_owned()));
    }
    Ok(format!(
        "{repository}:{}",
        tag.as_deref().unwrap_or("latest")
    ))
}

/// The name of an image, as far as we read it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Reference {
    /// As it was written.
    text: String,
    /// Without tag and digest.
    repository: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

impl Reference {
    fn parse(text: &str) -> Result<Self, ImageError> {
        let wrong = || ImageError::Reference(text.to_owned());
        let plain = |c: char| c.is_ascii_alphanumeric() || "._-/:@".contains(c);
        if !text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '[')
            || !text.chars().all(|c| plain(c) || "[]".contains(c))
        {
            return Err(wrong());
        }
        let (name, digest) = match text.split_once('@') {
            Some((name, digest)) => (name, Some(digest.parse().map_err(|_| wrong())?)),
            None => (text, None),
        };
        let last = name.rfind('/').map_or(0, |slash| slash + 1);
        let (repository, tag) = match name[last..].find(':') {
            Some(colon) => (&name[..last + colon], Some(&name[last + colon + 1..])),
            None => (name, None),
        };
        if repository.is_empty() || tag == Some("") {
            return Err(wrong());
        }
        Ok(Self {
            text: text.to_owned(),
            repository: repository.to_owned(),
            tag: tag.map(str::to_owned),
            digest,
        })
    }

    fn pinned(&self, digest: Digest) -> String {
        format!("{}@{digest}", self.repository)
    }

    /// The digest by which the registry of this reference knows the image.
    fn digest_in(&self, image: &ImageInspect) -> Option<Digest> {
        image.repo_digests.iter().flatten().find_map(|known| {
            let (repository, digest) = known.split_once('@')?;
            let same = familiar(repository) == familiar(&self.repository);
            same.then(|| digest.parse().ok())?
        })
    }
}

/// The short form in which an engine lists the repositories of the default registry.
fn familiar(repository: &str) -> &str {
    let short = repository
        .strip_prefix("index.docker.io/")
        .or_else(|| repository.strip_prefix("docker.io/"))
        .unwrap_or(repository);
    short.strip_prefix("library/").unwrap_or(short)
}

async fn from_engine_or_registry(
    engine: &Engine,
    reference: &Reference,
    locked: Option<&LockedBase>,
    refresh: bool,
    progress: &dyn Progress,
) -> Result<Base, ImageError> {
    let locked = match locked {
        Some(LockedBase::Registry { digest, .. }) => Some(*digest),
        Some(LockedBase::Engine { .. } | LockedBase::Bootstrap { .. }) | None => None,
    };
    if let Some(digest) = reference.digest.or(locked) {
        let name = reference.pinned(digest);
        let locked_base = LockedBase::Registry {
            reference: reference.text.clone(),
            digest,
        };
        if let Some(image) = inspect(engine, &name).await? {
            progress.phase(&format!("using `{name}`, which the engine has"));
            return Base::of(image, name, locked_base, BaseSource::OnEngine);
        }
        let image = pull(engine, reference, &digest.to_string(), &name, progress).await;
        let image = image.map_err(|error| match error {
            ImageError::Pull { .. } if locked.is_some() => ImageError::Locked(Box::new(error)),
            other => other,
        })?;
        return Base::of(image, name, locked_base, BaseSource::Pulled);
    }
    let tag = reference.tag.as_deref().unwrap_or("latest");
    let present = inspect(engine, &reference.text).await?;
    // An image without a digest of this registry was made here, so a pull would find another one.
    let local = |image: &ImageInspect| reference.digest_in(image).is_none();
    if let Some(image) = present.filter(|image| !refresh || local(image)) {
        let name = reference.text.clone();
        progress.phase(&format!("using `{name}`, which the engine has"));
        return named(reference, image, BaseSource::OnEngine);
    }
    let image = pull(engine, reference, tag, &reference.text, progress).await?;
    named(reference, image, BaseSource::Pulled)
}

/// The base that a reference stands for at the moment.
fn named(
    reference: &Reference,
    image: ImageInspect,
    source: BaseSource,
) -> Result<Base, ImageError> {
    let text = reference.text.clone();
    let (name, locked) = match reference.digest_in(&image) {
        Some(digest) => (
            reference.pinned(digest),
            LockedBase::Registry {
                reference: text,
                digest,
            },
        ),
        None => (
            text.clone(),
            LockedBase::Engine {
                layers: digest(&layers(&image, &text)?),
                reference: text,
            },
        ),
    };
    Base::of(image, name, locked, source)
}

/// Has the engine pull, with its own configuration of registries and mirrors.
async fn pull(
    engine: &Engine,
    reference: &Reference,
    tag: &str,
    name: &str,
    progress: &dyn Progress,
) -> Result<ImageInspect, ImageError> {
    progress.phase(&format!("pulling `{name}`"));
    let failed = |why: String| ImageError::Pull {
        image: name.to_owned(),
        why,
    };
    let options = CreateImageOptionsBuilder::default()
        .from_image(&reference.repository)
        .tag(tag)
        .build();
    let mut layers = Layers::default();
    let mut events = engine.docker.create_image(Some(options), None, None);
    loop {
        let event = match tokio::time::timeout(PULL_IDLE, events.next()).await {
            Ok(None) => break,
            Ok(Some(Ok(event))) => event,
            Ok(Some(Err(Error::DockerStreamError { error }))) => return Err(failed(error)),
            Ok(Some(Err(Error::DockerResponseServerError { message, .. }))) => {
                return Err(failed(message));
            }
            Ok(Some(Err(source))) => {
                let action = "pull an image";
                return Err(RunnerError::Engine {
                    action,
                    source: source.into(),
                }
                .into());
            }
            Err(_) => {
                let seconds = PULL_IDLE.as_secs();
                return Err(failed(format!("nothing came for {seconds} s")));
            }
        };
        if event.status.as_deref() == Some("Downloading")
            && let (Some(id), Some(detail)) = (event.id, event.progress_detail)
        {
            let (done, total) = layers.add(id, detail.current, detail.total);
            progress.bytes(done, Some(total));
        }
    }
    inspect(engine, name)
        .await?
        .ok_or_else(|| failed("the engine has no such image after it".to_owned()))
}

/// How much of each layer is here.
#[derive(Default)]
struct Layers(HashMap<String, (u64, u64)>);

impl Layers {
    /// The sum over all layers that have begun.
    fn add(&mut self, id: String, current: Option<i64>, total: Option<i64>) -> (u64, u64) {
        let size = |size: Option<i64>| u64::try_from(size.unwrap_or(0)).unwrap_or(0);
        self.0.insert(id, (size(current), size(total)));
        self.0
            .values()
            .fold((0, 0), |sum, layer| (sum.0 + layer.0, sum.1 + layer.1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_taken_apart() {
        let check = |text: &str, expected: Option<(&str, Option<&str>)>| {
            let parsed = Reference::parse(text).ok();
            let parts = parsed
                .as_ref()
                .map(|r| (r.repository.as_str(), r.tag.as_deref()));
            assert_eq!(parts, expected, "{text}");
        };
        let digest = Digest::of(b"");
        check("python", Some(("python", None)));
        check("python:3.13-slim", Some(("python", Some("3.13-slim"))));
        check("127.0.0.1:5000/a/b", Some(("127.0.0.1:5000/a/b", None)));
        check("127.0.0.1:5000/b:c", Some(("127.0.0.1:5000/b", Some("c"))));
        check("[::1]:5000/b:c", Some(("[::1]:5000/b", Some("c"))));
        check(&format!("b:c@{digest}"), Some(("b", Some("c"))));
        check(&digest.to_string(), Some(("sha256", Some(&digest.hex()))));
        check("python@sha256:12", None);
        check("python:", None);
        check("", None);
        check(":3", None);
        check("--privileged", None);
        check("a b", None);
        check("a?b=c", None);
    }

    #[test]
    fn names_of_new_images_have_a_tag() {
        let check = |text: &str, expected: Option<&str>| {
            assert_eq!(image_name(text).ok().as_deref(), expected, "{text}");
        };
        check("team/x", Some("team/x:latest"));
        check("team/x:1", Some("team/x:1"));
        check("127.0.0.1:5000/x", Some("127.0.0.1:5000/x:latest"));
        check("agentfactory/base", None);
        check("docker.io/agentfactory/base:1", None);
        check("agentfactory/bootstrap:latest", None);
        check(&format!("x@{}", Digest::of(b"")), None);
        check("--privileged", None);
    }

    #[test]
    fn the_digest_is_that_of_the_same_repository() {
        let digest = Digest::of(b"x");
        let image = ImageInspect {
            repo_digests: Some(vec![
                format!("example.org/python@{}", Digest::of(b"other")),
                format!("python@{digest}"),
            ]),
            ..ImageInspect::default()
        };
        let check = |text: &str, expected: Option<Digest>| {
            let found = Reference::parse(text).unwrap().digest_in(&image);
            assert_eq!(found, expected, "{text}");
        };
        check("python:3.13-slim", Some(digest));
        check("docker.io/library/python:3", Some(digest));
        check("library/python", Some(digest));
        check("example.org/python", Some(Digest::of(b"other")));
        check("example.com/python", None);
    }
}
