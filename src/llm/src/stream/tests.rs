use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::{Block, StopReason, TokenUsage, anthropic, openai};

/// With CRLF, a byte order mark, comments, characters of several bytes, and blocks of all kinds.
const ANTHROPIC: &str = concat!(
    "\u{feff}: connected\r\n\r\n",
    "event: message_start\r\n",
    r#"data: {"type":"message_start","message":{"id":"m","usage":{"input_tokens":7,"cache_creation_input_tokens":20,"cache_read_input_tokens":300,"output_tokens":1}}}"#,
    "\r\n\r\nevent: ping\r\ndata: {\"type\":\"ping\"}\r\n\r\n",
    "event: content_block_start\n",
    r#"data: {"type":"content_block_start","index":0,"content_block":{"type":"thinking","thinking":"","signature":""}}"#,
    "\n\n",
    r#"data: {"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"Hm, "}}"#,
    "\n\n",
    r#"data: {"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"naïve."}}"#,
    "\n\n",
    r#"data: {"type":"content_block_delta","index":0,"delta":{"type":"signature_delta","signature":"c2ln"}}"#,
    "\n\n",
    r#"data: {"type":"content_block_start","index":1,"content_block":{"type":"redacted_thinking","data":"b3BhcXVl"}}"#,
    "\n\n",
    r#"data: {"type":"content_block_start","index":2,"content_block":{"type":"text","text":"Grüß"}}"#,
    "\n\n",
    r#"data: {"type":"content_block_delta","index":2,"delta":{"type":"text_delta","text":" Gott 🌍"}}"#,
    "\n\n",
    r#"data: {"type":"content_block_start","index":3,"content_block":{"type":"tool_use","id":"t1","name":"f","input":{}}}"#,
    "\n\n",
    r#"data: {"type":"content_block_delta","index":3,"delta":{"type":"input_json_delta","partial_json":"{\"a\": \"z"}}"#,
    "\n\n",
    r#"data: {"type":"content_block_delta","index":3,"delta":{"type":"input_json_delta","partial_json":"wölf\"}"}}"#,
    "\n\n",
    r#"data: {"type":"content_block_stop","index":3}"#,
    "\n\n",
    r#"data: {"type":"content_block_start","index":4,"content_block":{"type":"tool_use","id":"t2","name":"g","input":{"b":1}}}"#,
    "\n\n",
    r#"data: {"type":"something_new","index":9,"delta":{"x":1}}"#,
    "\n\n",
    r#"data: {"type":"message_delta","delta":{"stop_reason":"tool_use"},"usage":{"input_tokens":0,"output_tokens":42}}"#,
    "\n\nevent: message_stop\ndata: {\"type\":\"message_stop\"}\n\n",
);

/// As local servers send it: comments, thoughts, no `[DONE]`, usage in the last chunk.
const OPENAI: &str = concat!(
    ": PROCESSING\n\n",
    r#"data: {"choices":[{"index":0,"delta":{"role":"assistant","content":null},"finish_reason":null}],"usage":null}"#,
    "\r\n\r\n",
    r#"data: {"choices":[{"index":0,"delta":{"reasoning_content":"Hm, "}}]}"#,
    "\n\n",
    r#"data: {"choices":[{"index":0,"delta":{"reasoning_content":"naïve."}}]}"#,
    "\n\n",
    r#"data: {"choices":[{"index":0,"delta":{"content":"Grüß Gott "}},{"index":1,"delta":{"content":"other"}}]}"#,
    "\n\n",
    r#"data: {"choices":[{"delta":{"content":[{"type":"text","text":"🌍"}]}}]}"#,
    "\n\n",
    r#"data: {"choices":[{"index":0,"delta":{"tool_calls":[{"function":{"name":"f","arguments":"{\"a\": \"zw"}}]}}]}"#,
    "\n\n",
    r#"data: {"choices":[{"index":0,"delta":{"tool_calls":[{"function":{"arguments":"ölf\"}"}},{"id":"t2","function":{"name":"g"}}]}}]}"#,
    "\n\n",
    r#"data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"usage":{"prompt_tokens":327,"completion_tokens":42,"prompt_tokens_details":{"cached_tokens":300}}}"#,
    "\n\n",
    "data: [DONE]\n",
);

fn call(id: &str, name: &str, arguments: &Value) -> Block {
    Block::ToolCall {
        id: id.to_owned(),
        name: name.to_owned(),
        arguments: Ok(arguments.as_object().unwrap().clone()),
    }
}

