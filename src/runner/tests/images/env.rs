//! What the tests share: an engine that is left as it was found.

use std::fs::File;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use bollard::Docker;
use bollard::query_parameters::{
    CreateImageOptionsBuilder, PushImageOptionsBuilder, RemoveImageOptionsBuilder,
    TagImageOptionsBuilder,
};
use futures::{FutureExt as _, TryStreamExt as _};
use runner::images::{BuildRequest, Progress};
use runner::{Engine, EngineConfig};

/// Set to 1 where a skip is a failure.
pub(crate) const REQUIRED: &str = "AGENTFACTORY_TEST_REQUIRE_ENGINE";

const LATEST: &str = "agentfactory/base:latest";

/// An engine, a folder, and what has to be removed from the engine in the end.
pub(crate) struct Env {
    pub(crate) engine: Engine,
    pub(crate) docker: Docker,
    pub(crate) folder: tempfile::TempDir,
    created: Mutex<Vec<String>>,
    /// Names of images of ours that were there before.
    before: Vec<String>,
    latest_before: Option<String>,
    /// Two of these tests make the same images and remove them, each in its own process: one at a
    /// time has a lock on this file.
    _turn: File,
}

#[expect(
    clippy::disallowed_methods,
    reason = "tests are told where the engine is"
)]
pub(crate) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Whether a program can be found.
fn has(program: &str) -> bool {
    let path = variable("PATH").unwrap_or_default();
    path.split(':')
        .any(|folder| Path::new(folder).join(program).is_file())
}

#[expect(clippy::print_stderr, reason = "a skip is said aloud")]
fn missing(what: &str) {
    let required = variable(REQUIRED).is_some_and(|value| value == "1");
    assert!(!required, "{what}, and {REQUIRED}=1");
    eprintln!("SKIPPED: {what}");
}

