//! The JSON of a task, format 1: what `solve` prints.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use spec::wire::FileJson;

use crate::task::TaskReport;
use crate::workspace::changed_files;
use crate::write_back::WriteBack;

/// The version of the format that [`TaskJson`] is.
pub const TASK_FORMAT: u32 = 1;

/// One task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TaskJson {
    /// The version of this format.
    pub format: u32,
    /// The id of the task.
    pub task: String,
    /// `success`, `failure`, `budget_used_up`, `no_finish` or `cancelled`.
    pub status: String,
    /// The answer, or why there is none.
    pub answer: String,
    /// The model; `scripted:` says that no model was asked.
    pub model: String,
    /// Requests to the model.
    pub turns: u32,
    /// Tokens, the Meta-Agent's and its subagents' apart.
    pub tokens: TaskTokensJson,
    /// The versions that were saved.
    pub saved: Vec<SavedJson>,
    /// The ids of all runs, in order.
    pub runs: Vec<String>,
    /// Files that are new or changed, by path.
    pub files: Vec<FileJson>,
    /// The digest of the workspace before.
    pub input_tree: String,
    /// The digest of the workspace after.
    pub output_tree: String,
    /// What became of the `--workspace` folder; null when there is none, or the task failed.
    pub workspace: Option<WriteBackJson>,
    /// From the first request to the end, in milliseconds.
    pub wall_ms: u64,
}

/// Tokens of a task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TaskTokensJson {
    /// Of the Meta-Agent.
    pub agent: TokensJson,
    /// Of its subagents.
    pub subagents: TokensJson,
}

/// Tokens as the provider counted them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TokensJson {
    /// Tokens read, cached ones included.
    pub input: u64,
    /// Tokens written.
    pub output: u64,
    /// Tokens of the input that came from the provider's cache.
    pub cached: u64,
}

/// A version that a task saved.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SavedJson {
    /// The subagent.
    pub name: String,
    /// The digest of the version.
    pub version: String,
    /// The version it was made from.
    pub parent: Option<String>,
    /// Whether the name's head now is this version; if not, it carries the tag `task-<id>`.
    pub head_moved: bool,
}

/// What became of a folder that results were written to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WriteBackJson {
    /// Files that were created or replaced.
    pub written: Vec<String>,
    /// Files that were removed.
    pub removed: Vec<String>,
    /// Files that somebody changed meanwhile. If there is one, nothing was written.
    pub conflicts: Vec<String>,
    /// Files that are not written, because other programs of the host would obey them.
    pub withheld: Vec<String>,
}

impl From<llm::TokenUsage> for TokensJson {
    fn from(usage: llm::TokenUsage) -> Self {
        Self {
            input: usage.input_tokens,
            output: usage.output_tokens,
            cached: usage.cached_tokens,
        }
    }
}

impl From<&WriteBack> for WriteBackJson {
    fn from(report: &WriteBack) -> Self {
        let texts = |paths: &[spec::WorkspacePath]| paths.iter().map(ToString::to_string).collect();
        Self {
            written: texts(&report.written),
            removed: texts(&report.removed),
            conflicts: texts(&report.conflicts),
            withheld: texts(&report.withheld),
        }
    }
}

impl TaskJson {
    /// Writes down what became of a task.
    pub fn new(report: &TaskReport, workspace: Option<&WriteBack>) -> Self {
        let saved = report.saved.iter().map(|saved| SavedJson {
            name: saved.name.to_string(),
            version: saved.version.to_string(),
            parent: saved.parent.map(|digest| digest.to_string()),
            head_moved: saved.head_moved,
        });
        Self {
            format: TASK_FORMAT,
            task: report.task.to_string(),
            status: report.status.name().to_owned(),
            answer: report.answer.clone(),
            model: report.model.clone(),
            turns: report.turns,
            tokens: TaskTokensJson {
                agent: report.agent_tokens.into(),
                subagents: report.subagent_tokens.into(),
            },
            saved: saved.collect(),
            runs: report.runs.iter().map(ToString::to_string).collect(),
            files: changed_files(&report.input, &report.output)
                .iter()
                .map(FileJson::from)
                .collect(),
            input_tree: report.input.digest().to_string(),
            output_tree: report.output.digest().to_string(),
            workspace: workspace.map(WriteBackJson::from),
            wall_ms: u64::try_from(report.wall.as_millis()).unwrap_or(u64::MAX),
        }
    }

    /// The JSON Schema of this format.
    pub fn schema() -> serde_json::Value {
        schemars::schema_for!(Self).to_value()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whoever reads our JSON relies on this file; a change needs a new format number.
    #[test]
    fn the_schema_in_the_repository_is_the_one_of_the_type() {
        let mut schema = serde_json::to_string_pretty(&TaskJson::schema()).unwrap();
        schema.push('\n');
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/schemas/task.v1.json");
        if option_env!("AGENTFACTORY_UPDATE_SCHEMAS").is_some() {
            std::fs::write(path, &schema).unwrap();
        }
        assert_eq!(std::fs::read_to_string(path).unwrap(), schema);
    }
}
