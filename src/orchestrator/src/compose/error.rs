//! Why versions cannot be composed.

use spec::{ByteSize, Digest, SubagentName, limits};

/// Why a version cannot be composed with what it depends on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CompositionError {
    /// It would depend on its own name.
    #[error("`{name}` would depend on itself")]
    Circle {
        /// The name.
        name: SubagentName,
    },
    /// A dependency is granted what the version is not.
    #[error("it depends on `{dependency}` ({}), which needs {what} that it is not granted itself: {}", .digest.short(), .names.join(", "))]
    NotGranted {
        /// The dependency.
        dependency: SubagentName,
        /// Its version.
        digest: Digest,
        /// Which field of the manifest.
        what: &'static str,
        /// What is not in it.
        names: Vec<String>,
    },
    /// A dependency is written for another Python.
    #[error("it depends on `{dependency}`, which is written for Python {needs}, not {has}")]
    OtherPython {
        /// The dependency.
        dependency: SubagentName,
        /// What it is written for.
        needs: String,
        /// What the version is written for.
        has: String,
    },
    /// What it depends on is locked for two Pythons.
    #[error(
        "`{one}` is locked for Python {of_one} and `{other}` is locked for Python {of_other}, and there can be only one of it"
    )]
    Pythons {
        /// A dependency.
        one: SubagentName,
        /// What it is locked for.
        of_one: String,
        /// Another dependency.
        other: SubagentName,
        /// What that is locked for.
        of_other: String,
    },
    /// Two locks exclude each other.
    #[error("{one} and {other} are locked for `{distribution}`, and there can be only one of it")]
    Locks {
        /// The distribution.
        distribution: String,
        /// A version of it, and who wants it.
        one: String,
        /// Another, and who wants that.
        other: String,
    },
    /// A module name would mean two things.
    #[error("`{dependency}` would be the module `{module}`: {why}")]
    Module {
        /// The dependency.
        dependency: SubagentName,
        /// Its module name.
        module: String,
        /// What else it means.
        why: String,
    },
    /// A file has a name that composition needs.
    #[error("no file of a subagent that depends on others can be the module `{module}`")]
    Reserved {
        /// The module.
        module: &'static str,
    },
    /// All files together are more than a program may have.
    #[error(
        "with all that it depends on it has {files} files of {size}; at most {} files of {} can run",
        limits::SOURCE_FILES,
        limits::SOURCE
    )]
    TooLarge {
        /// Files.
        files: usize,
        /// Their bytes.
        size: ByteSize,
    },
    /// A file of a dependency has a path that is too long where it would lie.
    #[error("a file of a dependency cannot be placed")]
    Path(#[source] spec::PathError),
}

impl CompositionError {
    /// What a caller can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NotGranted { what, names, .. } => Some(format!(
                "what it depends on runs with its grants: add {} to its `{what}`, or do without the dependency",
                names.join(", ")
            )),
            Self::Module { .. } | Self::Reserved { .. } => {
                Some("rename the file, or do without the dependency".to_owned())
            }
            Self::TooLarge { .. } | Self::Path(_) => {
                Some("depend on fewer or smaller subagents".to_owned())
            }
            Self::Locks { distribution, .. } => Some(format!(
                "take versions that agree: create one of them again with the other's `{distribution}` in its requirements"
            )),
            Self::Circle { .. } => {
                Some("do without the dependency, or save it under another name".to_owned())
            }
            Self::Pythons { .. } => {
                Some("create one of them again, so that both are locked for one Python".to_owned())
            }
            Self::OtherPython { .. } => None,
        }
    }
}
