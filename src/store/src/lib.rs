//! Content-addressed library of subagent versions and runs: files only, no async, no containers.
//!
//! [`Store`] is one directory that any number of processes use at once. Content is kept under its
//! digest and never changed. A *version* ([`Store::stage`], [`Store::version`]) is an OCI artifact
//! manifest whose digest is its identity. Heads and tags move by *operations*
//! ([`Store::publish`], [`Store::tag`], [`Store::undo`]) in an append-only log in which each line
//! names the one before. A *run record* ([`Store::record_run`]) holds all that a run was.
//! [`Store::closure`] and [`Store::run_closure`] say what else a version or a run names.
//! [`Store::fsck`] finds any changed byte, and [`Store::gc`] removes what nothing names.

mod archive;
mod ask;
mod attachment;
mod blobs;
mod change;
mod changes;
mod closure;
mod diff;
mod end;
mod error;
mod fsck;
mod gc;
mod index;
mod layout;
mod lease;
mod log;
mod memory;
mod named;
mod names;
mod operation;
mod parallel;
mod parts;
mod persist;
mod query;
mod receive;
mod record;
mod rules;
mod runs;
mod search;
mod stats;
mod version;
mod wire;

pub use archive::SourceFiles;
pub use ask::Reindexed;
pub use attachment::{Attachment, Document};
pub use blobs::{BlobReader, BlobWriter, GET_MAX};
pub use change::{Change, HeadMove, Move, PinMove, Renaming, TagMove};
pub use changes::Publication;
pub use closure::{
    BlobRef, Closure, ClosureVersion, DEPENDS_DEPTH, DEPENDS_MAX, FILE_MEDIA_TYPE,
    LAYER_MEDIA_TYPE, RunClosure, TREE_MEDIA_TYPE,
};
pub use diff::{ConfigDiff, FileDiff, FileDiffKind, VersionDiff};
pub use error::{StoreError, StoreErrorKind};
pub use fsck::{Finding, FindingKind, FsckProgress, FsckReport};
pub use gc::{Amount, GcOptions, GcPhase, GcProgress, GcReport};
pub use layout::Store;
pub use operation::{Act, Operation};
pub use query::{Head, LineageStep, Resolved};
pub use receive::Foreign;
pub use record::{
    CASSETTE_MEDIA_TYPE, Exchange, ExchangeKind, RUN_MEDIA_TYPE, RunEnvironment, RunPlace,
    RunProgram, RunRecord,
};
pub use runs::{LAST_RUN, RUN_PREFIX_MIN, RunPage, RunQuery, RunSummary};
pub use search::{Found, SearchIndexed};
pub use stats::{NameSize, StatsProgress, StoreStats};
pub use version::{
    CONFIG_MEDIA_TYPE, MANIFEST_MEDIA_TYPE, Requirement, SOURCE_MEDIA_TYPE, SUBAGENT_ARTIFACT_TYPE,
    StagedVersion, Version, VersionContent,
};
