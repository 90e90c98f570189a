//! Recorded runs, and runs that were made again.

use jiff::Timestamp;
use serde::Serialize;
use spec::wire::{FileJson, RunJson};
use spec::{Digest, RunId, Skill, SubagentName};

use super::LimitsJson;

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
