//! Environments: the Python distributions that a subagent requires, locked, installed once, and
//! shared by every version with the same lock.
//!
//! Everything that touches a wheel happens in sandboxes: one reaches the package index and fetches,
//! one without a network installs, one imports. The host hashes what they send, and writes one layer.

mod access;
mod ahead;
mod cache;
mod error;
mod index;
mod kept;
mod sandbox;
mod travel;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use runner::images::{self, BaseFacts, Environment, EnvironmentLayer};
use runner::{Engine, EngineConfig, ImageId};
use spec::{ByteSize, Digest, canonical_json};
use store::{Requirement, RunEnvironment, Store};
use tempfile::NamedTempFile;
use tokio_util::sync::CancellationToken;

use self::cache::{Cache, FolderBlobs, LockedJson, Note};
use self::sandbox::{Asked, Builder, INSTALL, PIP, PIP_SHA256};
use crate::compose::Dependencies;
use crate::error::FactoryError;
use crate::factory::Factory;
use crate::watch::{Event, Watcher};

pub use access::IndexAccess;
pub(crate) use ahead::is_outdated;
pub use error::{EnvironmentError, Unmet};
pub use index::{IndexError, PackageIndex};
pub(crate) use travel::{ENVIRONMENT_TYPE, attach, belongs};

/// Counts changes of how environments are made.
const FORMAT: u32 = 1;
/// Requirements that somebody may ask for at once.
const REQUIREMENTS_MAX: usize = 100;
/// Bytes of one of them.
const REQUIREMENT_MAX: usize = 500;

/// Where environments come from and where they are remembered.
#[derive(Clone, Debug)]
pub struct EnvironmentSettings {
    /// Where wheels come from, or why they cannot come; then only what is here can be used.
    pub index: Result<PackageIndex, IndexError>,
    /// A folder for what can be made again.
    pub cache: PathBuf,
    /// The engine that holds the images.
    pub engine: EngineConfig,
}

/// An environment that runs can use.
#[derive(Clone, Debug)]
pub struct Prepared {
    /// What is in it: the whole lock, dependencies included.
    pub requirements: Vec<Requirement>,
    /// The Python that it is for, as in 3.13.
    pub python: String,
    /// The outermost names of the modules in it.
    pub modules: BTreeSet<String>,
    /// Where it is.
    pub environment: Environment,
}

/// What is known of an environment in the cache.
#[derive(Clone, Debug)]
pub struct EnvironmentState {
    /// What decides it.
    pub key: Digest,
    /// The digest of its layer.
    pub layer: Digest,
    /// Bytes of its layer.
    pub size: ByteSize,
    /// The version of the Python that it is for.
    pub python: String,
    /// What is in it.
    pub requirements: Vec<Requirement>,
    /// Its images, by the sandbox image below.
    pub images: BTreeMap<Digest, Digest>,
}

impl From<Note> for EnvironmentState {
    fn from(note: Note) -> Self {
        Self {
            key: note.key,
            layer: note.layer,
            size: ByteSize::bytes(note.size),
            python: note.python,
            requirements: note.requirements.into_iter().map(Into::into).collect(),
            images: note.images,
        }
    }
}

impl EnvironmentSettings {
    /// Every environment that is remembered.
    ///
    /// # Errors
    /// [`EnvironmentError::File`].
    pub fn list(&self) -> Result<Vec<EnvironmentState>, EnvironmentError> {
        let notes = Cache::at(&self.cache).notes()?;
        Ok(notes.into_iter().map(Into::into).collect())
    }

    /// Removes the environments that `is_kept` does not keep, their images included, and gives
    /// those that it removed. Nothing is lost: each can be made again from its lock.
    ///
    /// # Errors
    /// The engine's, and [`EnvironmentError::File`].
    pub async fn remove(
        &self,
        is_kept: impl Fn(&EnvironmentState) -> bool,
        cancel: &CancellationToken,
    ) -> Result<Vec<EnvironmentState>, FactoryError> {
        let cache = Cache::open(&self.cache)?;
        let _work = cache.lock(cancel).await?;
        let (mut kept, mut removed) = (Vec::new(), Vec::new());
        let mut engine = None;
        for note in cache.notes()? {
            let state = EnvironmentState::from(note.clone());
            if is_kept(&state) {
                kept.push(note);
                continue;
            }
            for image in note.images.values() {
                let engine = match &mut engine {
                    Some(engine) => engine,
                    None => engine.insert(Engine::connect(&self.engine).await?),
                };
                images::remove_environment(engine, &ImageId(*image))
                    .await
                    .map_err(EnvironmentError::from)?;
            }
            cache.remove(&note.key)?;
            removed.push(state);
        }
        cache.remove_locks(&kept)?;
        cache.remove_wheels(&kept)?;
        cache.remove_imports(&kept)?;
        Ok(removed)
    }
}

