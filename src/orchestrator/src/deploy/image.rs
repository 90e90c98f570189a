//! Deploy as a container image: the sandbox image or the version's environment, and one layer of code.

use std::collections::BTreeMap;
use std::io::{self, Cursor, Read, Write as _};
use std::path::{Path, PathBuf};

use registry::{Content, Moved, RegistryError, Repository, Sink};
use runner::images::{Assembly, Exported, LABEL_IMAGE, LayerFile, LayerWriter, Parent, Progress};
use runner::{Engine, ImageId};
use serde_json::json;
use spec::{Digest, SubagentName, VersionRef};
use store::{Store, VersionContent};
use tempfile::NamedTempFile;

use super::{SCRIPTS, skill_name, wrong};
use crate::assets::Assets;
use crate::error::FactoryError;

/// Where a deployed version is in its image.
pub(super) const ROOT: &str = "opt/agentfactory/subagent";
/// Where the packages of its environment are, in images that have one.
const PACKAGES: &str = "/opt/agentfactory/env";
/// On images of environments: what decides one.
const ENVIRONMENT: &str = "agentfactory.environment";
/// Who runs in it. Source: the user `nonroot` of distroless images.
const USER: u64 = 65_532;
/// Counts changes of how an image is put together from a version and its parent.
const FORMAT: u32 = 1;
/// Source: the OCI image specification, "Pre-Defined Annotation Keys".
const TITLE: &str = "org.opencontainers.image.title";
const DESCRIPTION: &str = "org.opencontainers.image.description";
const REVISION: &str = "org.opencontainers.image.revision";
const CREATED: &str = "org.opencontainers.image.created";
/// Nothing in an image comes from a clock.
const EPOCH: &str = "1970-01-01T00:00:00Z";
/// Characters of the description that go into labels.
const DESCRIPTION_CHARS: usize = 1_024;

/// Which version becomes an image, and on what.
#[derive(Clone, Debug)]
pub struct ImageRequest<'a> {
    /// The version.
    pub reference: VersionRef,
    /// The image that it is put on: the sandbox image, or the version's environment.
    pub parent: ImageId,
    /// The names of the image on the engine, each `NAME:TAG`. None for the usual ones.
    pub tags: Vec<String>,
    /// A folder for temporary files.
    pub scratch: &'a Path,
    /// Who watches.
    pub progress: &'a dyn Progress,
}

/// A version that is an image on the engine.
#[derive(Debug)]
pub struct DeployedImage {
    /// The subagent's name.
    pub name: SubagentName,
    /// The version in it.
    pub version: Digest,
    /// The image, as the engine calls it. On most engines that is the digest of its configuration.
    pub image: ImageId,
    /// The digest of its configuration.
    pub config: Digest,
    /// Its names on the engine.
    pub tags: Vec<String>,
    assembly: Assembly,
    /// What the layer of code is in.
    _code: NamedTempFile,
}

