//! The one way to write JSON whose bytes are hashed.

use serde::Serialize;

/// A value that JSON cannot express, such as a map with keys that are not strings.
#[derive(Debug, thiserror::Error)]
#[error("a value has no canonical JSON form")]
pub struct CanonicalError(#[source] serde_json::Error);

/// Serialises a value as canonical JSON.
///
/// Numbers are doubles in that form, so integers above 2^53 belong in strings.
///
/// # Errors
/// [`CanonicalError`] when the value has no JSON form.
///
/// Source: RFC 8785.
pub fn canonical_json<T: Serialize>(value: &T) -> Result<Vec<u8>, CanonicalError> {
    serde_json_canonicalizer::to_vec(value).map_err(CanonicalError)
}
