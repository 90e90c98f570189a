//! A version as a folder that can be read, changed and imported again.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use spec::{Digest, SubagentName, VersionRef};
use store::{BlobRef, Store};

use super::error::LibraryError;
use super::{BLOBS, FORMAT, OWN, VERSION, cases};
use crate::FactoryError;

/// A folder that was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exported {
    /// The folder.
    pub path: PathBuf,
    /// The name.
    pub name: SubagentName,
    /// The version in it.
    pub version: Digest,
    /// The files of its source.
    pub files: usize,
    /// The versions that it depends on, which lie in it as blobs.
    pub depends: usize,
    /// The recorded runs in it.
    pub runs: usize,
}

/// Which version a folder is. What a person writes is in the files; this holds what must not change
/// for the digest to be the same.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct About {
    pub(super) format: u32,
    pub(super) name: SubagentName,
    pub(super) version: Digest,
    pub(super) manifest: Value,
    pub(super) config: Value,
    /// The blobs beside it, each after those that it names.
    pub(super) blobs: Vec<Digest>,
    /// The records of runs among them.
    pub(super) runs: Vec<Digest>,
}

/// Writes a version as the folder `to/NAME`: its files as they are, and in `.agentfactory` its config
/// and the blobs of what it depends on. Imported again it has the same digest.
///
/// The folder appears complete or not at all.
///
/// # Errors
/// [`FactoryError::Store`], [`FactoryError::Target`] when the folder exists or cannot be written, and
/// [`FactoryError::Library`] when the version cannot be a folder.
pub fn export_version(
    store: &Store,
    reference: &VersionRef,
    to: &Path,
    with_cases: bool,
) -> Result<Exported, FactoryError> {
    let resolved = store.resolve(reference)?;
    let digest = resolved.digest;
    let Some(name) = resolved.name else {
        return Err(LibraryError::hinted(
            format!("no subagent has the version {digest}"),
            "export it by NAME or NAME@DIGEST",
        )
        .into());
    };
    let version = store.version(&digest)?;
    let target = to.join(name.as_str());
    if target.symlink_metadata().is_ok() {
        return Err(crate::deploy::wrong(
            &target,
            "it exists already".to_owned(),
        ));
    }
    let mut blobs: Vec<BlobRef> = Vec::new();
    for needed in version.content.depends.values() {
        blobs.extend(store.closure(needed)?.blobs);
    }
    let mut runs = Vec::new();
    if with_cases {
        for case in cases::cases(store, Some(&name), &digest)? {
            let closure = store.run_closure(&case.run)?;
            for needed in closure.version.iter().chain(&closure.depends) {
                if *needed != digest {
                    blobs.extend(store.closure(needed)?.blobs);
                }
            }
            blobs.extend(closure.blobs);
            runs.push(case.record);
        }
    }
    let mut seen = std::collections::BTreeSet::new();
    blobs.retain(|blob| seen.insert(blob.digest));
    let about = About {
        format: FORMAT,
        name: name.clone(),
        version: digest,
        manifest: json_of(store, &digest)?,
        config: json_of(store, &version.config)?,
        blobs: blobs.iter().map(|blob| blob.digest).collect(),
        runs,
    };
    let about_text = serde_json::to_string_pretty(&about).unwrap_or_default() + "\n";
    crate::deploy::write_staged(to, &target, |folder| {
        for (path, content) in &version.content.files {
            let path = std::str::from_utf8(path.as_bytes())
                .map_err(|_| crate::deploy::wrong(&target, format!("`{path}` is not UTF-8")))?;
            if path.split('/').any(|part| part.starts_with('.')) {
                return Err(LibraryError::OwnName(spec::printable(path, 120)).into());
            }
            write(&folder.join(path), content)?;
        }
        write(&folder.join(OWN).join(VERSION), about_text.as_bytes())?;
        for blob in &blobs {
            let path = folder.join(OWN).join(BLOBS).join(blob.digest.hex());
            write_blob(store, blob, &path)?;
        }
        Ok(())
    })?;
    Ok(Exported {
        path: target,
        name,
        version: digest,
        files: version.content.files.len(),
        depends: store.closure(&digest)?.versions.len() - 1,
        runs: about.runs.len(),
    })
}

fn json_of(store: &Store, digest: &Digest) -> Result<Value, FactoryError> {
    serde_json::from_slice(&store.get(digest)?)
        .map_err(|why| LibraryError::refused(format!("{digest} is no JSON: {why}")).into())
}

fn write(path: &Path, content: &[u8]) -> Result<(), FactoryError> {
    let written = path
        .parent()
        .map_or(Ok(()), std::fs::create_dir_all)
        .and_then(|()| std::fs::write(path, content));
    written.map_err(|error| crate::deploy::wrong(path, error.to_string()))
}

fn write_blob(store: &Store, blob: &BlobRef, path: &Path) -> Result<(), FactoryError> {
    let mut reader = store.open(&blob.digest)?;
    let written = path
        .parent()
        .map_or(Ok(()), std::fs::create_dir_all)
        .and_then(|()| {
            let mut file = std::fs::File::create_new(path)?;
            std::io::copy(&mut reader, &mut file)
        });
    match written {
        Ok(_) => Ok(()),
        Err(error) => Err(crate::deploy::wrong(path, error.to_string())),
    }
}
