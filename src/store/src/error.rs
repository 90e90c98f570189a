//! Why the store could not do something.

use std::io;
use std::path::{Path, PathBuf};

use spec::{Digest, RunId, SubagentName};

/// Why the store could not do something.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// No operation ever moved this name.
    #[error("no subagent named `{name}`")]
    UnknownName {
        /// What was asked for.
        name: SubagentName,
        /// The name with a head that is most like it.
        nearest: Option<SubagentName>,
    },
    /// The name has a history, but each publish of it was undone, or it was removed.
    #[error("the subagent `{name}` has no head: {}", if *.is_removed { "it was removed" } else { "its publishes were undone" })]
    NoHead {
        /// What was asked for.
        name: SubagentName,
        /// The version that was published last, the newest of those undone.
        last: Digest,
        /// Whether it was removed.
        is_removed: bool,
    },
    /// The name had no head that many moves ago.
    #[error("`{name}` had no head {back} move{} ago", if *.back == 1 { "" } else { "s" })]
    NoHeadThen {
        /// What was asked for.
        name: SubagentName,
        /// How many moves back.
        back: u64,
        /// How often its head moved.
        moves: u64,
    },
    /// The head does not move by itself.
    #[error("`{name}` is pinned")]
    Pinned {
        /// The subagent.
        name: SubagentName,
    },
    /// Another subagent has this name, or had it.
    #[error("the name `{name}` is taken")]
    NameTaken {
        /// The name.
        name: SubagentName,
        /// What it means.
        by: SubagentName,
    },
    /// The name has no such tag.
    #[error("`{name}` has no tag `{tag}`")]
    UnknownTag {
        /// The subagent.
        name: SubagentName,
        /// What was asked for.
        tag: String,
        /// The tags that it has.
        known: Vec<String>,
    },
    /// No version has this digest, or one that begins so.
    #[error("no version `{reference}`")]
    UnknownVersion {
        /// The digest or prefix.
        reference: String,
        /// Whether the history names it all the same.
        is_named: bool,
    },
    /// The version may exist, but not under this name.
    #[error("`{name}` never had the version {digest}")]
    NotInHistory {
        /// The subagent.
        name: SubagentName,
        /// The version.
        digest: Digest,
    },
    /// No run has this id, or one that begins so.
    #[error("no run `{run}`")]
    UnknownRun {
        /// The id or prefix.
        run: String,
    },
    /// The store does not hold this content.
    #[error("the store has no blob {digest}")]
    BlobMissing {
        /// What was asked for.
        digest: Digest,
    },
    /// Every operation is undone already, or there never was one.
    #[error("there is nothing to undo{}", of_name(.name.as_ref()))]
    NothingToUndo {
        /// The subagent whose operations were asked for.
        name: Option<SubagentName>,
    },
    /// Several versions begin like this.
    #[error("`{prefix}` could be {} versions", .candidates.len())]
    AmbiguousVersion {
        /// What was asked for.
        prefix: String,
        /// The versions, sorted.
        candidates: Vec<Digest>,
    },
    /// Several runs begin like this.
    #[error("`{prefix}` could be {} runs", .candidates.len())]
    AmbiguousRun {
        /// What was asked for.
        prefix: String,
        /// The runs, newest first.
        candidates: Vec<RunId>,
    },
    /// Another publish or undo came first: nothing was changed.
    #[error(
        "the head of `{name}` moved: expected {}, found {}",
        or_none(.expected.as_ref()),
        or_none(.found.as_ref())
    )]
    HeadMoved {
        /// The subagent.
        name: SubagentName,
        /// What the caller took the head to be.
        expected: Option<Digest>,
        /// What it is.
        found: Option<Digest>,
    },
    /// Undoing it would also take back part of a later operation.
    #[error("operation {seq} cannot be undone: operation {by} moved `{name}` after it")]
    UndoBlocked {
        /// The operation that would be undone.
        seq: u64,
        /// The subagent that moved since.
        name: SubagentName,
        /// The later operation.
        by: u64,
    },
    /// Another run was recorded under the same id.
    #[error("the run {run} is recorded already, with another content")]
    RunExists {
        /// The id.
        run: RunId,
    },
    /// Another process has held the store's lock for too long.
    #[error("`{}` is locked by another process since {seconds} s", .path.display())]
    Busy {
        /// The lock file.
        path: PathBuf,
        /// How long was waited.
        seconds: u64,
    },
    /// What was to be saved breaks a rule.
    #[error("{what}")]
    Refused {
        /// Which one.
        what: String,
    },
    /// Content above a limit.
    #[error("{what} is too large: {size} bytes, at most {limit}")]
    TooLarge {
        /// Which content.
        what: String,
        /// Its size.
        size: u64,
        /// The limit.
        limit: u64,
    },
    /// The blob is intact, but what it says is not a version that this program accepts.
    #[error("{digest} is not a valid version: {why}")]
    BadVersion {
        /// The manifest's digest.
        digest: Digest,
        /// What is wrong with it.
        why: String,
    },
    /// What is on disk is not what was written.
    #[error("`{}` is damaged: {why}", .path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The index of the history could not be made or used. The log itself is not concerned.
    #[error("the index `{}` cannot be used: {why}", .path.display())]
    Index {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// A newer program made this store.
    #[error("the store at `{}` has format {found}; this program knows up to {supported}", .path.display())]
    NewerFormat {
        /// The store.
        path: PathBuf,
        /// Its format.
        found: u64,
        /// The newest format this program knows.
        supported: u64,
    },
    /// The directory holds something else.
    #[error("`{}` is not a store, and not empty", .path.display())]
    NotAStore {
        /// The directory.
        path: PathBuf,
    },
    /// No space, or none left of the quota.
    #[error("no space left to write `{}`", .path.display())]
    DiskFull {
        /// What was being written.
        path: PathBuf,
        /// The system's word.
        source: io::Error,
    },
    /// The file system or its permissions do not allow writing.
    #[error("`{}` cannot be written", .path.display())]
    ReadOnly {
        /// What was being written.
        path: PathBuf,
        /// The system's word.
        source: io::Error,
    },
    /// Any other failure of the file system.
    #[error("cannot {action} `{}`", .path.display())]
    Io {
        /// What was being done.
        action: &'static str,
        /// To what.
        path: PathBuf,
        /// The system's word.
        source: io::Error,
    },
}

