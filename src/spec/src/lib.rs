//! Vocabulary that every part of AgentFactory shares.
//!
//! Digests, names, references, limits, workspace trees, tool skills and the ways a run can end.
//! Nothing here does I/O, reads a clock or is async: a value of one of these types has been
//! checked, and can be passed inward without being checked again.

mod canonical;
mod determinism;
mod digest;
mod imports;
pub mod limits;
mod name;
mod outcome;
mod reference;
mod run;
mod size;
mod skill;
mod text;
mod time;
mod tree;
pub mod wire;

pub use canonical::{CanonicalError, canonical_json};
pub use determinism::Determinism;
pub use digest::{Digest, DigestParseError};
pub use imports::Imports;
pub use limits::{LimitSources, Limits, LimitsError, PartialLimits};
pub use name::{NameError, SubagentName};
pub use outcome::{Clock, DiskScope, OutputStream, RunOutcome, RunResult};
pub use reference::{ReferenceError, VersionRef};
pub use run::{
    Ahead, Captured, EgressUsage, LeftBehind, PhaseTimings, Place, RunId, RunIdParseError,
    RunReport, RunUsage, SkillUsage, Start,
};
pub use size::{ByteSize, SizeError};
pub use skill::{Skill, UnknownSkill};
pub use text::printable;
pub use time::{DurationError, format_duration, parse_duration};
pub use tree::{FileEntry, PathError, Tree, TreeError, TreeFormatError, WorkspacePath};
