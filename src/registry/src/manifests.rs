//! Manifests as the bytes that they are, tags, and the manifests that are about others.

use bytes::Bytes;
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderValue};
use reqwest::{Method, StatusCode};
use spec::{ByteSize, Digest};

use crate::connection::{Access, Call};
use crate::descriptor::Index;
use crate::{
    Descriptor, INDEX_MEDIA_TYPE, MANIFEST_MEDIA_TYPE, Parts, RegistryError, Repository, Target,
};

/// Bytes of a manifest or an index. Source: OCI distribution specification: registries should take
/// manifests of 4 MiB.
pub const MANIFEST_MAX: ByteSize = ByteSize::mib(4);
/// Manifests that may be about one, of those that are looked at.
const REFERRERS_MAX: usize = 1_000;
/// How often a list of referrers is written again because somebody else wrote it too.
const LIST_ATTEMPTS: u32 = 5;

/// A manifest as it was sent.
#[derive(Clone, Debug)]
pub struct RawManifest {
    /// Its bytes, which are what its digest is of.
    pub bytes: Bytes,
    /// Its digest.
    pub digest: Digest,
}

impl Repository {
    /// Reads a manifest, if it is there.
    ///
    /// # Errors
    /// Those of a registry; [`RegistryError::Untrue`] when it has another digest than was asked
    /// for, or more bytes than [`MANIFEST_MAX`].
    pub async fn find_manifest(
        &self,
        target: &Target,
    ) -> Result<Option<RawManifest>, RegistryError> {
        let what = format!("the manifest `{target}`");
        let url = self.url(&format!("manifests/{target}"));
        let mut call = Call::new(Method::GET, url, Access::Read, &what);
        let accepted = [MANIFEST_MEDIA_TYPE, INDEX_MEDIA_TYPE].join(", ");
        let accepted = HeaderValue::from_str(&accepted).expect("media types are a header");
        call.headers.insert(ACCEPT, accepted);
        let answer = self.send(&call).await?;
        match answer.status() {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND => return Ok(None),
            _ => return Err(self.refusal(answer, Access::Read).await),
        }
        let said = answer.digest();
        let max = usize::try_from(MANIFEST_MAX.get()).unwrap_or(usize::MAX);
        let bytes = answer.body(max).await?;
        let digest = Digest::of(&bytes);
        let wanted = match target {
            Target::Digest(wanted) => Some(*wanted),
            Target::Tag(_) => said,
        };
        if let Some(wanted) = wanted.filter(|wanted| *wanted != digest) {
            return Err(RegistryError::Untrue {
                host: self.name().host().to_owned(),
                what,
                why: format!("its bytes have the digest {digest}, not {wanted}"),
            });
        }
        Ok(Some(RawManifest { bytes, digest }))
    }

    /// Reads a manifest.
    ///
    /// # Errors
    /// As [`Self::find_manifest`], and [`RegistryError::NotFound`].
    pub async fn manifest(&self, target: &Target) -> Result<RawManifest, RegistryError> {
        let found = self.find_manifest(target).await?;
        found.ok_or_else(|| {
            let mark = match target {
                Target::Tag(_) => ':',
                Target::Digest(_) => '@',
            };
            RegistryError::NotFound {
                what: format!("{}{mark}{target}", self.name()),
            }
        })
    }

    /// Whether the registry has a manifest of this digest.
    ///
    /// # Errors
    /// Those of a registry.
    pub async fn has_manifest(&self, digest: &Digest) -> Result<bool, RegistryError> {
        let url = self.url(&format!("manifests/{digest}"));
        let what = format!("the manifest `{digest}`");
        let mut call = Call::new(Method::HEAD, url, Access::Write, &what);
        let accepted = HeaderValue::from_static(MANIFEST_MEDIA_TYPE);
        call.headers.insert(ACCEPT, accepted);
        let answer = self.send(&call).await?;
        match answer.status() {
            StatusCode::OK => Ok(true),
            StatusCode::NOT_FOUND => Ok(false),
            _ => Err(self.refusal(answer, Access::Write).await),
        }
    }

    /// Writes a manifest as it is. What it names must be there. One that is about another is
    /// listed among what is about that one.
    ///
    /// # Errors
    /// Those of a registry, and [`RegistryError::BadManifest`].
    pub async fn put_manifest(&self, target: &Target, bytes: &Bytes) -> Result<(), RegistryError> {
        let digest = Digest::of(bytes);
        let parts =
            Parts::of_manifest(bytes).map_err(|why| RegistryError::BadManifest { digest, why })?;
        let media_type = parts.media_type.as_deref().unwrap_or(MANIFEST_MEDIA_TYPE);
        let lists = self.put_raw(target, media_type, bytes).await?;
        match &parts.subject {
            Some(subject) if !lists => {
                let referrer = Descriptor {
                    media_type: media_type.to_owned(),
                    digest,
                    size: bytes.len() as u64,
                    artifact_type: Some(parts.listed_type().to_owned()),
                };
                self.list_referrer(&subject.digest, referrer).await
            }
            _ => Ok(()),
        }
    }

