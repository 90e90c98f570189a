//! The one interface to a language model.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};

use crate::LlmError;

/// A language model that can be asked.
pub trait Model: Send + Sync + fmt::Debug {
    /// What people call it: `anthropic:ID`, `openai:ID`, `scripted:FILE`, ...
    fn name(&self) -> String;

    /// Asks for one reply, telling `observe` of text as it arrives. Retries what may pass.
    ///
    /// Dropping the future abandons the request.
    ///
    /// # Errors
    /// [`LlmError`], after the retries.
    fn reply<'a>(
        &'a self,
        request: &'a Request,
        observe: &'a mut (dyn FnMut(Delta<'_>) + Send),
    ) -> BoxFuture<'a, Result<Reply, LlmError>>;
}

/// Who asks. Real models do not see it; the scripted one keeps its replies apart by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// A turn of the Meta-Agent.
    MetaAgent,
    /// `call_llm` in a subagent.
    Subagent,
}

/// One request.
#[derive(Clone, Debug)]
pub struct Request {
    /// Who asks.
    pub purpose: Purpose,
    /// The system prompt; empty means none.
    pub system: String,
    /// The conversation so far, ending with a user message.
    pub messages: Vec<Message>,
    /// The tools that may be called.
    pub tools: Vec<ToolSpec>,
    /// The most tokens to write.
    pub max_tokens: u32,
}

/// One message of a conversation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// Who said it.
    pub role: Role,
    /// What was said.
    pub content: Vec<Block>,
}

/// Who said something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// The one who asks, tool results included.
    User,
    /// The model.
    Assistant,
}

/// A part of a message. Written to task logs in this form.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Block {
    /// Text.
    Text {
        /// The text.
        text: String,
    },
    /// The model calls a tool.
    ToolCall {
        /// The provider's id, to be named by the result.
        id: String,
        /// The tool.
        name: String,
        /// Its arguments; `Err` text when the model wrote something that is not a JSON object.
        arguments: Result<serde_json::Map<String, serde_json::Value>, String>,
    },
    /// What a tool call gave.
    ToolResult {
        /// The id of the call.
        id: String,
        /// What the model is to read.
        content: String,
        /// Whether the call failed.
        is_error: bool,
    },
    /// A provider's own block, such as signed thinking, which goes back unchanged.
    Opaque {
        /// The block as it came.
        raw: serde_json::Value,
    },
}

/// A tool that the model may call.
#[derive(Clone, Debug, PartialEq)]
pub struct ToolSpec {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// The JSON Schema of its arguments, an object.
    pub parameters: serde_json::Value,
}

/// Something that arrived while a reply is being streamed.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Delta<'a> {
    /// Text of the reply.
    Text(&'a str),
    /// A tool call begins.
    ToolCall(&'a str),
    /// The request failed and is made again: what was observed so far is void.
    Retry {
        /// Which attempt failed, from 1.
        attempt: u32,
        /// How long until the next.
        wait: Duration,
        /// Why.
        why: &'a str,
    },
}

/// A whole reply.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reply {
    /// What was said.
    pub content: Vec<Block>,
    /// Why it ended.
    pub stop: StopReason,
    /// What it cost.
    pub usage: TokenUsage,
}

/// Why a reply ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StopReason {
    /// The model had said everything.
    End,
    /// It waits for tool results.
    ToolUse,
    /// It was cut at `max_tokens`.
    MaxTokens,
    /// It declined.
    Refusal,
}

/// Tokens of one reply, as the provider counted them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenUsage {
    /// Tokens read, cached ones included.
    pub input_tokens: u64,
    /// Tokens written.
    pub output_tokens: u64,
    /// Tokens of the input that came from the provider's cache.
    #[serde(default)]
    pub cached_tokens: u64,
}

/// `PROVIDER:ID` or `scripted:FILE`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelRef {
    /// `anthropic`, `openai`, `ollama`, `scripted` or a configured provider.
    pub provider: String,
    /// The provider's name of the model, or the file.
    pub id: String,
}

/// A text that names no model.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` does not name a model: write PROVIDER:ID or scripted:FILE")]
pub struct ModelRefError(String);

impl FromStr for ModelRef {
    type Err = ModelRefError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once(':') {
            Some((provider, id)) if !provider.is_empty() && !id.is_empty() => Ok(Self {
                provider: provider.to_owned(),
                id: id.to_owned(),
            }),
            _ => Err(ModelRefError(text.to_owned())),
        }
    }
}

impl fmt::Display for ModelRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.provider, self.id)
    }
}
