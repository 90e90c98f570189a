//! The JSON of a run, format 1: what `exec`, `run` and `shell` print and what records hold.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Ahead, Captured, Digest, FileEntry, RunId, RunOutcome, RunReport, Start, Tree};

/// The version of the format that [`RunJson`] is.
pub const RUN_FORMAT: u32 = 1;

/// One run of a subagent or of a shell command.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RunJson {
    /// The version of this format.
    pub format: u32,
    /// The id of the run.
    pub run: String,
    /// The digest of the version that ran; null for a file or a shell command.
    pub version: Option<String>,
    /// How the run ended.
    pub outcome: OutcomeJson,
    /// What `main` returned as `answer`; empty unless the run completed.
    pub answer: String,
    /// What `main` returned as `summary`; empty unless the run completed.
    pub summary: String,
    /// What was written to standard output.
    pub stdout: OutputJson,
    /// What was written to standard error.
    pub stderr: OutputJson,
    /// Files that are new or changed, by path.
    pub files: Vec<FileJson>,
    /// Paths of the input that are gone.
    pub removed: Vec<String>,
    /// What in the workspace was not collected, and why.
    pub left_behind: Vec<LeftBehindJson>,
    /// The digest of the workspace before the run.
    pub input_tree: String,
    /// The digest of the workspace after the run; null when nothing is known of it.
    pub output_tree: Option<String>,
    /// Whether a writable mount was there: what happened in it is outside this record.
    pub writable_mounts: bool,
    /// False when its record cannot answer in place of the world, because what it exchanged with a
    /// host was not read or not kept. Left out when true.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub replayable: bool,
    /// What the run used.
    pub usage: UsageJson,
    /// Where the sandbox came from.
    #[serde(default)]
    pub start: StartJson,
    /// What became of the modules that the sandbox was to import while it waited. Left out where there
    /// were none, or it did not wait.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub imports: Option<ImportsJson>,
    /// How long each phase took, in milliseconds.
    pub timings_ms: TimingsJson,
}

/// Where a run's sandbox came from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StartJson {
    /// It was created and started for this run.
    #[default]
    Cold,
    /// It had been started before, and waited.
    Leased,
}

/// What became of the modules that a sandbox was to import while it waited.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ImportsJson {
    /// They had been imported when the run came.
    Ahead,
    /// Importing them failed as a whole, so the program imported them itself.
    Failed,
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum OutcomeJson {
    /// `main` returned a dict.
    Completed {},
    /// An exception that nothing caught.
    Raised {
        /// Its class.
        exception: String,
        /// Its message.
        message: String,
        /// The traceback with source lines.
        traceback: String,
    },
    /// `main` is missing or did not return a result.
    BadResult {
        /// What is wrong.
        why: String,
    },
    /// The process ended by itself without a result.
    Exited {
        /// Its exit status.
        status: u8,
    },
    /// A signal ended the process.
    Signalled {
        /// The signal's number on Linux.
        signal: u8,
    },
    /// The wall time or the processor time was used up.
    TimedOut {
        /// `wall` or `cpu`; what was recorded without it means `wall`.
        #[serde(default = "wall")]
        clock: String,
        /// The limit in milliseconds.
        limit_ms: u64,
    },
    /// The kernel killed the process at the memory limit.
    OutOfMemory {
        /// The limit in bytes.
        limit_bytes: u64,
    },
    /// A stream carried more than its limit.
    OutputLimit {
        /// `stdout` or `stderr`.
        stream: String,
        /// The limit in bytes.
        limit_bytes: u64,
    },
    /// The run failed with a full file system.
    DiskLimit {
        /// `workspace`, `tmp`, `code` or `shared_memory`.
        scope: String,
        /// The limit in bytes.
        limit_bytes: u64,
        /// The limit of files, where that was reached; left out where it was not.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        limit_files: Option<u64>,
    },
    /// Nothing is known of the run.
    SandboxLost {
        /// What was seen.
        why: String,
    },
    /// Somebody stopped it.
    Cancelled {},
}

