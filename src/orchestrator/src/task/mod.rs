//! A task: the Meta-Agent's turns from the question to `finish`.

mod arguments;
mod composition;
mod drafts;
mod evolve;
mod install;
mod log;
mod render;
mod requirements;
mod saved;
mod skills;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use egress::HostRule;
use llm::{Block, Delta, Message, Model, Purpose, Reply, Request, Role, StopReason, TokenUsage};
use runner::Mount;
use spec::{Digest, Imports, LimitSources, RunId, Skill, SubagentName, Tree, format_duration};
use tokio_util::sync::CancellationToken;

use crate::budget::{TaskBudget, Tokens};
use crate::context::TaskId;
use crate::error::{FactoryError, chain};
use crate::factory::Factory;
use crate::watch::{Event, Watcher};
use crate::workspace;
use drafts::Draft;
pub(crate) use drafts::{PYTHON, SKILL_MD, list};
use log::{Step, TaskLog};
pub(crate) use render::middle;
pub(crate) use requirements::distributions;

/// What a user asks for.
#[derive(Clone, Debug)]
pub struct TaskRequest {
    /// The task, in words.
    pub task: String,
    /// What is at `/workspace` at first.
    pub tree: Arc<Tree>,
    /// Host directories at `/mnt`, for every run.
    pub mounts: Vec<Mount>,
    /// What each run may use; a subagent may say what it needs within it.
    pub limits: LimitSources,
    /// What the task may use.
    pub budget: TaskBudget,
    /// The skills that the Meta-Agent may grant.
    pub grantable: BTreeSet<Skill>,
    /// The hosts that a person allows the Meta-Agent to grant, besides those that the operator does.
    pub egress: BTreeSet<HostRule>,
}

/// How a task ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaskStatus {
    /// `finish` accepted it.
    Success,
    /// The Meta-Agent said that it could not.
    Failure,
    /// Turns, tokens or time were used up.
    BudgetUsedUp,
    /// The model stopped calling tools without finishing.
    NoFinish,
    /// Somebody stopped it.
    Cancelled,
}

impl TaskStatus {
    /// The name in JSON and logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Failure => "failure",
            Self::BudgetUsedUp => "budget_used_up",
            Self::NoFinish => "no_finish",
            Self::Cancelled => "cancelled",
        }
    }
}

/// A subagent that a task saved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Saved {
    /// Its name.
    pub name: SubagentName,
    /// The version.
    pub version: Digest,
    /// The version that it was made from.
    pub parent: Option<Digest>,
    /// Whether the name's head now is this version. It is not when another process published
    /// meanwhile; the version then carries the tag `task-<id>`.
    pub head_moved: bool,
}

/// What became of a task.
#[derive(Clone, Debug)]
pub struct TaskReport {
    /// Its id: its log lies in a folder of this name.
    pub task: TaskId,
    /// How it ended.
    pub status: TaskStatus,
    /// The answer, or why there is none.
    pub answer: String,
    /// The model, as people write it.
    pub model: String,
    /// Requests to the model.
    pub turns: u32,
    /// Tokens of the Meta-Agent.
    pub agent_tokens: TokenUsage,
    /// Tokens of its subagents.
    pub subagent_tokens: TokenUsage,
    /// What was saved.
    pub saved: Vec<Saved>,
    /// Every run, in order.
    pub runs: Vec<RunId>,
    /// The workspace before.
    pub input: Arc<Tree>,
    /// The workspace after the last run that completed.
    pub output: Arc<Tree>,
    /// From the first request to the end.
    pub wall: Duration,
}

/// The state of one task.
struct Session<'a> {
    factory: &'a Factory,
    request: &'a TaskRequest,
    id: TaskId,
    model: Arc<dyn Model>,
    watcher: Arc<dyn Watcher>,
    cancel: CancellationToken,
    log: TaskLog,
    tokens: Arc<Tokens>,
    drafts: BTreeMap<SubagentName, Draft>,
    tree: Arc<Tree>,
    runs: Vec<RunId>,
    saved: Vec<Saved>,
    turn: u32,
    began: Instant,
    /// What a sandbox with an environment waits for.
    expected: Option<requirements::Kind>,
}

