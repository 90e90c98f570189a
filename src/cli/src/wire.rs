//! What `--json` prints, but for the JSON of a run ([`spec::wire::RunJson`]) and of a task
//! ([`orchestrator::wire::TaskJson`]). `JSON.md` beside this crate's manifest explains it to users.

mod care;
mod deploy;
mod history;
mod runs;
mod share;

use std::time::Duration;

use jiff::Timestamp;
use orchestrator::wire::TaskJson;
use serde::Serialize;
use spec::wire::FileJson;
use spec::{ByteSize, Digest, Limits, PartialLimits, RunId, Skill, SubagentName};

use crate::exit::Failure;
use crate::ui::ErrorJson;

pub(crate) use care::{AmountJson, FsckJson, GcJson, NameSizeJson, ReindexJson, StatsJson, kind};
pub(crate) use deploy::{DeployImageJson, DeployJson, VerifiedJson};
pub(crate) use history::{
    ChangeJson, DiffJson, GraphJson, GraphVersionJson, LogJson, MoveJson, OperationJson,
};
pub(crate) use runs::{
    HttpJson, OutputChunkJson, OutputEndJson, ReproduceJson, RunFilesJson, RunLineJson,
    RunRecordJson, RunsJson,
};
pub(crate) use share::{
    KeyJson, KeysJson, MovedJson, PullJson, PushJson, SignJson, SignatureJson, VerifyJson,
};

/// `pool`, when it begins to listen.
#[derive(Debug, Serialize)]
pub(crate) struct PoolJson<'a> {
    /// Where.
    pub(crate) socket: &'a str,
    /// Its process number.
    pub(crate) pid: u32,
}

/// `pool status`.
#[derive(Debug, Serialize)]
pub(crate) struct PoolStatusJson<'a> {
    /// Where it listens.
    pub(crate) socket: &'a str,
    /// All else.
    #[serde(flatten)]
    pub(crate) status: &'a runner::pool_process::PoolStatus,
}

/// `pool stop`.
#[derive(Debug, Serialize)]
pub(crate) struct PoolStopJson<'a> {
    /// Where it listened.
    pub(crate) socket: &'a str,
    /// That it was told to stop.
    pub(crate) stopped: bool,
}

/// `list`.
#[derive(Debug, Serialize)]
pub(crate) struct ListJson {
    /// The subagents that have a head, by name: one page of them.
    pub(crate) subagents: Vec<SubagentJson>,
    /// How many there are.
    pub(crate) total: u64,
    /// What `--after` takes for the next page; null on the last one.
    pub(crate) next: Option<SubagentName>,
}

/// One saved subagent.
#[derive(Debug, Serialize)]
pub(crate) struct SubagentJson {
    pub(crate) name: SubagentName,
    /// The digest that its head points at.
    pub(crate) version: Digest,
    /// How many versions its history holds.
    pub(crate) versions: usize,
    /// Since when its head is this version.
    pub(crate) since: Timestamp,
    /// Whether its head is pinned: it does not move by itself.
    pub(crate) pinned: bool,
    /// What it is granted; null when the version cannot be read.
    pub(crate) skills: Option<Vec<Skill>>,
    /// The hosts that it names; null when the version cannot be read.
    pub(crate) egress: Option<Vec<String>>,
    /// What it does; null when the version cannot be read.
    pub(crate) description: Option<String>,
    /// Why the version cannot be read.
    pub(crate) error: Option<String>,
}

/// `show`.
#[derive(Debug, Serialize)]
pub(crate) struct ShowJson {
    /// A name that has this version; null when it was never published.
    pub(crate) name: Option<SubagentName>,
    pub(crate) version: Digest,
    /// The head before it; null for a first version, and for one that was never a head.
    pub(crate) parent: Option<Digest>,
    /// Whether the name's head is this version.
    pub(crate) is_head: bool,
    /// The tags of the name that point at it.
    pub(crate) tags: Vec<String>,
    /// Where it stands in the history of its name; null when it was never a head.
    pub(crate) published: Option<PublishedJson>,
    pub(crate) description: String,
    pub(crate) entry: String,
    pub(crate) skills: Vec<Skill>,
    /// `NAME@DIGEST` of each version that it depends on.
    pub(crate) depends: Vec<String>,
    /// Hosts that it may reach.
    pub(crate) egress: Vec<String>,
    /// The limits that it asks for; null means those of whoever runs it.
    pub(crate) limits: Option<LimitsJson>,
    pub(crate) python: String,
    /// `NAME==VERSION` of each Python distribution that it needs.
    pub(crate) requirements: Vec<String>,
    /// Bytes of manifest, config and source together.
    pub(crate) size: u64,
    /// Who vouches for it.
    pub(crate) signatures: Vec<SignatureJson>,
    pub(crate) files: Vec<FileJson>,
    /// The source, with `--code`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) code: Option<Vec<CodeJson>>,
}