impl OutcomeJson {
    /// Every `kind` that there is.
    pub const KINDS: &[&str] = &[
        "completed",
        "raised",
        "bad_result",
        "exited",
        "signalled",
        "timed_out",
        "out_of_memory",
        "output_limit",
        "disk_limit",
        "sandbox_lost",
        "cancelled",
    ];

    /// Its `kind` in JSON.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Completed {} => "completed",
            Self::Raised { .. } => "raised",
            Self::BadResult { .. } => "bad_result",
            Self::Exited { .. } => "exited",
            Self::Signalled { .. } => "signalled",
            Self::TimedOut { .. } => "timed_out",
            Self::OutOfMemory { .. } => "out_of_memory",
            Self::OutputLimit { .. } => "output_limit",
            Self::DiskLimit { .. } => "disk_limit",
            Self::SandboxLost { .. } => "sandbox_lost",
            Self::Cancelled {} => "cancelled",
        }
    }
}

/// What a stream carried.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OutputJson {
    /// The beginning, at most the limit; bytes that are not UTF-8 are replaced.
    pub text: String,
    /// The same bytes exactly, in base64, where they are not UTF-8; left out where they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base64: Option<String>,
    /// How many bytes were seen.
    pub bytes: u64,
    /// Whether the end is missing in `text`.
    pub truncated: bool,
}

/// One file of the workspace.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FileJson {
    /// Its path; `%XX` stands for bytes that are not printable UTF-8, and for `%`.
    pub path: String,
    /// Its length in bytes.
    pub size: u64,
    /// The digest of its content.
    pub digest: String,
    /// Whether it may be executed.
    pub executable: bool,
}

/// Something that was not collected.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LeftBehindJson {
    /// Where it is.
    pub path: String,
    /// Why it was left.
    pub why: String,
}

/// What a run used.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UsageJson {
    /// Wall time of the subagent in milliseconds.
    pub wall_ms: f64,
    /// Processor time of the sandbox in milliseconds, the harness included.
    pub cpu_ms: f64,
    /// The most memory that the sandbox held, in bytes.
    pub memory_peak_bytes: u64,
    /// Processes that were killed at the memory limit; main may have gone on without them. Left out
    /// when none was.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub oom_kills: u64,
    /// File systems of the sandbox that were full at the end, named as in `disk_limit`. Left out
    /// when none was.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub full: Vec<String>,
    /// Calls and tokens per skill.
    pub skills: BTreeMap<String, SkillJson>,
    /// What went through its proxy; left out when it had none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub egress: Option<EgressJson>,
}

/// What went through a run's proxy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EgressJson {
    /// Requests that were carried out, and tunnels that were opened.
    pub exchanges: u64,
    /// Bytes to the world.
    pub bytes_up: u64,
    /// Bytes from the world.
    pub bytes_down: u64,
    /// Requests that were refused.
    pub refused: u64,
}

fn yes() -> bool {
    true
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "the signature is serde's"
)]
fn is_yes(value: &bool) -> bool {
    *value
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "the signature is serde's"
)]
fn is_zero(value: &u64) -> bool {
    *value == 0
}

/// What one skill carried out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SkillJson {
    /// Calls, refused ones included.
    pub calls: u32,
    /// Tokens read by the model.
    pub input_tokens: u64,
    /// Tokens written by the model.
    pub output_tokens: u64,
}

/// How long each phase took, in milliseconds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TimingsJson {
    /// Waiting for a place.
    pub queue: f64,
    /// Until a sandbox was ready.
    pub lease: f64,
    /// Writing code and workspace into it, as far as not hidden behind the lease.
    pub restore: f64,
    /// Until the first byte of output or the first request.
    pub first_byte: f64,
    /// Until the subagent's end.
    pub run: f64,
    /// Until the last collected file.
    pub collect: f64,
}