fn expected(openai: bool) -> Reply {
    let text = Block::Text {
        text: "Grüß Gott 🌍".to_owned(),
    };
    let opaque = |raw| Block::Opaque { raw };
    let content = if openai {
        vec![
            opaque(json!({"reasoning_content": "Hm, naïve."})),
            text,
            call("call_3_0", "f", &json!({"a": "zwölf"})),
            call("t2", "g", &json!({})),
        ]
    } else {
        vec![
            opaque(json!({"type": "thinking", "thinking": "Hm, naïve.", "signature": "c2ln"})),
            opaque(json!({"type": "redacted_thinking", "data": "b3BhcXVl"})),
            text,
            call("t1", "f", &json!({"a": "zwölf"})),
            call("t2", "g", &json!({"b": 1})),
        ]
    };
    Reply {
        content,
        stop: StopReason::ToolUse,
        usage: TokenUsage {
            input_tokens: 327,
            output_tokens: 42,
            cached_tokens: 300,
        },
    }
}

fn decode(openai: bool, chunks: Vec<Bytes>, observed: &mut String) -> Result<Reply, Fault> {
    let decoder: Box<dyn Decoder + Send> = if openai {
        Box::new(openai::Chunks::new(3))
    } else {
        Box::new(anthropic::Events::default())
    };
    let chunks = chunks.into_iter().map(Ok::<_, std::io::Error>);
    let bounds = Bounds {
        idle: Duration::from_secs(60),
        bytes: 1 << 20,
    };
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap()
        .block_on(read(
            futures::stream::iter(chunks),
            bounds,
            decoder,
            &mut |delta| {
                if let Delta::Text(text) = delta {
                    observed.push_str(text);
                }
            },
        ))
}

fn decode_text(openai: bool, text: &str) -> Result<Reply, Fault> {
    let chunk = Bytes::copy_from_slice(text.as_bytes());
    decode(openai, vec![chunk], &mut String::new())
}

proptest! {
    #[test]
    fn however_a_stream_is_cut_into_chunks_the_reply_is_the_same(
        openai: bool,
        cuts in prop::collection::vec(0_usize..4096, 0..40),
        single_bytes in prop::bool::weighted(0.1),
    ) {
        let stream = if openai { OPENAI } else { ANTHROPIC };
        let bytes = Bytes::from_static(stream.as_bytes());
        let mut cuts: Vec<usize> = if single_bytes {
            (0..bytes.len()).collect()
        } else {
            cuts.into_iter().map(|cut| cut % bytes.len()).collect()
        };
        cuts.push(0);
        cuts.push(bytes.len());
        cuts.sort_unstable();
        let chunks = cuts.windows(2).map(|cut| bytes.slice(cut[0]..cut[1])).collect();
        let mut observed = String::new();
        let reply = decode(openai, chunks, &mut observed).unwrap();
        prop_assert_eq!(reply, expected(openai));
        prop_assert_eq!(observed, "Grüß Gott 🌍");
    }

    #[test]
    fn a_stream_that_ends_early_is_never_a_reply(end in 0_usize..ANTHROPIC.len() - 2) {
        let begun = Bytes::from_static(&ANTHROPIC.as_bytes()[..end]);
        let fault = decode(false, vec![begun], &mut String::new()).unwrap_err();
        prop_assert!(matches!(fault, Fault::Connection(_)), "{:?}", fault);
    }

    #[test]
    fn no_stream_makes_the_decoder_panic(
        openai: bool,
        events in prop::collection::vec(
            prop::sample::select(
                ANTHROPIC
                    .lines()
                    .chain(OPENAI.lines())
                    .chain([
                        "data: [DONE]",
                        "data: {}",
                        "data: {\"type\":\"content_block_delta\",\"index\":18446744073709551615,\"delta\":{}}",
                        "data: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{}}",
                        "data: {\"choices\":null}",
                        "data: {\"choices\":[{\"delta\":{\"tool_calls\":[{}]}}]}",
                        "data: {\"error\":null}",
                        "event: error",
                    ])
                    .collect::<Vec<_>>(),
            ),
            0..30,
        ),
    ) {
        drop(decode_text(openai, &events.join("\n\n")));
    }
}

#[track_caller]
fn reply(openai: bool, events: &[&str]) -> Reply {
    let text = format!("data: {}\n\n", events.join("\n\ndata: "));
    decode_text(openai, &text).unwrap()
}

