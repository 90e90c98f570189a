//! Versions: what one is, how it is written and read.

use std::collections::{BTreeMap, BTreeSet};

use spec::{ByteSize, Digest, PartialLimits, Skill, SubagentName, WorkspacePath, canonical_json};

use crate::archive::{self, ArchiveError, SourceFiles};
use crate::wire::{Config, Descriptor, Manifest};
use crate::{BlobRef, Store, StoreError};

/// Source: OCI image specification, media types.
pub const MANIFEST_MEDIA_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";
/// The artifact type of a version's manifest.
pub const SUBAGENT_ARTIFACT_TYPE: &str = "application/vnd.agentfactory.subagent.v1";
/// The media type of a version's config.
pub const CONFIG_MEDIA_TYPE: &str = "application/vnd.agentfactory.subagent.config.v1+json";
/// The media type of a version's source layer.
pub const SOURCE_MEDIA_TYPE: &str = "application/vnd.agentfactory.subagent.source.v1.tar";

/// A manifest holds three descriptors; more is not one of ours.
pub(crate) const MANIFEST_MAX: ByteSize = ByteSize::kib(16);
/// A description of many pages and hundreds of requirements fit.
pub(crate) const CONFIG_MAX: ByteSize = ByteSize::kib(512);

/// Everything that decides what a version is: the same content has the same digest everywhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VersionContent {
    /// The file whose `main(query)` is called; one of `files`.
    pub entry: WorkspacePath,
    /// What it does, takes and gives.
    pub description: String,
    /// The source, `SKILL.md` included. The order does not matter; read back it is sorted by path.
    pub files: SourceFiles,
    /// What the broker does for it.
    pub skills: BTreeSet<Skill>,
    /// Other versions that are importable in its sandbox.
    pub depends: BTreeMap<SubagentName, Digest>,
    /// Hosts that it may reach: `host` or `host:port`, in lower case.
    pub egress: BTreeSet<String>,
    /// The limits it asks for; none means those of whoever runs it.
    pub limits: Option<PartialLimits>,
    /// The Python it is written for: `3.13`.
    pub python: String,
    /// The Python distributions it needs. The order does not matter; read back it is sorted.
    pub requirements: Vec<Requirement>,
}

/// One locked Python distribution.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Requirement {
    /// The normalised name. Source: PEP 503.
    pub name: String,
    /// The exact version. Source: PEP 440.
    pub version: String,
    /// The digests of the wheels that may be installed; at least one.
    pub wheels: BTreeSet<Digest>,
}

/// A version whose blobs are on disk but which no name points at yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "its digest is what `publish` takes; nothing points at it yet"]
pub struct StagedVersion {
    digest: Digest,
}

impl StagedVersion {
    /// The version's identity.
    pub fn digest(&self) -> Digest {
        self.digest
    }
}

/// A version as it was read from the store: intact and valid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// Its identity: the digest of its manifest.
    pub digest: Digest,
    /// The digest of its config.
    pub config: Digest,
    /// The digest of its source layer.
    pub source: Digest,
    /// Bytes of manifest, config and layer together.
    pub size: ByteSize,
    /// What it is.
    pub content: VersionContent,
}

/// What a version says without its source.
pub(crate) struct VersionHead {
    manifest_bytes: u64,
    config: Descriptor,
    layer: Descriptor,
    /// Its files are not read.
    pub(crate) content: VersionContent,
}

/// What a version names.
pub(crate) struct Outline {
    pub(crate) manifest_size: ByteSize,
    /// Config and source layer.
    pub(crate) parts: Vec<BlobRef>,
    pub(crate) depends: BTreeMap<SubagentName, Digest>,
}

impl From<Version> for Outline {
    /// Of one that was read as a whole, for whoever needs only what it depends on.
    fn from(version: Version) -> Self {
        Self {
            manifest_size: version.size,
            parts: Vec::new(),
            depends: version.content.depends,
        }
    }
}

impl Store {
    /// Writes a version's blobs. Nothing points at it until it is published.
    ///
    /// # Errors
    /// [`StoreError::Refused`] when the content breaks a rule, and the file system's errors.
    pub fn stage(&self, content: &VersionContent) -> Result<StagedVersion, StoreError> {
        content.check().map_err(StoreError::refused)?;
        let layer = archive::write(&content.files)?;
        let config = canonical(&Config::new(content))?;
        if config.len() as u64 > CONFIG_MAX.get() {
            return Err(StoreError::TooLarge {
                what: "the description with its requirements".to_owned(),
                size: config.len() as u64,
                limit: CONFIG_MAX.get(),
            });
        }
        let config = self.put_part(CONFIG_MEDIA_TYPE, &config)?;
        let layer = self.put_part(SOURCE_MEDIA_TYPE, &layer)?;
        let digest = self.put(&canonical(&Manifest::new(config, layer))?)?;
        Ok(StagedVersion { digest })
    }

