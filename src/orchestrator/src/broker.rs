//! The only door out of a sandbox: carries out what a version was granted, and writes it down.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use ::egress::Proxy;
use futures::future::BoxFuture;
use llm::{Block, Message, Model, Purpose, Request, Role};
use runner::{Broker, ToolRequest};
use serde::Deserialize;
use serde_json::{Value, json};
use spec::{Skill, SkillUsage, limits};
use store::Exchange;
use tokio::io::DuplexStream;

use crate::budget::Tokens;
use crate::egress;
use crate::shell::ShellPolicy;

/// Answers the requests of one run.
#[derive(Debug)]
pub(crate) struct SkillBroker {
    grants: BTreeSet<Skill>,
    model: Option<Arc<dyn Model>>,
    tokens: Arc<Tokens>,
    proxy: Option<Proxy>,
    shell: ShellPolicy,
    ledger: Mutex<Ledger>,
}

/// What a run asked for and got.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ledger {
    /// Every exchange, in the order in which they ended.
    pub(crate) cassette: Vec<Exchange>,
    /// Calls and tokens per skill.
    pub(crate) usage: BTreeMap<Skill, SkillUsage>,
    /// How many of the cassette's are HTTP.
    http: usize,
    calls: u32,
    bytes: u64,
}

impl Ledger {
    fn count(&mut self, skill: Skill, usage: llm::TokenUsage) {
        let used = self.usage.entry(skill).or_default();
        used.calls += 1;
        used.input_tokens = used.input_tokens.saturating_add(usage.input_tokens);
        used.output_tokens = used.output_tokens.saturating_add(usage.output_tokens);
    }
}

/// The arguments of `call_llm`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LlmArguments {
    #[serde(default)]
    system: Option<String>,
    messages: Messages,
    #[serde(default)]
    max_tokens: Option<u32>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Messages {
    One(String),
    Many(Vec<LlmMessage>),
}

#[derive(Deserialize)]
struct LlmMessage {
    role: String,
    content: String,
}

/// The arguments of `execute_shell_command`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ShellArguments {
    command: String,
}

/// Source: the default of `call_llm` in the reference implementation.
const MAX_TOKENS: u32 = 8_000;

impl SkillBroker {
    pub(crate) fn new(
        grants: BTreeSet<Skill>,
        model: Option<Arc<dyn Model>>,
        tokens: Arc<Tokens>,
        proxy: Option<Proxy>,
        shell: ShellPolicy,
    ) -> Self {
        Self {
            grants,
            model,
            tokens,
            proxy,
            shell,
            ledger: Mutex::default(),
        }
    }

    /// What has been asked so far, HTTP included.
    pub(crate) fn ledger(&self) -> Ledger {
        let mut ledger = self.ledger.lock().unwrap_or_else(PoisonError::into_inner);
        self.note_http(&mut ledger);
        ledger.clone()
    }

    /// Writes down the HTTP exchanges that have ended since the last time, so that the cassette has
    /// everything in the order in which it ended.
    fn note_http(&self, ledger: &mut Ledger) {
        if let Some(proxy) = &self.proxy {
            let exchanges = proxy.exchanges_since(ledger.http);
            ledger.http += exchanges.len();
            ledger
                .cassette
                .extend(exchanges.iter().map(egress::recorded));
        }
    }

    async fn carry_out(&self, request: &ToolRequest) -> (Option<Skill>, Value, llm::TokenUsage) {
        let refuse = |text: String| json!({ "error": text });
        let nothing = llm::TokenUsage::default();
        let Ok(skill) = request.tool.parse::<Skill>() else {
            let tool = spec::printable(&request.tool, 80);
            return (
                None,
                refuse(format!("refused: there is no skill `{tool}` here")),
                nothing,
            );
        };
        if !self.grants.contains(&skill) {
            let text = format!("refused: this subagent was not granted the skill `{skill}`");
            return (Some(skill), refuse(text), nothing);
        }
        match skill {
            Skill::Llm => {
                let (answer, usage) = self.ask_model(&request.arguments).await;
                (Some(skill), answer, usage)
            }
            Skill::ShellCommand => {
                let answer = match ShellArguments::deserialize(&request.arguments) {
                    Ok(arguments) => self.shell.answer(arguments.command).await,
                    Err(error) => refuse(format!("refused: {error}")),
                };
                (Some(skill), answer, nothing)
            }
        }
    }

