//! Tool skills: what a subagent can be granted.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A door of the broker that a version can be granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Skill {
    /// The subagent's own model calls; the host fixes model and address.
    Llm,
    /// Shell commands on the workspace; the host decides, the sandbox executes.
    ShellCommand,
}

/// A text that names no skill that can be granted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a skill that can be granted")]
pub struct UnknownSkill(String);

impl UnknownSkill {
    /// What a caller can do about it.
    pub fn hint(&self) -> Option<String> {
        Some("skills: llm, shell_command".to_owned())
    }
}

impl Skill {
    /// Every skill, in the order in which they are listed.
    pub const ALL: &[Self] = &[Self::Llm, Self::ShellCommand];

    /// The name in manifests, records and on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Llm => "llm",
            Self::ShellCommand => "shell_command",
        }
    }
}

impl FromStr for Skill {
    type Err = UnknownSkill;

    /// Takes the names of the reference implementation too.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "llm" | "call_llm" => Ok(Self::Llm),
            "shell_command" | "execute_shell_command" => Ok(Self::ShellCommand),
            _ => Err(UnknownSkill(crate::printable(text, 80))),
        }
    }
}

impl fmt::Display for Skill {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Serialize for Skill {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for Skill {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}