    /// Reads a version and checks all of it: manifest, config, source layer.
    ///
    /// What it depends on is not looked at; publishing does that.
    ///
    /// # Errors
    /// [`StoreError::UnknownVersion`], [`StoreError::Corrupt`], [`StoreError::BadVersion`] when its
    /// blobs are intact but are not a version, and the file system's errors.
    pub fn version(&self, digest: &Digest) -> Result<Version, StoreError> {
        self.with_files(digest, self.manifest_and_config(digest)?)
    }

    /// Reads the source layer of a version whose manifest and config are known, and checks it.
    pub(crate) fn with_files(
        &self,
        digest: &Digest,
        head: VersionHead,
    ) -> Result<Version, StoreError> {
        let bad = |why: String| bad(digest, why);
        let layer_bytes = self.part(&head.layer, archive::LAYER_MAX, &bad)?;
        let files = archive::read(&layer_bytes)
            .map_err(|why| bad(format!("its source layer: {}", chain(&why))))?;
        let content = VersionContent {
            files,
            ..head.content
        };
        content.check().map_err(bad)?;
        Ok(Version {
            digest: *digest,
            config: head.config.digest,
            source: head.layer.digest,
            size: ByteSize::bytes(
                head.manifest_bytes + head.config.size + layer_bytes.len() as u64,
            ),
            content,
        })
    }

    /// Reads what a version says of itself and checks it; its source layer is not read.
    ///
    /// # Errors
    /// As [`Self::version`].
    pub(crate) fn outline(&self, digest: &Digest) -> Result<Outline, StoreError> {
        let head = self.manifest_and_config(digest)?;
        let part = |descriptor: &Descriptor, media_type| BlobRef {
            digest: descriptor.digest,
            media_type,
            size: ByteSize::bytes(descriptor.size),
        };
        Ok(Outline {
            manifest_size: ByteSize::bytes(head.manifest_bytes),
            parts: vec![
                part(&head.config, CONFIG_MEDIA_TYPE),
                part(&head.layer, SOURCE_MEDIA_TYPE),
            ],
            depends: head.content.depends,
        })
    }

    /// Reads manifest and config. The content has no files yet.
    fn manifest_and_config(&self, digest: &Digest) -> Result<VersionHead, StoreError> {
        let bad = |why: String| bad(digest, why);
        let bytes = match self.get_at_most(digest, MANIFEST_MAX) {
            Err(StoreError::BlobMissing { .. }) => {
                // A history that cannot be read names nothing; that is told by whoever needs it.
                let hex = digest.hex();
                let named = self.ask(|view| view.versions(None, &hex, 1));
                return Err(StoreError::UnknownVersion {
                    reference: digest.to_string(),
                    is_named: named.is_ok_and(|named| !named.is_empty()),
                });
            }
            Err(StoreError::TooLarge { .. }) => return Err(bad("it is not a manifest".to_owned())),
            other => other?,
        };
        self.version_head(digest, &bytes)
    }

    /// Reads the config that a manifest names, and checks both.
    pub(crate) fn version_head(
        &self,
        digest: &Digest,
        bytes: &[u8],
    ) -> Result<VersionHead, StoreError> {
        let bad = |why: String| bad(digest, why);
        let manifest: Manifest = parse(bytes)
            .map_err(|why| bad(format!("its manifest is not one of a subagent: {why}")))?;
        let layer = manifest.check().map_err(bad)?.clone();
        if layer.size > archive::LAYER_MAX {
            return Err(bad(too_large(&layer, archive::LAYER_MAX)));
        }
        let config_bytes = self.part(&manifest.config, CONFIG_MAX.get(), &bad)?;
        let config: Config =
            parse(&config_bytes).map_err(|why| bad(format!("its config is not valid: {why}")))?;
        let content = config.into_content(SourceFiles::new()).map_err(bad)?;
        // The same grants in another order would be another digest for the same version.
        if canonical(&Config::new(&content))? != config_bytes {
            return Err(bad(
                "its config is not in the one form of a config".to_owned()
            ));
        }
        Ok(VersionHead {
            manifest_bytes: bytes.len() as u64,
            config: manifest.config,
            layer,
            content,
        })
    }

