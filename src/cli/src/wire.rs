//! What `--json` prints, but for the JSON of a run ([`spec::wire::RunJson`]) and of a task
//! ([`orchestrator::wire::TaskJson`]). `JSON.md` beside this crate's manifest explains it to users.

mod deploy;
mod share;

use std::time::Duration;

use jiff::Timestamp;
use orchestrator::wire::TaskJson;
use serde::Serialize;
use spec::wire::{FileJson, RunJson};
use spec::{ByteSize, Digest, Limits, PartialLimits, RunId, Skill, SubagentName};
use store::{
    Amount, Change, ConfigDiff, FileDiff, FileDiffKind, FindingKind, FsckReport, Operation,
    PinMove, Renaming,
};

use crate::exit::Failure;
use crate::ui::ErrorJson;

pub(crate) use deploy::{DeployImageJson, DeployJson, VerifiedJson};
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

/// `log`.
#[derive(Debug, Serialize)]
pub(crate) struct LogJson {
    /// Newest first: one page of them.
    pub(crate) operations: Vec<OperationJson>,
    /// What `--before` takes for the next page; null on the last one.
    pub(crate) next: Option<u64>,
}

/// `log --graph`.
#[derive(Debug, Serialize)]
pub(crate) struct GraphJson {
    pub(crate) name: SubagentName,
    /// Its publications, newest first.
    pub(crate) versions: Vec<GraphVersionJson>,
}

/// One publication of a subagent.
#[derive(Debug, Serialize)]
pub(crate) struct GraphVersionJson {
    pub(crate) version: Digest,
    /// The version that it was made from.
    pub(crate) parent: Option<Digest>,
    /// The number of the operation, and of the one that published its parent.
    pub(crate) operation: u64,
    pub(crate) parent_operation: Option<u64>,
    pub(crate) at: Timestamp,
    pub(crate) task: Option<String>,
    pub(crate) by: Option<String>,
    pub(crate) note: String,
    /// The runs that spoke for it.
    pub(crate) evidence: Vec<RunId>,
    pub(crate) undone: bool,
    pub(crate) is_head: bool,
    pub(crate) tags: Vec<String>,
}

/// A command that changes the history: `undo`, `restore`, `tag`, `pin`, `unpin`, `rename`, `remove`.
#[derive(Debug, Serialize)]
pub(crate) struct ChangeJson {
    /// The operation that was added.
    pub(crate) operation: OperationJson,
}

/// One recorded change.
#[derive(Debug, Serialize)]
pub(crate) struct OperationJson {
    /// Its place in the log, from 1.
    pub(crate) operation: u64,
    pub(crate) id: Digest,
    pub(crate) at: Timestamp,
    /// `publish`, `tag`, `untag`, `undo`, `pin`, `unpin`, `rename`, `remove` or `restore`.
    pub(crate) kind: &'static str,
    pub(crate) heads: Vec<MoveJson>,
    pub(crate) tags: Vec<MoveJson>,
    /// Heads that were pinned or let go.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) pins: Vec<PinJson>,
    /// Subagents that got another name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) renamed: Vec<RenamedJson>,
    /// The number of the operation that this one undoes.
    pub(crate) undoes: Option<u64>,
    pub(crate) task: Option<String>,
    /// Who did it, where that is not a task.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) by: Option<String>,
    /// Why, in their words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) why: Option<String>,
    pub(crate) evidence: Vec<RunId>,
    pub(crate) note: String,
}

/// A head that was pinned or let go.
#[derive(Debug, Serialize)]
pub(crate) struct PinJson {
    pub(crate) name: SubagentName,
    pub(crate) pinned: bool,
}

/// A subagent that got another name.
#[derive(Debug, Serialize)]
pub(crate) struct RenamedJson {
    pub(crate) from: SubagentName,
    pub(crate) to: SubagentName,
}

/// A head or a tag that moved.
#[derive(Debug, Serialize)]
pub(crate) struct MoveJson {
    pub(crate) name: SubagentName,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tag: Option<String>,
    pub(crate) from: Option<Digest>,
    pub(crate) to: Option<Digest>,
}

/// `diff`.
#[derive(Debug, Serialize)]
pub(crate) struct DiffJson {
    pub(crate) from: Digest,
    pub(crate) to: Digest,
    pub(crate) files: Vec<FileDiffJson>,
    pub(crate) config: Vec<ConfigDiffJson>,
}

/// A file that differs.
#[derive(Debug, Serialize)]
pub(crate) struct FileDiffJson {
    pub(crate) path: String,
    /// `added`, `removed` or `changed`.
    pub(crate) kind: &'static str,
    /// In unified format; null when one side is not UTF-8.
    pub(crate) text: Option<String>,
}