/// Tokens of one reply. A whole subagent with its documentation fits.
const REPLY_TOKENS: u32 = 16_000;
/// Replies in a row without a tool call, after which a model is not going to finish.
const SILENT_MAX: u32 = 3;
/// Files of the workspace that are named in the prompt.
const FILES_IN_PROMPT: usize = 80;

impl Factory {
    /// Solves a task.
    ///
    /// # Errors
    /// [`FactoryError`] when the model, the engine, the library or the log fails. What was saved
    /// before stays saved, and the log holds every step up to there.
    pub async fn solve(
        &self,
        request: &TaskRequest,
        watcher: &Arc<dyn Watcher>,
        cancel: CancellationToken,
    ) -> Result<TaskReport, FactoryError> {
        let limits = request.limits.resolve(None)?;
        let model = self.model.clone().ok_or(FactoryError::NoModel)?;
        let id = self.context.task_id();
        let mut session = Session {
            factory: self,
            request,
            id,
            model,
            watcher: Arc::clone(watcher),
            cancel,
            log: TaskLog::create(&self.tasks, id)?,
            tokens: Arc::new(Tokens::new(request.budget.tokens_max)),
            drafts: BTreeMap::new(),
            tree: Arc::clone(&request.tree),
            runs: Vec::new(),
            saved: Vec::new(),
            turn: 0,
            began: Instant::now(),
            expected: None,
        };
        // One is started while the model thinks, and the next one while the subagent runs.
        let ahead = usize::from(request.mounts.is_empty());
        let (image, none) = (&self.image, &Imports::NONE);
        self.sandboxes.prewarm(image, none, &limits, ahead);
        let ended = session.turns().await;
        self.sandboxes.prewarm(image, none, &limits, 0);
        session.expect_nothing();
        let (status, answer) = match &ended {
            Ok((status, answer)) => (status.name(), answer.clone()),
            Err(error) => ("error", chain(error)),
        };
        let saved = session
            .saved
            .iter()
            .map(|saved| format!("{}@{}", saved.name, saved.version));
        let step = Step::Ended {
            status: status.to_owned(),
            answer,
            saved: saved.collect(),
            tree: session.tree.digest(),
        };
        let logged = session.log.append(self.now(), step);
        let (status, answer) = ended?;
        logged?;
        Ok(session.report(status, answer))
    }

    /// The version that a name's head points at.
    pub(crate) fn head(&self, name: &SubagentName) -> Result<Option<Digest>, store::StoreError> {
        Ok(self.store.head(name)?.map(|head| head.digest))
    }
}

