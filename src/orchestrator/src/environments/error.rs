//! Why there is no environment.

use std::io;
use std::path::{Path, PathBuf};

use super::IndexError;

/// Why an environment could not be made or used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EnvironmentError {
    /// Nobody said where packages come from.
    #[error("environments are not configured here")]
    NotConfigured,
    /// There is no package index, and one is needed.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// Not a requirement.
    #[error("`{requirement}` is not a requirement: {why}")]
    Syntax {
        /// As it was written.
        requirement: String,
        /// What is wrong with it.
        why: String,
    },
    /// The proxy of this machine, without its credentials, and why it cannot be used.
    #[error("the proxy `{0}` before the package index cannot be used: {1}")]
    Proxy(String, &'static str),
    /// A requirement that cannot be met, or several that exclude each other.
    #[error("{what}: {why}")]
    Unmet {
        /// Which kind of trouble.
        kind: Unmet,
        /// In words, with the requirement.
        what: String,
        /// What the index or pip said.
        why: String,
    },
    /// The version is for another Python than the image has.
    #[error("the version is locked for Python {wanted}, the sandbox image has {found}")]
    Python {
        /// As in 3.13.
        wanted: String,
        /// As in 3.12.
        found: String,
    },
    /// What was sent is not what was locked.
    #[error("a wheel of `{name}` is not among those that are locked")]
    NotLocked {
        /// The distribution.
        name: String,
    },
    /// A wheel does not do what wheels do.
    #[error("the wheels cannot be installed: {0}")]
    Install(String),
    /// It is there and cannot be imported.
    #[error("`{name}` was installed and cannot be imported: {why}")]
    Import {
        /// The distribution.
        name: String,
        /// What Python says.
        why: String,
    },
    /// The sandbox that works for us ended in another way than it should.
    #[error("{action} ended in `{outcome}`: {why}")]
    Sandbox {
        /// What it was to do.
        action: &'static str,
        /// The kind of its outcome.
        outcome: &'static str,
        /// More of it.
        why: String,
    },
    /// The library failed.
    #[error(transparent)]
    Store(#[from] store::StoreError),
    /// A file of ours.
    #[error("cannot {action} `{}`", .path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The image, or the engine.
    #[error(transparent)]
    Image(#[from] runner::images::ImageError),
    /// Somebody did not want to wait.
    #[error("cancelled")]
    Cancelled,
}

/// In which way requirements cannot be met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unmet {
    /// The index knows no such project.
    Unknown,
    /// The index has it as source only, or for other platforms.
    NoWheel,
    /// No version fits.
    Version,
    /// It needs another Python.
    Python,
    /// They exclude each other.
    Conflict,
    /// The index does not have the installer, or another one.
    Installer,
    /// The index could not be reached or makes no sense.
    Index,
    /// pip says something else.
    Other,
}

impl EnvironmentError {
    /// Names the file in an I/O error.
    pub(super) fn file(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File {
            action,
            path,
            source,
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Syntax { .. } => {
                "a requirement is NAME with versions, such as `numpy` or `pandas>=2,<3` (PEP 508)"
            }
            Self::Index(error) => return error.hint(),
            Self::Proxy(..) => {
                "see HTTPS_PROXY and HTTP_PROXY; NO_PROXY names hosts that are reached without it"
            }
            Self::Unmet { kind, .. } => match kind {
                Unmet::Unknown => "see how its name is written, and which index is used",
                Unmet::NoWheel => {
                    "only wheels are installed, because building from source runs code: take \
                     another version or distribution"
                }
                Unmet::Version => "ask for a version that the index has",
                Unmet::Python => {
                    "ask for an older version, or build the sandbox image on another Python"
                }
                Unmet::Conflict => "loosen the versions that exclude each other",
                Unmet::Installer => "the index must offer pip itself",
                Unmet::Index => {
                    "see PIP_INDEX_URL, and `index` and `index_hosts` (where its files are in a private \
                     network) in [python] of config.toml; what is cached works without an index"
                }
                Unmet::Other => return None,
            },
            Self::Python { wanted, .. } => {
                return Some(format!(
                    "build the sandbox image on Python {wanted}: `agentfactory images build --base \
                     python:{wanted}-slim`"
                ));
            }
            Self::NotLocked { .. } => "the index gives other files than when the version was made",
            Self::Install(_) => "require other distributions, or other versions of them",
            Self::Import { .. } => {
                "it may need a library that the sandbox image lacks: `agentfactory images build \
                 --base IMAGE` takes another base"
            }
            Self::File { source, .. } if source.kind() == io::ErrorKind::StorageFull => {
                "make room on that file system; `agentfactory env gc` removes what is not used"
            }
            Self::Image(error) => return error.hint(),
            Self::Store(error) => return error.hint(),
            Self::NotConfigured | Self::Sandbox { .. } | Self::File { .. } | Self::Cancelled => {
                return None;
            }
        };
        Some(hint.to_owned())
    }
}
