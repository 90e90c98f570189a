//! DSSE envelopes over in-toto statements.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use spec::Digest;

/// Bytes of an envelope.
pub(super) const ENVELOPE_MAX: spec::ByteSize = spec::ByteSize::kib(64);
/// What an envelope is. Source: DSSE, the envelope.
pub(super) const ENVELOPE_MEDIA_TYPE: &str = "application/vnd.dsse.envelope.v1+json";
/// What the payload is. Source: in-toto attestation framework, envelope layer.
const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";
/// Source: in-toto attestation framework, statement version 1.
const STATEMENT_TYPE: &str = "https://in-toto.io/Statement/v1";
/// What is said: whoever signs it vouches for the version.
const PREDICATE_TYPE: &str = "urn:agentfactory:vouches:v1";
/// Signatures of one envelope that are looked at.
pub(super) const SIGNATURES_MAX: usize = 16;

/// Source: DSSE, the envelope; unknown fields are to be ignored.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Envelope {
    payload: String,
    payload_type: String,
    pub(super) signatures: Vec<OneSignature>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct OneSignature {
    #[serde(default)]
    pub(super) keyid: String,
    sig: String,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Statement {
    #[serde(rename = "_type")]
    kind: String,
    predicate: serde_json::Value,
    predicate_type: String,
    subject: Vec<Subject>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Subject {
    digest: SubjectDigest,
}

#[derive(Debug, Serialize, Deserialize)]
struct SubjectDigest {
    sha256: String,
}

impl OneSignature {
    pub(super) fn bytes(&self) -> Option<Vec<u8>> {
        STANDARD.decode(&self.sig).ok()
    }
}

impl Envelope {
    /// Reads an envelope and gives what its signatures are of, if it speaks of this version.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn open(bytes: &[u8], version: &Digest) -> Result<(Self, Vec<u8>), String> {
        let envelope: Self = serde_json::from_slice(bytes)
            .map_err(|error| format!("it is not a DSSE envelope: {error}"))?;
        if envelope.payload_type != PAYLOAD_TYPE {
            let found = spec::printable(&envelope.payload_type, 80);
            return Err(format!("its payload is `{found}`, not `{PAYLOAD_TYPE}`"));
        }
        if envelope.signatures.len() > SIGNATURES_MAX {
            return Err(format!("it has more than {SIGNATURES_MAX} signatures"));
        }
        let payload = STANDARD
            .decode(&envelope.payload)
            .map_err(|_| "its payload is not base64".to_owned())?;
        let statement: Statement = serde_json::from_slice(&payload)
            .map_err(|error| format!("its payload is not a statement: {error}"))?;
        if statement.kind != STATEMENT_TYPE || statement.predicate_type != PREDICATE_TYPE {
            return Err("its statement says something else".to_owned());
        }
        let [subject] = statement.subject.as_slice() else {
            return Err("its statement is not about one version".to_owned());
        };
        if subject.digest.sha256 != version.hex() {
            let other = spec::printable(&subject.digest.sha256, 64);
            return Err(format!("it was made for another version, {other}"));
        }
        let message = authenticated(PAYLOAD_TYPE, &payload);
        Ok((envelope, message))
    }

    /// Makes an envelope that vouches for a version. The same key makes the same bytes each time.
    pub(super) fn seal<E>(
        version: &Digest,
        keyid: String,
        sign: impl FnOnce(&[u8]) -> Result<Vec<u8>, E>,
    ) -> Result<Vec<u8>, E> {
        let statement = Statement {
            kind: STATEMENT_TYPE.to_owned(),
            predicate: serde_json::json!({}),
            predicate_type: PREDICATE_TYPE.to_owned(),
            subject: vec![Subject {
                digest: SubjectDigest {
                    sha256: version.hex(),
                },
            }],
        };
        let payload = canonical(&statement);
        let signature = sign(&authenticated(PAYLOAD_TYPE, &payload))?;
        Ok(canonical(&Self {
            payload: STANDARD.encode(&payload),
            payload_type: PAYLOAD_TYPE.to_owned(),
            signatures: vec![OneSignature {
                keyid,
                sig: STANDARD.encode(signature),
            }],
        }))
    }
}

fn canonical<T: Serialize>(value: &T) -> Vec<u8> {
    spec::canonical_json(value).expect("texts and lists have a canonical form")
}

/// What is signed. Source: DSSE, pre-authentication encoding.
fn authenticated(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let (type_length, length) = (payload_type.len(), payload.len());
    let mut bytes = format!("DSSEv1 {type_length} {payload_type} {length} ").into_bytes();
    bytes.extend_from_slice(payload);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_signed_is_what_the_protocol_says() {
        // Source: DSSE, protocol, test vectors.
        assert_eq!(
            authenticated("http://example.com/HelloWorld", b"hello world"),
            b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
        );
    }
}
