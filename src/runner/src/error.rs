//! Why a run did not take place.

use crate::{ImageId, MountError};

/// Why a sandbox could not be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunnerError {
    /// Nothing answered at the engine's address.
    #[error("no container engine answered at `{address}`")]
    EngineUnreachable {
        /// The address that was tried.
        address: String,
        /// What the connection said.
        source: bollard::errors::Error,
    },
    /// The engine refused or failed a call.
    #[error("the container engine failed to {action}")]
    Engine {
        /// What it was asked to do.
        action: &'static str,
        /// What it answered.
        source: bollard::errors::Error,
    },
    /// The engine did not answer a call in time.
    #[error("the container engine did not {action} within {seconds} s")]
    EngineTimeout {
        /// What it was asked to do.
        action: &'static str,
        /// The deadline.
        seconds: u64,
    },
    /// The image is not on the engine.
    #[error("the sandbox image {} is not on the engine", .0.0.short())]
    ImageMissing(ImageId),
    /// The limits contradict each other.
    #[error("the limits cannot be met")]
    Limits(#[source] spec::LimitsError),
    /// A host directory cannot be mounted.
    #[error("a directory cannot be mounted")]
    Mount(#[source] MountError),
    /// The source, the query or the workspace does not fit.
    #[error("{what} is too large: {size} bytes, at most {limit}")]
    TooLarge {
        /// Which part.
        what: &'static str,
        /// Its size.
        size: u64,
        /// The limit.
        limit: u64,
    },
    /// The content of the input could not be read.
    #[error("the workspace could not be read")]
    Blobs(#[source] std::io::Error),
    /// The engine cannot isolate what it runs.
    #[error("the container engine cannot run untrusted code safely: {why}")]
    Unsafe {
        /// What is missing.
        why: String,
    },
}
