//! What is said about a version and is no part of it: manifests whose subject it is.

use std::fs;
use std::io;

use serde::{Deserialize, Serialize};
use spec::{ByteSize, Digest};

use crate::layout::create_directory;
use crate::persist::{self, Temporary};
use crate::version::{MANIFEST_MEDIA_TYPE, canonical, parse};
use crate::wire::Descriptor;
use crate::{Store, StoreError, gc, lease};

/// The config of a manifest that needs none. Source: OCI image specification, empty descriptor.
const EMPTY_MEDIA_TYPE: &str = "application/vnd.oci.empty.v1+json";
const EMPTY: &[u8] = b"{}";
/// A manifest that names thousands of blobs.
const MANIFEST_MAX: ByteSize = ByteSize::mib(4);
/// Manifests about one version.
const ATTACHMENTS_MAX: usize = 1_000;

/// A manifest about a version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attachment {
    /// The digest of the manifest.
    pub digest: Digest,
    /// What it says: a signature, a line of ancestors, ...
    pub artifact_type: String,
    /// The version that it is about.
    pub subject: Digest,
    /// Media type, digest and size of each of its layers.
    pub layers: Vec<(String, Digest, ByteSize)>,
    /// The manifest.
    pub bytes: Vec<u8>,
}

/// Something to be said about a version, in one blob.
#[derive(Clone, Copy, Debug)]
pub struct Document<'a> {
    /// What it says.
    pub artifact_type: &'a str,
    /// What its bytes are.
    pub media_type: &'a str,
    /// Its bytes.
    pub bytes: &'a [u8],
}

/// Source: OCI image specification, image manifest, guidance for artifacts.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Wire {
    schema_version: u32,
    media_type: String,
    artifact_type: String,
    config: Descriptor,
    layers: Vec<Descriptor>,
    subject: Descriptor,
}

impl Attachment {
    /// Looks at a manifest about a version.
    ///
    /// # Errors
    /// [`StoreError::Refused`] when it is none that this program writes.
    pub fn of_manifest(bytes: &[u8]) -> Result<Self, StoreError> {
        let digest = Digest::of(bytes);
        let wrong =
            |why: &str| StoreError::refused(format!("{digest} is nothing about a version: {why}"));
        if bytes.len() as u64 > MANIFEST_MAX.get() {
            return Err(wrong("its manifest is too large"));
        }
        let wire: Wire = parse(bytes).map_err(|why| wrong(&why))?;
        let is_ours = wire.schema_version == 2
            && wire.media_type == MANIFEST_MEDIA_TYPE
            && wire.subject.media_type == MANIFEST_MEDIA_TYPE;
        let empty = wire.config.media_type == EMPTY_MEDIA_TYPE
            && wire.config.digest == Digest::of(EMPTY)
            && wire.config.size == EMPTY.len() as u64;
        if !is_ours || !empty {
            return Err(wrong("it is of another form"));
        }
        let layers = wire.layers.into_iter();
        Ok(Self {
            digest,
            artifact_type: wire.artifact_type,
            subject: wire.subject.digest,
            layers: layers
                .map(|layer| (layer.media_type, layer.digest, ByteSize::bytes(layer.size)))
                .collect(),
            bytes: bytes.to_vec(),
        })
    }

    /// All blobs that must be there with it: the empty config and the layers.
    pub fn blobs(&self) -> Vec<Digest> {
        let layers = self.layers.iter().map(|(_, digest, _)| *digest);
        std::iter::once(Digest::of(EMPTY)).chain(layers).collect()
    }
}

impl Store {
    /// Says something about a version, in one document. Saying the same again changes nothing.
    ///
    /// # Errors
    /// [`StoreError::UnknownVersion`], and the file system's errors.
    pub fn attach(
        &self,
        subject: &Digest,
        document: &Document<'_>,
    ) -> Result<Attachment, StoreError> {
        let layer = (
            document.media_type.to_owned(),
            self.put(document.bytes)?,
            ByteSize::bytes(document.bytes.len() as u64),
        );
        self.attach_layers(subject, document.artifact_type, [layer])
    }

    /// The same of blobs that are in the store: media type, digest and size of each.
    ///
    /// # Errors
    /// As [`Self::attach`], and [`StoreError::BlobMissing`].
    pub fn attach_layers(
        &self,
        subject: &Digest,
        artifact_type: &str,
        layers: impl IntoIterator<Item = (String, Digest, ByteSize)>,
    ) -> Result<Attachment, StoreError> {
        let attachment = self.describe(subject, artifact_type, layers)?;
        self.receive_attachment(&attachment.bytes)
    }

    /// Makes the manifest that says something about a version, and keeps it nowhere.
    ///
    /// # Errors
    /// As [`Self::attach`].
    pub fn describe(
        &self,
        subject: &Digest,
        artifact_type: &str,
        layers: impl IntoIterator<Item = (String, Digest, ByteSize)>,
    ) -> Result<Attachment, StoreError> {
        let manifest = match self.open(subject) {
            Err(StoreError::BlobMissing { .. }) => {
                return Err(StoreError::UnknownVersion {
                    reference: subject.to_string(),
                    is_named: false,
                });
            }
            other => other?,
        };
        let layers = layers.into_iter();
        let layers = layers.map(|(media_type, digest, size)| Descriptor {
            media_type,
            digest,
            size: size.get(),
        });
        let wire = Wire {
            schema_version: 2,
            media_type: MANIFEST_MEDIA_TYPE.to_owned(),
            artifact_type: artifact_type.to_owned(),
            config: Descriptor {
                media_type: EMPTY_MEDIA_TYPE.to_owned(),
                digest: self.put(EMPTY)?,
                size: EMPTY.len() as u64,
            },
            layers: layers.collect(),
            subject: Descriptor {
                media_type: MANIFEST_MEDIA_TYPE.to_owned(),
                digest: *subject,
                size: manifest.size(),
            },
        };
        Attachment::of_manifest(&canonical(&wire)?)
    }

