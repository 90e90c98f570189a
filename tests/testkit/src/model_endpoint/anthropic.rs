//! Anthropic's events, as its documentation of streaming shows them.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::reply::{Said, pieces};

/// Characters of a delta: small enough that every reply has several.
const DELTA_CHARS: usize = 12;

/// A reply of text to a request that does not stream.
pub(super) fn whole(said: &Said, request: &Value, sequence: usize) -> Value {
    json!({
        "id": format!("msg_{sequence:024}"),
        "type": "message",
        "role": "assistant",
        "model": request["model"],
        "content": [{ "type": "text", "text": said.text }],
        "stop_reason": if said.cut_at_max_tokens { "max_tokens" } else { "end_turn" },
        "stop_sequence": null,
        "usage": { "input_tokens": said.input_tokens, "output_tokens": said.output_tokens },
    })
}

/// The whole stream of a reply.
pub(super) fn stream(said: &Said, request: &Value, sequence: usize) -> String {
    let mut stream = Stream::default();
    stream.event(&json!({
        "type": "message_start",
        "message": {
            "id": format!("msg_{sequence:024}"),
            "type": "message",
            "role": "assistant",
            "model": request["model"],
            "content": [],
            "stop_reason": null,
            "stop_sequence": null,
            "usage": {
                "input_tokens": said.input_tokens,
                "cache_creation_input_tokens": 0,
                "cache_read_input_tokens": 0,
                "output_tokens": 1,
            },
        },
    }));
    stream.event(&json!({ "type": "ping" }));
    if let Some((thinking, signature)) = &said.thinking {
        let start = json!({ "type": "thinking", "thinking": "", "signature": "" });
        let mut deltas: Vec<Value> = pieces(thinking, DELTA_CHARS)
            .into_iter()
            .map(|piece| json!({ "type": "thinking_delta", "thinking": piece }))
            .collect();
        deltas.push(json!({ "type": "signature_delta", "signature": signature }));
        stream.block(&start, &deltas);
    }
    if !said.text.is_empty() {
        let deltas: Vec<Value> = pieces(&said.text, DELTA_CHARS)
            .into_iter()
            .map(|piece| json!({ "type": "text_delta", "text": piece }))
            .collect();
        stream.block(&json!({ "type": "text", "text": "" }), &deltas);
    }
    for (position, (tool, arguments)) in said.calls.iter().enumerate() {
        let id = format!("toolu_{sequence:012}{position:012}");
        let start = json!({ "type": "tool_use", "id": id, "name": tool, "input": {} });
        // The first is empty, and for no arguments the only one.
        let mut deltas = vec![json!({ "type": "input_json_delta", "partial_json": "" })];
        if arguments != "{}" {
            deltas.extend(
                pieces(arguments, DELTA_CHARS)
                    .into_iter()
                    .map(|piece| json!({ "type": "input_json_delta", "partial_json": piece })),
            );
        }
        stream.block(&start, &deltas);
    }
    let stop_reason = match (said.cut_at_max_tokens, said.calls.is_empty()) {
        (true, _) => "max_tokens",
        (false, false) => "tool_use",
        (false, true) => "end_turn",
    };
    stream.event(&json!({
        "type": "message_delta",
        "delta": { "stop_reason": stop_reason, "stop_sequence": null },
        "usage": { "output_tokens": said.output_tokens },
    }));
    stream.event(&json!({ "type": "message_stop" }));
    stream.text
}

/// A stream that ends in an error in place of its last two events.
pub(super) fn with_error(stream: &str, kind: &str) -> String {
    let end = stream.find("event: message_delta").unwrap_or(stream.len());
    let mut cut = Stream {
        text: stream[..end].to_owned(),
        blocks: 0,
    };
    cut.event(
        &json!({ "type": "error", "error": { "type": kind, "message": "the test says so" } }),
    );
    cut.text
}

/// The body of a refusal.
pub(super) fn error(status: u16, message: &str) -> Value {
    let kind = match status {
        401 => "authentication_error",
        403 => "permission_error",
        404 => "not_found_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        400..=499 => "invalid_request_error",
        529 => "overloaded_error",
        _ => "api_error",
    };
    json!({
        "type": "error",
        "error": { "type": kind, "message": message },
        "request_id": "req_000000000000000000000001",
    })
}

#[derive(Default)]
struct Stream {
    text: String,
    blocks: u32,
}

impl Stream {
    fn event(&mut self, data: &Value) {
        let kind = data["type"].as_str().unwrap_or_default();
        write!(self.text, "event: {kind}\ndata: {data}\n\n").expect("a string takes all");
    }

    fn block(&mut self, start: &Value, deltas: &[Value]) {
        let index = self.blocks;
        self.blocks += 1;
        self.event(
            &json!({ "type": "content_block_start", "index": index, "content_block": start }),
        );
        for delta in deltas {
            self.event(&json!({ "type": "content_block_delta", "index": index, "delta": delta }));
        }
        self.event(&json!({ "type": "content_block_stop", "index": index }));
    }
}
