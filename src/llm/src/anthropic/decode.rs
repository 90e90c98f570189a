//! From the events of a stream to a reply.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::fault::{Fault, Reported};
use crate::stream::{Decoder, Observer, Step, parse, parse_arguments};
use crate::{Block, Delta, Reply, StopReason, TokenUsage};

/// A reply in the making.
#[derive(Debug, Default)]
pub(crate) struct Events {
    blocks: BTreeMap<u64, Open>,
    stop_reason: Option<String>,
    usage: Usage,
    ended: bool,
}

/// A content block in the making.
#[derive(Debug)]
enum Open {
    Text(String),
    Tool {
        id: String,
        name: String,
        /// What the first event held; usually empty, some servers send all of it at once.
        input: Option<Value>,
        json: String,
    },
    /// Any other block is kept as it came, with its deltas applied.
    Opaque {
        raw: Map<String, Value>,
        json: String,
    },
}

/// One event; which fields it has depends on its type.
#[derive(Deserialize)]
struct Event {
    #[serde(default, rename = "type")]
    kind: String,
    index: Option<u64>,
    message: Option<Start>,
    content_block: Option<Map<String, Value>>,
    delta: Option<Map<String, Value>>,
    usage: Option<Usage>,
    error: Option<Value>,
}

#[derive(Deserialize)]
struct Start {
    usage: Option<Usage>,
}

/// Counts so far. Later events repeat some of them, so the highest count.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
struct Usage {
    #[serde(rename = "input_tokens")]
    input: Option<u64>,
    #[serde(rename = "cache_creation_input_tokens")]
    cache_written: Option<u64>,
    #[serde(rename = "cache_read_input_tokens")]
    cache_read: Option<u64>,
    #[serde(rename = "output_tokens")]
    output: Option<u64>,
}

impl Usage {
    fn update(&mut self, later: Self) {
        self.input = self.input.max(later.input);
        self.cache_written = self.cache_written.max(later.cache_written);
        self.cache_read = self.cache_read.max(later.cache_read);
        self.output = self.output.max(later.output);
    }

    /// The provider counts as input only what its cache took no part in.
    fn total(self) -> TokenUsage {
        let parts = [self.input, self.cache_written, self.cache_read];
        TokenUsage {
            input_tokens: parts.into_iter().flatten().fold(0, u64::saturating_add),
            output_tokens: self.output.unwrap_or(0),
            cached_tokens: self.cache_read.unwrap_or(0),
        }
    }
}

impl Decoder for Events {
    fn event(&mut self, kind: &str, data: &str, observe: Observer<'_>) -> Result<Step, Fault> {
        let event: Event = parse(data)?;
        let kind = if event.kind.is_empty() {
            kind
        } else {
            &event.kind
        };
        match kind {
            "message_start" => {
                let usage = event.message.and_then(|message| message.usage);
                self.usage.update(usage.unwrap_or_default());
            }
            "content_block_start" => {
                let (index, block) = present(kind, event.index.zip(event.content_block))?;
                self.blocks.insert(index, Open::start(block, observe));
            }
            "content_block_delta" => {
                let (index, delta) = present(kind, event.index.zip(event.delta))?;
                present(kind, self.blocks.get_mut(&index))?.apply(&delta, observe);
            }
            "message_delta" => {
                let delta = event.delta.unwrap_or_default();
                if let Some(Value::String(reason)) = delta.get("stop_reason") {
                    self.stop_reason = Some(reason.clone());
                }
                self.usage.update(event.usage.unwrap_or_default());
            }
            "message_stop" => {
                self.ended = true;
                return Ok(Step::Done);
            }
            "error" => {
                let error = event.error.unwrap_or_default();
                return Err(Fault::Reported(Reported::from_stream(&error)));
            }
            // Pings, ends of blocks, and types that are yet to come.
            _ => {}
        }
        Ok(Step::More)
    }