    /// Keeps a manifest about a version, as it is. What it names must be in the store.
    ///
    /// # Errors
    /// As [`Attachment::of_manifest`] and [`Self::hold_version`]; [`StoreError::BlobMissing`];
    /// [`StoreError::Refused`] when there is too much about that version already; the file system's errors.
    pub fn receive_attachment(&self, bytes: &[u8]) -> Result<Attachment, StoreError> {
        let attachment = Attachment::of_manifest(bytes)?;
        // All of the version: a manifest that stays without what it names is of no use.
        self.hold_version(&attachment.subject)?;
        self.hold_all(&attachment.blobs())?;
        let known = self.attached(&attachment.subject)?;
        let is_known = known.contains(&attachment.digest);
        if !is_known && known.len() >= ATTACHMENTS_MAX {
            return Err(StoreError::refused(format!(
                "there is too much about {} already: {ATTACHMENTS_MAX}",
                attachment.subject
            )));
        }
        // What points at it may have outlived it.
        self.put(bytes)?;
        if is_known {
            return Ok(attachment);
        }
        let folder = &self.layout.attachments;
        let below = folder.join(attachment.subject.hex());
        if !below.is_dir() {
            create_directory(&below)?;
            persist::sync_directory(folder)?;
            persist::sync_directory(&self.layout.root)?;
        }
        let mut pointer = Temporary::create(&self.layout.tmp)?;
        pointer.write(format!("{}\n", attachment.digest).as_bytes())?;
        pointer.persist_new(&below.join(attachment.digest.hex()))?;
        Ok(attachment)
    }

    /// Everything that is said about a version, by digest.
    ///
    /// # Errors
    /// [`StoreError::BlobMissing`], [`StoreError::Corrupt`], and the file system's errors.
    pub fn attachments(&self, subject: &Digest) -> Result<Vec<Attachment>, StoreError> {
        let found = self.attached(subject)?.into_iter();
        found
            .map(|digest| self.attachment(subject, &digest))
            .collect()
    }

    /// One of them.
    pub(crate) fn attachment(
        &self,
        subject: &Digest,
        digest: &Digest,
    ) -> Result<Attachment, StoreError> {
        let attachment = Attachment::of_manifest(&self.get_at_most(digest, MANIFEST_MAX)?)?;
        if attachment.subject != *subject {
            let path = self.layout.attachments.join(subject.hex());
            return Err(StoreError::corrupt(
                &path.join(digest.hex()),
                "it points at something about another version",
            ));
        }
        Ok(attachment)
    }

    /// Every blob that is there for what is said about a version.
    pub(crate) fn attached_parts(&self, subject: &Digest) -> Result<Vec<Digest>, StoreError> {
        let mut parts = Vec::new();
        for digest in self.attached(subject)? {
            parts.push(digest);
            match self.attachment(subject, &digest) {
                Ok(attachment) => parts.extend(attachment.blobs()),
                // It leads nowhere; `fsck` tells of it.
                Err(StoreError::BlobMissing { .. } | StoreError::Refused { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(parts)
    }

    /// Removes what points at what was said about versions that are gone. Nobody else does meanwhile: whoever
    /// calls it collects.
    pub(crate) fn forget_attachments(&self) -> Result<(), StoreError> {
        let mut gone = self.subjects()?;
        gone.retain(|subject| !self.layout.blob(subject).exists());
        for batch in gone.chunks(gc::BATCH) {
            let _alone = persist::lock(&self.layout.lease_lock)?;
            let leased = lease::leased(&self.layout)?;
            for subject in batch {
                // Somebody may be bringing it back, with what is said about it.
                if leased.contains(subject) || self.contains(subject)? {
                    continue;
                }
                let folder = self.layout.attachments.join(subject.hex());
                fs::remove_dir_all(&folder)
                    .map_err(|source| StoreError::write("remove", &folder, source))?;
            }
        }
        if !gone.is_empty() {
            persist::sync_directory(&self.layout.attachments)?;
        }
        Ok(())
    }

    /// The digests of the manifests about a version.
    pub(crate) fn attached(&self, subject: &Digest) -> Result<Vec<Digest>, StoreError> {
        digests_in(&self.layout.attachments.join(subject.hex()))
    }

    /// The versions that something is said about.
    pub(crate) fn subjects(&self) -> Result<Vec<Digest>, StoreError> {
        digests_in(&self.layout.attachments)
    }
}

/// The digests that the entries of a directory are named after; none when it is not there.
fn digests_in(folder: &std::path::Path) -> Result<Vec<Digest>, StoreError> {
    let error = |source| StoreError::read("list", folder, source);
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(source) if source.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(error(source)),
    };
    let mut digests = Vec::new();
    for entry in entries {
        let name = entry.map_err(error)?.file_name();
        let digest = name
            .to_str()
            .and_then(|hex| format!("sha256:{hex}").parse::<Digest>().ok());
        // What has another name is for `fsck` to report.
        digests.extend(digest);
    }
    digests.sort_unstable();
    Ok(digests)
}
