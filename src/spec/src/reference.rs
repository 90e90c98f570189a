//! Ways to name one version.

use std::fmt;
use std::str::FromStr;

use crate::{Digest, SubagentName};

/// What a person writes to name one version of a subagent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VersionRef {
    /// `NAME`: the version its head points at.
    Head(SubagentName),
    /// `NAME@{N}`: the version its head pointed at before its last `N` moves.
    Back(SubagentName, u64),
    /// `NAME:TAG`: the version that carries a tag.
    Tag(SubagentName, String),
    /// `sha256:<64 hex>` or `NAME@sha256:<64 hex>`; with a name, it must be in that name's history.
    Exact(Option<SubagentName>, Digest),
    /// At least eight hex digits that begin exactly one manifest digest, with or without a name.
    Prefix(Option<SubagentName>, String),
}

/// A text that names no version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` does not name a version")]
pub struct ReferenceError {
    text: String,
}

impl ReferenceError {
    /// What a caller can do about it.
    pub fn hint(&self) -> Option<String> {
        Some(
            "write NAME, NAME:TAG, NAME@{2}, NAME@DIGEST or at least 8 hex digits of a digest"
                .to_owned(),
        )
    }
}

impl VersionRef {
    /// The fewest hex digits of a digest prefix.
    pub const PREFIX_MIN: usize = 8;
}

/// A digest or a prefix of one, with or without `sha256:`.
fn parse_digest(name: Option<SubagentName>, text: &str) -> Option<VersionRef> {
    if let Ok(digest) = text.parse::<Digest>() {
        return Some(VersionRef::Exact(name, digest));
    }
    let hex = text.strip_prefix("sha256:").unwrap_or(text);
    let is_hex = hex
        .bytes()
        .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    match hex.len() {
        64 if is_hex => format!("sha256:{hex}")
            .parse()
            .ok()
            .map(|digest| VersionRef::Exact(name, digest)),
        VersionRef::PREFIX_MIN..=63 if is_hex => Some(VersionRef::Prefix(name, hex.to_owned())),
        _ => None,
    }
}

/// A number in braces, written in the one way.
fn parse_back(text: &str) -> Option<u64> {
    let digits = text.strip_prefix('{')?.strip_suffix('}')?;
    let back: u64 = digits.parse().ok()?;
    (back.to_string() == digits).then_some(back)
}

impl FromStr for VersionRef {
    type Err = ReferenceError;

    /// A word of hex digits such as `deadbeef` could be both a name and a prefix; it is read as a
    /// prefix, and `NAME@…` or `NAME:TAG` says the other thing.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || ReferenceError {
            text: crate::printable(text, 120),
        };
        if let Some(reference) = parse_digest(None, text) {
            return Ok(reference);
        }
        if let Some((name, digest)) = text.split_once('@') {
            let name = name.parse().map_err(|_| error())?;
            if let Some(back) = parse_back(digest) {
                return Ok(Self::Back(name, back));
            }
            return parse_digest(Some(name), digest).ok_or_else(error);
        }
        if let Some((name, tag)) = text.split_once(':') {
            let name = name.parse().map_err(|_| error())?;
            // Source: OCI distribution specification, the grammar of tags.
            let plain = tag
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
            if tag.is_empty() || tag.len() > 128 || !plain || tag.starts_with(['.', '-']) {
                return Err(error());
            }
            return Ok(Self::Tag(name, tag.to_owned()));
        }
        text.parse().map(Self::Head).map_err(|_| error())
    }
}

impl fmt::Display for VersionRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Head(name) => write!(f, "{name}"),
            Self::Back(name, back) => write!(f, "{name}@{{{back}}}"),
            Self::Tag(name, tag) => write!(f, "{name}:{tag}"),
            Self::Exact(Some(name), digest) => write!(f, "{name}@{digest}"),
            Self::Exact(None, digest) => write!(f, "{digest}"),
            Self::Prefix(Some(name), hex) => write!(f, "{name}@{hex}"),
            Self::Prefix(None, hex) => f.write_str(hex),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_form_is_understood_and_written_back() {
        let hex = Digest::of(b"x").hex();
        for text in [
            "readme-writer",
            "readme-writer:stable",
            "readme-writer@{0}",
            "readme-writer@{12}",
            &format!("readme-writer@sha256:{hex}"),
            &format!("sha256:{hex}"),
            "2d711642",
            "readme-writer@2d711642",
        ] {
            assert_eq!(text.parse::<VersionRef>().unwrap().to_string(), text);
        }
        assert_eq!(
            hex.parse::<VersionRef>().unwrap(),
            VersionRef::Exact(None, Digest::of(b"x"))
        );
    }

    #[test]
    fn what_names_nothing_is_refused() {
        for text in [
            "",
            "../x",
            "a@",
            "a@123",
            "a@{}",
            "a@{-1}",
            "a@{+1}",
            "a@{01}",
            "a@{1",
            "@{1}",
            "a@{99999999999999999999}",
            "a@xyzxyzxyz",
            "a:",
            "a:-x",
            "A",
            "2d71164",
            "sha256:12",
        ] {
            assert!(text.parse::<VersionRef>().is_err(), "{text:?}");
        }
    }
}
