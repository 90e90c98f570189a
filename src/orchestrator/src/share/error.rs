//! Why a version could not be shared.

use registry::RegistryError;
use spec::{Digest, NameError, SubagentName};
use store::StoreError;

use crate::environments::EnvironmentError;
use crate::trust::TrustError;

/// Why a version could not be pushed or pulled.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ShareError {
    /// The library failed, or does not accept what came.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The registry failed, refused, or lied.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// Nobody who is trusted vouches for it.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// The environment that is to go along cannot be read.
    #[error(transparent)]
    Environment(#[from] EnvironmentError),
    /// What a tag or digest means there is something else.
    #[error("`{reference}` is not a subagent: {why}")]
    NotASubagent {
        /// What was asked for.
        reference: String,
        /// What it is.
        why: String,
    },
    /// A repository's last word cannot be the name.
    #[error("the repository `{repository}` does not say what the subagent is called")]
    NoName {
        /// The repository.
        repository: String,
        /// Why its last word is no name.
        source: NameError,
    },
    /// The local head would be lost from sight.
    #[error(
        "`{name}` is at {}, from which {} did not come",
        .head.short(),
        .pulled.short()
    )]
    HeadIsNotAncestor {
        /// The subagent.
        name: SubagentName,
        /// Its local head.
        head: Digest,
        /// What was pulled.
        pulled: Digest,
    },
    /// The local head came from what was pulled: it would go back.
    #[error("`{name}` is at {}, which came from {}", .head.short(), .pulled.short())]
    HeadIsNewer {
        /// The subagent.
        name: SubagentName,
        /// Its local head.
        head: Digest,
        /// What was pulled.
        pulled: Digest,
    },
    /// The tag would leave a version that the pushed one did not come from.
    #[error("`{reference}` is {}, from which {} did not come", .there.short(), .pushed.short())]
    TagIsNotAncestor {
        /// The tag.
        reference: String,
        /// What it is.
        there: Digest,
        /// What is pushed.
        pushed: Digest,
    },
    /// A digest is what something is, not where it goes.
    #[error("`{reference}` ends in a digest: what is pushed has its own")]
    PushToDigest {
        /// The target.
        reference: String,
    },
    /// Something hostile is too much.
    #[error("`{reference}` brings too much: {what}, at most {limit}")]
    TooMuch {
        /// What was asked for.
        reference: String,
        /// Of what.
        what: String,
        /// How much there may be.
        limit: u64,
    },
    /// A job of ours ended without an answer.
    #[error("an internal job ended without an answer")]
    Job(#[from] tokio::task::JoinError),
}

impl ShareError {
    /// What a caller can do about it.
    pub fn hint(&self) -> Option<String> {
        let text = match self {
            Self::Store(error) => return error.hint(),
            // The store's own word, where one of its blobs could not be read or kept.
            Self::Registry(RegistryError::Content { source, .. }) => {
                let below = source.get_ref();
                let below = below.and_then(|below| below.downcast_ref::<StoreError>());
                return below.and_then(StoreError::hint);
            }
            Self::Registry(error) => return error.hint(),
            Self::Trust(error) => return error.hint(),
            Self::Environment(error) => return error.hint(),
            Self::NotASubagent { .. } => {
                "see that it is the right repository, or use a newer AgentFactory"
            }
            Self::NoName { .. } => "say what it is called here with --as NAME",
            Self::HeadIsNotAncestor { .. } => {
                "nothing was moved; pull it under another name with --as NAME and compare, or move the head with --force"
            }
            Self::HeadIsNewer { .. } => {
                "nothing was moved: the registry has an older version; push the newer one, or go back with --force"
            }
            Self::TagIsNotAncestor { .. } => {
                "nothing was moved; pull that version first, push to another tag, or move the tag with --force"
            }
            Self::PushToDigest { .. } => "push to REGISTRY/REPO or REGISTRY/REPO:TAG",
            Self::TooMuch { .. } => "nothing was kept; the registry may be hostile",
            Self::Job(_) => return None,
        };
        Some(text.to_owned())
    }
}