/// What the report of a run does not say about it.
#[derive(Clone, Debug)]
pub struct RunContext {
    /// Which run.
    pub run: RunId,
    /// Which version, if one ran.
    pub version: Option<Digest>,
    /// The workspace before.
    pub input_tree: Digest,
    /// The workspace after, if it is known.
    pub output_tree: Option<Digest>,
    /// Whether a writable mount was there.
    pub writable_mounts: bool,
    /// Whether its record can answer in place of the world.
    pub replayable: bool,
}

impl RunJson {
    /// Writes down what is known of a run.
    pub fn new(report: &RunReport, context: &RunContext) -> Self {
        let result = match &report.outcome {
            RunOutcome::Completed { result } => result.clone(),
            _ => crate::RunResult::default(),
        };
        let usage = &report.usage;
        let timings = &report.timings;
        let skills = usage.skills.iter().map(|(skill, used)| {
            let json = SkillJson {
                calls: used.calls,
                input_tokens: used.input_tokens,
                output_tokens: used.output_tokens,
            };
            (skill.name().to_owned(), json)
        });
        Self {
            format: RUN_FORMAT,
            run: context.run.to_string(),
            version: context.version.map(|digest| digest.to_string()),
            outcome: OutcomeJson::from(&report.outcome),
            answer: result.answer,
            summary: result.summary,
            stdout: OutputJson::from(&report.stdout),
            stderr: OutputJson::from(&report.stderr),
            files: report.changed.iter().map(FileJson::from).collect(),
            removed: report.removed.iter().map(ToString::to_string).collect(),
            left_behind: report
                .left_behind
                .iter()
                .map(|left| LeftBehindJson {
                    path: left.path.clone(),
                    why: left.why.clone(),
                })
                .collect(),
            input_tree: context.input_tree.to_string(),
            output_tree: context.output_tree.map(|digest| digest.to_string()),
            writable_mounts: context.writable_mounts,
            replayable: context.replayable,
            usage: UsageJson {
                wall_ms: millis(usage.wall),
                cpu_ms: millis(usage.cpu),
                memory_peak_bytes: usage.memory_peak_bytes,
                oom_kills: usage.oom_kills,
                full: usage
                    .full
                    .iter()
                    .map(|scope| scope.name().to_owned())
                    .collect(),
                skills: skills.collect(),
                egress: usage.egress.map(|used| EgressJson {
                    exchanges: used.exchanges,
                    bytes_up: used.bytes_up,
                    bytes_down: used.bytes_down,
                    refused: used.refused,
                }),
            },
            start: match timings.start {
                Start::Cold => StartJson::Cold,
                Start::Leased => StartJson::Leased,
            },
            imports: match timings.imports {
                Ahead::Nothing => None,
                Ahead::Imported => Some(ImportsJson::Ahead),
                Ahead::Failed => Some(ImportsJson::Failed),
            },
            timings_ms: TimingsJson {
                queue: millis(timings.queue),
                lease: millis(timings.lease),
                restore: millis(timings.restore),
                first_byte: millis(timings.first_byte),
                run: millis(timings.run),
                collect: millis(timings.collect),
            },
        }
    }

    /// The JSON Schema of this format.
    pub fn schema() -> serde_json::Value {
        schemars::schema_for!(Self).to_value()
    }
}

/// The clock of runs that had no other.
fn wall() -> String {
    crate::Clock::Wall.name().to_owned()
}

/// Milliseconds with three decimals.
fn millis(duration: Duration) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a run does not last 285 years")]
    let micros = duration.as_micros() as f64;
    micros / 1_000.0
}