/// A field of the config that differs.
#[derive(Debug, Serialize)]
pub(crate) struct ConfigDiffJson {
    pub(crate) field: &'static str,
    pub(crate) removed: Vec<String>,
    pub(crate) added: Vec<String>,
}

/// `fsck`.
#[derive(Debug, Serialize)]
pub(crate) struct FsckJson {
    /// Whether nothing is wrong.
    pub(crate) clean: bool,
    pub(crate) findings: Vec<FindingJson>,
    pub(crate) blobs: u64,
    pub(crate) bytes: u64,
    pub(crate) versions: u64,
    pub(crate) operations: u64,
    pub(crate) runs: u64,
}

/// One thing that is wrong.
#[derive(Debug, Serialize)]
pub(crate) struct FindingJson {
    /// `damaged`, `missing`, `invalid`, `stray` or `unreadable`.
    pub(crate) kind: &'static str,
    pub(crate) path: String,
    pub(crate) digest: Option<Digest>,
    pub(crate) why: String,
    pub(crate) hint: String,
}

/// A number of blobs and their bytes.
#[derive(Debug, Serialize)]
pub(crate) struct AmountJson {
    pub(crate) blobs: u64,
    pub(crate) bytes: u64,
}

impl From<Amount> for AmountJson {
    fn from(amount: Amount) -> Self {
        Self {
            blobs: amount.blobs,
            bytes: amount.size.get(),
        }
    }
}

/// `gc`.
#[derive(Debug, Serialize)]
pub(crate) struct GcJson {
    pub(crate) dry_run: bool,
    pub(crate) before: AmountJson,
    pub(crate) removed: AmountJson,
    pub(crate) after: AmountJson,
    /// Versions among what was removed.
    pub(crate) versions: u64,
    /// Runs that were removed.
    pub(crate) runs: u64,
    /// Runs that are old and stay.
    pub(crate) evidence: u64,
    /// What nothing names and is too young.
    pub(crate) young: AmountJson,
    /// What only a running command may name.
    pub(crate) leased: AmountJson,
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

/// `reindex`.
#[derive(Debug, Serialize)]
pub(crate) struct ReindexJson {
    pub(crate) operations: u64,
    pub(crate) subagents: u64,
    pub(crate) unreadable: u64,
    pub(crate) runs: u64,
}

/// `stats`.
#[derive(Debug, Serialize)]
pub(crate) struct StatsJson {
    pub(crate) names: u64,
    pub(crate) versions: u64,
    pub(crate) operations: u64,
    pub(crate) runs: u64,
    /// All blobs of the store, and what they are for.
    pub(crate) content: AmountJson,
    pub(crate) of_versions: AmountJson,
    pub(crate) of_runs: AmountJson,
    pub(crate) of_cassettes: AmountJson,
    pub(crate) unnamed: AmountJson,
    /// What it would be more if nothing were kept once for many.
    pub(crate) shared_bytes: u64,
    pub(crate) unreadable: u64,
    /// Files outside the content.
    pub(crate) log_bytes: u64,
    pub(crate) temporary: AmountJson,
    pub(crate) tasks_bytes: u64,
    pub(crate) outputs_bytes: u64,
    /// The user's cache, which all homes share.
    pub(crate) cache_bytes: u64,
    /// Of the cache: the layers of environments and the wheels that they are made from.
    pub(crate) environments_bytes: u64,
    /// How many environments are in it.
    pub(crate) environments: usize,
    pub(crate) largest: Vec<NameSizeJson>,
}

/// What the versions of one name take.
#[derive(Debug, Serialize)]
pub(crate) struct NameSizeJson {
    pub(crate) name: SubagentName,
    pub(crate) versions: u64,
    pub(crate) bytes: u64,
    /// What no other name has too.
    pub(crate) own_bytes: u64,
}

/// `runs list`.
#[derive(Debug, Serialize)]
pub(crate) struct RunsJson {
    /// Newest first, what runs before all others.
    pub(crate) runs: Vec<RunLineJson>,
    /// Where the next page begins, with `--before`; null when this was the last one.
    pub(crate) next: Option<RunId>,
}

/// One recorded run in short.
#[derive(Debug, Serialize)]
pub(crate) struct RunLineJson {
    pub(crate) run: RunId,
    pub(crate) at: Timestamp,
    /// The subagent, the entry file or the command.
    pub(crate) what: String,
    /// The version; null for a file or a command.
    pub(crate) version: Option<String>,
    /// The outcome's `kind`, `running`, or `died`.
    pub(crate) outcome: &'static str,
    /// Null when it died: nobody knows when.
    pub(crate) wall_ms: Option<f64>,
}

/// `runs show`.
#[derive(Debug, Serialize)]
pub(crate) struct RunRecordJson {
    pub(crate) at: Timestamp,
    pub(crate) name: Option<SubagentName>,
    /// What ran: `kind` is `subagent` or `shell`.
    pub(crate) program: store::RunProgram,
    pub(crate) grants: Vec<Skill>,
    /// The hosts that it was allowed to reach.
    pub(crate) egress: Vec<String>,
    pub(crate) limits: LimitsJson,
    pub(crate) image: Digest,
    pub(crate) engine: String,
    pub(crate) mounts: Vec<String>,
    /// The engine's runtime that it really ran under; null where that was not recorded.
    pub(crate) runtime: Option<String>,
    /// The version of its Python; null where that was not recorded.
    pub(crate) python: Option<String>,
    /// The digest of the harness in its image; null where that was not recorded.
    pub(crate) harness: Option<Digest>,
    /// The Python distributions in its image; null when there were none.
    pub(crate) environment: Option<store::RunEnvironment>,
    /// `NAME@DIGEST` of each version that it could import.
    pub(crate) depends: Vec<String>,
    /// The time that its clock began with; null means the machine's clock.
    pub(crate) clock: Option<Timestamp>,
    /// The seed of its random numbers; null leaves them to chance.
    pub(crate) seed: Option<u32>,
    /// Requests of the subagent that were answered.
    pub(crate) exchanges: usize,
    /// Those over HTTP among them.
    pub(crate) http: Vec<HttpJson>,
    pub(crate) report: RunJson,
}

/// One HTTP exchange of a run.
#[derive(Debug, Serialize)]
pub(crate) struct HttpJson {
    pub(crate) method: String,
    pub(crate) url: String,
    /// What the program got; null when the connection was closed without an answer.
    pub(crate) status: Option<u16>,
    /// `response`, `refused`, `failed`, `closed`.
    pub(crate) answer: String,
    /// Why there is no answer of the host, or not a whole one.
    pub(crate) reason: Option<String>,
    pub(crate) duration_ms: u64,
}

/// A line of `runs output`: a part of what a run wrote, as `text` or in `base64`.
#[derive(Debug, Serialize)]
pub(crate) struct OutputChunkJson<'a> {
    /// `stdout` or `stderr`.
    pub(crate) stream: &'static str,
    /// How many bytes of the stream came before.
    pub(crate) offset: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) text: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) base64: Option<&'a str>,
}

