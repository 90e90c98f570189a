//! From a request to the body that is posted.

use serde_json::{Value, json};

use crate::stream::arguments_as_sent;
use crate::{Block, Message, Request, Role};

/// The body of a request for a streamed reply.
///
/// What comes again in the next turn is marked for the provider's cache: the system prompt, the
/// tools and the conversation so far. Three marks; four are allowed.
pub(crate) fn body(model: &str, request: &Request) -> Value {
    let mut body = json!({
        "model": model,
        "max_tokens": request.max_tokens,
        "stream": true,
        "messages": messages(&request.messages),
    });
    if !request.system.trim().is_empty() {
        let mut system = json!({ "type": "text", "text": request.system });
        mark_for_cache(&mut system);
        body["system"] = json!([system]);
    }
    if !request.tools.is_empty() {
        let mut tools: Vec<Value> = request
            .tools
            .iter()
            .map(|tool| {
                json!({
                    "name": tool.name,
                    "description": tool.description,
                    "input_schema": tool.parameters,
                })
            })
            .collect();
        mark_last_for_cache(&mut tools);
        body["tools"] = tools.into();
    }
    body
}

fn messages(messages: &[Message]) -> Value {
    let mut encoded: Vec<Value> = Vec::with_capacity(messages.len());
    for message in messages {
        let content: Vec<Value> = message.content.iter().filter_map(block).collect();
        // The API refuses an empty message; after one is left out, its neighbours count as one.
        if content.is_empty() {
            continue;
        }
        let role = match message.role {
            Role::User => "user",
            Role::Assistant => "assistant",
        };
        encoded.push(json!({ "role": role, "content": content }));
    }
    let last = encoded.last_mut().filter(|last| last["role"] == "user");
    if let Some(Value::Array(content)) = last.map(|last| &mut last["content"]) {
        mark_last_for_cache(content);
    }
    encoded.into()
}

fn block(block: &Block) -> Option<Value> {
    match block {
        // The API refuses text without a visible character.
        Block::Text { text } if text.trim().is_empty() => None,
        Block::Text { text } => Some(json!({ "type": "text", "text": text })),
        Block::ToolCall {
            id,
            name,
            arguments,
        } => Some(json!({
            "type": "tool_use",
            "id": id,
            "name": name,
            "input": arguments_as_sent(arguments),
        })),
        Block::ToolResult {
            id,
            content,
            is_error,
        } => Some(json!({
            "type": "tool_result",
            "tool_use_id": id,
            "content": content,
            "is_error": is_error,
        })),
        // Only what came from this protocol has a type.
        Block::Opaque { raw } => raw.get("type").map(|_| raw.clone()),
    }
}

fn mark_last_for_cache(blocks: &mut [Value]) {
    if let Some(last) = blocks.last_mut() {
        mark_for_cache(last);
    }
}

fn mark_for_cache(block: &mut Value) {
    block["cache_control"] = json!({ "type": "ephemeral" });
}
