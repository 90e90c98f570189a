//! The eight meta skills, as the model calls them.

use std::collections::BTreeSet;

use egress::HostRule;
use llm::ToolSpec;
use serde_json::{Map, Value};
use spec::{Limits, PartialLimits, RunId, RunOutcome, Skill, SubagentName, VersionRef};
use store::StoreError;

use super::arguments::{
    GetSkillDescription, LimitsAsked, ListSavedSubagents, RunSubagent, SearchSubagents,
    ViewSubagentCode, arguments, name,
};
use super::drafts::{SKILL_MD, granted, hosts, list};
use super::render;
use super::{Session, TaskStatus};
use crate::assets::Assets;
use crate::error::FactoryError;
use crate::run::{Requirements, RunRequest, source_files};

/// The meta skills. Source: the paper, section 3, and its reference implementation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MetaSkill {
    CreateSubagent,
    GetSkillDescription,
    RunSubagent,
    ModifySubagent,
    Finish,
    ListSavedSubagents,
    SearchSubagents,
    ViewSubagentCode,
}

impl MetaSkill {
    const ALL: &[Self] = &[
        Self::CreateSubagent,
        Self::GetSkillDescription,
        Self::RunSubagent,
        Self::ModifySubagent,
        Self::Finish,
        Self::ListSavedSubagents,
        Self::SearchSubagents,
        Self::ViewSubagentCode,
    ];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::CreateSubagent => "create_subagent",
            Self::GetSkillDescription => "get_skill_description",
            Self::RunSubagent => "run_subagent",
            Self::ModifySubagent => "modify_subagent",
            Self::Finish => "finish",
            Self::ListSavedSubagents => "list_saved_subagents",
            Self::SearchSubagents => "search_subagents",
            Self::ViewSubagentCode => "view_subagent_code",
        }
    }

    fn find(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|skill| skill.name() == name)
    }
}

/// The meta skills as tools for the model.
///
/// # Errors
/// [`FactoryError::Asset`] when the documentation of one is missing or broken.
pub(super) fn tools(assets: &Assets) -> Result<Vec<ToolSpec>, FactoryError> {
    MetaSkill::ALL
        .iter()
        .map(|skill| {
            let name = skill.name();
            let doc = assets.skill("meta", name)?;
            let file = format!("meta/{name}/parameters.json");
            let parameters = serde_json::from_str(&assets.text(&file)?).map_err(|error| {
                crate::assets::AssetError::Invalid {
                    name: file,
                    why: error.to_string(),
                }
            })?;
            Ok(ToolSpec {
                name: name.to_owned(),
                description: doc.description,
                parameters,
            })
        })
        .collect()
}

/// What a meta skill gave.
#[derive(Debug, Default)]
pub(super) struct Answer {
    pub(super) content: String,
    pub(super) is_error: bool,
    /// What it was about, for people.
    pub(super) subject: String,
    /// The run that it made.
    pub(super) run: Option<RunId>,
    /// The end of the task, if this is it.
    pub(super) end: Option<(TaskStatus, String)>,
}

/// Why a meta skill did not do it: for the model, or the end of the task.
pub(super) enum Refusal {
    /// Something that the model can do better.
    Text(String),
    /// Something that it cannot.
    Broken(FactoryError),
}

impl From<String> for Refusal {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<FactoryError> for Refusal {
    fn from(error: FactoryError) -> Self {
        Self::Broken(error)
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        Self::Broken(error.into())
    }
}

impl Session<'_> {
    /// Carries out one tool call of the model.
    ///
    /// # Errors
    /// [`FactoryError`] for what the model cannot mend; everything else is an answer.
    pub(super) async fn call(
        &mut self,
        tool: &str,
        given: Result<Map<String, Value>, String>,
    ) -> Result<Answer, FactoryError> {
        let answer = match (MetaSkill::find(tool), given) {
            (None, _) => {
                let known: Vec<_> = MetaSkill::ALL.iter().map(|skill| skill.name()).collect();
                let tool = spec::printable(tool, 80);
                Err(Refusal::Text(format!(
                    "there is no tool `{tool}`; there are {}",
                    known.join(", ")
                )))
            }
            (Some(skill), Err(text)) => {
                let name = skill.name();
                let text = render::middle(&text, 400);
                Err(Refusal::Text(format!(
                    "the arguments of {name} are not a JSON object: {text}"
                )))
            }
            (Some(skill), Ok(given)) => self.carry_out(skill, given).await,
        };
        match answer {
            Ok(answer) => Ok(answer),
            Err(Refusal::Text(content)) => Ok(Answer {
                content,
                is_error: true,
                ..Answer::default()
            }),
            Err(Refusal::Broken(error)) => Err(error),
        }
    }