impl Factory {
    /// Resolves requirements as people write them (PEP 508), and makes their environment.
    ///
    /// What has been resolved before is resolved to the same, without asking the index, until
    /// [`EnvironmentSettings::remove`] forgets it.
    ///
    /// # Errors
    /// [`FactoryError::Environment`] and those of a run.
    pub async fn prepare(
        &self,
        wanted: &[String],
        watcher: &Arc<dyn Watcher>,
        cancel: &CancellationToken,
    ) -> Result<Prepared, FactoryError> {
        self.prepare_with(wanted, &Dependencies::default(), watcher, cancel)
            .await
    }

    /// The same with all that versions require that it depends on: one lock, in which theirs stand
    /// as they are.
    ///
    /// # Errors
    /// As [`Self::prepare`], and [`FactoryError::Composition`] where their locks exclude each other.
    pub(crate) async fn prepare_with(
        &self,
        wanted: &[String],
        dependencies: &Dependencies,
        watcher: &Arc<dyn Watcher>,
        cancel: &CancellationToken,
    ) -> Result<Prepared, FactoryError> {
        let python = dependencies.locked_python()?.unwrap_or_default();
        let theirs = dependencies.merged(&[])?;
        if theirs.is_empty() {
            return self.resolve(wanted, watcher, cancel).await;
        }
        let mut locked = theirs.clone();
        if !wanted.is_empty() {
            let pins = theirs.iter();
            let pins = pins.map(|one| format!("{}=={}", one.name, one.version));
            let all: Vec<String> = wanted.iter().cloned().chain(pins).collect();
            let found = self.resolve(&all, watcher, cancel).await;
            let found = found.map_err(|error| beside(error, &theirs))?;
            locked = dependencies.merged(&found.requirements)?;
            if locked == found.requirements {
                return Ok(found);
            }
        }
        self.locked(&locked, python, watcher, cancel).await
    }

    async fn resolve(
        &self,
        wanted: &[String],
        watcher: &Arc<dyn Watcher>,
        cancel: &CancellationToken,
    ) -> Result<Prepared, FactoryError> {
        let wanted = checked(wanted)?;
        let place = self.place().await?;
        let index = place.settings.index.as_ref();
        let index = index.map_err(|error| EnvironmentError::Index(error.clone()))?;
        let asked = asked_key(index, &wanted, place.minor());
        if let Some(locked) = place.cache.locked(&asked) {
            return place.locked(&locked, watcher, cancel).await;
        }
        let work = place.cache.lock(cancel).await?;
        let what = "resolving the requirements at the package index";
        watcher.event(&Event::Preparing { what });
        let builder = place.builder(FolderBlobs(work.folder.clone()), watcher, cancel);
        let pip = place.cache.root().join(PIP);
        let fetched = builder.fetch(Asked::New(&wanted), &pip).await?;
        let locked = fetched.requirements.clone();
        let key = place.key(&locked);
        let note = match place.usable(&key) {
            Some(note) => note,
            None => place.make(key, &builder, &fetched, watcher).await?,
        };
        let environment = place.load(note.clone(), watcher).await?;
        let direct = note
            .modules
            .iter()
            .filter(|(name, modules)| fetched.direct.contains(name) && !modules.is_empty());
        let what = "importing what was installed";
        watcher.event(&Event::Preparing { what });
        builder
            .check(environment.image.clone(), &direct.collect())
            .await?;
        place.cache.put_locked(&asked, locked.clone())?;
        Ok(Prepared {
            requirements: locked.into_iter().map(Into::into).collect(),
            python: place.minor().to_owned(),
            modules: note.importable(),
            environment,
        })
    }

    /// The environment of a version: from the cache, from the store, or made anew from its lock.
    ///
    /// `python` is the Python that the version is for, as in 3.13.
    ///
    /// # Errors
    /// [`FactoryError::Environment`] and those of a run.
    pub async fn environment(
        &self,
        requirements: &[Requirement],
        python: &str,
        watcher: &Arc<dyn Watcher>,
        cancel: &CancellationToken,
    ) -> Result<Environment, FactoryError> {
        let prepared = self.locked(requirements, python, watcher, cancel);
        Ok(prepared.await?.environment)
    }