/// `show --tree`: a version and what it depends on.
#[derive(Debug, Serialize)]
pub(crate) struct TreeJson {
    /// The name under which it is depended on; null when the version has none.
    pub(crate) name: Option<SubagentName>,
    pub(crate) version: Digest,
    /// Whether it was told before what this one depends on.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) repeated: bool,
    pub(crate) depends: Vec<TreeJson>,
}

/// `import`.
#[derive(Debug, Serialize)]
pub(crate) struct ImportJson {
    /// Whether nothing was saved.
    pub(crate) dry_run: bool,
    /// The folders, by name.
    pub(crate) subagents: Vec<ImportedJson>,
}

/// One folder of `import`.
#[derive(Debug, Serialize)]
pub(crate) struct ImportedJson {
    pub(crate) folder: String,
    /// Null when the folder was refused before that was known.
    pub(crate) name: Option<SubagentName>,
    /// `saved`, `unchanged` or `refused`; with `--dry-run` also `to-lock`, where the notes say what would be resolved.
    pub(crate) outcome: &'static str,
    pub(crate) version: Option<Digest>,
    /// The head before.
    pub(crate) parent: Option<Digest>,
    /// What a person should know.
    pub(crate) notes: Vec<String>,
    /// Why it was refused.
    pub(crate) error: Option<String>,
    pub(crate) hint: Option<String>,
}

/// `export`.
#[derive(Debug, Serialize)]
pub(crate) struct ExportJson {
    pub(crate) path: String,
    pub(crate) name: SubagentName,
    pub(crate) version: Digest,
    /// Files of the source.
    pub(crate) files: usize,
    /// Versions that it depends on.
    pub(crate) depends: usize,
    /// Recorded runs.
    pub(crate) runs: usize,
}

/// `copy`.
#[derive(Debug, Serialize)]
pub(crate) struct CopyJson {
    pub(crate) name: SubagentName,
    pub(crate) version: Digest,
    /// Versions, with those that it depends on.
    pub(crate) versions: usize,
    /// Recorded runs.
    pub(crate) runs: usize,
    /// Manifests about them: signatures, environments, lines of ancestors.
    pub(crate) attachments: usize,
    /// Versions whose environment did not go along: its wheels are not on this machine.
    pub(crate) without_environment: Vec<Digest>,
    pub(crate) blobs: usize,
    /// What was there already is not written again.
    pub(crate) written_bytes: u64,
    /// Whether the name's head is this version there.
    pub(crate) is_head: bool,
    /// The tag that it got instead.
    pub(crate) tag: Option<String>,
}

/// How a version became the head of its name.
#[derive(Debug, Serialize)]
pub(crate) struct PublishedJson {
    pub(crate) at: Timestamp,
    /// The operation's number in the log.
    pub(crate) operation: u64,
    /// The task that it came from.
    pub(crate) task: Option<String>,
    /// The ids of the runs that spoke for it.
    pub(crate) evidence: Vec<RunId>,
    pub(crate) note: String,
    /// Whether that was undone.
    pub(crate) undone: bool,
}

/// Limits of a run, or of a version: there, null leaves a limit to whoever runs it.
#[derive(Debug, Serialize)]
pub(crate) struct LimitsJson {
    pub(crate) wall_ms: Option<u64>,
    /// Null in a run means as much as wall time and processor share give.
    pub(crate) cpu_ms: Option<u64>,
    pub(crate) memory_bytes: Option<u64>,
    pub(crate) cpu_millis: Option<u32>,
    pub(crate) pids: Option<u32>,
    pub(crate) workspace_bytes: Option<u64>,
    pub(crate) workspace_files: Option<u64>,
    pub(crate) output_bytes: Option<u64>,
    pub(crate) result_bytes: Option<u64>,
    pub(crate) collect_files: Option<u32>,
    pub(crate) collect_depth: Option<u32>,
    pub(crate) tool_calls: Option<u32>,
    pub(crate) tool_bytes: Option<u64>,
}

