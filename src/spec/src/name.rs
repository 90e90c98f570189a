//! Names of subagents.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The name of a subagent: 1 to 64 of `a-z 0-9 _ -`, beginning with a letter.
///
/// It is a file name, an OCI reference, a Python-adjacent word and a shell word at once, so it is
/// held to what is plain in all of them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SubagentName(String);

/// Why a text cannot name a subagent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// It is empty, too long, or has a character outside the allowed ones.
    #[error("`{0}` cannot name a subagent")]
    NotPlain(String),
    /// It means something else already.
    #[error("`{0}` is reserved")]
    Reserved(String),
}

impl NameError {
    /// What a caller can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NotPlain(_) => {
                Some("use 1 to 64 of a-z, 0-9, `-` and `_`, beginning with a letter".to_owned())
            }
            Self::Reserved(_) => Some("choose another name".to_owned()),
        }
    }
}

/// Modules of the sandbox, words of the command line and device names of other systems.
const RESERVED: &[&str] = &[
    "agentfactory",
    "aux",
    "con",
    "head",
    "llm",
    "main",
    "meta",
    "nul",
    "prn",
    "sha256",
    "skills",
    "subagents",
    "tools",
];

impl SubagentName {
    /// The longest name, in bytes. Source: the Agent Skills format allows 64.
    pub const LENGTH_MAX: usize = 64;

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for SubagentName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let plain = text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_".contains(&b))
            && text.starts_with(|c: char| c.is_ascii_lowercase())
            && text.len() <= Self::LENGTH_MAX;
        if !plain {
            // Hostile names reach terminals through this message.
            return Err(NameError::NotPlain(crate::printable(text, 80)));
        }
        if RESERVED.contains(&text) {
            return Err(NameError::Reserved(text.to_owned()));
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for SubagentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for SubagentName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for SubagentName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_names_pass() {
        let check = |text: &str, valid: bool| {
            assert_eq!(text.parse::<SubagentName>().is_ok(), valid, "{text:?}");
        };
        check("readme-writer", true);
        check("readme_writer2", true);
        check("a", true);
        check(&"a".repeat(64), true);
        for bad in [
            "",
            "../x",
            "a/b",
            "A",
            "-a",
            "2a",
            "a b",
            "a\n",
            "a\u{202e}",
            "é",
            "tools",
            "llm",
        ] {
            check(bad, false);
        }
        check(&"a".repeat(65), false);
    }

    #[test]
    fn a_hostile_name_is_escaped_in_its_own_message() {
        let error = "a\u{1b}[31m".parse::<SubagentName>().unwrap_err();
        assert_eq!(error.to_string(), r"`a\u{1b}[31m` cannot name a subagent");
    }
}