/// What kind of failure a [`StoreError`] is, for exit codes and HTTP statuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreErrorKind {
    /// What was named does not exist.
    NotFound,
    /// What was named could be several things.
    Ambiguous,
    /// Somebody else was first; look again and decide again.
    Conflict,
    /// The request breaks a rule.
    Refused,
    /// The store is damaged.
    Corrupt,
    /// The store is of another program or a newer one.
    Unsupported,
    /// The disk is full.
    DiskFull,
    /// The disk cannot be written.
    ReadOnly,
    /// The file system failed in another way.
    Io,
}

impl StoreError {
    /// What kind of failure this is.
    pub fn kind(&self) -> StoreErrorKind {
        match self {
            Self::UnknownName { .. }
            | Self::NoHead { .. }
            | Self::NoHeadThen { .. }
            | Self::UnknownTag { .. }
            | Self::UnknownVersion { .. }
            | Self::NotInHistory { .. }
            | Self::UnknownRun { .. }
            | Self::BlobMissing { .. }
            | Self::NothingToUndo { .. } => StoreErrorKind::NotFound,
            Self::AmbiguousVersion { .. } | Self::AmbiguousRun { .. } => StoreErrorKind::Ambiguous,
            Self::HeadMoved { .. }
            | Self::UndoBlocked { .. }
            | Self::RunExists { .. }
            | Self::Busy { .. } => StoreErrorKind::Conflict,
            Self::Pinned { .. }
            | Self::NameTaken { .. }
            | Self::Refused { .. }
            | Self::TooLarge { .. }
            | Self::BadVersion { .. } => StoreErrorKind::Refused,
            Self::Corrupt { .. } => StoreErrorKind::Corrupt,
            Self::NewerFormat { .. } | Self::NotAStore { .. } => StoreErrorKind::Unsupported,
            Self::DiskFull { .. } => StoreErrorKind::DiskFull,
            Self::ReadOnly { .. } => StoreErrorKind::ReadOnly,
            Self::Index { .. } | Self::Io { .. } => StoreErrorKind::Io,
        }
    }

