//! A pool of waiting sandboxes that is shared by processes of one user, through a Unix socket.
//!
//! [`PoolProcess`] owns the sandboxes: it starts them, hands each out once, and removes it. A client
//! gets the two ways of one sandbox's stream and does the rest as with a sandbox of its own. The
//! server passes bytes on and never reads what a sandbox says; what reaches the client is as hostile
//! as ever. Only processes of the same user are talked to, on both sides.

mod client;
mod place;
mod protocol;
mod server;

use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use spec::{Digest, Imports};

pub use client::{Asked, OwnSandboxes, PoolLease, PooledSandboxes, keep, lease, status, stop};
pub use protocol::{Wanted, WantedLimits};
pub use server::{PoolImage, PoolProcess, PoolProcessOptions};

/// How a pool process is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolStatus {
    /// Its process number.
    pub pid: u32,
    /// The version of its program.
    pub version: String,
    /// How long it has been running, in seconds.
    pub uptime_s: u64,
    /// The engine's address.
    pub engine: String,
    /// What the engine is, as run records say it.
    pub engine_version: String,
    /// The engine's runtime; none is its default.
    pub runtime: Option<String>,
    /// The image that sandboxes are made from.
    pub image: Digest,
    /// Sandboxes that wait, by what they were made for.
    pub classes: Vec<PoolClass>,
    /// Sandboxes that are handed out now.
    pub leased: u64,
    /// Sandboxes that had been waiting when they were handed out, since the start.
    pub hits: u64,
    /// Sandboxes that were started for a client because none waited, since the start.
    pub misses: u64,
    /// Clients that got none: it was another image, engine or runtime, or there was no place.
    pub refused: u64,
}

/// Sandboxes of one kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolClass {
    /// The image that they are made from: that of the pool, or of an environment on it.
    pub image: Digest,
    /// What they have imported.
    pub imports: Imports,
    /// Their memory limit.
    pub memory_bytes: u64,
    /// Their share of processors, in thousandths of one.
    pub cpu_millis: u32,
    /// Their limit of processes.
    pub pids: u32,
    /// The size of their workspace.
    pub workspace_bytes: u64,
    /// How many are to wait.
    pub wanted: usize,
    /// How many do.
    pub waiting: usize,
    /// How many are being started.
    pub starting: usize,
    /// Why the last one did not start; none when it did.
    #[serde(default)]
    pub failure: Option<String>,
}

/// Why a pool process cannot be run or asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PoolError {
    /// The socket, its directory or its lock cannot be used.
    #[error("the pool's socket `{}` cannot be used", path.display())]
    Socket {
        /// Which socket.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Another process has it.
    #[error("a pool runs already at `{}`", path.display())]
    Running {
        /// Where.
        path: PathBuf,
        /// Its number, if it is known.
        pid: Option<u32>,
    },
    /// None has it.
    #[error("no pool runs at `{}`", path.display())]
    NotRunning {
        /// Where one would be.
        path: PathBuf,
    },
    /// A process of another user has it.
    #[error("the pool's socket `{}` belongs to another user", path.display())]
    Foreign {
        /// Which socket.
        path: PathBuf,
    },
    /// It takes connections and says nothing.
    #[error("the pool (process {}) does not answer", pid.map_or_else(|| "?".to_owned(), |pid| pid.to_string()))]
    Silent {
        /// Its number, if the system knows it.
        pid: Option<i32>,
    },
    /// What listens there is no pool, or a pool of another version.
    #[error("the pool at `{}` cannot be talked to: {why}", path.display())]
    Talk {
        /// Where.
        path: PathBuf,
        /// What went wrong.
        why: String,
    },
}

impl PoolError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Socket { .. } | Self::Foreign { .. } => {
                "set `socket` in [pool] of the configuration to a path in a directory of your own"
            }
            Self::Running { pid: Some(pid), .. } => {
                return Some(format!(
                    "it is process {pid}; `agentfactory pool stop` ends it"
                ));
            }
            Self::Running { pid: None, .. } => "`agentfactory pool stop` ends it",
            Self::NotRunning { .. } => "start one with `agentfactory pool`",
            Self::Silent { pid } => {
                return pid.map(|pid| {
                    format!("it hangs or is stopped: `kill -CONT {pid}` or `kill -KILL {pid}`")
                });
            }
            Self::Talk { .. } => "end it with a SIGTERM, and start one of this version",
        };
        Some(hint.to_owned())
    }
}
