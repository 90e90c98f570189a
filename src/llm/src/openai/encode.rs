//! From a request to the body that is posted.

use serde_json::{Value, json};

use super::REASONING;
use crate::stream::arguments_as_sent;
use crate::{Block, Message, Request, Role};

/// The body of a request for a streamed reply from `host`.
pub(crate) fn body(model: &str, host: &str, request: &Request) -> Value {
    let mut messages = Vec::new();
    if !request.system.trim().is_empty() {
        messages.push(json!({ "role": "system", "content": request.system }));
    }
    for message in &request.messages {
        match message.role {
            Role::User => push_user(&mut messages, message),
            Role::Assistant => messages.push(assistant(message)),
        }
    }
    let mut body = json!({
        "model": model,
        "stream": true,
        "stream_options": { "include_usage": true },
        "messages": messages,
    });
    body[max_tokens_key(host)] = request.max_tokens.into();
    if !request.tools.is_empty() {
        let tools = request.tools.iter().map(|tool| {
            json!({
                "type": "function",
                "function": {
                    "name": tool.name,
                    "description": tool.description,
                    "parameters": tool.parameters,
                },
            })
        });
        body["tools"] = tools.collect();
    }
    body
}

/// The vendor's reasoning models refuse the old name, other servers do not know the new one.
fn max_tokens_key(host: &str) -> &'static str {
    if host == "api.openai.com" || host.ends_with(".openai.azure.com") {
        "max_completion_tokens"
    } else {
        "max_tokens"
    }
}

/// Tool results first: they must follow the message with their calls.
fn push_user(messages: &mut Vec<Value>, message: &Message) {
    for block in &message.content {
        if let Block::ToolResult { id, content, .. } = block {
            messages.push(json!({ "role": "tool", "tool_call_id": id, "content": content }));
        }
    }
    let text = text_of(message);
    if !text.is_empty() {
        messages.push(json!({ "role": "user", "content": text }));
    }
}

fn assistant(message: &Message) -> Value {
    let mut encoded = json!({ "role": "assistant", "content": text_of(message) });
    let mut calls = Vec::new();
    for block in &message.content {
        match block {
            Block::ToolCall {
                id,
                name,
                arguments,
            } => calls.push(json!({
                "id": id,
                "type": "function",
                "function": { "name": name, "arguments": arguments_as_sent(arguments).to_string() },
            })),
            Block::Opaque { raw } => {
                if let Some(reasoning) = raw.get(REASONING) {
                    encoded[REASONING] = reasoning.clone();
                }
            }
            Block::Text { .. } | Block::ToolResult { .. } => {}
        }
    }
    if !calls.is_empty() {
        // As the vendor's own replies have it when there are only calls.
        if encoded["content"] == "" {
            encoded["content"] = Value::Null;
        }
        encoded["tool_calls"] = calls.into();
    }
    encoded
}

fn text_of(message: &Message) -> String {
    let texts: Vec<&str> = message
        .content
        .iter()
        .filter_map(|block| match block {
            Block::Text { text } if !text.is_empty() => Some(text.as_str()),
            _ => None,
        })
        .collect();
    texts.join("\n\n")
}