    async fn ask_model(&self, arguments: &Value) -> (Value, llm::TokenUsage) {
        let refuse = |text: String| (json!({ "error": text }), llm::TokenUsage::default());
        let Some(model) = &self.model else {
            return refuse("no model is configured on the host".to_owned());
        };
        if self.tokens.is_used_up() {
            return refuse("the token budget is used up".to_owned());
        }
        let request = match LlmArguments::deserialize(arguments) {
            Ok(arguments) => llm_request(arguments),
            Err(error) => return refuse(format!("the arguments of call_llm do not fit: {error}")),
        };
        let request = match request {
            Ok(request) => request,
            Err(why) => return refuse(why),
        };
        let mut under_way = UnderWay::new(self, &request);
        let reply = model.reply(&request, &mut |_| {}).await;
        under_way.ended = true;
        match reply {
            Ok(reply) => {
                self.tokens.add_subagent(reply.usage);
                let texts = reply.content.iter().filter_map(|block| match block {
                    Block::Text { text } => Some(text.as_str()),
                    Block::ToolCall { .. } | Block::ToolResult { .. } | Block::Opaque { .. } => {
                        None
                    }
                });
                (json!({ "ok": texts.collect::<String>() }), reply.usage)
            }
            Err(error) => {
                // Addresses and the endpoint's words stay on the host's side.
                tracing::warn!(error = %crate::chain(&error), "a subagent's model call failed");
                refuse(match error {
                    llm::LlmError::Script { .. } => error.to_string(),
                    _ => "the model is not available".to_owned(),
                })
            }
        }
    }
}

/// A request to a model that nobody may be left to wait for: the run can end before its answer.
///
/// The provider has worked for it all the same, and does not say how much. So the most that it can
/// have been is counted: a token has at least one byte, and the answer has at most its limit.
struct UnderWay<'a> {
    broker: &'a SkillBroker,
    most: llm::TokenUsage,
    ended: bool,
}

impl<'a> UnderWay<'a> {
    fn new(broker: &'a SkillBroker, request: &Request) -> Self {
        let texts = request.messages.iter().flat_map(|message| &message.content);
        let texts = texts.map(|block| match block {
            Block::Text { text } => text.len(),
            Block::ToolCall { .. } | Block::ToolResult { .. } | Block::Opaque { .. } => 0,
        });
        let bytes = request.system.len() + texts.sum::<usize>();
        Self {
            broker,
            most: llm::TokenUsage {
                input_tokens: bytes as u64,
                output_tokens: request.max_tokens.into(),
                cached_tokens: 0,
            },
            ended: false,
        }
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        self.broker.tokens.add_subagent(self.most);
        let ledger = self.broker.ledger.lock();
        let mut ledger = ledger.unwrap_or_else(PoisonError::into_inner);
        ledger.count(Skill::Llm, self.most);
    }
}

fn llm_request(arguments: LlmArguments) -> Result<Request, String> {
    let mut system = arguments.system.unwrap_or_default();
    let given = match arguments.messages {
        Messages::One(content) => vec![LlmMessage {
            role: "user".to_owned(),
            content,
        }],
        Messages::Many(messages) => messages,
    };
    let mut messages: Vec<Message> = Vec::new();
    for LlmMessage { role, content } in given {
        let role = match role.as_str() {
            "user" => Role::User,
            "assistant" => Role::Assistant,
            "system" => {
                if !system.is_empty() {
                    system.push_str("\n\n");
                }
                system.push_str(&content);
                continue;
            }
            _ => {
                return Err(format!(
                    "a message cannot have the role `{}`",
                    spec::printable(&role, 40)
                ));
            }
        };
        messages.push(Message {
            role,
            content: vec![Block::Text { text: content }],
        });
    }
    if messages
        .last()
        .is_none_or(|message| message.role != Role::User)
    {
        return Err("the messages must end with one of the user".to_owned());
    }
    let max_tokens = arguments.max_tokens.unwrap_or(MAX_TOKENS).clamp(1, 64_000);
    Ok(Request {
        purpose: Purpose::Subagent,
        system,
        messages,
        tools: Vec::new(),
        max_tokens,
    })
}