    /// The parts that the manifest of a version names: config and source layer.
    ///
    /// # Errors
    /// [`StoreError::Refused`] when the bytes are not the manifest of a version.
    pub fn manifest_parts(bytes: &[u8]) -> Result<[Digest; 2], StoreError> {
        let wrong =
            |why| StoreError::refused(format!("it is not the manifest of a version: {why}"));
        if bytes.len() as u64 > MANIFEST_MAX.get() {
            return Err(wrong(format!("it is larger than {MANIFEST_MAX}")));
        }
        let manifest: Manifest = parse(bytes).map_err(wrong)?;
        let layer = manifest.check().map_err(wrong)?.digest;
        Ok([manifest.config.digest, layer])
    }

    /// Keeps files as a source layer and gives its digest.
    ///
    /// # Errors
    /// [`StoreError::Refused`] when they are beyond what a subagent may have, and the file
    /// system's errors.
    pub fn put_source(&self, files: &[(WorkspacePath, Vec<u8>)]) -> Result<Digest, StoreError> {
        self.put(&archive::write(files)?)
    }

    /// Reads the files of a source layer, sorted by path.
    ///
    /// # Errors
    /// As [`Self::get`], and [`StoreError::Refused`] when the blob is not a source layer.
    pub fn source(&self, layer: &Digest) -> Result<SourceFiles, StoreError> {
        let bytes = self.get_at_most(layer, ByteSize::bytes(archive::LAYER_MAX))?;
        archive::read(&bytes).map_err(|why| {
            StoreError::refused(format!("{layer} is not a source layer: {}", chain(&why)))
        })
    }

    /// Keeps what a manifest points at.
    fn put_part(&self, media_type: &str, bytes: &[u8]) -> Result<Descriptor, StoreError> {
        Ok(Descriptor {
            media_type: media_type.to_owned(),
            digest: self.put(bytes)?,
            size: bytes.len() as u64,
        })
    }

    /// Reads what a manifest points at.
    fn part(
        &self,
        descriptor: &Descriptor,
        limit: u64,
        bad: &dyn Fn(String) -> StoreError,
    ) -> Result<Vec<u8>, StoreError> {
        let Descriptor { digest, size, .. } = descriptor;
        if *size > limit {
            return Err(bad(too_large(descriptor, limit)));
        }
        let bytes = match self.get_at_most(digest, ByteSize::bytes(limit)) {
            Err(StoreError::BlobMissing { .. }) => {
                return Err(StoreError::corrupt(
                    &self.layout.blob(digest),
                    "it is missing",
                ));
            }
            other => other?,
        };
        if bytes.len() as u64 != *size {
            return Err(bad(format!(
                "its part {digest} has {} bytes, not {size}",
                bytes.len()
            )));
        }
        Ok(bytes)
    }
}

impl VersionContent {
    /// Reads a config that a store wrote. The files are not in it.
    ///
    /// # Errors
    /// [`StoreError::Refused`] when the bytes are no config.
    pub fn from_config(bytes: &[u8]) -> Result<Self, StoreError> {
        let wrong = |why| StoreError::refused(format!("it is not the config of a version: {why}"));
        if bytes.len() as u64 > CONFIG_MAX.get() {
            return Err(wrong(format!("it is larger than {CONFIG_MAX}")));
        }
        let config: Config = parse(bytes).map_err(wrong)?;
        config.into_content(SourceFiles::new()).map_err(wrong)
    }

    /// The config of a version of this content, in its one form.
    ///
    /// # Errors
    /// [`StoreError::Refused`] for a number that it cannot hold.
    pub fn to_config(&self) -> Result<Vec<u8>, StoreError> {
        canonical(&Config::new(self))
    }

    /// The rules that its types do not express.
    fn check(&self) -> Result<(), String> {
        if !self.files.iter().any(|(path, _)| *path == self.entry) {
            return Err(format!(
                "the entry file `{}` is not in its source",
                self.entry
            ));
        }
        let python = self.python.strip_prefix("3.").unwrap_or_default();
        if python.is_empty() || python.len() > 3 || !python.bytes().all(|b| b.is_ascii_digit()) {
            return Err(format!(
                "`{}` is not a Python version such as 3.13",
                self.python.escape_debug()
            ));
        }
        if let Some(host) = self.egress.iter().find(|host| !is_host(host)) {
            return Err(format!(
                "`{}` is not a host or host:port in lower case",
                host.escape_debug()
            ));
        }
        if let Some(limits) = &self.limits {
            limits.check().map_err(|why| why.to_string())?;
            if limits.is_empty() {
                return Err("limits that say nothing are left out".to_owned());
            }
            for (what, time) in [("wall", limits.wall), ("processor time", limits.cpu)] {
                if time.is_some_and(|time| !time.subsec_nanos().is_multiple_of(1_000_000)) {
                    return Err(format!(
                        "the {what} limit is not a whole number of milliseconds"
                    ));
                }
            }
        }
        let mut names = BTreeSet::new();
        for requirement in &self.requirements {
            requirement.check()?;
            if !names.insert(&requirement.name) {
                return Err(format!("`{}` is required twice", requirement.name));
            }
        }
        Ok(())
    }
}

