//! Deploy: a version leaves as something that runs without us.

mod image;
mod verify;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

pub use image::{DeployedImage, ImageRequest, deploy_image, push_image};
pub use verify::{VERIFY_RUNS, Verdict, Verification, VerifiedRun, verify_image};

use spec::{Digest, SubagentName, VersionRef};
use store::{Requirement, Resolved, SourceFiles, Store, Version};

use crate::assets::{Assets, fill};
use crate::compose::composed;
use crate::error::FactoryError;

/// A folder that was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deployed {
    /// The folder.
    pub path: PathBuf,
    /// The version in it.
    pub version: Digest,
    /// Its files, relative to the folder.
    pub files: Vec<String>,
}

pub(crate) fn wrong(path: &Path, why: String) -> FactoryError {
    FactoryError::Target {
        path: path.to_owned(),
        why,
    }
}

/// The scripts that replace the sandbox. The subagent's own files lie beside them.
const SCRIPTS: &[&str] = &["run.py", "llm.py", "tools.py"];
/// How the packages of a version come to where its folder runs.
const INSTALL: &str = "\
python3 -m venv venv
venv/bin/pip install --only-binary :all: -r requirements.txt     # the versions that it was made with, by their hashes
. venv/bin/activate
";
/// Source: the Agent Skills format.
const DESCRIPTION_CHARS: usize = 1_024;

/// Writes a version as an Agent Skills folder, which runs on a bare `python3`, or on one that has what its
/// `requirements.txt` names.
///
/// The folder is `to/NAME`, with the name as the format wants it; it appears complete or not at all.
///
/// # Errors
/// [`FactoryError::Target`] when the folder exists or cannot be written,
/// [`FactoryError::Composition`] when it cannot be composed with what it depends on.
pub fn deploy_skill(
    store: &Store,
    assets: &Assets,
    reference: &VersionRef,
    to: &Path,
) -> Result<Deployed, FactoryError> {
    let resolved = store.resolve(reference)?;
    let version = store.version(&resolved.digest)?;
    let name = named(resolved, to)?;
    // Source: the Agent Skills format allows a-z, 0-9 and single hyphens, and wants the folder's name.
    let skill_name = skill_name(&name);
    let target = to.join(&skill_name);
    if target.symlink_metadata().is_ok() {
        return Err(wrong(&target, "it exists already".to_owned()));
    }
    let skills: Vec<_> = version
        .content
        .skills
        .iter()
        .map(|skill| skill.name())
        .collect();
    let description: String = version
        .content
        .description
        .chars()
        .take(DESCRIPTION_CHARS)
        .collect();
    let requirements = &version.content.requirements;
    let packages = crate::task::distributions(requirements);
    let (compatibility, needs, install) = if requirements.is_empty() {
        (
            "standard library only".to_owned(),
            "no packages".to_owned(),
            String::new(),
        )
    } else {
        (
            "and the packages in requirements.txt".to_owned(),
            format!("these packages: {packages}"),
            INSTALL.to_owned(),
        )
    };
    let values = BTreeMap::from([
        ("compatibility", compatibility),
        ("needs", needs),
        ("install", install),
        ("name", skill_name),
        ("subagent", name.to_string()),
        ("description", version.content.description.clone()),
        (
            "description_yaml",
            crate::front_matter::as_yaml(&serde_json::Value::String(description)),
        ),
        ("digest", version.digest.to_string()),
        ("entry", version.content.entry.to_string()),
        ("python", version.content.python.clone()),
        ("skills", crate::task::list(version.content.skills.iter())),
    ]);
    let template = assets.text("deploy/SKILL.md.template")?;
    let skill_md = fill(&template, &values).map_err(|why| crate::assets::AssetError::Invalid {
        name: "deploy/SKILL.md.template".to_owned(),
        why,
    })?;
    let mut files: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    files.insert("SKILL.md".to_owned(), skill_md.into_bytes());
    for script in SCRIPTS {
        files.insert(
            format!("scripts/{script}"),
            assets
                .text(&format!("deploy/scripts/{script}"))?
                .into_bytes(),
        );
    }
    let mut manifest = serde_json::json!({
        "entry": version.content.entry.to_string(),
        "name": name,
        "skills": skills,
        "version": version.digest,
    });
    if !requirements.is_empty() {
        let lock = requirements.iter();
        let lock = lock.map(|one| {
            serde_json::json!({
                "name": one.name,
                "version": one.version,
                "wheels": one.wheels,
            })
        });
        manifest["python"] = version.content.python.clone().into();
        manifest["requirements"] = lock.collect();
        let text = requirements_txt(requirements);
        files.insert("requirements.txt".to_owned(), text.into_bytes());
    }
    let manifest = serde_json::to_string_pretty(&manifest).unwrap_or_default() + "\n";
    files.insert("scripts/subagent.json".to_owned(), manifest.into_bytes());
    for (path, content) in sources(store, &name, &version)? {
        let path = std::str::from_utf8(path.as_bytes())
            .map_err(|_| wrong(&target, format!("`{path}` is not UTF-8")))?;
        files.insert(format!("scripts/subagent/{path}"), content);
    }
    write_folder(to, &target, &files)?;
    Ok(Deployed {
        path: target,
        version: version.digest,
        files: files.into_keys().collect(),
    })
}