    /// The same, with what is in it.
    pub(crate) async fn locked(
        &self,
        requirements: &[Requirement],
        python: &str,
        watcher: &Arc<dyn Watcher>,
        cancel: &CancellationToken,
    ) -> Result<Prepared, FactoryError> {
        let place = self.place().await?;
        if place.minor() != python {
            return Err(EnvironmentError::Python {
                wanted: python.to_owned(),
                found: place.minor().to_owned(),
            }
            .into());
        }
        let mut locked: Vec<LockedJson> = requirements.iter().map(Into::into).collect();
        locked.sort();
        place.locked(&locked, watcher, cancel).await
    }

    /// Has the engine hold the image of an environment again that a run was in: from the lock of the version
    /// that ran, else from the layer that its record names.
    ///
    /// # Errors
    /// [`FactoryError::Environment`], and those of the store and of a run.
    pub(crate) async fn environment_again(
        &self,
        layer: &RunEnvironment,
        version: Option<&Digest>,
        watcher: &Arc<dyn Watcher>,
        cancel: &CancellationToken,
    ) -> Result<ImageId, FactoryError> {
        if let Some(version) = version {
            let content = self.store.version(version)?.content;
            let dependencies = Dependencies::read(&self.store, &content.depends)?;
            let locked = dependencies.merged(&content.requirements)?;
            let made = self.environment(&locked, &content.python, watcher, cancel);
            return Ok(made.await?.image);
        }
        let settings = self.environments.as_ref();
        let settings = settings.ok_or(EnvironmentError::NotConfigured)?;
        let cache = Cache::open(&settings.cache)?;
        let (store, digest, root) = (
            Arc::clone(&self.store),
            layer.layer,
            cache.root().to_owned(),
        );
        let copy = move || -> Result<_, FactoryError> {
            let wrong = || EnvironmentError::file("write", &root);
            let mut file = NamedTempFile::new_in(&root).map_err(wrong())?;
            let size = std::io::copy(&mut store.open(&digest)?, &mut file).map_err(wrong())?;
            Ok((file, size))
        };
        let (file, size) = tokio::task::spawn_blocking(copy).await??;
        let archive = EnvironmentLayer {
            path: file.path().to_owned(),
            digest,
            size,
        };
        let engine = Engine::connect(&settings.engine).await?;
        let (progress, key) = (Told(Arc::clone(watcher)), layer.key);
        let (below, cache) = (&self.image, cache.root());
        let loaded = images::load_environment(&engine, below, key, &archive, cache, &progress);
        Ok(loaded.await.map_err(EnvironmentError::from)?.image)
    }

    /// Has the store hold the layer of an environment that the cache remembers. Says whether that can be
    /// had without making the environment anew.
    pub(crate) async fn holds(&self, prepared: &Prepared) -> bool {
        let Some(settings) = &self.environments else {
            return false;
        };
        let cache = Cache::at(&settings.cache);
        let Some(note) = cache.note(&prepared.environment.key) else {
            return false;
        };
        let store = Arc::clone(&self.store);
        let kept = tokio::task::spawn_blocking(move || keep(&store, &cache, &note));
        matches!(kept.await, Ok(Ok(())))
    }

    /// Where environments of this factory are made.
    async fn place(&self) -> Result<Place<'_>, FactoryError> {
        let settings = self.environments.as_ref();
        let settings = settings.ok_or(EnvironmentError::NotConfigured)?;
        let engine = Engine::connect(&settings.engine).await?;
        let base = images::base_facts(&engine, &self.image)
            .await
            .map_err(EnvironmentError::from)?;
        let cache = Cache::open(&settings.cache)?;
        cache.put_base(&self.image, &base)?;
        Ok(Place {
            factory: self,
            settings,
            cache,
            engine,
            base,
        })
    }
}

/// Everything that one environment is made with.
struct Place<'a> {
    factory: &'a Factory,
    settings: &'a EnvironmentSettings,
    cache: Cache,
    engine: Engine,
    base: BaseFacts,
}

impl<'a> Place<'a> {
    /// The Python of the sandbox image without its last number, as in 3.13.
    fn minor(&self) -> &str {
        minor_of(&self.base.python)
    }

    /// What decides an environment.
    fn key(&self, locked: &[LockedJson]) -> Digest {
        locked_key(&self.base, locked)
    }

