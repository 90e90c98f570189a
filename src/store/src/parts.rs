//! What names what: the blobs of a version, of a run and of a tree.
//!
//! As [`crate::closure`] has it, but for those who look at all of them: nothing is opened to learn its
//! size, no text of a cassette is kept, and versions that many depend on are not read again.

use std::io::BufReader;

use jiff::Timestamp;
use serde::Deserialize;
use spec::{Digest, RunId, Tree};

use crate::record::RECORD_MAX;
use crate::version::chain;
use crate::{Store, StoreError};

/// What a version's manifest leads to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct VersionParts {
    /// Its manifest, its config, its source layer, in this order.
    pub(crate) blobs: Vec<Digest>,
    /// Other versions.
    pub(crate) depends: Vec<Digest>,
}

/// What a run's record leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RunParts {
    /// When it began.
    pub(crate) at: Timestamp,
    /// The record.
    pub(crate) record: Digest,
    /// Its cassette.
    pub(crate) cassette: Digest,
    /// The version that ran, if it was one, and those that it could import.
    pub(crate) versions: Vec<Digest>,
    /// Workspace trees; they are among the blobs, their files are not.
    pub(crate) trees: Vec<Digest>,
    /// Every blob that it names, the record and the version's manifest included.
    pub(crate) blobs: Vec<Digest>,
}

impl Store {
    /// The blobs of a version. Its source layer is not read.
    ///
    /// # Errors
    /// As [`Self::version`].
    pub(crate) fn version_parts(&self, digest: &Digest) -> Result<VersionParts, StoreError> {
        let outline = self.outline(digest)?;
        let parts = outline.parts.iter().map(|part| part.digest);
        Ok(VersionParts {
            blobs: std::iter::once(*digest).chain(parts).collect(),
            depends: outline.depends.into_values().collect(),
        })
    }

    /// The blobs of a run. Bodies of its cassette are named, trees not opened.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub(crate) fn run_parts(&self, run: &RunId) -> Result<RunParts, StoreError> {
        let record = self.run_digest(run)?;
        let (read, cassette) = self.run_without_cassette(run)?;
        let mut blobs = vec![record, cassette];
        blobs.extend(read.references()?);
        blobs.extend(self.bodies(&cassette)?);
        let version = read.report.version.as_deref();
        let version = version.and_then(|text| text.parse().ok());
        let trees = read.trees();
        Ok(RunParts {
            at: read.at,
            record,
            cassette,
            versions: version
                .into_iter()
                .chain(read.depends.into_values())
                .collect(),
            trees,
            blobs,
        })
    }

    /// The files of a tree.
    ///
    /// # Errors
    /// As [`Self::get`], and [`StoreError::Corrupt`] when it is no tree.
    pub(crate) fn tree_parts(&self, digest: &Digest) -> Result<Vec<Digest>, StoreError> {
        let bytes = self.get_at_most(digest, RECORD_MAX)?;
        let tree = Tree::from_bytes(&bytes).map_err(|why| {
            StoreError::corrupt(
                &self.layout.blob(digest),
                format!("it is not a tree: {}", chain(&why)),
            )
        })?;
        Ok(tree.entries().iter().map(|entry| entry.digest).collect())
    }

    /// What a cassette's exchanges name. What they say is skipped over, however much it is.
    fn bodies(&self, cassette: &Digest) -> Result<Vec<Digest>, StoreError> {
        #[derive(Deserialize)]
        struct Cassette {
            exchanges: Vec<Named>,
        }
        #[derive(Deserialize)]
        struct Named {
            #[serde(default)]
            blobs: Vec<Digest>,
        }
        let path = self.layout.blob(cassette);
        let reader = self.open(cassette).map_err(|error| match error {
            StoreError::BlobMissing { .. } => StoreError::corrupt(&path, "it is missing"),
            other => other,
        })?;
        let cassette: Cassette = serde_json::from_reader(BufReader::new(reader))
            .map_err(|why| StoreError::corrupt(&path, chain(&why)))?;
        let named = cassette.exchanges.into_iter().flat_map(|one| one.blobs);
        Ok(named.collect())
    }
}