impl Session<'_> {
    async fn turns(&mut self) -> Result<(TaskStatus, String), FactoryError> {
        let mut request = self.first_request()?;
        let mut silent = 0;
        loop {
            if let Some(ended) = self.is_over() {
                return Ok(ended);
            }
            self.turn += 1;
            let Some(reply) = self.ask(&request).await? else {
                return Ok(self
                    .is_over()
                    .unwrap_or((TaskStatus::Cancelled, "stopped".to_owned())));
            };
            let step = Step::Replied {
                turn: self.turn,
                reply: reply.clone(),
            };
            self.log.append(self.factory.now(), step)?;

            let mut results = Vec::new();
            for block in &reply.content {
                let Block::ToolCall {
                    id,
                    name,
                    arguments,
                } = block
                else {
                    continue;
                };
                if self.cancel.is_cancelled() {
                    return Ok((TaskStatus::Cancelled, "stopped".to_owned()));
                }
                let answer = self.answer(id, name, arguments.clone()).await?;
                if let Some(end) = answer.end {
                    return Ok(end);
                }
                results.push(Block::ToolResult {
                    id: id.clone(),
                    content: answer.content,
                    is_error: answer.is_error,
                });
            }
            if results.is_empty() {
                silent += 1;
                if silent == SILENT_MAX || reply.stop == StopReason::Refusal {
                    return Ok((TaskStatus::NoFinish, text_of(&reply)));
                }
                let nudge = self.nudge(reply.stop)?;
                results.push(Block::Text { text: nudge });
            } else {
                silent = 0;
            }
            if let Some(warning) = self.warning()? {
                results.push(Block::Text { text: warning });
            }
            if !reply.content.is_empty() {
                request.messages.push(Message {
                    role: Role::Assistant,
                    content: reply.content,
                });
            }
            match request.messages.last_mut() {
                // An empty reply is not a message: what follows joins the one before.
                Some(last) if last.role == Role::User => last.content.extend(results),
                _ => request.messages.push(Message {
                    role: Role::User,
                    content: results,
                }),
            }
        }
    }

    /// What subagents of this task can reach, for the model.
    fn network(&self) -> String {
        let settings = self.factory.egress.settings();
        let allowed = self.request.egress.union(&settings.allow);
        let named = drafts::hosts(
            allowed.filter(|host| settings.check(host, &self.request.egress).is_ok()),
        );
        let which = match (settings.allow_all, named.is_empty()) {
            (false, true) => return "No network.".to_owned(),
            (true, true) => "any public host may be named".to_owned(),
            (true, false) => format!("any public host may be named, and {named}"),
            (false, false) => format!("these may be named: {named}"),
        };
        format!(
            "Network: a subagent reaches only the hosts that `egress` names, over HTTP and HTTPS; {which}. \
             Name as few as possible, often none. The proxy is in the environment: `urllib.request` works as it is, raw sockets and DNS do not."
        )
    }

    fn first_request(&mut self) -> Result<Request, FactoryError> {
        let assets = &self.factory.assets;
        let mut tool_skills = String::new();
        for skill in &self.request.grantable {
            let doc = assets.skill("tools", skill.name())?;
            let _ = writeln!(tool_skills, "- {}: {}", skill.name(), doc.description);
        }
        if tool_skills.is_empty() {
            tool_skills.push_str("(none)\n");
        }
        let mut listing = workspace::listing(&self.tree, FILES_IN_PROMPT);
        for mount in &self.request.mounts {
            let access = if mount.writable {
                "writable"
            } else {
                "read-only"
            };
            let _ = writeln!(listing, "/mnt/{} ({access})", mount.name);
        }
        let limits = self.request.limits.resolve(None)?;
        let values = BTreeMap::from([
            ("task", self.request.task.clone()),
            ("saved_subagents", self.factory.fitting(&self.request.task)?),
            ("tool_skills", tool_skills),
            ("network", self.network()),
            ("workspace_listing", listing),
            (
                "limits",
                format!(
                    "{} wall time, {} memory, {} workspace, {} of output per stream, {} processes",
                    format_duration(limits.wall),
                    limits.memory,
                    limits.workspace,
                    limits.output,
                    limits.pids
                ),
            ),
        ]);
        let system = assets.prompt("meta_agent", &values)?;
        let prompt = assets.prompt("task", &values)?;
        let name = self.model.name();
        self.watcher.event(&Event::TaskBegan {
            task: self.id,
            model: &name,
        });
        self.log.append(
            self.factory.now(),
            Step::Began {
                format: log::FORMAT,
                task: self.request.task.clone(),
                model: name,
                input_tree: self.tree.digest(),
                image: self.factory.image.0,
                system: system.clone(),
                prompt: prompt.clone(),
            },
        )?;
        Ok(Request {
            purpose: Purpose::MetaAgent,
            system,
            messages: vec![Message {
                role: Role::User,
                content: vec![Block::Text { text: prompt }],
            }],
            tools: skills::tools(assets)?,
            max_tokens: REPLY_TOKENS,
        })
    }

    /// Asks the model; `None` when there is no time left or somebody stopped the task.
    async fn ask(&mut self, request: &Request) -> Result<Option<Reply>, FactoryError> {
        let turns_max = self.request.budget.turns_max;
        self.watcher.event(&Event::TurnBegan {
            turn: self.turn,
            turns_max,
        });
        let watcher = Arc::clone(&self.watcher);
        let mut observe = move |delta: Delta<'_>| match delta {
            Delta::Text(text) => watcher.event(&Event::ModelText(text)),
            Delta::Retry { attempt, wait, why } => {
                watcher.event(&Event::ModelRetry { attempt, wait, why });
            }
            _ => {}
        };
        let left = self.time_left();
        let reply = tokio::select! {
            reply = self.model.reply(request, &mut observe) => reply?,
            () = tokio::time::sleep(left) => return Ok(None),
            () = self.cancel.cancelled() => return Ok(None),
        };
        self.tokens.add_agent(reply.usage);
        let (agent, subagents) = (self.tokens.agent(), self.tokens.subagents());
        self.watcher.event(&Event::TurnEnded { agent, subagents });
        Ok(Some(reply))
    }

    async fn answer(
        &mut self,
        id: &str,
        name: &str,
        arguments: Result<serde_json::Map<String, serde_json::Value>, String>,
    ) -> Result<skills::Answer, FactoryError> {
        let answer = self.call(name, arguments).await?;
        self.watcher.event(&Event::SkillEnded {
            skill: name,
            subject: &answer.subject,
            ok: !answer.is_error,
            summary: answer.content.lines().next().unwrap_or_default(),
        });
        let step = Step::Answered {
            turn: self.turn,
            id: id.to_owned(),
            skill: name.to_owned(),
            content: answer.content.clone(),
            is_error: answer.is_error,
            run: answer.run,
            tree: self.tree.digest(),
        };
        self.log.append(self.factory.now(), step)?;
        Ok(answer)
    }

    fn time_left(&self) -> Duration {
        self.request
            .budget
            .wall
            .saturating_sub(self.began.elapsed())
    }

    /// Whether the task cannot go on, and why.
    fn is_over(&self) -> Option<(TaskStatus, String)> {
        let budget = &self.request.budget;
        let used_up = |what: String| {
            Some((
                TaskStatus::BudgetUsedUp,
                format!("the budget of {what} is used up"),
            ))
        };
        if self.cancel.is_cancelled() {
            return Some((TaskStatus::Cancelled, "stopped".to_owned()));
        }
        if self.turn >= budget.turns_max {
            return used_up(format!("{} turns", budget.turns_max));
        }
        if self.tokens.is_used_up() {
            return used_up(format!("{} tokens", budget.tokens_max));
        }
        if self.began.elapsed() >= budget.wall {
            return used_up(format_duration(budget.wall));
        }
        None
    }

    /// What a model that did not call a tool is told.
    fn nudge(&mut self, stop: StopReason) -> Result<String, FactoryError> {
        let text = match stop {
            StopReason::MaxTokens => {
                format!(
                    "The reply was cut at {REPLY_TOKENS} tokens. Call one tool with less in it."
                )
            }
            StopReason::End | StopReason::ToolUse | StopReason::Refusal => {
                self.factory.assets.prompt("nudge", &BTreeMap::new())?
            }
        };
        self.tell(text)
    }

    /// What a model is told before its last turn.
    fn warning(&mut self) -> Result<Option<String>, FactoryError> {
        if self.turn + 1 != self.request.budget.turns_max {
            return Ok(None);
        }
        let text = self.factory.assets.prompt("budget", &BTreeMap::new())?;
        self.tell(text).map(Some)
    }

    fn tell(&mut self, text: String) -> Result<String, FactoryError> {
        let step = Step::Told {
            turn: self.turn,
            text: text.clone(),
        };
        self.log.append(self.factory.now(), step)?;
        Ok(text)
    }

    fn report(self, status: TaskStatus, answer: String) -> TaskReport {
        TaskReport {
            task: self.id,
            status,
            answer,
            model: self.model.name(),
            turns: self.turn,
            agent_tokens: self.tokens.agent(),
            subagent_tokens: self.tokens.subagents(),
            saved: self.saved,
            runs: self.runs,
            input: Arc::clone(&self.request.tree),
            output: self.tree,
            wall: self.began.elapsed(),
        }
    }
}

fn text_of(reply: &Reply) -> String {
    let texts = reply.content.iter().filter_map(|block| match block {
        Block::Text { text } => Some(text.as_str()),
        Block::ToolCall { .. } | Block::ToolResult { .. } | Block::Opaque { .. } => None,
    });
    texts.collect::<Vec<_>>().join("\n")
}