    fn builder<'b>(
        &self,
        blobs: FolderBlobs,
        watcher: &'b Arc<dyn Watcher>,
        cancel: &'b CancellationToken,
    ) -> Builder<'b>
    where
        'a: 'b,
    {
        Builder {
            factory: self.factory,
            index: self.settings.index.as_ref(),
            blobs,
            watcher,
            cancel,
        }
    }

    /// The environment of a lock.
    async fn locked(
        &self,
        locked: &[LockedJson],
        watcher: &Arc<dyn Watcher>,
        cancel: &CancellationToken,
    ) -> Result<Prepared, FactoryError> {
        let key = self.key(locked);
        let prepared = |modules, environment| Prepared {
            requirements: locked.iter().cloned().map(Into::into).collect(),
            python: self.minor().to_owned(),
            modules,
            environment,
        };
        if let Some(note) = self.usable(&key) {
            return Ok(prepared(note.importable(), self.load(note, watcher).await?));
        }
        let work = self.cache.lock(cancel).await?;
        // Somebody else may have made it meanwhile.
        let note = if let Some(note) = self.usable(&key) {
            note
        } else {
            let builder = self.builder(FolderBlobs(work.folder.clone()), watcher, cancel);
            self.make_locked(key, &builder, locked, watcher).await?
        };
        Ok(prepared(note.importable(), self.load(note, watcher).await?))
    }

    /// Makes the environment of a lock: from wheels that are here, else from those of the index.
    async fn make_locked(
        &self,
        key: Digest,
        builder: &Builder<'_>,
        locked: &[LockedJson],
        watcher: &Arc<dyn Watcher>,
    ) -> Result<Note, FactoryError> {
        if let Some(kept) = self.kept(locked, &builder.blobs).await? {
            match self.make(key, builder, &kept, watcher).await {
                // They may be for another platform.
                Err(FactoryError::Environment(EnvironmentError::Install(why)))
                    if self.settings.index.is_ok() =>
                {
                    tracing::warn!(%why, "the wheels that are here cannot be installed");
                }
                other => return other,
            }
        }
        let what = "fetching the wheels that are locked";
        watcher.event(&Event::Preparing { what });
        let pip = self.cache.root().join(PIP);
        let fetched = builder.fetch(Asked::Locked(locked), &pip).await?;
        self.make(key, builder, &fetched, watcher).await
    }

    /// What is known of an environment whose layer or image can still be had.
    fn usable(&self, key: &Digest) -> Option<Note> {
        let note = self.cache.note(key)?;
        let is_cached = || self.cache.has_layer(key, note.size);
        let is_stored = || self.factory.store.contains(&note.layer).unwrap_or(false);
        (is_cached() || is_stored()).then_some(note)
    }

    /// Installs wheels and writes the layer.
    async fn make(
        &self,
        key: Digest,
        builder: &Builder<'_>,
        fetched: &sandbox::Fetched,
        watcher: &Arc<dyn Watcher>,
    ) -> Result<Note, FactoryError> {
        for wheel in &fetched.wheels {
            let path = builder.blobs.path(&wheel.digest);
            self.cache.keep_wheel(&wheel.digest, &path)?;
        }
        let count = fetched.requirements.len();
        let what = &format!("installing {count} distributions and compiling them");
        watcher.event(&Event::Preparing { what });
        let installed = builder.install(fetched).await?;
        let path = self.cache.layer_path(&key);
        let unfinished = builder.blobs.0.join("layer.tar");
        let written = tokio::task::spawn_blocking(move || {
            images::write_environment_layer(&installed.archive, &unfinished)
        });
        let layer = written.await?.map_err(EnvironmentError::from)?;
        std::fs::rename(&layer.path, &path).map_err(EnvironmentError::file("write", &path))?;
        let mut note = Note::new(key, &layer, &self.base.python);
        note.requirements.clone_from(&fetched.requirements);
        note.modules = installed.modules;
        self.cache.put_note(&note)?;
        Ok(note)
    }

    /// Has the engine hold the image, and the store the layer.
    async fn load(
        &self,
        mut note: Note,
        watcher: &Arc<dyn Watcher>,
    ) -> Result<Environment, FactoryError> {
        let path = self.cache.layer_path(&note.key);
        let (store, cache) = (Arc::clone(&self.factory.store), self.cache.clone());
        let kept = note.clone();
        tokio::task::spawn_blocking(move || keep(&store, &cache, &kept)).await??;
        let below = &self.factory.image;
        if let Some(image) = note.images.get(&below.0)
            && images::is_on_engine(&self.engine, &ImageId(*image))
                .await
                .map_err(EnvironmentError::from)?
        {
            return Ok(Environment {
                key: note.key,
                layer: note.layer,
                image: ImageId(*image),
            });
        }
        let layer = EnvironmentLayer {
            path,
            digest: note.layer,
            size: note.size,
        };
        let progress = Told(Arc::clone(watcher));
        let (engine, cache) = (&self.engine, self.cache.root());
        let loaded =
            images::load_environment(engine, below, note.key, &layer, cache, &progress).await;
        let environment = loaded.map_err(EnvironmentError::from)?;
        note.images.insert(below.0, environment.image.0);
        self.cache.put_note(&note)?;
        Ok(environment)
    }
}