    /// What a caller can do about it.
    pub fn hint(&self) -> Option<String> {
        let text = match self {
            Self::UnknownName {
                nearest: Some(nearest),
                ..
            } => format!("did you mean `{nearest}`?"),
            Self::UnknownName { nearest: None, .. } => "list the saved subagents".to_owned(),
            Self::NoHead {
                name,
                last,
                is_removed: false,
            } => format!("its last version is still `{name}@{}`", last.short()),
            Self::NoHead { name, last, .. } => {
                format!("`restore {name}@{}` brings it back", last.short())
            }
            Self::NoHeadThen { name, moves, .. } => {
                let times = match moves {
                    1 => "once".to_owned(),
                    _ => format!("{moves} times"),
                };
                format!("its head moved {times}; the log of `{name}` lists them")
            }
            Self::Pinned { name } => {
                format!(
                    "`unpin {name}` lets its head go; `pull`, `undo`, `remove` and `restore` move it with --force"
                )
            }
            Self::NameTaken { name, by } if name == by => "choose another name".to_owned(),
            Self::NameTaken { by, .. } => {
                format!("it is a former name of `{by}` and goes on meaning that")
            }
            Self::Index { .. } => {
                "remove it: it is made anew from the log when it is needed".to_owned()
            }
            Self::UnknownTag { name, known, .. } if known.is_empty() => {
                format!("`{name}` alone is its head")
            }
            Self::UnknownTag { known, .. } => format!("its tags: {}", known.join(", ")),
            Self::UnknownVersion { is_named: true, .. } => {
                "the log names it: where `fsck` lists it, restore it from a backup; else it was \
                 collected after its subagent was removed"
                    .to_owned()
            }
            Self::UnknownVersion { .. } | Self::NotInHistory { .. } => {
                "the log of a subagent lists its versions".to_owned()
            }
            Self::AmbiguousVersion { candidates, .. } => {
                format!("write more digits: {}", some_of(candidates))
            }
            Self::AmbiguousRun { candidates, .. } => {
                format!("write more of the id: {}", some_of(candidates))
            }
            Self::HeadMoved { name, .. } => {
                format!("nothing was changed; look at `{name}` again and decide again")
            }
            Self::UndoBlocked { name, .. } => {
                format!("undo `{name}` first, or publish the wanted version")
            }
            Self::Busy { .. } => {
                "wait for the other process, or end it when it is stopped".to_owned()
            }
            Self::Corrupt { .. } => {
                "fsck lists everything that is damaged; restore it from a backup".to_owned()
            }
            Self::NewerFormat { .. } => "use the newer program".to_owned(),
            Self::NotAStore { .. } => "choose an empty or a new directory".to_owned(),
            Self::DiskFull { .. } => "free some space; nothing that was saved is lost".to_owned(),
            Self::ReadOnly { .. } => {
                "choose a home that can be written, or change its permissions".to_owned()
            }
            Self::Io { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                "check who owns it and its permissions".to_owned()
            }
            Self::Io { .. } => "check that the home is a directory on a working disk".to_owned(),
            Self::UnknownRun { .. } => {
                "write the id of a run, at least its first 8 characters, or `last`".to_owned()
            }
            Self::BlobMissing { .. }
            | Self::NothingToUndo { .. }
            | Self::RunExists { .. }
            | Self::Refused { .. }
            | Self::TooLarge { .. }
            | Self::BadVersion { .. } => return None,
        };
        Some(text)
    }

    /// An error while reading.
    pub(crate) fn read(action: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io {
            action,
            path: path.to_owned(),
            source,
        }
    }

    /// An error while changing something, told apart by what can be done about it.
    pub(crate) fn write(action: &'static str, path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                Self::DiskFull { path, source }
            }
            io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied => {
                Self::ReadOnly { path, source }
            }
            _ => Self::Io {
                action,
                path,
                source,
            },
        }
    }

    pub(crate) fn corrupt(path: &Path, why: impl Into<String>) -> Self {
        Self::Corrupt {
            path: path.to_owned(),
            why: why.into(),
        }
    }

    pub(crate) fn refused(what: impl Into<String>) -> Self {
        Self::Refused { what: what.into() }
    }
}

/// What is shown for a head that does or does not exist.
fn or_none(digest: Option<&Digest>) -> String {
    digest.map_or_else(|| "none".to_owned(), Digest::short)
}

fn of_name(name: Option<&SubagentName>) -> String {
    name.map_or_else(String::new, |name| format!(" of `{name}`"))
}

/// The first few of a list, and how many more there are.
fn some_of<T: ToString>(items: &[T]) -> String {
    const SHOWN: usize = 5;
    let shown: Vec<String> = items.iter().take(SHOWN).map(T::to_string).collect();
    match items.len().saturating_sub(SHOWN) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_write_is_told_apart_by_what_can_be_done() {
        let check = |errno: i32, kind: StoreErrorKind| {
            let error = StoreError::write(
                "write",
                Path::new("/x"),
                io::Error::from_raw_os_error(errno),
            );
            assert_eq!(error.kind(), kind, "{errno}");
            assert!(error.to_string().contains("/x"), "{error}");
        };
        check(28, StoreErrorKind::DiskFull); // ENOSPC
        check(122, StoreErrorKind::DiskFull); // EDQUOT
        check(30, StoreErrorKind::ReadOnly); // EROFS
        check(13, StoreErrorKind::ReadOnly); // EACCES
        check(5, StoreErrorKind::Io); // EIO
    }
}
