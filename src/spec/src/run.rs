//! What is known of one run.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{DiskScope, FileEntry, Imports, RunOutcome, Skill, WorkspacePath};

/// The identity of one run: a version 7 UUID, so ids sort by time of start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RunId(uuid::Uuid);

/// A text that is not the id of a run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not the id of a run")]
pub struct RunIdParseError(String);

impl RunId {
    /// Wraps an id made by whoever owns clock and randomness.
    pub fn from_uuid(uuid: uuid::Uuid) -> Self {
        Self(uuid)
    }

    /// When it was made, in milliseconds since 1970 began; none for an id that holds no time.
    pub fn made_at_ms(&self) -> Option<u64> {
        let is_timed = self.0.get_version_num() == 7;
        is_timed.then(|| u64::try_from(self.0.as_u128() >> 80).unwrap_or(u64::MAX))
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0.hyphenated(), f)
    }
}

impl FromStr for RunId {
    type Err = RunIdParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let id = uuid::Uuid::try_parse(text).ok().map(Self);
        // One spelling: it becomes a file name.
        id.filter(|id| id.to_string() == text)
            .ok_or_else(|| RunIdParseError(crate::printable(text, 80)))
    }
}

impl Serialize for RunId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for RunId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

/// What a stream carried, up to its limit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Captured {
    /// The beginning, at most the limit.
    pub content: Vec<u8>,
    /// How many bytes were seen in all.
    pub bytes: u64,
}

impl Captured {
    /// Whether the end is missing.
    pub fn is_truncated(&self) -> bool {
        self.bytes > self.content.len() as u64
    }
}

/// Something in the workspace that was not collected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftBehind {
    /// Where it is; the text form, because what is left behind may have no valid path.
    pub path: String,
    /// Why: `symbolic link`, `too large`, `too many files`, `unreadable`, ...
    pub why: String,
}

/// What a run used, measured by the kernel and the host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunUsage {
    /// Wall time of the subagent.
    pub wall: Duration,
    /// Processor time of the sandbox, the harness included.
    pub cpu: Duration,
    /// The most memory the sandbox held, its tmpfs and the harness included, in bytes.
    pub memory_peak_bytes: u64,
    /// Processes that the kernel killed at the memory limit: one that main started may be among
    /// them while main itself goes on.
    pub oom_kills: u64,
    /// File systems of the sandbox that were full at the end.
    pub full: Vec<DiskScope>,
    /// What each skill carried out.
    pub skills: BTreeMap<Skill, SkillUsage>,
    /// What went through its proxy; none where it had no proxy.
    pub egress: Option<EgressUsage>,
}

/// What went through a run's proxy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EgressUsage {
    /// Requests that were carried out, and tunnels that were opened.
    pub exchanges: u64,
    /// Bytes to the world.
    pub bytes_up: u64,
    /// Bytes from the world.
    pub bytes_down: u64,
    /// Requests that were refused.
    pub refused: u64,
}

/// What one skill carried out for a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SkillUsage {
    /// Calls, refused ones included.
    pub calls: u32,
    /// Tokens read by the model.
    pub input_tokens: u64,
    /// Tokens written by the model.
    pub output_tokens: u64,
}

/// Where a run's sandbox came from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Start {
    /// It was created and started for this run.
    #[default]
    Cold,
    /// It had been started before, and waited.
    Leased,
}

/// What became of the modules that a waiting sandbox was to import for its run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ahead {
    /// There were none, or it did not wait.
    #[default]
    Nothing,
    /// They had been imported when the run came, as far as they can be.
    Imported,
    /// Importing them failed as a whole, so the program imported them itself.
    Failed,
}

/// How long each phase took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PhaseTimings {
    /// Waiting for a place.
    pub queue: Duration,
    /// Until there was a sandbox that was READY.
    pub lease: Duration,
    /// Where that came from.
    pub start: Start,
    /// What it had imported.
    pub imports: Ahead,
    /// Writing code and workspace into it, as far as not hidden behind the lease.
    pub restore: Duration,
    /// From RUN to the first byte of output or the first request.
    pub first_byte: Duration,
    /// From RUN to the subagent's end.
    pub run: Duration,
    /// From its end to the last collected file.
    pub collect: Duration,
}

/// What a run's sandbox really was. What is none is not known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The engine's runtime that it ran under, by name: of several that may be, the one that was.
    pub runtime: Option<String>,
    /// The version of its Python, as its harness says it.
    pub python: Option<String>,
}

/// Everything the runner knows of a finished run; the sandbox is gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunReport {
    /// How it ended.
    pub outcome: RunOutcome,
    /// What it wrote to standard output.
    pub stdout: Captured,
    /// What it wrote to standard error.
    pub stderr: Captured,
    /// Files that are new or differ from the input tree.
    pub changed: Vec<FileEntry>,
    /// Files of the input tree that are gone.
    pub removed: Vec<WorkspacePath>,
    /// What was not collected.
    pub left_behind: Vec<LeftBehind>,
    /// What it used; `skills` and `egress` are filled in by whoever answered the requests.
    pub usage: RunUsage,
    /// How long each phase took.
    pub timings: PhaseTimings,
    /// What it ran in.
    pub place: Place,
    /// The modules of its environment that it says it imported itself, besides those that had been.
    pub imports: Imports,
}

impl RunReport {
    /// The report of a run whose program never began.
    pub fn without_run(outcome: RunOutcome, timings: PhaseTimings) -> Self {
        Self {
            outcome,
            stdout: Captured::default(),
            stderr: Captured::default(),
            changed: Vec::new(),
            removed: Vec::new(),
            left_behind: Vec::new(),
            usage: RunUsage::default(),
            timings,
            place: Place::default(),
            imports: Imports::NONE,
        }
    }
}