/// Has both the store and the cache hold a layer: the store so that it can be pushed and used again
/// elsewhere, the cache because all homes share it.
fn keep(store: &Store, cache: &Cache, note: &Note) -> Result<(), FactoryError> {
    // Nothing but the run's record will name it, so it is held until then.
    if cache.has_layer(&note.key, note.size) {
        travel::keep(store, &note.layer, &cache.layer_path(&note.key))?;
    } else if store.hold_blob(&note.layer)? {
        cache.put_layer(&note.key, &mut store.open(&note.layer)?)?;
    }
    Ok(())
}

/// Tells who watches the run what the image's part does.
#[derive(Debug)]
struct Told(Arc<dyn Watcher>);

impl images::Progress for Told {
    fn phase(&self, what: &str) {
        self.0.event(&Event::Preparing { what });
    }

    fn note(&self, what: &str) {
        self.0.event(&Event::Preparing { what });
    }

    fn bytes(&self, _done: u64, _total: Option<u64>) {}
}

/// Requirements in one form: each once, sorted. Their grammar is pip's affair.
fn checked(wanted: &[String]) -> Result<Vec<String>, EnvironmentError> {
    let mut wanted: Vec<String> = wanted.iter().map(|text| text.trim().to_owned()).collect();
    wanted.sort();
    wanted.dedup();
    let wrong = |text: &str, why: &str| EnvironmentError::Syntax {
        requirement: spec::printable(text, 100),
        why: why.to_owned(),
    };
    if wanted.len() > REQUIREMENTS_MAX {
        let why = format!("more than {REQUIREMENTS_MAX} are asked for");
        return Err(wrong(&wanted[0], &why));
    }
    for text in &wanted {
        if !text.starts_with(|c: char| c.is_ascii_alphanumeric()) {
            return Err(wrong(text, "it does not begin with a letter or a digit"));
        }
        if text.len() > REQUIREMENT_MAX || text.chars().any(char::is_control) {
            return Err(wrong(text, "it is too long, or not one line"));
        }
    }
    Ok(wanted)
}

/// Says of a conflict that what the program depends on may be a part of it.
fn beside(error: FactoryError, theirs: &[Requirement]) -> FactoryError {
    let FactoryError::Environment(EnvironmentError::Unmet {
        kind: kind @ (Unmet::Conflict | Unmet::Version | Unmet::NoWheel),
        what,
        why,
    }) = error
    else {
        return error;
    };
    let pins = theirs.iter();
    let pins = pins.map(|one| format!("{}=={}", one.name, one.version));
    let pins = pins.collect::<Vec<_>>().join(", ");
    let why = format!("{why}; what it depends on is locked to {pins}");
    EnvironmentError::Unmet { kind, what, why }.into()
}

/// A version of Python without its last number, as in 3.13.
fn minor_of(python: &str) -> &str {
    python.rsplit_once('.').map_or(python, |(minor, _)| minor)
}

/// What requirements as people write them are remembered by.
fn asked_key(index: &PackageIndex, wanted: &[String], minor: &str) -> Digest {
    key_of(&(FORMAT, index.url(), wanted, minor))
}

/// What decides an environment.
fn locked_key(base: &BaseFacts, locked: &[LockedJson]) -> Digest {
    let how = Digest::of(INSTALL.as_bytes());
    key_of(&(FORMAT, how, PIP_SHA256, base.content, locked))
}

fn key_of<T: serde::Serialize>(value: &T) -> Digest {
    Digest::of(&canonical_json(value).expect("texts and small numbers have a JSON form"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requirements_are_names_and_not_options() {
        let check = |texts: &[&str], expected: Option<&[&str]>| {
            let texts: Vec<String> = texts.iter().map(|text| (*text).to_owned()).collect();
            let found = checked(&texts).ok();
            let found = found
                .as_ref()
                .map(|found| found.iter().map(String::as_str).collect::<Vec<_>>());
            assert_eq!(found.as_deref(), expected, "{texts:?}");
        };
        check(
            &["pandas>=2", " numpy ", "numpy"],
            Some(&["numpy", "pandas>=2"]),
        );
        check(&["--index-url=https://x"], None);
        check(&["-e ."], None);
        check(&["./a.whl"], None);
        check(&["/a.whl"], None);
        check(&["a\n--pre"], None);
        check(&[""], None);
    }

    #[test]
    fn the_pinned_installer_has_a_digest() {
        assert!(PIP_SHA256.parse::<Digest>().is_ok());
    }
}