impl Requirement {
    fn check(&self) -> Result<(), String> {
        let name = self.name.as_bytes();
        let plain = name
            .iter()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-');
        let trimmed = name.first() != Some(&b'-') && name.last() != Some(&b'-');
        if name.is_empty() || name.len() > 128 || !plain || !trimmed || self.name.contains("--") {
            return Err(format!(
                "`{}` is not a normalised distribution name",
                self.name.escape_debug()
            ));
        }
        let version = self.version.as_bytes();
        let plain = version
            .iter()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b".+!".contains(b));
        if version.is_empty() || version.len() > 128 || !plain {
            return Err(format!(
                "`{}` is not an exact version of `{}`",
                self.version.escape_debug(),
                self.name
            ));
        }
        if self.wheels.is_empty() {
            return Err(format!("`{}` is not locked to a file", self.name));
        }
        Ok(())
    }
}

fn bad(digest: &Digest, why: String) -> StoreError {
    StoreError::BadVersion {
        digest: *digest,
        why,
    }
}

fn too_large(part: &Descriptor, limit: u64) -> String {
    let Descriptor { digest, size, .. } = part;
    format!("its part {digest} has {size} bytes, at most {limit}")
}

/// `host` or `host:port`: DNS names and IPv4 addresses. Who may be dialled is decided at the door.
fn is_host(text: &str) -> bool {
    let (host, port) = match text.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (text, None),
    };
    let label = |label: &str| {
        let plain = label
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_".contains(&b));
        (1..=63).contains(&label.len()) && plain && !label.starts_with('-') && !label.ends_with('-')
    };
    let port_ok = port.is_none_or(|port| {
        port.parse::<u16>()
            .is_ok_and(|number| number > 0 && number.to_string() == port)
    });
    host.len() <= 253 && host.split('.').all(label) && port_ok
}

/// An error and its causes in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

/// The largest integer up to which doubles hold each one. Source: RFC 8785, section 3.2.2.3.
const EXACT: u64 = 1 << 53;

/// Writes canonical JSON, refusing what it would change.
pub(crate) fn canonical<T: serde::Serialize>(value: &T) -> Result<Vec<u8>, StoreError> {
    let tree = serde_json::to_value(value).map_err(|why| StoreError::refused(chain(&why)))?;
    if let Some(number) = rounded(&tree) {
        return Err(StoreError::refused(format!(
            "the number {number} is above 2^53 and would be rounded"
        )));
    }
    canonical_json(&tree).map_err(|why| StoreError::refused(chain(&why)))
}

/// Writes canonical JSON of what was measured: an integer that it would round becomes 2^53.
pub(crate) fn canonical_capped<T: serde::Serialize>(value: &T) -> Result<Vec<u8>, StoreError> {
    let mut tree = serde_json::to_value(value).map_err(|why| StoreError::refused(chain(&why)))?;
    cap(&mut tree);
    canonical(&tree)
}

fn cap(value: &mut serde_json::Value) {
    match value {
        serde_json::Value::Number(number) if number.as_u64().is_some_and(|size| size > EXACT) => {
            *number = EXACT.into();
        }
        serde_json::Value::Array(items) => items.iter_mut().for_each(cap),
        serde_json::Value::Object(fields) => fields.values_mut().for_each(cap),
        _ => {}
    }
}

/// An integer that a double does not hold.
fn rounded(value: &serde_json::Value) -> Option<&serde_json::Number> {
    match value {
        serde_json::Value::Number(number) => {
            let size = number
                .as_u64()
                .or_else(|| number.as_i64().map(i64::unsigned_abs));
            size.is_some_and(|size| size > EXACT).then_some(number)
        }
        serde_json::Value::Array(items) => items.iter().find_map(rounded),
        serde_json::Value::Object(fields) => fields.values().find_map(rounded),
        _ => None,
    }
}

/// Parses JSON of which there is only one way to write it, the canonical one.
pub(crate) fn parse<T: serde::Serialize + serde::de::DeserializeOwned>(
    bytes: &[u8],
) -> Result<T, String> {
    let value: T = serde_json::from_slice(bytes).map_err(|why| why.to_string())?;
    match canonical_json(&value) {
        Ok(again) if again == bytes => Ok(value),
        _ => Err("it is not in canonical form".to_owned()),
    }
}

impl From<ArchiveError> for StoreError {
    fn from(error: ArchiveError) -> Self {
        Self::refused(chain(&error))
    }
}
