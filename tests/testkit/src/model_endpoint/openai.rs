//! OpenAI's chunks, as its reference of chat completions shows them.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::reply::{Said, pieces};

/// Characters of a delta: small enough that every reply has several.
const DELTA_CHARS: usize = 12;

/// A reply of text to a request that does not stream.
pub(super) fn whole(said: &Said, request: &Value, sequence: usize) -> Value {
    json!({
        "id": format!("chatcmpl-{sequence:024}"),
        "object": "chat.completion",
        "created": 0,
        "model": request["model"],
        "choices": [{
            "index": 0,
            "message": { "role": "assistant", "content": said.text },
            "finish_reason": if said.cut_at_max_tokens { "length" } else { "stop" },
        }],
        "usage": {
            "prompt_tokens": said.input_tokens,
            "completion_tokens": said.output_tokens,
            "total_tokens": said.input_tokens + said.output_tokens,
        },
    })
}

/// The whole stream of a reply.
pub(super) fn stream(said: &Said, request: &Value, sequence: usize) -> String {
    let with_usage = request["stream_options"]["include_usage"] == true;
    let chunk = |choices: Value, usage: Value| {
        let mut chunk = json!({
            "id": format!("chatcmpl-{sequence:029}"),
            "object": "chat.completion.chunk",
            "created": 1_700_000_000,
            "model": request["model"],
            "service_tier": "default",
            "system_fingerprint": "fp_0000000000",
            "choices": choices,
        });
        if with_usage {
            chunk["usage"] = usage;
        }
        format!("data: {chunk}\n\n")
    };
    let delta = |delta: Value, finish_reason: Option<&str>| {
        let choice = json!({
            "index": 0,
            "delta": delta,
            "logprobs": null,
            "finish_reason": finish_reason,
        });
        chunk(json!([choice]), Value::Null)
    };
    let content = if said.text.is_empty() {
        Value::Null
    } else {
        "".into()
    };
    let start = json!({ "role": "assistant", "content": content, "refusal": null });
    let mut stream = delta(start, None);
    if !said.text.is_empty() {
        for piece in pieces(&said.text, DELTA_CHARS) {
            stream += &delta(json!({ "content": piece }), None);
        }
    }
    for (index, (tool, arguments)) in said.calls.iter().enumerate() {
        let start = json!({
            "index": index,
            "id": format!("call_{sequence:012}{index:012}"),
            "type": "function",
            "function": { "name": tool, "arguments": "" },
        });
        stream += &delta(json!({ "tool_calls": [start] }), None);
        for piece in pieces(arguments, DELTA_CHARS) {
            let more = json!({ "index": index, "function": { "arguments": piece } });
            stream += &delta(json!({ "tool_calls": [more] }), None);
        }
    }
    let finish_reason = match (said.cut_at_max_tokens, said.calls.is_empty()) {
        (true, _) => "length",
        (false, false) => "tool_calls",
        (false, true) => "stop",
    };
    stream += &delta(json!({}), Some(finish_reason));
    if with_usage {
        let usage = json!({
            "prompt_tokens": said.input_tokens,
            "completion_tokens": said.output_tokens,
            "total_tokens": said.input_tokens + said.output_tokens,
            "prompt_tokens_details": { "cached_tokens": 0, "audio_tokens": 0 },
            "completion_tokens_details": { "reasoning_tokens": 0, "audio_tokens": 0 },
        });
        stream += &chunk(json!([]), usage);
    }
    stream += "data: [DONE]\n\n";
    stream
}

/// A stream that ends in an error in place of its end.
pub(super) fn with_error(stream: &str, kind: &str) -> String {
    let last = stream.find("\"finish_reason\":\"").unwrap_or(stream.len());
    let end = stream[..last].rfind("data: ").unwrap_or(0);
    let mut cut = stream[..end].to_owned();
    let error = json!({ "error": { "message": "the test says so", "type": kind, "code": null } });
    write!(cut, "data: {error}\n\n").expect("a string takes all");
    cut
}

/// The body of a refusal.
pub(super) fn error(status: u16, message: &str) -> Value {
    let (kind, code) = match status {
        401 => ("invalid_request_error", Some("invalid_api_key")),
        404 => ("invalid_request_error", Some("model_not_found")),
        429 => ("requests", Some("rate_limit_exceeded")),
        400..=499 => ("invalid_request_error", None),
        _ => ("server_error", None),
    };
    json!({ "error": { "message": message, "type": kind, "param": null, "code": code } })
}
