//! Versions that come from elsewhere: nothing of one is there before all of it is, and is right.

use std::collections::BTreeMap;

use spec::{ByteSize, Digest, RunId, SubagentName};

use crate::RunProgram;
use crate::archive::LAYER_MAX;
use crate::version::{CONFIG_MAX, MANIFEST_MAX, chain, parse};
use crate::wire::Manifest;
use crate::{BlobRef, CONFIG_MEDIA_TYPE, SOURCE_MEDIA_TYPE, Store, StoreError, Version};

/// A version's manifest from elsewhere: of the right form and size, and not in the store yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Foreign {
    /// Its identity.
    pub digest: Digest,
    /// Its config, which says what it depends on.
    pub config: BlobRef,
    /// Its source layer.
    pub layer: BlobRef,
    bytes: Vec<u8>,
}

impl Foreign {
    /// Looks at the manifest of a version.
    ///
    /// # Errors
    /// [`StoreError::BadVersion`] when it is none, or names parts above the limits.
    pub fn of_manifest(bytes: &[u8]) -> Result<Self, StoreError> {
        let digest = Digest::of(bytes);
        let bad = |why: String| StoreError::BadVersion { digest, why };
        if bytes.len() as u64 > MANIFEST_MAX.get() {
            return Err(bad("its manifest is too large for a subagent's".to_owned()));
        }
        let manifest: Manifest = parse(bytes)
            .map_err(|why| bad(format!("its manifest is not one of a subagent: {why}")))?;
        let layer = manifest.check().map_err(bad)?;
        let config = &manifest.config;
        for (part, limit) in [(config, CONFIG_MAX.get()), (layer, LAYER_MAX)] {
            if part.size > limit {
                return Err(bad(format!(
                    "its part {} has {} bytes, at most {limit}",
                    part.digest, part.size
                )));
            }
        }
        Ok(Self {
            digest,
            config: BlobRef {
                digest: config.digest,
                media_type: CONFIG_MEDIA_TYPE,
                size: ByteSize::bytes(config.size),
            },
            layer: BlobRef {
                digest: layer.digest,
                media_type: SOURCE_MEDIA_TYPE,
                size: ByteSize::bytes(layer.size),
            },
            bytes: bytes.to_vec(),
        })
    }
}

impl Store {
    /// What a version from elsewhere depends on. Its config must be in the store.
    ///
    /// # Errors
    /// As [`Self::version`].
    pub fn depends_of(
        &self,
        foreign: &Foreign,
    ) -> Result<BTreeMap<SubagentName, Digest>, StoreError> {
        let head = self.version_head(&foreign.digest, &foreign.bytes)?;
        Ok(head.content.depends)
    }

    /// Keeps the manifest of a version from elsewhere. Config and source layer, and what it depends
    /// on, must be in the store.
    ///
    /// # Errors
    /// As [`Self::version`], of it and of what it depends on. Nothing was kept then.
    pub fn receive(&self, foreign: &Foreign) -> Result<Version, StoreError> {
        let head = self.version_head(&foreign.digest, &foreign.bytes)?;
        let depends: Vec<Digest> = head.content.depends.values().copied().collect();
        self.hold_all(&depends)?;
        let version = self.with_files(&foreign.digest, head)?;
        self.put(&foreign.bytes)?;
        Ok(version)
    }

    /// Takes the record of a run of a version from elsewhere, whose program `is_its` knows. All that it names
    /// must be in the store. The run of what was not saved yet names no version.
    ///
    /// Taking the same again changes nothing.
    ///
    /// # Errors
    /// As [`Self::record_run`]; [`StoreError::Refused`] when the blob is not the record of a run of that
    /// version.
    pub fn receive_run(
        &self,
        record: &Digest,
        version: &Digest,
        is_its: impl FnOnce(&RunProgram) -> bool,
    ) -> Result<RunId, StoreError> {
        let no_record = |why: String| {
            StoreError::refused(format!("{record} is not the record of a run: {why}"))
        };
        let (content, _) = self
            .record_and_cassette(record)
            .map_err(|error| match error {
                error @ StoreError::Io { .. } => error,
                other => no_record(chain(&other)),
            })?;
        let run = content.report.run.parse::<RunId>();
        let run = run.map_err(|why| no_record(why.to_string()))?;
        let named = content.report.version.as_deref();
        if named.is_some_and(|named| named != version.to_string()) || !is_its(&content.program) {
            return Err(no_record(format!(
                "it is of another version than {version}"
            )));
        }
        self.check_record(&content)?;
        self.point_at_record(&run, *record)?;
        Ok(run)
    }
}