impl Env {
    /// Connects; `None`, said aloud, where the engine or a program is missing.
    pub(crate) async fn open(programs: &[&str]) -> Option<Self> {
        for program in programs {
            if !has(program) {
                missing(&format!("`{program}` is not installed"));
                return None;
            }
        }
        let host = variable("DOCKER_HOST");
        let config = EngineConfig {
            host: host.clone(),
            ..EngineConfig::default()
        };
        let engine = match Engine::connect(&config).await {
            Ok(engine) => engine,
            Err(error) => {
                missing(&format!("no engine: {error}"));
                return None;
            }
        };
        let turn = File::open(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"));
        let turn = turn.expect("the tests run where they were built");
        turn.lock().expect("a file can be locked");
        let host = host.unwrap_or_else(|| "unix:///var/run/docker.sock".to_owned());
        let docker = Docker::connect_with_host(&host).expect("the engine has just answered there");
        let images = docker.list_images(None::<bollard::query_parameters::ListImagesOptions>);
        let images = images.await.expect("the engine lists its images");
        let before = images.into_iter().flat_map(|image| image.repo_tags);
        let latest = docker.inspect_image(LATEST).await.ok();
        let folder = tempfile::tempdir().expect("there is a place for temporary files");
        write_recipe(folder.path());
        Some(Self {
            engine,
            folder,
            created: Mutex::default(),
            before: before.collect(),
            latest_before: latest.and_then(|image| image.id),
            docker,
            _turn: turn,
        })
    }

    /// Runs a test and removes from the engine what it left, also after a failure.
    pub(crate) async fn run(self, body: impl AsyncFnOnce(&Self)) {
        let result = std::panic::AssertUnwindSafe(body(&self))
            .catch_unwind()
            .await;
        self.clean().await;
        if let Err(panic) = result {
            std::panic::resume_unwind(panic);
        }
    }

    async fn clean(&self) {
        let created = std::mem::take(&mut *self.lock());
        for image in created.iter().filter(|image| !self.before.contains(image)) {
            self.untag(image).await;
        }
        let now = self.docker.inspect_image(LATEST).await.ok();
        match &self.latest_before {
            Some(id) => self.tag(id, LATEST).await,
            None if now.is_some() => self.untag(LATEST).await,
            None => {}
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<String>> {
        self.created.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes an image that the test made.
    pub(crate) fn created(&self, image: &str) {
        self.lock().push(image.to_owned());
    }

    pub(crate) async fn untag(&self, image: &str) {
        let options = RemoveImageOptionsBuilder::default().force(true).build();
        let removed = self.docker.remove_image(image, Some(options), None).await;
        // It may be gone with another of its names.
        drop(removed);
    }

    pub(crate) async fn tag(&self, image: &str, name: &str) {
        let (repository, tag) = name.rsplit_once(':').expect("a name with a tag");
        let options = TagImageOptionsBuilder::default()
            .repo(repository)
            .tag(tag)
            .build();
        let tagged = self.docker.tag_image(image, Some(options)).await;
        tagged.expect("the engine tags an image that it has");
    }

    /// Pushes an image to the registry in its name.
    pub(crate) async fn push(&self, name: &str) {
        let (repository, tag) = name.rsplit_once(':').expect("a name with a tag");
        let options = PushImageOptionsBuilder::default().tag(tag).build();
        let pushed = self.docker.push_image(repository, Some(options), None);
        let pushed: Result<Vec<_>, _> = pushed.try_collect().await;
        pushed.expect("the registry takes an image");
    }

    /// Makes an image with nothing in it, and returns its name.
    pub(crate) async fn import_empty(&self) -> String {
        let name = "agentfactory-test/empty:1";
        let options = CreateImageOptionsBuilder::default()
            .from_src("-")
            .repo("agentfactory-test/empty")
            .tag("1")
            .build();
        let archive = bytes::Bytes::from(vec![0; 1024]);
        let body = bollard::body_full(archive);
        let created = self.docker.create_image(Some(options), Some(body), None);
        let created: Result<Vec<_>, _> = created.try_collect().await;
        created.expect("the engine imports an archive");
        self.created(name);
        name.to_owned()
    }

    /// A build whose default base cannot be pulled, with its state in this home.
    pub(crate) fn request<'a>(&self, home: &str, progress: &'a dyn Progress) -> BuildRequest<'a> {
        let home = self.folder.path().join(home);
        let variables = ["PATH", "TMPDIR", "http_proxy", "https_proxy", "no_proxy"];
        let set = |name: &str| Some((name.into(), variable(name)?.into()));
        BuildRequest {
            base: None,
            refresh: false,
            cache_dir: home.join("cache"),
            lock_file: home.join("base.lock"),
            overrides_dir: Some(self.folder.path().join("overrides")),
            environment: variables.into_iter().filter_map(set).collect(),
            progress,
        }
    }
}

/// The recipe, with a default base that is in no registry: nothing listens on that port. One more
/// file makes images that nobody else has.
fn write_recipe(folder: &Path) {
    let recipe = include_str!("../../../../images/base/recipe.json");
    let recipe = recipe.replace("\"python:3.13-slim\"", "\"127.0.0.1:1/python:3.13-slim\"");
    let overrides = folder.join("overrides");
    let shims = overrides.join("shims");
    std::fs::create_dir_all(&shims).expect("the folder is new");
    let marker = format!("FOLDER = '{}'\n", folder.display());
    std::fs::write(shims.join("test_marker.py"), marker).expect("the folder is writable");
    std::fs::write(overrides.join("recipe.json"), recipe).expect("the folder is writable");
}

/// Keeps what a build says, one line each.
#[derive(Debug, Default)]
pub(crate) struct Recorder(Mutex<String>);

impl Recorder {
    pub(crate) fn text(&self) -> String {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl Progress for Recorder {
    fn phase(&self, text: &str) {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lines.push_str(text);
        lines.push('\n');
    }

    fn note(&self, text: &str) {
        self.phase(text);
    }

    fn bytes(&self, _done: u64, _total: Option<u64>) {}
}
