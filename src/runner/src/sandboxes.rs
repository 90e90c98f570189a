//! The engine-neutral interface of the runner.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;
use spec::{
    Determinism, Digest, Imports, Limits, OutputStream, RunId, RunReport, Tree, WorkspacePath,
};
use tokio::io::DuplexStream;
use tokio_util::sync::CancellationToken;

use crate::{Blobs, RunnerError};

/// Runs programs in sandboxes.
pub trait Sandboxes: Send + Sync + fmt::Debug {
    /// Runs one program in a sandbox of its own. When this returns, nothing of the program runs any
    /// more; the sandbox is gone, or on its way out, which [`Self::shutdown`] waits for.
    ///
    /// Cancelling stops the run gently, which ends in [`spec::RunOutcome::Cancelled`].
    ///
    /// # Errors
    /// [`RunnerError`] when no run took place: the engine, the image or a mount is missing, or the
    /// limits contradict each other. Whatever happens after the start is an outcome.
    fn run(
        &self,
        spec: SandboxSpec,
        host: RunHost,
        cancel: CancellationToken,
    ) -> BoxFuture<'_, Result<RunReport, RunnerError>>;

    /// Keeps so many sandboxes started for runs with this image, these imports and limits, and no mounts,
    /// until nobody has used them for a while or this says 0. Returns at once; it is called where jobs
    /// can be started.
    fn prewarm(&self, image: &ImageId, imports: &Imports, limits: &Limits, count: usize) {
        // Sandboxes that cost nothing to start need not be started before.
        let _ = (image, imports, limits, count);
    }

    /// Waits until every sandbox is gone whose run has ended, or that waited for one. No further
    /// run is to be asked for.
    fn shutdown(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }

    /// Removes every sandbox at once, whatever runs in it: somebody does not want to wait.
    fn remove_all(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }
}

/// Everything that decides what one run is.
#[derive(Clone, Debug)]
pub struct SandboxSpec {
    /// The run's identity, also on the sandbox's label.
    pub run: RunId,
    /// What the sandbox is made from.
    pub image: ImageId,
    /// What runs in it.
    pub program: Program,
    /// What is at `/workspace` when it begins.
    pub tree: Arc<Tree>,
    /// Host directories at `/mnt/NAME`.
    pub mounts: Vec<Mount>,
    /// What it may use.
    pub limits: Limits,
    /// The clock and the random numbers that it is given.
    pub determinism: Determinism,
    /// The modules that a sandbox which waits for it has imported already. It is only taken from those
    /// that have these and no others; one that is started for it imports nothing ahead.
    pub imports: Imports,
    /// The runtime that it is to run under where the engine has it; none leaves that to the runner.
    pub runtime: Option<String>,
    /// The proxy that the program finds on its loopback interface; none leaves it without a network.
    pub proxy: Option<Proxy>,
}

/// What a sandbox needs to know of the proxy on its loopback interface.
///
/// The harness listens there and carries each connection, unread, to [`Broker::connect`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proxy {
    /// The certificates, in PEM, that the program trusts: those of the authority made for this run.
    pub certificates_pem: String,
}

/// An image on the engine, by the digest of its configuration (`sha256:...`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageId(pub Digest);

/// What runs in a sandbox.
#[derive(Clone, Debug)]
pub enum Program {
    /// A subagent: `main(query)` of the entry file.
    Subagent {
        /// Its source; siblings are importable from the entry file.
        files: Vec<SourceFile>,
        /// The path of the entry file among them.
        entry: WorkspacePath,
        /// What `main` is called with.
        query: String,
    },
    /// One command for the image's shell, with the workspace as its working directory.
    Shell {
        /// The command line.
        command: String,
    },
}

/// One file of a subagent's source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceFile {
    /// Where it is, relative to the source folder.
    pub path: WorkspacePath,
    /// Its bytes.
    pub content: Bytes,
}

/// A host directory that is bound into a sandbox.
///
/// What happens in a writable one is outside the run's transaction. It is a directory of the
/// machine on which the engine runs. The sandbox has the rights of its owner in it, and may talk
/// to what listens on a socket there: directories of the system and directories that are seen to
/// hold sockets, pipes or devices are refused, but a socket that appears later is not noticed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// An absolute path.
    pub source: PathBuf,
    /// It appears at `/mnt/NAME`.
    pub name: String,
    /// Whether the sandbox may write to it.
    pub writable: bool,
}

/// Why a host directory cannot be mounted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MountError {
    /// Not there, or not a directory.
    #[error("`{0}` is not a directory")]
    NotADirectory(PathBuf),
    /// Writing as root on the host is never granted.
    #[error("`{0}` belongs to root and cannot be mounted writable")]
    RootOwned(PathBuf),
    /// The sandbox runs as one user, the owner of what is mounted.
    #[error("the mounted directories belong to different users")]
    DifferentOwners,
    /// Not a plain file name.
    #[error("`{0}` cannot name a mount")]
    BadName(String),
    /// Each mount has its own place in the sandbox.
    #[error("two mounts are named `{0}`")]
    DuplicateName(String),
    /// A directory of the system and not of anyone's data.
    #[error("`{0}` is a directory of the system")]
    System(PathBuf),
    /// Whoever reaches the engine has the host.
    #[error("the container engine's socket is in `{0}`")]
    EngineSocket(PathBuf),
    /// A sandbox could use it to reach other programs, even where it may not write.
    #[error("`{directory}` has the {kind} `{file}` in it")]
    Channel {
        /// What was to be mounted.
        directory: PathBuf,
        /// What is in it.
        file: PathBuf,
        /// Socket, pipe or device.
        kind: &'static str,
    },
    /// The engine sees the directories of its own machine, not of this one.
    #[error("the engine at `{0}` is on another machine")]
    RemoteEngine(String),
}

/// A request of the subagent, as it came out of the sandbox: hostile.
#[derive(Clone, Debug, PartialEq)]
pub struct ToolRequest {
    /// The tool's name.
    pub tool: String,
    /// Its arguments.
    pub arguments: serde_json::Value,
}

/// The host's side of a run.
#[derive(Clone, Debug)]
pub struct RunHost {
    /// Where file content comes from and goes to.
    pub blobs: Arc<dyn Blobs>,
    /// What answers the subagent's requests.
    pub broker: Arc<dyn Broker>,
    /// Who watches.
    pub observer: Arc<dyn Observer>,
}

/// Answers the subagent's requests.
pub trait Broker: Send + Sync + fmt::Debug {
    /// Answers one request. Several are asked for at once when the subagent has threads.
    ///
    /// The answer reaches the subagent's shim as it is: `{"ok": VALUE}`, or `{"error": TEXT}`, which
    /// the subagent can read. `{"execute": true}` tells the shim to carry the request out in the sandbox.
    fn answer(&self, request: ToolRequest) -> BoxFuture<'_, serde_json::Value>;

    /// Serves one connection of the program to the proxy on its loopback interface, until either end
    /// closes it. Only called for sandboxes that have a [`Proxy`]. What arrives is hostile.
    fn connect(&self, connection: DuplexStream) -> BoxFuture<'_, ()> {
        drop(connection);
        Box::pin(async {})
    }
}

/// Watches a run.
pub trait Observer: Send + Sync + fmt::Debug {
    /// Bytes that the subagent just wrote, up to the limit of the stream. Must not block.
    fn output(&self, stream: OutputStream, bytes: &[u8]);
}
