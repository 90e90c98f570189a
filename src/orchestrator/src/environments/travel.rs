//! Environments that go along with versions: the wheels that their locks name.
//!
//! What travels is not a layer, which would have to be believed, but what it is made from. A lock names
//! wheels by their hashes and is part of the version's digest, so each of these bytes is trusted exactly
//! as much as the version, whoever sent it; and they can be installed on any base.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use spec::{ByteSize, Digest};
use store::{Attachment, Requirement, Store};

use super::cache::Cache;
use super::sandbox::{PIP, pip_digest};
use super::{EnvironmentError, EnvironmentSettings};

/// What carries the environment of a version.
pub(crate) const ENVIRONMENT_TYPE: &str = "application/vnd.agentfactory.environment.v1";
/// One wheel of it.
const WHEEL_TYPE: &str = "application/vnd.agentfactory.wheel.v1+zip";

/// Whether what came as the environment of a version holds nothing but wheels that its lock names,
/// and the installer that this program pins.
pub(crate) fn belongs(attachment: &Attachment, requirements: &[Requirement]) -> bool {
    let pip = pip_digest();
    attachment.layers.iter().all(|(media_type, digest, _)| {
        let is_named = requirements.iter().any(|one| one.wheels.contains(digest));
        media_type == WHEEL_TYPE && (is_named || *digest == pip)
    })
}

/// Has the store say what the environment of a version is made from, so that it goes along. Says
/// whether it is all there: on this machine, or with the version since it came here. Blocks.
///
/// # Errors
/// [`EnvironmentError::Store`] and [`EnvironmentError::File`].
pub(crate) fn attach(
    settings: &EnvironmentSettings,
    store: &Store,
    version: &Digest,
) -> Result<bool, EnvironmentError> {
    let requirements = store.version(version)?.content.requirements;
    if requirements.is_empty() {
        return Ok(true);
    }
    let cache = Cache::at(&settings.cache);
    let Some(wheels) = at_hand(&cache, &requirements) else {
        return is_attached(store, version, &requirements);
    };
    let mut layers = Vec::new();
    for (digest, path) in wheels {
        // Whoever has it go along wants it to arrive.
        if !store.hold_intact(&digest)? {
            write(store, &digest, &path)?;
        }
        let size = ByteSize::bytes(store.open(&digest)?.size());
        layers.push((WHEEL_TYPE.to_owned(), digest, size));
    }
    store.attach_layers(version, ENVIRONMENT_TYPE, layers)?;
    Ok(true)
}

/// The files of a lock in the cache, with the installer's where it is there; none when a
/// distribution is missing.
fn at_hand(cache: &Cache, requirements: &[Requirement]) -> Option<BTreeMap<Digest, PathBuf>> {
    let mut found = BTreeMap::new();
    for one in requirements {
        let paths = one.wheels.iter();
        let paths = paths.map(|wheel| (*wheel, cache.wheel_path(wheel)));
        let mut there = paths.filter(|(_, path)| path.exists()).peekable();
        there.peek()?;
        found.extend(there);
    }
    let pip = cache.root().join(PIP);
    if pip.exists() {
        found.insert(pip_digest(), pip);
    }
    Some(found)
}

/// Whether each distribution of a lock came with the version.
fn is_attached(
    store: &Store,
    version: &Digest,
    requirements: &[Requirement],
) -> Result<bool, EnvironmentError> {
    let mut there = BTreeSet::new();
    for attachment in store.attachments(version)? {
        if attachment.artifact_type == ENVIRONMENT_TYPE && belongs(&attachment, requirements) {
            there.extend(attachment.layers.into_iter().map(|(_, digest, _)| digest));
        }
    }
    Ok(requirements
        .iter()
        .all(|one| !one.wheels.is_disjoint(&there)))
}

/// Has the store hold a file that is known by its digest. One that has changed is removed.
pub(super) fn keep(store: &Store, digest: &Digest, path: &Path) -> Result<(), EnvironmentError> {
    if store.hold_blob(digest)? {
        return Ok(());
    }
    write(store, digest, path)
}

fn write(store: &Store, digest: &Digest, path: &Path) -> Result<(), EnvironmentError> {
    let failed = || EnvironmentError::file("read", path);
    let mut file = File::open(path).map_err(failed())?;
    let mut writer = store.writer()?;
    io::copy(&mut file, &mut writer).map_err(failed())?;
    if writer.finish()? != *digest {
        drop(std::fs::remove_file(path));
        let why = "a file in the cache has changed, and was removed; try again";
        return Err(EnvironmentError::Install(why.to_owned()));
    }
    Ok(())
}