/// Puts a version on its parent and loads it into the engine, without a build step. The same version on
/// the same parent is the same image, bit for bit, whoever deploys it; what the engine has already is not
/// loaded again.
///
/// # Errors
/// [`FactoryError::Store`] when there is no such version, [`FactoryError::NoEnvironment`] when it has
/// requirements and the parent has not, [`FactoryError::Image`] when the image cannot be assembled or loaded.
pub async fn deploy_image(
    engine: &Engine,
    store: &Store,
    assets: &Assets,
    request: &ImageRequest<'_>,
) -> Result<DeployedImage, FactoryError> {
    let resolved = store.resolve(&request.reference)?;
    let version = store.version(&resolved.digest)?;
    let name = super::named(resolved, request.scratch)?;
    let source = super::sources(store, &name, &version)?;
    let parent = Parent::inspect(engine, &request.parent).await?;
    if !version.content.requirements.is_empty() && !parent.config.labels.contains_key(ENVIRONMENT) {
        return Err(FactoryError::NoEnvironment {
            version: version.digest,
            parent: parent.image.0,
        });
    }
    let (code, layer) = code_layer(assets, &name, &version, source, request.scratch)?;
    let mut assembly = parent.with(vec![layer]);
    let labels = labels(&name, &version.digest, &version.content, &parent);
    let config = &mut assembly.config;
    config.labels = labels;
    // The interpreter of the parent, in the way in which it runs the harness.
    config.entrypoint.truncate(1);
    let script = format!("/{ROOT}/run.py");
    config
        .entrypoint
        .extend(["-P", "-s", &script].map(str::to_owned));
    // Its user has no folder of its own, and whoever runs it may leave it nothing else to write to.
    config.environment.retain(|one| !one.starts_with("HOME="));
    config.environment.push("HOME=/tmp".to_owned());
    config.user = format!("{USER}:{USER}");
    "/workspace".clone_into(&mut config.working_dir);
    let mut tags = request.tags.clone();
    if tags.is_empty() {
        let repository = format!("agentfactory/subagent/{}", skill_name(&name));
        tags = [version.digest.short(), "latest".to_owned()]
            .map(|tag| format!("{repository}:{tag}"))
            .into();
    }
    let image = assembly
        .load(engine, &tags, request.scratch, request.progress)
        .await?;
    Ok(DeployedImage {
        name,
        version: version.digest,
        image,
        config: assembly.config.digest(),
        tags,
        assembly,
        _code: code,
    })
}

impl DeployedImage {
    /// The interpreter in the image with its flags.
    pub(super) fn interpreter(&self) -> Vec<String> {
        let mut program = self.assembly.config.entrypoint.clone();
        program.pop();
        program
    }

    /// All parts of the image, for a layout or a registry. The parent's layers come from the engine and
    /// are in a temporary file in `scratch`.
    ///
    /// # Errors
    /// [`FactoryError::Image`].
    pub async fn export(
        &self,
        engine: &Engine,
        scratch: &Path,
        progress: &dyn Progress,
    ) -> Result<Exported, FactoryError> {
        let labels = self.assembly.config.labels.iter();
        let mut annotations: BTreeMap<String, String> = labels
            .filter(|(name, _)| name.starts_with("org.opencontainers."))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        annotations.insert(CREATED.to_owned(), EPOCH.to_owned());
        let exported = self
            .assembly
            .export(engine, &annotations, scratch, progress);
        Ok(exported.await?)
    }

    /// Writes the image as an OCI image layout, in which it is called by its version. The folder must not
    /// be there; it appears complete or not at all.
    ///
    /// # Errors
    /// [`FactoryError::Image`].
    pub async fn write_layout(
        &self,
        exported: Exported,
        to: &Path,
    ) -> Result<Exported, FactoryError> {
        let (to, name): (PathBuf, _) = (to.to_owned(), self.version.short());
        let job = tokio::task::spawn_blocking(move || {
            exported.write_layout(&to, &name)?;
            Ok::<_, FactoryError>(exported)
        });
        job.await?
    }
}

/// The parts of an image, for a registry.
#[derive(Debug)]
struct ExportedContent<'a>(&'a Exported);

impl Content for ExportedContent<'_> {
    fn open(&self, digest: &Digest) -> io::Result<Box<dyn Read + Send>> {
        let Exported { config, layers, .. } = self.0;
        if Digest::of(config) == *digest {
            return Ok(Box::new(Cursor::new(config.clone())));
        }
        let layer = layers.iter().find(|(layer, _)| layer == digest);
        let (_, layer) = layer.ok_or(io::ErrorKind::NotFound)?;
        layer.open().map(|reader| Box::new(reader) as _)
    }

    fn contains(&self, digest: &Digest) -> io::Result<bool> {
        let Exported { config, layers, .. } = self.0;
        Ok(Digest::of(config) == *digest || layers.iter().any(|(layer, _)| layer == digest))
    }

    fn create(&self) -> io::Result<Box<dyn Sink>> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// Pushes an image, unchanged: layers that the registry has already are not sent.