    fn is_complete(&self) -> bool {
        self.ended
    }

    fn finish(self: Box<Self>) -> Result<Reply, Fault> {
        let mut content = Vec::with_capacity(self.blocks.len());
        for open in self.blocks.into_values() {
            content.extend(open.close()?);
        }
        let calls = content
            .iter()
            .any(|block| matches!(block, Block::ToolCall { .. }));
        let stop = match self.stop_reason.as_deref() {
            Some("max_tokens" | "model_context_window_exceeded") => StopReason::MaxTokens,
            Some("refusal") => StopReason::Refusal,
            _ if calls => StopReason::ToolUse,
            _ => StopReason::End,
        };
        Ok(Reply {
            content,
            stop,
            usage: self.usage.total(),
        })
    }
}

/// The parts of an event that its type promises.
fn present<T>(kind: &str, parts: Option<T>) -> Result<T, Fault> {
    parts
        .ok_or_else(|| Fault::Protocol(format!("a `{kind}` event has no block that it belongs to")))
}

impl Open {
    fn start(mut block: Map<String, Value>, observe: Observer<'_>) -> Self {
        let text = |block: &Map<String, Value>, key: &str| {
            block
                .get(key)
                .and_then(Value::as_str)
                .unwrap_or("")
                .to_owned()
        };
        match text(&block, "type").as_str() {
            "text" => {
                let text = text(&block, "text");
                if !text.is_empty() {
                    observe(Delta::Text(&text));
                }
                Self::Text(text)
            }
            "tool_use" => {
                let name = text(&block, "name");
                observe(Delta::ToolCall(&name));
                Self::Tool {
                    id: text(&block, "id"),
                    name,
                    input: block.remove("input"),
                    json: String::new(),
                }
            }
            _ => Self::Opaque {
                raw: block,
                json: String::new(),
            },
        }
    }

    fn apply(&mut self, delta: &Map<String, Value>, observe: Observer<'_>) {
        let part = |key: &str| delta.get(key).and_then(Value::as_str);
        match self {
            Self::Text(text) => {
                if let Some(more) = part("text").filter(|more| !more.is_empty()) {
                    text.push_str(more);
                    observe(Delta::Text(more));
                }
            }
            Self::Tool { json, .. } => json.push_str(part("partial_json").unwrap_or("")),
            Self::Opaque { raw, json } => {
                json.push_str(part("partial_json").unwrap_or(""));
                // `thinking_delta` holds more of `thinking`, `signature_delta` of `signature`.
                for (key, more) in delta.iter().filter(|(key, _)| *key != "type") {
                    let Some(more) = more.as_str().filter(|_| key != "partial_json") else {
                        continue;
                    };
                    match raw.get_mut(key) {
                        Some(Value::String(whole)) => whole.push_str(more),
                        _ => {
                            raw.insert(key.clone(), more.into());
                        }
                    }
                }
            }
        }
    }

    /// The finished block; text that stayed empty is none.
    fn close(self) -> Result<Option<Block>, Fault> {
        match self {
            Self::Text(text) if text.is_empty() => Ok(None),
            Self::Text(text) => Ok(Some(Block::Text { text })),
            Self::Tool { id, name, .. } if id.is_empty() || name.is_empty() => Err(
                Fault::Protocol("a tool call has no id or no name".to_owned()),
            ),
            Self::Tool {
                id,
                name,
                input,
                json,
            } => {
                let arguments = match input {
                    Some(input) if json.is_empty() => parse_arguments(&input.to_string()),
                    _ => parse_arguments(&json),
                };
                Ok(Some(Block::ToolCall {
                    id,
                    name,
                    arguments,
                }))
            }
            Self::Opaque { mut raw, json } => {
                if !json.is_empty() {
                    raw.insert("input".to_owned(), parse(&json)?);
                }
                Ok(Some(Block::Opaque { raw: raw.into() }))
            }
        }
    }
}