/// The last line of `runs output`.
#[derive(Debug, Serialize)]
pub(crate) struct OutputEndJson {
    /// Whether the run goes on.
    pub(crate) running: bool,
    /// The outcome's `kind`; null when it runs, or died with its process.
    pub(crate) outcome: Option<String>,
    /// How much of each stream there is.
    pub(crate) stdout_bytes: u64,
    pub(crate) stderr_bytes: u64,
    /// Where `--from` goes on.
    pub(crate) stdout_next: u64,
    pub(crate) stderr_next: u64,
}

/// `reproduce`.
#[derive(Debug, Serialize)]
pub(crate) struct ReproduceJson {
    /// The run; null when a version was made again.
    pub(crate) run: Option<RunId>,
    /// The version that was made again; null for a run.
    pub(crate) version: Option<Digest>,
    /// Whether everything is as it was.
    pub(crate) equal: bool,
    pub(crate) checks: Vec<ComparisonJson>,
    /// What it asked that its record does not hold.
    pub(crate) unrecorded: Vec<UnrecordedJson>,
    /// What need not matter, and what may explain a difference.
    pub(crate) notes: Vec<String>,
}

/// One thing that was compared.
#[derive(Debug, Serialize)]
pub(crate) struct ComparisonJson {
    pub(crate) what: &'static str,
    pub(crate) equal: bool,
    pub(crate) recorded: String,
    pub(crate) reproduced: String,
    /// Why it is not as it was; null where that is not known.
    pub(crate) why: Option<String>,
}

/// One request that is not in the record.
#[derive(Debug, Serialize)]
pub(crate) struct UnrecordedJson {
    /// The tool, or method and URL.
    pub(crate) what: String,
    pub(crate) difference: String,
}

impl ReproduceJson {
    pub(crate) fn new(run: RunId, reproduction: &orchestrator::Reproduction) -> Self {
        let unrecorded = reproduction.unrecorded.iter().map(|one| UnrecordedJson {
            what: one.what.clone(),
            difference: one.difference.clone(),
        });
        Self {
            run: Some(run),
            version: None,
            equal: reproduction.is_equal(),
            checks: reproduction
                .checks
                .iter()
                .map(ComparisonJson::new)
                .collect(),
            unrecorded: unrecorded.collect(),
            notes: reproduction.notes.clone(),
        }
    }

