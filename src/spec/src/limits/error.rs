//! What is wrong with limits, and what to do about it.

use super::{PIDS_MIN, SIZE_MIN};
use crate::ByteSize;

/// Limits that contradict each other or cannot hold a sandbox.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LimitsError {
    /// Files on tmpfs are memory: a full workspace would starve the run.
    #[error("a memory limit of {memory} does not hold a workspace of {workspace}")]
    MemoryBelowTmpfs {
        /// The memory limit.
        memory: ByteSize,
        /// The workspace limit.
        workspace: ByteSize,
        /// The least memory that would.
        needed: ByteSize,
    },
    /// Fewer processes than the harness and one child need.
    #[error("a limit of {0} processes is too low")]
    Pids(u32),
    /// No processor time at all.
    #[error("a limit of 0 CPUs cannot run anything")]
    Cpus,
    /// A size that holds nothing.
    #[error("the {0} limit is too small")]
    TooSmall(&'static str),
    /// Less than any run needs.
    #[error("the {what} limit is too low")]
    TooLow {
        /// Which limit.
        what: &'static str,
        /// The least, for people.
        least: String,
    },
    /// More than any run is given.
    #[error("the {what} limit is too large")]
    TooLarge {
        /// Which limit.
        what: &'static str,
        /// The most, for people.
        most: String,
    },
    /// Whoever runs something asks for more than the operator allows.
    #[error("`{flag} {asked}` is more than is allowed here: at most {most}")]
    AboveMaximum {
        /// The flag that asks.
        flag: &'static str,
        /// What it asks for.
        asked: String,
        /// What it may ask for.
        most: String,
    },
    /// A version asks for more than the operator allows.
    #[error("the version asks for more than is allowed here: `{flag} {asked}`, at most {most}")]
    VersionAboveMaximum {
        /// The flag of the same limit.
        flag: &'static str,
        /// What it asks for.
        asked: String,
        /// What it may ask for.
        most: String,
    },
    /// The operator gives runs more than the operator allows.
    #[error("`[limits]` gives more than `[limits.max]` allows: `{key}` of {given}, at most {most}")]
    BaseAboveMaximum {
        /// The key in both tables.
        key: String,
        /// What `[limits]` says.
        given: String,
        /// What `[limits.max]` says.
        most: String,
    },
}

impl LimitsError {
    /// What a caller can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::MemoryBelowTmpfs { needed, .. } => Some(format!(
                "raise --memory to {needed} or lower --workspace-size"
            )),
            Self::Pids(_) => Some(format!("use at least {PIDS_MIN}")),
            Self::Cpus => Some("use a number such as 0.5 or 2".to_owned()),
            Self::TooSmall(_) => Some(format!("use at least {SIZE_MIN}")),
            Self::TooLow { least, .. } => Some(format!("use at least {least}")),
            Self::TooLarge { most, .. } => Some(format!("use at most {most}")),
            Self::AboveMaximum { flag, most, .. } => Some(format!(
                "ask for at most {most}, or raise `{}` in `[limits.max]` of the configuration",
                key_of(flag)
            )),
            Self::VersionAboveMaximum { flag, most, .. } => Some(format!(
                "pass {flag} with at most {most} to run it with less, or raise `{}` in \
                 `[limits.max]` of the configuration",
                key_of(flag)
            )),
            Self::BaseAboveMaximum { key, .. } => Some(format!(
                "lower `{key}` in `[limits]`, or raise it in `[limits.max]`"
            )),
        }
    }
}

/// The key in the configuration for a flag's limit.
pub(super) fn key_of(flag: &str) -> String {
    flag.trim_start_matches('-').replace('-', "_")
}
