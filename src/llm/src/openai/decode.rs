//! From the chunks of a stream to a reply.

use serde::Deserialize;
use serde_json::{Value, json};

use super::REASONING;
use super::calls::{Calls, Fragment};
use crate::fault::{Fault, Reported};
use crate::stream::{Decoder, Observer, Step, parse};
use crate::{Block, Delta, Reply, StopReason, TokenUsage};

/// A reply in the making.
#[derive(Debug)]
pub(crate) struct Chunks {
    /// Says which turn it is, to make ids for calls that have none.
    turn: usize,
    text: String,
    reasoning: String,
    calls: Calls,
    refused: bool,
    finish_reason: Option<String>,
    usage: Usage,
    seen_choice: bool,
}

#[derive(Deserialize)]
struct Chunk {
    /// `error` from servers that send an error in place of a chunk.
    object: Option<String>,
    #[serde(default)]
    choices: Option<Vec<Choice>>,
    usage: Option<Usage>,
    error: Option<Value>,
}

#[derive(Deserialize)]
struct Choice {
    #[serde(default)]
    index: Option<u64>,
    delta: Option<ChoiceDelta>,
    finish_reason: Option<String>,
}

#[derive(Default, Deserialize)]
struct ChoiceDelta {
    /// A text; from some servers a list of typed parts.
    content: Option<Value>,
    refusal: Option<String>,
    reasoning_content: Option<String>,
    tool_calls: Option<Vec<Fragment>>,
}

/// Counts so far: the vendor sends them once, some servers with each chunk, some never.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
struct Usage {
    prompt_tokens: Option<u64>,
    completion_tokens: Option<u64>,
    prompt_tokens_details: Option<PromptDetails>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
struct PromptDetails {
    cached_tokens: Option<u64>,
}

impl Chunks {
    /// Nothing yet of the reply to a conversation of `turn` messages.
    pub(crate) fn new(turn: usize) -> Self {
        Self {
            turn,
            text: String::new(),
            reasoning: String::new(),
            calls: Calls::default(),
            refused: false,
            finish_reason: None,
            usage: Usage::default(),
            seen_choice: false,
        }
    }

    fn push(&mut self, delta: ChoiceDelta, observe: Observer<'_>) {
        if let Some(reasoning) = delta.reasoning_content {
            self.reasoning.push_str(&reasoning);
        }
        let refusal = delta.refusal.unwrap_or_default();
        self.refused |= !refusal.is_empty();
        for text in [text_of(delta.content), refusal] {
            if !text.is_empty() {
                self.text.push_str(&text);
                observe(Delta::Text(&text));
            }
        }
        for fragment in delta.tool_calls.unwrap_or_default() {
            if let Some(name) = self.calls.push(fragment) {
                observe(Delta::ToolCall(name));
            }
        }
    }

    fn stop(&self) -> StopReason {
        match self.finish_reason.as_deref() {
            Some("length") => StopReason::MaxTokens,
            Some("content_filter") => StopReason::Refusal,
            _ if self.refused => StopReason::Refusal,
            // Some servers say `stop` all the same.
            _ if !self.calls.is_empty() => StopReason::ToolUse,
            _ => StopReason::End,
        }
    }
}

impl Decoder for Chunks {
    fn event(&mut self, kind: &str, data: &str, observe: Observer<'_>) -> Result<Step, Fault> {
        if data.trim() == "[DONE]" {
            if self.seen_choice {
                return Ok(Step::Done);
            }
            let why = "the stream ended without a reply in it".to_owned();
            return Err(Fault::Protocol(why));
        }
        let chunk: Chunk = parse(data)?;
        if let Some(error) = chunk.error {
            return Err(Fault::Reported(Reported::from_stream(&error)));
        }
        if kind == "error" || chunk.object.as_deref() == Some("error") {
            return Err(Fault::Reported(Reported::from_stream(&parse(data)?)));
        }
        if let Some(usage) = chunk.usage {
            self.usage = usage;
        }
        for choice in chunk.choices.unwrap_or_default() {
            if choice.index.unwrap_or(0) != 0 {
                continue;
            }
            self.seen_choice = true;
            self.push(choice.delta.unwrap_or_default(), observe);
            if let Some(reason) = choice.finish_reason.filter(|reason| !reason.is_empty()) {
                self.finish_reason = Some(reason);
            }
        }
        Ok(Step::More)
    }

    fn is_complete(&self) -> bool {
        // Some servers leave out `[DONE]`, or the empty line after it.
        self.finish_reason.is_some()
    }

    fn finish(self: Box<Self>) -> Result<Reply, Fault> {
        let stop = self.stop();
        let mut content = Vec::new();
        if !self.reasoning.is_empty() && !self.calls.is_empty() {
            let raw = json!({ REASONING: self.reasoning });
            content.push(Block::Opaque { raw });
        }
        if !self.text.is_empty() {
            content.push(Block::Text { text: self.text });
        }
        for (position, call) in self.calls.into_vec().into_iter().enumerate() {
            if call.name.is_empty() {
                return Err(Fault::Protocol("a tool call has no name".to_owned()));
            }
            let taken = content
                .iter()
                .any(|block| matches!(block, Block::ToolCall { id, .. } if *id == call.id));
            let arguments = call.arguments();
            let id = if call.id.is_empty() || taken {
                format!("call_{}_{position}", self.turn)
            } else {
                call.id
            };
            content.push(Block::ToolCall {
                id,
                name: call.name,
                arguments,
            });
        }
        let cached = self.usage.prompt_tokens_details.unwrap_or_default();
        Ok(Reply {
            content,
            stop,
            usage: TokenUsage {
                input_tokens: self.usage.prompt_tokens.unwrap_or(0),
                output_tokens: self.usage.completion_tokens.unwrap_or(0),
                cached_tokens: cached.cached_tokens.unwrap_or(0),
            },
        })
    }
}

fn text_of(content: Option<Value>) -> String {
    match content {
        Some(Value::String(text)) => text,
        Some(Value::Array(parts)) => parts
            .iter()
            .filter_map(|part| part.get("text")?.as_str())
            .collect(),
        _ => String::new(),
    }
}
