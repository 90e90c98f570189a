//! What a manifest names.

use serde::{Deserialize, Serialize};
use spec::Digest;

/// Source: OCI image specification, media types.
pub const MANIFEST_MEDIA_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";
/// Source: OCI image specification, media types.
pub const INDEX_MEDIA_TYPE: &str = "application/vnd.oci.image.index.v1+json";

/// Source: OCI image specification, content descriptors; what else one has is not read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// What the content is.
    pub media_type: String,
    /// Its identity.
    pub digest: Digest,
    /// Its bytes.
    pub size: u64,
    /// The artifact type of a manifest, in an index.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
}

/// What a manifest consists of. The manifest itself is never written from this.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Parts {
    /// What the manifest says that it is.
    pub media_type: Option<String>,
    /// What the artifact is; without it, the type of its config says it.
    pub artifact_type: Option<String>,
    /// Its config.
    pub config: Descriptor,
    /// Its layers.
    pub layers: Vec<Descriptor>,
    /// The manifest that it is about.
    pub subject: Option<Descriptor>,
}

/// Source: OCI image specification, image index; what else one has is not read.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Index {
    pub(crate) schema_version: u32,
    #[serde(default)]
    pub(crate) media_type: String,
    pub(crate) manifests: Vec<Descriptor>,
}

impl Parts {
    /// Reads a manifest.
    ///
    /// # Errors
    /// Why it is none.
    pub fn of_manifest(bytes: &[u8]) -> Result<Self, String> {
        serde_json::from_slice(bytes).map_err(|error| error.to_string())
    }

    /// Config and layers, each once.
    pub fn blobs(&self) -> Vec<&Descriptor> {
        let mut seen = std::collections::BTreeSet::new();
        let all = std::iter::once(&self.config).chain(&self.layers);
        all.filter(|blob| seen.insert(blob.digest)).collect()
    }

    /// The type that an index of referrers lists. Source: OCI image specification, image manifest.
    pub fn listed_type(&self) -> &str {
        self.artifact_type
            .as_deref()
            .unwrap_or(&self.config.media_type)
    }
}