///
/// # Errors
/// Those of the registry.
pub async fn push_image(
    exported: &Exported,
    repository: &Repository,
    tag: &str,
    progress: &dyn registry::Progress,
) -> Result<Moved, RegistryError> {
    let manifest = exported.manifest.clone().into();
    let content = ExportedContent(exported);
    repository
        .push_artifact(&content, &manifest, Some(tag), progress)
        .await
}

/// What is said of the image. Nothing of it comes from a clock or from who deploys.
fn labels(
    name: &SubagentName,
    version: &Digest,
    content: &VersionContent,
    parent: &Parent,
) -> BTreeMap<String, String> {
    let description = content.description.chars().take(DESCRIPTION_CHARS);
    let mut labels = BTreeMap::from([
        (LABEL_IMAGE, "subagent".to_owned()),
        ("agentfactory.format", FORMAT.to_string()),
        ("agentfactory.subagent", name.to_string()),
        ("agentfactory.version", version.to_string()),
        (TITLE, name.to_string()),
        (DESCRIPTION, description.collect()),
        (REVISION, version.to_string()),
    ])
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value))
    .collect::<BTreeMap<_, _>>();
    // What it stands on: the base by content and the harness, or more.
    for kept in [
        "agentfactory.base",
        "agentfactory.harness",
        "agentfactory.python",
        ENVIRONMENT,
        "org.opencontainers.image.base.digest",
    ] {
        if let Some(value) = parent.config.labels.get(kept) {
            labels.insert(kept.to_owned(), value.clone());
        }
    }
    labels
}

/// Writes the layer with the version's source and what runs it.
fn code_layer(
    assets: &Assets,
    name: &SubagentName,
    version: &store::Version,
    source: store::SourceFiles,
    scratch: &Path,
) -> Result<(NamedTempFile, (Digest, LayerFile)), FactoryError> {
    let content = &version.content;
    let skills: Vec<_> = content.skills.iter().map(|skill| skill.name()).collect();
    let about = json!({
        "entry": content.entry.to_string(),
        "name": name,
        "packages": PACKAGES,
        "skills": skills,
        "version": version.digest,
    });
    let about = serde_json::to_string_pretty(&about).unwrap_or_default() + "\n";
    let mut files: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
    let mut add = |path: &[u8], content: Vec<u8>| {
        let path = [ROOT.as_bytes(), b"/", path].concat();
        files.insert(path, content);
    };
    add(b"subagent.json", about.into_bytes());
    for script in SCRIPTS {
        let text = assets.text(&format!("deploy/scripts/{script}"))?;
        add(script.as_bytes(), text.into_bytes());
    }
    for (path, content) in source {
        add(&[b"subagent/", path.as_bytes()].concat(), content);
    }
    let failed = |error: io::Error| wrong(scratch, error.to_string());
    let mut file = NamedTempFile::new_in(scratch).map_err(failed)?;
    let written = write_layer(&files, file.as_file_mut()).map_err(failed)?;
    let layer = LayerFile {
        path: file.path().to_owned(),
        offset: 0,
        size: written.size,
    };
    Ok((file, (written.digest, layer)))
}

fn write_layer(
    files: &BTreeMap<Vec<u8>, Vec<u8>>,
    out: &mut std::fs::File,
) -> io::Result<runner::images::Written> {
    let mut layer = LayerWriter::new(&mut *out);
    for (path, content) in files {
        layer.file(path, 0o644, content.len() as u64, content.as_slice())?;
    }
    // What it writes by a relative path has a place, unless the root is read-only.
    layer.owned_directory(b"workspace", USER)?;
    let written = layer.finish()?;
    out.flush()?;
    Ok(written)
}
