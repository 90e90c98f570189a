//! Sandboxes: one container for one run, then removed. The only user of the engine's API.
//!
//! [`Sandboxes`] is the engine-neutral interface; [`DockerSandboxes`] implements it on the Docker
//! Engine API and [`FakeSandboxes`] in memory. [`images`] builds what sandboxes are made from.

mod engine;
mod error;
mod fake;
pub mod images;
mod sandboxes;

pub use engine::{Engine, EngineConfig};
pub use error::RunnerError;
pub use fake::FakeSandboxes;
pub use sandboxes::{
    BlobSink, Blobs, Broker, ImageId, Mount, MountError, Observer, Program, RunHost, SandboxSpec,
    Sandboxes, SourceFile, ToolRequest,
};