/// One source file.
#[derive(Debug, Serialize)]
pub(crate) struct CodeJson {
    pub(crate) path: String,
    /// Its text; bytes that are not UTF-8 are replaced.
    pub(crate) text: String,
}

/// `search`.
#[derive(Debug, Serialize)]
pub(crate) struct SearchJson {
    /// The best first.
    pub(crate) subagents: Vec<FoundJson>,
}

/// A subagent that was found.
#[derive(Debug, Serialize)]
pub(crate) struct FoundJson {
    pub(crate) name: SubagentName,
    pub(crate) version: Digest,
    pub(crate) description: String,
    /// Of 1.
    pub(crate) fit: f64,
    pub(crate) runs: u64,
    pub(crate) completed: u64,
    /// The lower bound of the share that completes.
    pub(crate) proven: f64,
    pub(crate) median_ms: Option<f64>,
}

/// `images build`.
#[derive(Debug, Serialize)]
pub(crate) struct ImageJson {
    /// What sandboxes are created from.
    pub(crate) image: Digest,
    /// Its name on the engine.
    pub(crate) tag: String,
    /// The base, by digest where it has one.
    pub(crate) base: String,
    /// `on_engine`, `pulled` or `bootstrapped`.
    pub(crate) source: &'static str,
    pub(crate) python: String,
    pub(crate) python_path: String,
    pub(crate) size_bytes: u64,
}

/// `images show`.
#[derive(Debug, Serialize)]
pub(crate) struct ImageShowJson {
    pub(crate) image: Digest,
}

/// A line of `solve --question-file`: the JSON of its task, with the line; or why there is none.
#[derive(Debug, Serialize)]
pub(crate) struct QuestionJson<'a> {
    /// The line in the file, from 1.
    line: usize,
    /// The question; null when the line could not be read.
    question: Option<&'a str>,
    #[serde(flatten)]
    task: Option<&'a TaskJson>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<ErrorJson<'a>>,
}

impl<'a> QuestionJson<'a> {
    /// A line whose task ended, well or not.
    pub(crate) fn solved(line: usize, question: Option<&'a str>, task: &'a TaskJson) -> Self {
        Self {
            line,
            question,
            task: Some(task),
            error: None,
        }
    }

    /// A line without a task.
    pub(crate) fn failed(line: usize, question: Option<&'a str>, failure: &'a Failure) -> Self {
        Self {
            line,
            question,
            task: None,
            error: Some(failure.into()),
        }
    }
}

/// `doctor`.
#[derive(Debug, Serialize)]
pub(crate) struct DoctorJson {
    /// Whether sandboxes can run.
    pub(crate) usable: bool,
    pub(crate) checks: Vec<CheckJson>,
    /// What the engine is; null when none answers.
    pub(crate) engine: Option<runner::doctor::EngineFacts>,
    /// What a sandbox is, seen from inside; null where nobody asked or none could run.
    pub(crate) probe: Option<Vec<runner::doctor::Probed>>,
}

/// One thing that was looked at.
#[derive(Debug, Serialize)]
pub(crate) struct CheckJson {
    /// `home`, `engine`, `image`, `model`, or a property of the engine.
    pub(crate) topic: &'static str,
    /// `ok`, `note`, `warning` or `error`; only an error makes it unusable.
    pub(crate) level: &'static str,
    pub(crate) text: String,
    /// What to do about it.
    pub(crate) hint: Option<String>,
}

impl From<&Limits> for LimitsJson {
    fn from(limits: &Limits) -> Self {
        Self::from(&limits.to_partial())
    }
}

impl From<&PartialLimits> for LimitsJson {
    fn from(limits: &PartialLimits) -> Self {
        let bytes = |size: Option<ByteSize>| size.map(ByteSize::get);
        let millis = |time: Option<Duration>| {
            time.map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
        };
        Self {
            wall_ms: millis(limits.wall),
            cpu_ms: millis(limits.cpu),
            memory_bytes: bytes(limits.memory),
            cpu_millis: limits.cpu_millis,
            pids: limits.pids,
            workspace_bytes: bytes(limits.workspace),
            workspace_files: limits.workspace_files,
            output_bytes: bytes(limits.output),
            result_bytes: bytes(limits.result),
            collect_files: limits.collect_files,
            collect_depth: limits.collect_depth,
            tool_calls: limits.tool_calls,
            tool_bytes: bytes(limits.tool_bytes),
        }
    }
}