/// A lock as pip reads it: each distribution with the hashes of its wheels for all platforms.
fn requirements_txt(requirements: &[Requirement]) -> String {
    let mut text =
        "# Wheels only: pip install --only-binary :all: -r requirements.txt\n".to_owned();
    for one in requirements {
        text.push_str(&[one.name.as_str(), "==", &one.version].concat());
        for wheel in &one.wheels {
            text.push_str(" \\\n    --hash=");
            text.push_str(&wheel.to_string());
        }
        text.push('\n');
    }
    text
}

/// The name under which a version leaves.
fn named(resolved: Resolved, to: &Path) -> Result<SubagentName, FactoryError> {
    let digest = resolved.digest;
    let name = resolved.name;
    name.ok_or_else(|| wrong(to, format!("no name has ever pointed at {digest}")))
}

/// The files that run, with those of what it depends on and without the documentation.
///
/// # Errors
/// [`FactoryError::Composition`], and those of the store.
fn sources(
    store: &Store,
    name: &SubagentName,
    version: &Version,
) -> Result<SourceFiles, FactoryError> {
    let mut files = composed(store, Some(name), &version.content)?;
    files.retain(|(path, _)| path.as_bytes() != crate::task::SKILL_MD);
    Ok(files)
}

fn skill_name(name: &SubagentName) -> String {
    let words = name
        .as_str()
        .split(['-', '_'])
        .filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join("-")
}

/// Writes files as a folder that appears complete or not at all.
fn write_folder(
    parent: &Path,
    target: &Path,
    files: &BTreeMap<String, Vec<u8>>,
) -> Result<(), FactoryError> {
    write_staged(parent, target, |staging| {
        for (path, content) in files {
            let path = staging.join(path);
            let written = path
                .parent()
                .map_or(Ok(()), std::fs::create_dir_all)
                .and_then(|()| std::fs::write(&path, content));
            written.map_err(|error| wrong(&path, error.to_string()))?;
        }
        Ok(())
    })
}

/// Makes a folder that appears complete or not at all.
pub(crate) fn write_staged(
    parent: &Path,
    target: &Path,
    fill: impl FnOnce(&Path) -> Result<(), FactoryError>,
) -> Result<(), FactoryError> {
    std::fs::create_dir_all(parent).map_err(|error| wrong(parent, error.to_string()))?;
    let staging = tempfile::Builder::new()
        .prefix(".agentfactory-")
        .tempdir_in(parent);
    let staging = staging.map_err(|error| wrong(parent, error.to_string()))?;
    fill(staging.path())?;
    std::fs::set_permissions(
        staging.path(),
        std::os::unix::fs::PermissionsExt::from_mode(0o755),
    )
    .and_then(|()| std::fs::rename(staging.path(), target))
    .map_err(|error| wrong(target, error.to_string()))?;
    // It has moved away: there is nothing left to remove.
    let _moved = staging.keep();
    Ok(())
}
