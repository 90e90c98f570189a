//! Signatures of versions: made, kept, looked at.

use spec::Digest;
use store::{Attachment, Document, Store, StoreError};

use super::envelope::{ENVELOPE_MAX, ENVELOPE_MEDIA_TYPE, Envelope};
use super::{KeyFolder, PublicKey, SIGNATURE_TYPE, TrustError};

/// What one signature is worth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// One of the given keys made it, for this version.
    Valid(PublicKey),
    /// Another key is said to have made it.
    UnknownKey,
    /// It is wrong, whoever made it.
    Wrong(String),
}

/// One signature of a version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignatureCheck {
    /// The manifest that carries it.
    pub attachment: Digest,
    /// The key that it says made it, printable; empty when it cannot be read.
    pub key_id: String,
    /// What it is worth.
    pub verdict: Verdict,
}

/// What was signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed {
    /// The signature of the version.
    pub signature: Attachment,
    /// What it depends on, which has a signature each too.
    pub depends: Vec<Digest>,
}

/// Vouches for a version with a key of this home, and for each that it depends on. Doing it again
/// changes nothing.
///
/// # Errors
/// [`StoreError::UnknownVersion`] and its like; [`TrustError::UnknownKey`] and its like.
pub fn sign(
    store: &Store,
    keys: &KeyFolder,
    key: &str,
    version: &Digest,
) -> Result<Signed, TrustError> {
    let key = keys.open(key)?;
    let mut versions = store.closure(version)?.versions;
    // Nobody vouches for what is damaged or incomplete.
    for one in &versions {
        store.version(&one.digest)?;
    }
    // The last of them is the version itself.
    versions.pop();
    let seal = |version: &Digest| {
        let envelope = Envelope::seal(version, key.public.id(), |message| key.sign(message))?;
        let document = Document {
            artifact_type: SIGNATURE_TYPE,
            media_type: ENVELOPE_MEDIA_TYPE,
            bytes: &envelope,
        };
        Ok::<_, TrustError>(store.attach(version, &document)?)
    };
    let depends: Vec<Digest> = versions.into_iter().map(|one| one.digest).collect();
    for one in &depends {
        seal(one)?;
    }
    Ok(Signed {
        signature: seal(version)?,
        depends,
    })
}

/// All signatures of a version, judged by these keys.
///
/// # Errors
/// The store's.
pub fn signatures(
    store: &Store,
    version: &Digest,
    keys: &[PublicKey],
) -> Result<Vec<SignatureCheck>, StoreError> {
    let mut checks = Vec::new();
    for attachment in store.attachments(version)? {
        if attachment.artifact_type != SIGNATURE_TYPE {
            continue;
        }
        let wrong = |why: String| SignatureCheck {
            attachment: attachment.digest,
            key_id: String::new(),
            verdict: Verdict::Wrong(why),
        };
        let [(media_type, digest, _)] = attachment.layers.as_slice() else {
            checks.push(wrong("it is not one envelope".to_owned()));
            continue;
        };
        if media_type != ENVELOPE_MEDIA_TYPE {
            let found = spec::printable(media_type, 80);
            checks.push(wrong(format!(
                "it is `{found}`, not `{ENVELOPE_MEDIA_TYPE}`"
            )));
            continue;
        }
        let bytes = match store.get_at_most(digest, ENVELOPE_MAX) {
            Err(StoreError::TooLarge { .. }) => {
                checks.push(wrong("it is too large for an envelope".to_owned()));
                continue;
            }
            other => other?,
        };
        match Envelope::open(&bytes, version) {
            Ok((envelope, message)) => {
                let found = envelope.signatures.iter();
                checks.extend(found.map(|one| SignatureCheck {
                    attachment: attachment.digest,
                    key_id: spec::printable(&one.keyid, 64),
                    verdict: judge(one.bytes(), &one.keyid, &message, keys),
                }));
            }
            Err(why) => checks.push(wrong(why)),
        }
    }
    Ok(checks)
}

/// The key id is a hint and proves nothing: the key that verifies it made it.
fn judge(signature: Option<Vec<u8>>, id: &str, message: &[u8], keys: &[PublicKey]) -> Verdict {
    let Some(signature) = signature else {
        return Verdict::Wrong("it is not base64".to_owned());
    };
    if let Some(key) = keys.iter().find(|key| key.verifies(message, &signature)) {
        return Verdict::Valid(*key);
    }
    if keys.iter().any(|key| key.id() == id) {
        return Verdict::Wrong("it does not fit what it is said to sign".to_owned());
    }
    Verdict::UnknownKey
}