impl From<&RunOutcome> for OutcomeJson {
    fn from(outcome: &RunOutcome) -> Self {
        match outcome.clone() {
            RunOutcome::Completed { result: _ } => Self::Completed {},
            RunOutcome::Raised {
                exception,
                message,
                traceback,
            } => Self::Raised {
                exception,
                message,
                traceback,
            },
            RunOutcome::BadResult { why } => Self::BadResult { why },
            RunOutcome::Exited { status } => Self::Exited { status },
            RunOutcome::Signalled { signal } => Self::Signalled { signal },
            RunOutcome::TimedOut { clock, limit } => Self::TimedOut {
                clock: clock.name().to_owned(),
                limit_ms: u64::try_from(limit.as_millis()).unwrap_or(u64::MAX),
            },
            RunOutcome::OutOfMemory { limit } => Self::OutOfMemory {
                limit_bytes: limit.get(),
            },
            RunOutcome::OutputLimit { stream, limit } => Self::OutputLimit {
                stream: stream.name().to_owned(),
                limit_bytes: limit.get(),
            },
            RunOutcome::DiskLimit {
                scope,
                limit,
                files,
            } => Self::DiskLimit {
                limit_files: files,
                scope: scope.name().to_owned(),
                limit_bytes: limit.get(),
            },
            RunOutcome::SandboxLost { why } => Self::SandboxLost { why },
            RunOutcome::Cancelled => Self::Cancelled {},
        }
    }
}

impl From<&Captured> for OutputJson {
    fn from(captured: &Captured) -> Self {
        Self {
            text: String::from_utf8_lossy(&captured.content).into_owned(),
            base64: text_or_base64(&captured.content).err(),
            bytes: captured.bytes,
            truncated: captured.is_truncated(),
        }
    }
}

impl From<&FileEntry> for FileJson {
    fn from(entry: &FileEntry) -> Self {
        Self {
            path: entry.path.to_string(),
            size: entry.size,
            digest: entry.digest.to_string(),
            executable: entry.executable,
        }
    }
}

impl OutputJson {
    /// The bytes that were kept.
    ///
    /// # Errors
    /// When `base64` is not base64.
    pub fn content(&self) -> Result<Vec<u8>, base64::DecodeError> {
        match &self.base64 {
            Some(text) => BASE64_STANDARD.decode(text),
            None => Ok(self.text.clone().into_bytes()),
        }
    }
}

/// Bytes as text, or in base64 where they are not UTF-8.
///
/// # Errors
/// The bytes in base64.
pub fn text_or_base64(bytes: &[u8]) -> Result<&str, String> {
    std::str::from_utf8(bytes).map_err(|_| BASE64_STANDARD.encode(bytes))
}

/// The tree after a run, or `None` when nothing is known of it.
pub fn output_tree(report: &RunReport, input: &Tree) -> Option<Tree> {
    match report.outcome {
        RunOutcome::SandboxLost { .. } => None,
        RunOutcome::Completed { .. }
        | RunOutcome::Raised { .. }
        | RunOutcome::BadResult { .. }
        | RunOutcome::Exited { .. }
        | RunOutcome::Signalled { .. }
        | RunOutcome::TimedOut { .. }
        | RunOutcome::OutOfMemory { .. }
        | RunOutcome::OutputLimit { .. }
        | RunOutcome::DiskLimit { .. }
        | RunOutcome::Cancelled => input.apply(&report.changed, &report.removed).ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_is_exact_whatever_it_is() {
        for bytes in [&b""[..], b"text\n", "\u{fffd}".as_bytes(), b"\xff\0a"] {
            let captured = Captured {
                content: bytes.to_vec(),
                bytes: bytes.len() as u64,
            };
            let json = OutputJson::from(&captured);
            assert_eq!(json.content().unwrap(), bytes);
            assert_eq!(json.base64.is_some(), bytes.contains(&0xff));
        }
    }

    /// Whoever reads our JSON relies on this file; a change needs a new format number.
    #[test]
    fn the_schema_in_the_repository_is_the_one_of_the_type() {
        let mut schema = serde_json::to_string_pretty(&RunJson::schema()).unwrap();
        schema.push('\n');
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/schemas/run.v1.json");
        if option_env!("AGENTFACTORY_UPDATE_SCHEMAS").is_some() {
            std::fs::write(path, &schema).unwrap();
        }
        assert_eq!(std::fs::read_to_string(path).unwrap(), schema);
    }
}
