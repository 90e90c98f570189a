//! Subagents come from elsewhere and go elsewhere: folders, and other homes.
//!
//! Digests never change on the way: what is copied are the blobs, and an exported folder holds the
//! config beside the files. Everything that comes in is hostile, and checked by the store as what it
//! is said to be before any name points at it.

mod blobs;
mod cases;
mod copy;
mod error;
mod export;
mod folder;
mod import;
mod publish;
mod skill;
mod specifiers;

pub use cases::Case;
pub use copy::{CopyReport, CopyRequest, copy_version};
pub use error::LibraryError;
pub use export::{Exported, export_version};
pub use import::{
    ImportItem, ImportOutcome, ImportRequest, Locks, Unlocked, import_skills, unlocked,
};

/// The folder, in an exported one, of what a person does not write.
const OWN: &str = ".agentfactory";
/// The file in it that says which version the folder is.
const VERSION: &str = "version.json";
/// The folder in it with the blobs of what the version depends on, and of its cases.
const BLOBS: &str = "blobs";
/// The number of the format of [`VERSION`].
const FORMAT: u32 = 1;
