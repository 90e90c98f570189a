//! Why there is no image.

use std::io;
use std::path::{Path, PathBuf};

use crate::RunnerError;

/// Why an image could not be built or found.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImageError {
    /// The engine, or what it was asked.
    #[error(transparent)]
    Engine(#[from] RunnerError),
    /// A file of ours.
    #[error("cannot {action} `{path}`")]
    File {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A file of ours that says something else than it should.
    #[error("`{path}` cannot be used: {why}")]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// Not the name of an image.
    #[error("`{0}` is not the name of an image")]
    Reference(String),
    /// A name that images of ours have.
    #[error("`{0}` is the name of an image that sandboxes are made from")]
    Reserved(String),
    /// The registry, or the way to it.
    #[error("the image `{image}` could not be pulled: {why}")]
    Pull {
        /// What was asked for.
        image: String,
        /// What the engine said.
        why: String,
    },
    /// The base that earlier builds used is nowhere to be had.
    #[error("the locked base image is not on the engine, and cannot be had again")]
    Locked(#[source] Box<ImageError>),
    /// Neither a registry nor the distribution's packages.
    #[error("there is no base image, because {pull}, and no bootstrapping either")]
    NoBase {
        /// Why the image could not be pulled.
        pull: Box<ImageError>,
        /// Why it could not be bootstrapped.
        #[source]
        bootstrap: Box<ImageError>,
    },
    /// The program that bootstraps is missing.
    #[error("bootstrapping needs `mmdebstrap`, which is not installed")]
    NoMmdebstrap,
    /// The program that bootstraps failed.
    #[error("mmdebstrap failed ({status}): {}", .last_lines.trim())]
    Mmdebstrap {
        /// How it ended.
        status: String,
        /// The last that it said.
        last_lines: String,
    },
    /// No `python3` in the base.
    #[error("the base image `{0}` has no `python3`")]
    NoPython(String),
    /// A Python that cannot run the harness.
    #[error("the base image `{image}` has Python {version}; needed is 3.11 or newer")]
    OldPython {
        /// The base.
        image: String,
        /// What it has.
        version: String,
    },
    /// The image's Python did not compile the harness.
    #[error("the Python of the base image `{image}` did not compile the harness: {why}")]
    Compile {
        /// The base.
        image: String,
        /// What it said.
        why: String,
    },
    /// What was installed cannot be a layer.
    #[error("what was installed cannot be kept: {0}")]
    Environment(String),
    /// The engine took the archive and has something else.
    #[error("the engine loaded `{0}` with other layers than it was sent")]
    NotWhatWasSent(String),
    /// The engine gave layers that are not those of the image.
    #[error("the engine saved something else than the layer {diff_id} of the image {}", .image.short())]
    NotWhatWasSaved {
        /// The image that was assembled.
        image: spec::Digest,
        /// The layer of its parent.
        diff_id: spec::Digest,
    },
}

impl ImageError {
    /// Names the file in an I/O error.
    pub(super) fn file(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File {
            action,
            path,
            source,
        }
    }

    /// Whether the engine was there and did not want what it was sent.
    pub(super) fn is_refusal(&self) -> bool {
        use bollard::errors::Error;
        let Self::Engine(RunnerError::Engine { source, .. }) = self else {
            return false;
        };
        matches!(
            source.0,
            Error::DockerStreamError { .. } | Error::DockerResponseServerError { .. }
        )
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Engine(error) => return error.hint(),
            Self::File { source, .. } if source.kind() == io::ErrorKind::StorageFull => {
                "make room on that file system"
            }
            Self::Format { path, .. } if path.ends_with("recipe.json") => {
                "correct the file, or remove it: the program has a recipe of its own"
            }
            Self::Format { path, .. } => {
                return Some(format!(
                    "remove `{}` to begin anew: the base image is then chosen again",
                    path.display()
                ));
            }
            Self::Reference(_) => "write `NAME:TAG`, `NAME@sha256:...` or an image id",
            Self::Reserved(_) => "choose another name",
            Self::Pull { image, .. } => {
                return Some(format!(
                    "see whether `docker pull {image}` works; an image that is on the engine is \
                     used without a pull"
                ));
            }
            Self::Locked(_) => "`agentfactory images build --refresh` chooses a base anew",
            Self::NoBase { bootstrap, .. } => return bootstrap.hint(),
            Self::NoMmdebstrap => {
                "`sudo apt-get install --yes mmdebstrap uidmap debian-archive-keyring`, or name an \
                 image that the engine has or can pull: `agentfactory images build --base IMAGE`"
            }
            Self::Mmdebstrap { last_lines, .. } if last_lines.contains("No space left") => {
                "make room, or set `TMPDIR` to a folder that has 500 MB"
            }
            Self::Mmdebstrap { .. } => {
                "the message is mmdebstrap's own; or name an image that the engine has or can \
                 pull: `agentfactory images build --base IMAGE`"
            }
            Self::NoPython(_) | Self::OldPython { .. } => {
                "choose a base with Python 3.11 or newer, such as `python:3.13-slim`"
            }
            Self::Environment(_) => "require other distributions, or fewer",
            Self::File { .. }
            | Self::Compile { .. }
            | Self::NotWhatWasSent(_)
            | Self::NotWhatWasSaved { .. } => return None,
        };
        Some(hint.to_owned())
    }
}