#[test]
fn each_stop_reason_has_its_meaning() {
    let check = |openai: bool, reason: &str, expected: StopReason| {
        let found = if openai {
            let chunk = json!({"choices": [{"delta": {"content": "x"}, "finish_reason": reason}]});
            reply(true, &[&chunk.to_string(), "[DONE]"])
        } else {
            let end = json!({"type": "message_delta", "delta": {"stop_reason": reason}});
            reply(false, &[&end.to_string(), r#"{"type":"message_stop"}"#])
        };
        assert_eq!(found.stop, expected, "{reason}");
    };
    check(false, "end_turn", StopReason::End);
    check(false, "stop_sequence", StopReason::End);
    check(false, "max_tokens", StopReason::MaxTokens);
    check(
        false,
        "model_context_window_exceeded",
        StopReason::MaxTokens,
    );
    check(false, "refusal", StopReason::Refusal);
    check(false, "yet to come", StopReason::End);
    check(true, "stop", StopReason::End);
    check(true, "length", StopReason::MaxTokens);
    check(true, "content_filter", StopReason::Refusal);
}

#[test]
fn a_server_may_leave_out_nearly_everything() {
    let reply = reply(
        true,
        &[r#"{"choices":[{"delta":{"content":"Hi"}}]}"#, "[DONE]"],
    );
    assert_eq!(
        reply.content,
        [Block::Text {
            text: "Hi".to_owned()
        }]
    );
    assert_eq!(reply.stop, StopReason::End);
    assert_eq!(reply.usage, TokenUsage::default());
}

#[test]
fn a_refusal_in_words_is_text_and_a_refusal() {
    let reply = reply(
        true,
        &[
            r#"{"choices":[{"delta":{"content":null,"refusal":"I cannot."}}]}"#,
            r#"{"choices":[{"delta":{},"finish_reason":"stop"}]}"#,
            "[DONE]",
        ],
    );
    assert_eq!(
        reply.content,
        [Block::Text {
            text: "I cannot.".to_owned()
        }]
    );
    assert_eq!(reply.stop, StopReason::Refusal);
}

#[test]
fn an_error_comes_in_many_shapes() {
    let check = |openai: bool, text: &str, expected: (u16, &str)| {
        let fault = decode_text(openai, text).unwrap_err();
        let Fault::Reported(reported) = fault else {
            panic!("{text}: {fault:?}");
        };
        assert_eq!(
            (reported.status, reported.message.as_str()),
            expected,
            "{text}"
        );
    };
    check(
        false,
        "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"Busy\"}}\n\n",
        (529, "Busy"),
    );
    check(
        true,
        "data: {\"error\":{\"message\":\"Busy\",\"code\":503},\"choices\":[]}\n\n",
        (503, "Busy"),
    );
    check(
        true,
        "data: {\"object\":\"error\",\"message\":\"too long\",\"type\":\"BadRequestError\",\"code\":400}\n\n",
        (400, "too long"),
    );
    check(
        true,
        "event: error\ndata: {\"message\":\"Busy\"}\n\n",
        (500, "Busy"),
    );
    check(true, "data: {\"error\":\"Busy\"}\n\n", (500, "Busy"));
}

#[test]
fn events_that_make_no_sense_are_not_the_protocol() {
    let check = |openai: bool, event: &str| {
        let text = format!("data: {event}\n\ndata: {{\"type\":\"message_stop\"}}\n\n");
        let fault = decode_text(openai, &text).unwrap_err();
        assert!(matches!(fault, Fault::Protocol(_)), "{event}: {fault:?}");
    };
    check(
        false,
        r#"{"type":"content_block_delta","index":0,"delta":{"text":"x"}}"#,
    );
    check(
        false,
        r#"{"type":"content_block_start","content_block":{"type":"text"}}"#,
    );
    check(
        false,
        r#"{"type":"content_block_start","index":0,"content_block":{"type":"tool_use","id":"t"}}"#,
    );
    check(false, "[DONE]");
    check(true, "[DONE]");
    check(true, r#"{"choices":"none"}"#);
    check(
        true,
        r#"{"choices":[{"delta":{"tool_calls":[{"index":0,"id":"a"}]},"finish_reason":"stop"}]}"#,
    );
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    check(true, &deep);
    check(false, &deep);
}

#[test]
fn arguments_are_an_object_or_nothing() {
    assert_eq!(parse_arguments(" "), Ok(Map::new()));
    assert_eq!(parse_arguments("null"), Ok(Map::new()));
    assert_eq!(parse_arguments(r#"{"a":1}"#).unwrap()["a"], 1);
    assert_eq!(
        parse_arguments("[1]").unwrap_err(),
        "not a JSON object (not an object): [1]"
    );
    let cut = parse_arguments(r#"{"a": "b"#).unwrap_err();
    assert!(cut.contains("EOF") && cut.ends_with(r#"{"a": "b"#), "{cut}");
}

#[test]
fn the_beginning_tells_events_from_other_text() {
    for events in [
        "",
        "\u{feff}data",
        ": ping",
        "ev",
        "event: x",
        "\n\nid:",
        "r",
        "data",
    ] {
        assert!(check_head(events.as_bytes()).is_ok(), "{events}");
    }
    assert!(check_head(b"\xef\xbb").is_ok());
    for other in [
        "<html>",
        "{\"error\":1}",
        "garbage",
        "evil",
        "\u{feff}<html>",
    ] {
        assert!(check_head(other.as_bytes()).is_err(), "{other}");
    }
}
