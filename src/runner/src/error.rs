//! Why a run did not take place.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

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
        source: EngineFailure,
    },
    /// The address cannot be used.
    #[error("`{address}` is not the address of a container engine: {why}")]
    EngineAddress {
        /// The address as it was configured.
        address: String,
        /// What is wrong with it.
        why: String,
    },
    /// A Docker context, or the file that names the current one, cannot be read.
    #[error("{what} cannot be read")]
    EngineContext {
        /// Which one.
        what: String,
        /// Why not.
        source: std::io::Error,
    },
    /// The engine speaks only versions of the API that we do not.
    #[error("the container engine at `{address}` speaks API version {offered}; needed is {needed}")]
    EngineVersion {
        /// Where it is.
        address: String,
        /// What it speaks.
        offered: String,
        /// What we speak.
        needed: String,
    },
    /// The engine refused or failed a call.
    #[error("the container engine failed to {action}")]
    Engine {
        /// What it was asked to do.
        action: &'static str,
        /// What it answered.
        source: EngineFailure,
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
    /// The files of the workspace could not be read, or what came back could not be kept.
    #[error("the files of the workspace could not be read or kept")]
    Blobs(#[source] std::io::Error),
    /// The locks that say how many sandboxes there are cannot be used.
    #[error("the directory `{}` cannot hold the locks of sandboxes", directory.display())]
    Slots {
        /// Which directory.
        directory: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// As many runs as are allowed at once are running, and none ended in time.
    #[error("{} running, which is as many as may at once", runs_are(*running))]
    Busy {
        /// How many.
        running: usize,
        /// After how long trying again makes sense.
        retry_after: Duration,
    },
    /// The engine does not have a runtime.
    #[error("the container engine has no runtime `{runtime}`")]
    UnknownRuntime {
        /// What was asked for.
        runtime: String,
        /// The names of those it has.
        known: Vec<String>,
    },
    /// The limits exceed the engine's machine.
    #[error("{asked} more than the engine's machine has: {has}")]
    Machine {
        /// The flag of the limit.
        what: &'static str,
        /// What was asked for, with its verb: `64 processors are`.
        asked: String,
        /// What there is.
        has: String,
    },
    /// The engine cannot isolate what it runs.
    #[error("the container engine cannot run untrusted code safely: {why}")]
    Unsafe {
        /// What is missing.
        why: String,
    },
}

fn runs_are(count: usize) -> String {
    match count {
        1 => "1 run is".to_owned(),
        _ => format!("{count} runs are"),
    }
}

/// What the engine, or the connection to it, said. Its text is for people: the engine's own words,
/// or the first cause, without the layers of the client between.
#[derive(Debug)]
pub struct EngineFailure(pub(crate) bollard::errors::Error);

impl From<bollard::errors::Error> for EngineFailure {
    fn from(error: bollard::errors::Error) -> Self {
        Self(error)
    }
}

impl fmt::Display for EngineFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use bollard::errors::Error;
        match &self.0 {
            Error::DockerResponseServerError { message, .. } => f.write_str(message.trim()),
            Error::DockerStreamError { error } => f.write_str(error.trim()),
            Error::RequestTimeoutError => f.write_str("it did not answer in time"),
            other => match causes(other).last() {
                Some(cause) => write!(f, "{cause}"),
                None => write!(f, "{other}"),
            },
        }
    }
}

impl std::error::Error for EngineFailure {}

impl RunnerError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::EngineUnreachable { source, .. } if denied(&source.0) => {
                "your user may not use the engine's socket: join the group `docker` \
                 (`sudo usermod -aG docker $USER`, then log in again)"
            }
            Self::EngineUnreachable { address, .. } if address.starts_with("https://") => {
                "start Docker there, and see that `DOCKER_CERT_PATH` has a `ca.pem`, `cert.pem` and \
                 `key.pem` for it"
            }
            Self::EngineUnreachable { .. } => "start Docker or set `DOCKER_HOST`",
            Self::EngineAddress { address, .. } if address.starts_with("ssh://") => {
                return Some(format!(
                    "forward the socket: `ssh -nNT -L /tmp/docker.sock:/var/run/docker.sock {address}`, \
                     and set `DOCKER_HOST=unix:///tmp/docker.sock`"
                ));
            }
            Self::EngineAddress { .. } => {
                "set `DOCKER_HOST` to `unix:///PATH`, `tcp://HOST:PORT` or `https://HOST:PORT`"
            }
            Self::EngineContext { .. } => {
                "`docker context ls` shows the contexts there are; `DOCKER_HOST` overrides them"
            }
            Self::EngineVersion { .. } => "install Docker Engine 20.10 or newer",
            Self::EngineTimeout { .. } => {
                "the engine may be overloaded; see whether `docker ps` answers"
            }
            Self::ImageMissing(_) => "build it with `agentfactory images build`",
            Self::Limits(_) => "change the limit that the message names",
            Self::Mount(MountError::RootOwned(_)) => {
                "mount it read-only, or give the directory to a user (`chown`)"
            }
            Self::Mount(MountError::System(_) | MountError::EngineSocket(_)) => {
                "mount the directory that holds your data, or copy it in with `--input`"
            }
            Self::Mount(MountError::Channel { .. }) => {
                "a program can talk through it to others, even where it may not write: mount a \
                 directory without it, or copy the files in with `--input`"
            }
            Self::Mount(MountError::BadName(_) | MountError::DuplicateName(_)) => {
                "name it with `--mount DIR=NAME`"
            }
            Self::Mount(MountError::DifferentOwners) => "mount directories of one user per run",
            Self::Mount(MountError::RemoteEngine(_)) => {
                "copy the directory in with `--input` or `--workspace`"
            }
            Self::Mount(MountError::NotADirectory(_)) => "mount the directory that holds it",
            Self::TooLarge { .. } => "give it less, or bind a directory with `--mount`",
            Self::Busy { retry_after, .. } => {
                return Some(format!(
                    "try again in {} s, or let runs wait longer with `--queue-timeout`",
                    retry_after.as_secs().max(1)
                ));
            }
            Self::Slots { .. } => {
                "set `slots` in [sandbox] of the configuration to a directory of your own"
            }
            Self::UnknownRuntime { known, .. } => {
                return Some(format!("it has {}", known.join(", ")));
            }
            Self::Machine { what, .. } => return Some(format!("lower `--{what}`")),
            Self::Unsafe { .. } => "`agentfactory doctor` shows what the engine has to offer",
            Self::Engine { source, .. } if is_gone(&source.0) => {
                "the engine has stopped or restarted; try again when `docker ps` answers"
            }
            Self::Engine { source, .. } => return refused(&source.0).map(str::to_owned),
            Self::Blobs(_) => return None,
        };
        Some(hint.to_owned())
    }
}