    pub(crate) fn of_version(rebuilt: &orchestrator::Rebuilt) -> Self {
        Self {
            run: None,
            version: Some(rebuilt.version),
            equal: rebuilt.is_equal(),
            checks: rebuilt.checks.iter().map(ComparisonJson::new).collect(),
            unrecorded: Vec::new(),
            notes: rebuilt.notes.clone(),
        }
    }
}

impl ComparisonJson {
    fn new(check: &orchestrator::Check) -> Self {
        Self {
            what: check.what,
            equal: check.is_equal(),
            recorded: check.recorded.clone(),
            reproduced: check.reproduced.clone(),
            why: check.why.clone(),
        }
    }
}

/// `runs files`.
#[derive(Debug, Serialize)]
pub(crate) struct RunFilesJson {
    pub(crate) run: RunId,
    /// The digest of the tree.
    pub(crate) tree: Digest,
    /// The folder that they were written to; null when they were only listed.
    pub(crate) path: Option<String>,
    pub(crate) files: Vec<FileJson>,
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

impl From<&Operation> for OperationJson {
    fn from(operation: &Operation) -> Self {
        let heads = operation
            .change
            .head_moves()
            .into_iter()
            .map(|one| MoveJson {
                name: one.name,
                tag: None,
                from: one.from,
                to: one.to,
            });
        let tags = operation.change.tag_moves().iter().map(|one| MoveJson {
            name: one.name.clone(),
            tag: Some(one.tag.clone()),
            from: one.from,
            to: one.to,
        });
        let (undoes, task, evidence, note) = match &operation.change {
            Change::Publish {
                task,
                evidence,
                note,
                ..
            } => (None, task.clone(), evidence.clone(), note.clone()),
            Change::Undo { seq, .. } => (Some(*seq), None, Vec::new(), String::new()),
            Change::Tag { .. }
            | Change::Pin { .. }
            | Change::Unpin { .. }
            | Change::Rename { .. }
            | Change::Remove { .. }
            | Change::Restore { .. } => (None, None, Vec::new(), String::new()),
        };
        Self {
            operation: operation.seq,
            id: operation.id,
            at: operation.at,
            kind: operation.change.kind(),
            heads: heads.collect(),
            tags: tags.collect(),
            pins: operation
                .change
                .pin_moves()
                .into_iter()
                .map(Into::into)
                .collect(),
            renamed: operation
                .change
                .renamings()
                .iter()
                .map(Into::into)
                .collect(),
            undoes,
            task,
            by: operation.by.clone(),
            why: operation.why.clone(),
            evidence,
            note,
        }
    }
}

impl From<PinMove> for PinJson {
    fn from(one: PinMove) -> Self {
        let PinMove { name, pinned } = one;
        Self { name, pinned }
    }
}

impl From<&Renaming> for RenamedJson {
    fn from(one: &Renaming) -> Self {
        Self {
            from: one.from.clone(),
            to: one.to.clone(),
        }
    }
}

impl From<&FileDiff> for FileDiffJson {
    fn from(file: &FileDiff) -> Self {
        Self {
            path: file.path.to_string(),
            kind: match file.kind {
                FileDiffKind::Added => "added",
                FileDiffKind::Removed => "removed",
                FileDiffKind::Changed => "changed",
            },
            text: file.text.clone(),
        }
    }
}

impl From<&ConfigDiff> for ConfigDiffJson {
    fn from(field: &ConfigDiff) -> Self {
        Self {
            field: field.field,
            removed: field.removed.clone(),
            added: field.added.clone(),
        }
    }
}

impl From<&FsckReport> for FsckJson {
    fn from(report: &FsckReport) -> Self {
        let findings = report.findings.iter().map(|finding| FindingJson {
            kind: kind(finding.kind),
            path: finding.path.display().to_string(),
            digest: finding.digest,
            why: finding.why.clone(),
            hint: finding.hint(),
        });
        Self {
            clean: report.is_clean(),
            findings: findings.collect(),
            blobs: report.blobs,
            bytes: report.bytes,
            versions: report.versions,
            operations: report.operations,
            runs: report.runs,
        }
    }
}

/// The word for a kind of finding.
pub(crate) fn kind(kind: FindingKind) -> &'static str {
    match kind {
        FindingKind::Damaged => "damaged",
        FindingKind::Missing => "missing",
        FindingKind::Invalid => "invalid",
        FindingKind::Stray => "stray",
        FindingKind::Unreadable => "unreadable",
    }
}
