//! Sandboxes: one container for one run, then removed. The only user of the engine's API.
//!
//! [`Sandboxes`] is the engine-neutral interface; [`DockerSandboxes`] implements it on the Docker
//! Engine API and [`FakeSandboxes`] in memory. [`images`] builds what sandboxes are made from.

mod blobs;
mod docker;
pub mod doctor;
mod engine;
mod error;
mod fake;
mod frames;
pub mod images;
mod mount;
pub mod pool_process;
mod reap;
mod sandboxes;
mod slots;
mod watchdog;

pub use blobs::{BlobSink, Blobs, MemoryBlobs};
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub use docker::fuzzing;
pub use docker::{DockerOptions, DockerSandboxes, PoolOptions, Trial, TrialEnd, Warm};
pub use engine::runtimes::Runtimes;
pub use engine::{Engine, EngineConfig};
pub use error::{EngineFailure, RunnerError};
pub use fake::{FakeRun, FakeSandboxes};
pub use reap::{Owner, reap, remove_owned};
pub use sandboxes::{
    Broker, ImageId, Mount, MountError, Observer, Program, Proxy, RunHost, SandboxSpec, Sandboxes,
    SourceFile, ToolRequest,
};
pub use slots::{
    Notice, Permit, QUEUE_TIMEOUT, SANDBOXES_MAX, Slot, SlotOptions, Slots, own_directory,
};