    async fn carry_out(
        &mut self,
        skill: MetaSkill,
        given: Map<String, Value>,
    ) -> Result<Answer, Refusal> {
        match skill {
            MetaSkill::CreateSubagent => self.create(arguments(skill, given)?).await,
            MetaSkill::ModifySubagent => self.modify(arguments(skill, given)?).await,
            MetaSkill::RunSubagent => self.run(arguments(skill, given)?).await,
            MetaSkill::GetSkillDescription => self.describe(&arguments(skill, given)?),
            MetaSkill::ListSavedSubagents => {
                let ListSavedSubagents { after } = arguments(skill, given)?;
                let after = after.as_deref().map(name).transpose()?;
                let content = self.factory.listed(after.as_ref())?;
                Ok(Answer {
                    content,
                    ..Answer::default()
                })
            }
            MetaSkill::SearchSubagents => {
                let SearchSubagents { query } = arguments(skill, given)?;
                let content = self.factory.found(&query)?;
                Ok(Answer {
                    content,
                    subject: render::middle(&query, 80),
                    ..Answer::default()
                })
            }
            MetaSkill::ViewSubagentCode => self.view(&arguments(skill, given)?),
            MetaSkill::Finish => self.finish(arguments(skill, given)?),
        }
    }

    pub(super) fn grants(&self, skills: &[String]) -> Result<BTreeSet<Skill>, String> {
        skills
            .iter()
            .map(|text| {
                let skill: Skill = text.parse().map_err(|error: spec::UnknownSkill| {
                    format!("{error}; {}", error.hint().unwrap_or_default())
                })?;
                if self.request.grantable.contains(&skill) {
                    Ok(skill)
                } else {
                    Err(format!(
                        "this task does not allow the skill `{skill}` to be granted"
                    ))
                }
            })
            .collect()
    }

    /// The hosts that a draft is to reach.
    ///
    /// # Errors
    /// What is wrong with one of them, for the model.
    pub(super) fn hosts(&self, texts: &[String]) -> Result<BTreeSet<HostRule>, String> {
        let host = |text: &String| {
            let rule: HostRule = text.parse().map_err(|error: egress::HostError| {
                format!("{error}; {}", error.hint().unwrap_or_default())
            })?;
            if rule.is_pattern() {
                return Err(format!("`{rule}` is many hosts: name each that is needed"));
            }
            let checked = self
                .factory
                .egress
                .settings()
                .check(&rule, &self.request.egress)
                .map_err(|why| {
                    let allowed = &self.factory.egress.settings().allow;
                    let known = match hosts(self.request.egress.union(allowed)) {
                        known if known.is_empty() => "none".to_owned(),
                        known => known,
                    };
                    format!("this task does not allow the host `{rule}`: {why}; allowed by name: {known}")
                });
            checked.map(|()| rule)
        };
        texts.iter().map(host).collect()
    }

    /// The limits that a subagent asks for, and can have.
    ///
    /// # Errors
    /// Why it cannot have them, for the model.
    pub(super) fn asked(&self, given: &LimitsAsked) -> Result<PartialLimits, String> {
        let asked = given.partial()?;
        asked.check().map_err(|error| error.to_string())?;
        self.limits(Some(&asked)).map(|_| asked)
    }

    /// The limits of a subagent that asks for these.
    ///
    /// # Errors
    /// Why it cannot have them, for the model.
    pub(super) fn limits(&self, asked: Option<&PartialLimits>) -> Result<Limits, String> {
        let limits = self.request.limits.resolve(asked);
        limits.map_err(|error| format!("{error}; leave it out, or ask for less"))
    }

    pub(super) fn unknown(&self, name: &str) -> Result<String, StoreError> {
        let mut known: Vec<String> = self.drafts.keys().map(ToString::to_string).collect();
        known.extend(
            self.factory
                .store
                .heads()?
                .iter()
                .map(|head| head.name.to_string()),
        );
        known.sort();
        known.dedup();
        let known = if known.is_empty() {
            "none".to_owned()
        } else {
            known.join(", ")
        };
        let name = spec::printable(name, 80);
        Ok(format!(
            "there is no subagent `{name}`; there are: {}",
            render::middle(&known, 2_000)
        ))
    }

