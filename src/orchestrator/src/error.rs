//! Why something could not be done.

use std::path::PathBuf;

use crate::assets::AssetError;
use crate::environments::EnvironmentError;
use crate::workspace::WorkspaceError;

/// Why the factory could not do what it was asked.
///
/// A run or a task that ends badly is not an error: it has an outcome.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FactoryError {
    /// The library failed.
    #[error(transparent)]
    Store(#[from] store::StoreError),
    /// No sandbox could be used.
    #[error(transparent)]
    Runner(#[from] runner::RunnerError),
    /// An image could not be assembled or loaded.
    #[error(transparent)]
    Image(#[from] runner::images::ImageError),
    /// The model gave no reply.
    #[error(transparent)]
    Model(#[from] llm::LlmError),
    /// A host folder could not be read or written.
    #[error(transparent)]
    Workspace(#[from] WorkspaceError),
    /// A skill or prompt is missing or broken.
    #[error(transparent)]
    Asset(#[from] AssetError),
    /// The way to the network cannot be made.
    #[error(transparent)]
    Egress(#[from] egress::EgressError),
    /// The environment of a program cannot be made.
    #[error(transparent)]
    Environment(#[from] EnvironmentError),
    /// A run's record does not hold everything that the run saw.
    #[error("the run `{run}` cannot be reproduced: {why}")]
    NotReproducible {
        /// Which run.
        run: spec::RunId,
        /// What is missing.
        why: String,
    },
    /// What something depends on cannot be composed with it.
    #[error("it cannot be composed")]
    Composition(#[from] crate::compose::CompositionError),
    /// Nobody who is trusted vouches for a version.
    #[error(transparent)]
    Trust(#[from] crate::trust::TrustError),
    /// A folder of subagents or another home cannot be used.
    #[error(transparent)]
    Library(#[from] crate::library::LibraryError),
    /// Solving needs a model.
    #[error("no model is configured")]
    NoModel,
    /// The limits contradict each other.
    #[error("the limits cannot be met")]
    Limits(#[from] spec::LimitsError),
    /// The task's log could not be written.
    #[error("the task's log `{}` cannot be written", .path.display())]
    Log {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// What a run writes could not be logged.
    #[error("the output of runs cannot be logged in `{}`", .path.display())]
    OutputLog {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A source file is not usable.
    #[error("`{}` cannot be used: {why}", .path.display())]
    Source {
        /// Which file.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// What a version requires is not in the image that it is to be put on.
    #[error("the image {} has not what the version {} requires", .parent.short(), .version.short())]
    NoEnvironment {
        /// The version.
        version: spec::Digest,
        /// The image.
        parent: spec::Digest,
    },
    /// A place to deploy to is not usable.
    #[error("`{}` cannot be deployed to: {why}", .path.display())]
    Target {
        /// Which folder.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// A job of ours ended without an answer.
    #[error("an internal job ended without an answer")]
    Job(#[from] tokio::task::JoinError),
}

impl FactoryError {
    /// What a caller can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Store(error) => error.hint(),
            // The runner does not know the store that its files come from.
            Self::Runner(runner::RunnerError::Blobs(source)) => {
                let below = source.get_ref().and_then(|below| below.downcast_ref::<store::StoreError>());
                below.and_then(store::StoreError::hint)
            }
            Self::Runner(error) => error.hint(),
            Self::Image(error) => error.hint(),
            Self::Model(error) => error.hint(),
            Self::Workspace(error) => error.hint(),
            Self::Limits(error) => error.hint(),
            Self::Egress(error) => error.hint(),
            Self::Trust(error) => error.hint(),
            Self::Composition(error) => error.hint(),
            Self::Environment(error) => error.hint(),
            Self::Library(error) => error.hint(),
            Self::NoModel => Some(
                "pass --model PROVIDER:ID, such as anthropic:claude-opus-4-6, or set AGENTFACTORY_MODEL"
                    .to_owned(),
            ),
            Self::Log { .. } | Self::OutputLog { .. } => Some("check the space and the permissions of AGENTFACTORY_HOME".to_owned()),
            Self::NotReproducible { .. } => Some(
                "reproducible are runs without --mount whose hosts are not `opaque` in [egress]"
                    .to_owned(),
            ),
            Self::Target { .. } => {
                Some("name another folder, or remove what is there".to_owned())
            }
            Self::Asset(_)
            | Self::Source { .. }
            | Self::NoEnvironment { .. }
            | Self::Job(_) => None,
        }
    }
}

/// An error and everything below it, on one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        let below = source.to_string();
        if !text.ends_with(&below) {
            text.push_str(": ");
            text.push_str(&below);
        }
        next = source.source();
    }
    text
}