/// What to do about a request that the engine found wrong. Its words are all that says why.
fn refused(error: &bollard::errors::Error) -> Option<&'static str> {
    let bollard::errors::Error::DockerResponseServerError {
        status_code,
        message,
    } = error
    else {
        return None;
    };
    let message = message.to_lowercase();
    let says = |part: &str| message.contains(part);
    if says("unknown runtime") || says("invalid runtime") {
        Some("`agentfactory doctor` shows the runtimes that the engine has")
    } else if says("no space left") {
        Some("make room on the engine's disk: `docker system df` shows what fills it")
    } else if *status_code == 400 && (says("cpus") || says("memory limit")) {
        Some("lower `--cpus` or `--memory`: the engine's machine has less")
    } else {
        None
    }
}

/// Whether the connection is what failed, and not what was asked.
fn is_gone(error: &bollard::errors::Error) -> bool {
    use bollard::errors::Error;
    matches!(
        error,
        Error::HyperLegacyError { .. }
            | Error::HyperResponseError { .. }
            | Error::IOError { .. }
            | Error::SocketNotFoundError(_)
            | Error::RequestTimeoutError
    )
}

/// Whether a permission is what is missing.
fn denied(error: &bollard::errors::Error) -> bool {
    causes(error).any(|error| {
        error
            .downcast_ref::<std::io::Error>()
            .is_some_and(|error| error.kind() == std::io::ErrorKind::PermissionDenied)
    })
}

/// An error and what caused it, the first cause last.
fn causes(
    error: &bollard::errors::Error,
) -> impl Iterator<Item = &(dyn std::error::Error + 'static)> {
    // This variant is transparent: its own source would skip the I/O error.
    let first: &(dyn std::error::Error + 'static) = match error {
        bollard::errors::Error::IOError { err } => err,
        other => other,
    };
    std::iter::successors(Some(first), |error| error.source())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_denied_socket_has_its_own_hint() {
        let hint = |kind: std::io::ErrorKind| {
            RunnerError::EngineUnreachable {
                address: "unix:///x".to_owned(),
                source: bollard::errors::Error::from(std::io::Error::from(kind)).into(),
            }
            .hint()
            .unwrap()
        };
        assert!(hint(std::io::ErrorKind::PermissionDenied).contains("group `docker`"));
        assert!(hint(std::io::ErrorKind::ConnectionRefused).contains("start Docker"));
    }

    #[test]
    fn a_refused_request_says_what_to_change() {
        let hint = |message: &str| {
            RunnerError::Engine {
                action: "create a sandbox",
                source: bollard::errors::Error::DockerResponseServerError {
                    status_code: 400,
                    message: message.to_owned(),
                }
                .into(),
            }
            .hint()
        };
        // The words of Docker 20.10.
        let cpus = "Range of CPUs is from 0.01 to 2.00, as there are only 2 CPUs available";
        assert!(hint(cpus).unwrap().contains("--cpus"));
        let runtime = "Unknown runtime specified runsc";
        assert!(hint(runtime).unwrap().contains("runtimes"));
        assert_eq!(hint("page not found"), None);
    }

    #[test]
    fn a_failure_is_said_without_the_layers_of_the_client() {
        use bollard::errors::Error;
        let check = |error: Error, expected: &str| {
            assert_eq!(EngineFailure(error).to_string(), expected);
        };
        let answer = Error::DockerResponseServerError {
            status_code: 500,
            message: "no such thing\n".to_owned(),
        };
        check(answer, "no such thing");
        let refused = std::io::Error::new(std::io::ErrorKind::ConnectionRefused, "refused");
        check(refused.into(), "refused");
        check(Error::RequestTimeoutError, "it did not answer in time");
    }
}
