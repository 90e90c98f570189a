//! Why a folder of subagents or another home cannot be used.

use std::path::PathBuf;

use crate::front_matter::FrontMatterError;

/// Why a folder of subagents or another home cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LibraryError {
    /// No folder in it is a subagent.
    #[error("`{}` holds no subagent: no SKILL.md in it or in a folder in it", .path.display())]
    NoSubagent {
        /// The folder.
        path: PathBuf,
    },
    /// Something there cannot be read or written.
    #[error("`{}` cannot be {action}", .path.display())]
    Io {
        /// What.
        path: PathBuf,
        /// `read` or `written`.
        action: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
    /// A SKILL.md is wrong.
    #[error("its SKILL.md: {0}")]
    FrontMatter(FrontMatterError),
    /// It breaks a rule.
    #[error("{why}")]
    Refused {
        /// Which one.
        why: String,
        /// What to do about it.
        hint: Option<String>,
    },
    /// A home that is to be read does not exist.
    #[error("`{}` is not a home of AgentFactory", .path.display())]
    NoHome {
        /// The folder.
        path: PathBuf,
    },
    /// The name has another head in the home that is copied to.
    #[error("a file of it is called `{0}`, which an exported folder needs for itself")]
    OwnName(String),
}

impl LibraryError {
    pub(super) fn refused(why: impl Into<String>) -> Self {
        Self::Refused {
            why: why.into(),
            hint: None,
        }
    }

    pub(super) fn hinted(why: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Refused {
            why: why.into(),
            hint: Some(hint.into()),
        }
    }

    /// What a caller can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NoSubagent { .. } => Some(
                "name a folder with a SKILL.md, a folder of such folders, or one with skills/subagents"
                    .to_owned(),
            ),
            Self::FrontMatter(_) => Some(
                "put a text with `: ` or `*` in it between double quotes".to_owned(),
            ),
            Self::Refused { hint, .. } => hint.clone(),
            Self::NoHome { .. } => Some("name the folder that AGENTFACTORY_HOME names there".to_owned()),
            Self::Io { .. } => Some("check the path and its permissions".to_owned()),
            Self::OwnName(_) => None,
        }
    }
}