    /// Writes a manifest or an index; whether the registry listed it by itself.
    async fn put_raw(
        &self,
        target: &Target,
        media_type: &str,
        bytes: &Bytes,
    ) -> Result<bool, RegistryError> {
        let digest = Digest::of(bytes);
        let url = self.url(&format!("manifests/{target}"));
        let what = format!("the manifest `{target}`");
        let mut call = Call::new(Method::PUT, url, Access::Write, &what);
        let media_type =
            HeaderValue::from_str(media_type).map_err(|_| RegistryError::BadManifest {
                digest,
                why: "its media type is not one".to_owned(),
            })?;
        call.headers.insert(CONTENT_TYPE, media_type);
        call.body = bytes.clone();
        let answer = self.send(&call).await?;
        if !answer.status().is_success() {
            return Err(self.refusal(answer, Access::Write).await);
        }
        if answer.digest().is_some_and(|found| found != digest) {
            return Err(answer.untrue("it was kept under another digest"));
        }
        Ok(answer.response.headers().contains_key("oci-subject"))
    }

    /// The manifests of one artifact type that say that they are about this one.
    ///
    /// # Errors
    /// Those of a registry.
    pub async fn referrers(
        &self,
        subject: &Digest,
        artifact_type: Option<&str>,
    ) -> Result<Vec<Descriptor>, RegistryError> {
        let what = format!("the list of what is about {subject}");
        let mut url = self.url(&format!("referrers/{subject}"));
        if let Some(artifact_type) = artifact_type {
            url.query_pairs_mut()
                .append_pair("artifactType", artifact_type);
        }
        let mut call = Call::new(Method::GET, url, Access::Read, &what);
        let accepted = HeaderValue::from_static(INDEX_MEDIA_TYPE);
        call.headers.insert(ACCEPT, accepted);
        let answer = self.send(&call).await?;
        let index = match answer.status() {
            StatusCode::OK => {
                let max = usize::try_from(MANIFEST_MAX.get()).unwrap_or(usize::MAX);
                self.index(&what, &answer.body(max).await?)?
            }
            // Source: OCI distribution specification: the API is not there, so a tag lists them.
            StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_ACCEPTABLE => {
                self.listed(subject).await?
            }
            _ => return Err(self.refusal(answer, Access::Read).await),
        };
        let wanted = |found: &Descriptor| {
            artifact_type.is_none_or(|wanted| found.artifact_type.as_deref() == Some(wanted))
        };
        let found = index.manifests.into_iter().filter(wanted);
        Ok(found.take(REFERRERS_MAX).collect())
    }

    /// What the tag of a subject lists.
    async fn listed(&self, subject: &Digest) -> Result<Index, RegistryError> {
        match self.find_manifest(&list_tag(subject)).await? {
            Some(found) => {
                let what = format!("the list of what is about {subject}");
                self.index(&what, &found.bytes)
            }
            None => Ok(Index::default()),
        }
    }

    fn index(&self, what: &str, bytes: &[u8]) -> Result<Index, RegistryError> {
        serde_json::from_slice(bytes).map_err(|error| RegistryError::Untrue {
            host: self.name().host().to_owned(),
            what: what.to_owned(),
            why: format!("it is not an index: {error}"),
        })
    }

    /// Adds a manifest to the tag that lists what is about a subject.
    async fn list_referrer(
        &self,
        subject: &Digest,
        referrer: Descriptor,
    ) -> Result<(), RegistryError> {
        for _ in 0..LIST_ATTEMPTS {
            let mut index = self.listed(subject).await?;
            let is_there = |one: &Descriptor| one.digest == referrer.digest;
            // Somebody else's list may have replaced ours: it is looked at after it was written.
            if index.manifests.iter().any(is_there) {
                return Ok(());
            }
            if index.manifests.len() >= REFERRERS_MAX {
                break;
            }
            index.manifests.push(referrer.clone());
            index.schema_version = 2;
            INDEX_MEDIA_TYPE.clone_into(&mut index.media_type);
            let bytes = serde_json::to_vec(&index).map(Bytes::from);
            let bytes = bytes.map_err(|error| RegistryError::BadManifest {
                digest: referrer.digest,
                why: error.to_string(),
            })?;
            self.put_raw(&list_tag(subject), INDEX_MEDIA_TYPE, &bytes)
                .await?;
        }
        let index = self.listed(subject).await?;
        if index
            .manifests
            .iter()
            .any(|one| one.digest == referrer.digest)
        {
            return Ok(());
        }
        Err(RegistryError::Untrue {
            host: self.name().host().to_owned(),
            what: format!("the list of what is about {subject}"),
            why: "it does not hold what was added to it".to_owned(),
        })
    }
}

/// Source: OCI distribution specification, referrers tag schema.
fn list_tag(subject: &Digest) -> Target {
    Target::Tag(format!("sha256-{}", subject.hex()))
}
