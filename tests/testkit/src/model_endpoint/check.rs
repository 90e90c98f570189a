//! The rules of the vendors that a wrong client would break.

use std::collections::BTreeSet;

use axum::http::{HeaderMap, Method};
use serde_json::Value;

use super::EndpointProtocol;

/// Checks a request as the vendor does.
///
/// # Errors
/// The status and the message of the refusal.
pub(super) fn request(
    protocol: EndpointProtocol,
    key: Option<&str>,
    method: &Method,
    path: &str,
    headers: &HeaderMap,
    body: &Value,
) -> Result<(), (u16, String)> {
    let (expected, header, prefix) = match protocol {
        EndpointProtocol::Anthropic => ("/v1/messages", "x-api-key", ""),
        EndpointProtocol::OpenAi => ("/v1/chat/completions", "authorization", "Bearer "),
    };
    if path != expected {
        return Err((404, format!("there is no {path}")));
    }
    if method != Method::POST {
        return Err((405, format!("{method} is not allowed")));
    }
    let sent = headers.get(header).and_then(|value| value.to_str().ok());
    if key.is_some_and(|key| sent.and_then(|sent| sent.strip_prefix(prefix)) != Some(key)) {
        return Err((401, "the key is wrong".to_owned()));
    }
    let checked = match protocol {
        EndpointProtocol::Anthropic => anthropic(headers, body),
        EndpointProtocol::OpenAi => openai(body),
    };
    checked.map_err(|message| (400, message))
}

fn require(holds: bool, message: &str) -> Result<(), String> {
    if holds {
        Ok(())
    } else {
        Err(message.to_owned())
    }
}

fn common(body: &Value) -> Result<&[Value], String> {
    require(body["model"].is_string(), "model: field required")?;
    let messages = body["messages"].as_array().map_or(&[][..], Vec::as_slice);
    require(
        !messages.is_empty(),
        "messages: at least one message is required",
    )?;
    Ok(messages)
}

fn anthropic(headers: &HeaderMap, body: &Value) -> Result<(), String> {
    require(
        headers.get("anthropic-version").is_some(),
        "anthropic-version: header is required",
    )?;
    require(body["max_tokens"].is_u64(), "max_tokens: field required")?;
    let messages = common(body)?;
    require(
        messages[0]["role"] == "user",
        "messages: the first must be of the user",
    )?;
    let marks = body.to_string().matches("\"cache_control\"").count();
    require(
        marks <= 4,
        "a maximum of 4 blocks with cache_control may be provided",
    )?;
    for tool in body["tools"].as_array().into_iter().flatten() {
        require(
            tool["input_schema"]["type"] == "object",
            "tools: input_schema: type object",
        )?;
    }
    let mut open = BTreeSet::new();
    for (position, message) in messages.iter().enumerate() {
        let blocks = message["content"].as_array().map_or(&[][..], Vec::as_slice);
        let plain = message["content"]
            .as_str()
            .is_some_and(|text| !text.is_empty());
        require(
            plain || !blocks.is_empty(),
            "messages: content must not be empty",
        )?;
        let mut answered = BTreeSet::new();
        let mut called = BTreeSet::new();
        for block in blocks {
            match block["type"].as_str() {
                Some("text") => {
                    let text = block["text"].as_str().unwrap_or("");
                    require(
                        !text.trim().is_empty(),
                        "text content blocks must not be empty",
                    )?;
                }
                Some("tool_use") => {
                    require(block["input"].is_object(), "tool_use.input: not an object")?;
                    called.insert(block["id"].to_string());
                }
                Some("tool_result") => {
                    answered.insert(block["tool_use_id"].to_string());
                }
                Some("thinking") => {
                    require(
                        block["signature"].is_string(),
                        "thinking.signature: required",
                    )?;
                }
                Some("redacted_thinking") => {}
                other => return Err(format!("messages.{position}: unknown block {other:?}")),
            }
        }
        require(
            open == answered,
            "`tool_use` ids must have their `tool_result` in the next message, and no others",
        )?;
        open = called;
    }
    require(
        open.is_empty(),
        "`tool_use` ids were found without `tool_result`",
    )
}

fn openai(body: &Value) -> Result<(), String> {
    let messages = common(body)?;
    let mut open = BTreeSet::new();
    for message in messages {
        let content = &message["content"];
        match message["role"].as_str() {
            Some("tool") => {
                require(content.is_string(), "tool message without content")?;
                let known = open.remove(&message["tool_call_id"].to_string());
                require(
                    known,
                    "a `tool` message must follow the `tool_calls` that it answers",
                )?;
            }
            Some(role @ ("system" | "user" | "assistant")) => {
                require(
                    open.is_empty(),
                    "`tool_calls` must be followed by tool messages",
                )?;
                for call in message["tool_calls"].as_array().into_iter().flatten() {
                    require(call["type"] == "function", "tool_calls: type function")?;
                    let text = &call["function"]["arguments"];
                    require(text.is_string(), "tool_calls: arguments must be a string")?;
                    open.insert(call["id"].to_string());
                }
                let called = role == "assistant" && !open.is_empty();
                require(content.is_string() || called, "content must be a string")?;
            }
            other => return Err(format!("messages: unknown role {other:?}")),
        }
    }
    require(
        open.is_empty(),
        "`tool_calls` must be followed by tool messages",
    )
}
