//! The arguments of the meta skills. Their schemas lie beside the documentation of each.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use spec::{ByteSize, PartialLimits, SubagentName, WorkspacePath, parse_duration};

use super::skills::MetaSkill;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CreateSubagent {
    pub(super) name: String,
    pub(super) description: String,
    #[serde(default)]
    pub(super) files: Vec<SourceText>,
    #[serde(default)]
    pub(super) code: Option<String>,
    #[serde(default)]
    pub(super) entry: Option<String>,
    #[serde(default)]
    pub(super) skills: Vec<String>,
    #[serde(default)]
    pub(super) depends: Vec<String>,
    #[serde(default)]
    pub(super) requirements: Vec<String>,
    #[serde(default)]
    pub(super) egress: Vec<String>,
    #[serde(default)]
    pub(super) limits: LimitsAsked,
}

/// The limits of a subagent; the names are those of the configuration.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct LimitsAsked {
    timeout: Option<String>,
    cpu_time: Option<String>,
    memory: Option<String>,
    pids: Option<u32>,
    workspace_size: Option<String>,
    output_size: Option<String>,
}

impl LimitsAsked {
    /// The limits that they are.
    ///
    /// # Errors
    /// What is wrong with one of them, for the model.
    pub(super) fn partial(&self) -> Result<PartialLimits, String> {
        let time = |text: &Option<String>| {
            let time = text.as_deref().map(parse_duration).transpose();
            time.map_err(|error| error.to_string())
        };
        let size = |text: &Option<String>| {
            let size = text.as_deref().map(str::parse::<ByteSize>).transpose();
            size.map_err(|error| error.to_string())
        };
        Ok(PartialLimits {
            wall: time(&self.timeout)?,
            cpu: time(&self.cpu_time)?,
            memory: size(&self.memory)?,
            pids: self.pids,
            workspace: size(&self.workspace_size)?,
            output: size(&self.output_size)?,
            ..PartialLimits::default()
        })
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SourceText {
    pub(super) path: String,
    pub(super) code: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ModifySubagent {
    pub(super) name: String,
    #[serde(default)]
    pub(super) path: Option<String>,
    #[serde(default)]
    pub(super) old: Option<String>,
    #[serde(default)]
    pub(super) new: Option<String>,
    #[serde(default)]
    pub(super) code: Option<String>,
    #[serde(default)]
    pub(super) skills: Option<Vec<String>>,
    #[serde(default)]
    pub(super) depends: Option<Vec<String>>,
    #[serde(default)]
    pub(super) requirements: Option<Vec<String>>,
    #[serde(default)]
    pub(super) egress: Option<Vec<String>>,
    #[serde(default)]
    pub(super) limits: Option<LimitsAsked>,
    #[serde(default)]
    pub(super) description: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RunSubagent {
    pub(super) name: String,
    pub(super) query: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct GetSkillDescription {
    pub(super) skill: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ViewSubagentCode {
    pub(super) name: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ListSavedSubagents {
    #[serde(default)]
    pub(super) after: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SearchSubagents {
    pub(super) query: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Finish {
    pub(super) answer: String,
    #[serde(default)]
    pub(super) save: Vec<SaveItem>,
    #[serde(default)]
    pub(super) status: FinishStatus,
}

#[derive(Deserialize, Default, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub(super) enum FinishStatus {
    #[default]
    Success,
    Failure,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SaveItem {
    pub(super) name: String,
    #[serde(default)]
    pub(super) description: Option<String>,
    #[serde(default)]
    pub(super) note: Option<String>,
}

pub(super) fn arguments<T: DeserializeOwned>(
    skill: MetaSkill,
    given: Map<String, Value>,
) -> Result<T, String> {
    T::deserialize(Value::Object(given))
        .map_err(|error| format!("the arguments of {} do not fit: {error}", skill.name()))
}

pub(super) fn name(text: &str) -> Result<SubagentName, String> {
    text.parse()
        .map_err(|error: spec::NameError| format!("{error}; {}", error.hint().unwrap_or_default()))
}

pub(super) fn path(text: &str) -> Result<WorkspacePath, String> {
    WorkspacePath::from_bytes(text.as_bytes().to_vec()).map_err(|error| error.to_string())
}