    async fn run(&mut self, given: RunSubagent) -> Result<Answer, Refusal> {
        let name = name(&given.name)?;
        if given.query.len() as u64 > spec::limits::QUERY.get() {
            return Err(format!("the query is longer than {}", spec::limits::QUERY).into());
        }
        let mut request = match self.drafts.get(&name) {
            Some(draft) => {
                // Exactly what a version of it would hold: what is proven is what is saved.
                let content = draft.content();
                let limits = self.limits(content.limits.as_ref())?;
                let requirements = Requirements::of(&content);
                RunRequest {
                    program: runner::Program::Subagent {
                        files: source_files(content.files),
                        entry: content.entry,
                        query: given.query,
                    },
                    name: Some(name.clone()),
                    version: None,
                    shown: name.to_string(),
                    grants: content.skills,
                    egress: crate::egress::rules(&content.egress),
                    requirements,
                    tree: self.tree.clone(),
                    mounts: self.request.mounts.clone(),
                    limits,
                    determinism: spec::Determinism::default(),
                    depends: content.depends,
                }
            }
            None if self.factory.head(&name)?.is_some() => {
                let reference = VersionRef::Head(name.clone());
                let limits = &self.request.limits;
                let saved = self
                    .factory
                    .saved(&reference, &given.query, self.tree.clone(), limits);
                let mut request = saved.map_err(|error| match error {
                    FactoryError::Limits(why) => Refusal::Text(why.to_string()),
                    FactoryError::Trust(why) => Refusal::Text(why.to_string()),
                    other => other.into(),
                })?;
                request
                    .grants
                    .retain(|skill| self.request.grantable.contains(skill));
                let settings = self.factory.egress.settings();
                request
                    .egress
                    .retain(|host| settings.check(host, &self.request.egress).is_ok());
                request.mounts.clone_from(&self.request.mounts);
                request
            }
            None => return Err(self.unknown(name.as_str())?.into()),
        };
        request.limits.wall = request.limits.wall.min(self.time_left());
        let finished = self
            .factory
            .run_within(
                &request,
                &self.tokens,
                &self.watcher,
                self.cancel.child_token(),
            )
            .await?;
        self.expect(&request.requirements, &request.program, &request.limits);
        let run: RunId = finished
            .json
            .run
            .parse()
            .map_err(|error| format!("{error}"))?;
        let completed = matches!(finished.report.outcome, RunOutcome::Completed { .. });
        if completed && let Some(tree) = finished.output {
            self.tree = std::sync::Arc::new(tree);
        }
        if let Some(draft) = self.drafts.get_mut(&name) {
            draft.is_proven = completed;
            if completed {
                draft.completed.push(run);
            }
        }
        self.runs.push(run);
        let content = render::run_feedback(&finished.report);
        Ok(Answer {
            content,
            is_error: !completed,
            subject: name.to_string(),
            run: Some(run),
            end: None,
        })
    }

    fn describe(&self, given: &GetSkillDescription) -> Result<Answer, Refusal> {
        let answer = |content| Answer {
            content,
            subject: given.skill.clone(),
            ..Answer::default()
        };
        if let Some(skill) = MetaSkill::find(&given.skill) {
            let doc = self
                .factory
                .assets
                .skill("meta", skill.name())
                .map_err(FactoryError::from)?;
            return Ok(answer(doc.body));
        }
        if let Ok(skill) = given.skill.parse::<Skill>() {
            let doc = self
                .factory
                .assets
                .skill("tools", skill.name())
                .map_err(FactoryError::from)?;
            return Ok(answer(doc.body));
        }
        let name = name(&given.skill)?;
        let content = match (self.drafts.get(&name), self.factory.head(&name)?) {
            (Some(draft), _) => draft.description.clone(),
            (None, Some(digest)) => {
                let version = self.factory.store.version(&digest)?;
                let doc = version
                    .content
                    .files
                    .iter()
                    .find(|(path, _)| path.as_bytes() == SKILL_MD);
                doc.map_or(version.content.description.clone(), |(_, bytes)| {
                    String::from_utf8_lossy(bytes).into_owned()
                })
            }
            (None, None) => {
                let skills = list(Skill::ALL.iter());
                return Err(
                    format!("{}; tool skills: {skills}", self.unknown(name.as_str())?).into(),
                );
            }
        };
        Ok(answer(content))
    }

    fn view(&self, given: &ViewSubagentCode) -> Result<Answer, Refusal> {
        use std::fmt::Write as _;
        let drafted = given
            .name
            .parse()
            .ok()
            .and_then(|name: SubagentName| self.drafts.get(&name));
        let (title, files) = if let Some(draft) = drafted {
            let grants = granted(&draft.skills, &draft.egress);
            let title = format!("`{}`, a draft of this task ({grants})", draft.name);
            (title, draft.files.clone())
        } else {
            let reference: VersionRef = given
                .name
                .parse()
                .map_err(|error: spec::ReferenceError| error.to_string())?;
            let resolved = match self.factory.store.resolve(&reference) {
                Ok(resolved) => resolved,
                Err(error) if error.kind() == store::StoreErrorKind::NotFound => {
                    return Err(self.unknown(&given.name)?.into());
                }
                Err(error) if error.kind() == store::StoreErrorKind::Ambiguous => {
                    return Err(error.to_string().into());
                }
                Err(error) => return Err(error.into()),
            };
            let version = self.factory.store.version(&resolved.digest)?;
            let hosts = crate::egress::rules(&version.content.egress);
            let grants = granted(&version.content.skills, &hosts);
            let title = format!(
                "`{}`, saved as {} ({grants})",
                given.name,
                resolved.digest.short()
            );
            (title, version.content.files.into_iter().collect())
        };
        let mut content = title;
        for (path, bytes) in files.iter().filter(|(path, _)| path.as_bytes() != SKILL_MD) {
            let _ = write!(
                content,
                "\n\n--- {path}\n{}",
                String::from_utf8_lossy(bytes).trim_end()
            );
        }
        Ok(Answer {
            content,
            subject: given.name.clone(),
            ..Answer::default()
        })
    }
}