/// What a value costs to keep, in bytes: its text, and what it takes in memory.
fn size(value: &Value) -> u64 {
    const NODE: u64 = 64;
    NODE + match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
        Value::String(text) => text.len() as u64,
        Value::Array(items) => items.iter().map(size).sum(),
        Value::Object(fields) => fields
            .iter()
            .map(|(key, value)| key.len() as u64 + size(value))
            .sum(),
    }
}

impl Broker for SkillBroker {
    fn answer(&self, request: ToolRequest) -> BoxFuture<'_, Value> {
        Box::pin(async move {
            {
                let mut ledger = self.ledger.lock().unwrap_or_else(PoisonError::into_inner);
                if ledger.calls >= limits::TOOL_CALLS {
                    return json!({ "error": format!("refused: more than {} calls", limits::TOOL_CALLS) });
                }
                if ledger.bytes >= limits::TOOL_BYTES.get() {
                    let most = limits::TOOL_BYTES;
                    return json!({ "error": format!("refused: calls and answers are more than {most}") });
                }
                ledger.calls += 1;
                // Before the call, so that many at once cannot pass together.
                ledger.bytes += size(&request.arguments);
            }
            let began = Instant::now();
            let (skill, answer, usage) = self.carry_out(&request).await;
            let mut ledger = self.ledger.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(skill) = skill {
                ledger.count(skill, usage);
            }
            ledger.bytes += size(&answer);
            // Of what was refused, the digest is enough.
            let is_granted = skill.is_some_and(|skill| self.grants.contains(&skill));
            let arguments = if is_granted {
                request.arguments
            } else {
                json!({ "refused": Exchange::digest_of(&request.arguments) })
            };
            self.note_http(&mut ledger);
            ledger.cassette.push(Exchange::new(
                &spec::printable(&request.tool, 80),
                arguments,
                answer.clone(),
                began.elapsed(),
                usage.input_tokens,
                usage.output_tokens,
            ));
            answer
        })
    }

    fn connect(&self, connection: DuplexStream) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            if let Some(proxy) = &self.proxy {
                proxy.serve(connection).await;
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;
    use llm::{Delta, LlmError, Reply};

    use super::*;

    /// Never answers.
    #[derive(Debug)]
    struct Silent;

    impl Model for Silent {
        fn name(&self) -> String {
            "silent".to_owned()
        }

        fn reply<'a>(
            &'a self,
            _: &'a Request,
            _: &'a mut (dyn FnMut(Delta<'_>) + Send),
        ) -> BoxFuture<'a, Result<Reply, LlmError>> {
            Box::pin(std::future::pending())
        }
    }

    #[test]
    fn a_request_that_nobody_waits_for_any_more_is_paid() {
        let tokens = Arc::new(Tokens::new(60));
        let broker = SkillBroker::new(
            [Skill::Llm].into(),
            Some(Arc::new(Silent)),
            Arc::clone(&tokens),
            None,
            ShellPolicy::default(),
        );
        let request = ToolRequest {
            tool: Skill::Llm.name().to_owned(),
            arguments: json!({"system": "short", "messages": "h\u{e4}llo", "max_tokens": 50}),
        };
        assert!(broker.answer(request).now_or_never().is_none());
        let used = tokens.subagents();
        assert_eq!([used.input_tokens, used.output_tokens], [11, 50]);
        assert!(tokens.is_used_up());
        let ledger = broker.ledger();
        let used = &ledger.usage[&Skill::Llm];
        assert_eq!(
            (used.calls, used.input_tokens, used.output_tokens),
            (1, 11, 50)
        );
        assert!(ledger.cassette.is_empty());
    }
}
