//! Both protocols against a loopback server that behaves, and one that does not.
#![expect(
    clippy::unwrap_used,
    reason = "these are tests, their helpers included"
)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use llm::{
    ApiKey, Block, Delta, LlmError, Message, Model, ModelRef, Protocol, Provider, Purpose, Reply,
    Request, Retries, Role, Settings, StopReason, TokenUsage, ToolSpec, connect,
};
use serde_json::{Value, json};
use spec::ByteSize;
use testkit::{EndpointProtocol, EndpointReply, ModelEndpoint, Said};

const KEY: &str = "sk-test-0123456789abcdef";
const BOTH: [EndpointProtocol; 2] = [EndpointProtocol::Anthropic, EndpointProtocol::OpenAi];
use EndpointReply as Answer;

fn settings(protocol: EndpointProtocol, base_url: &str) -> Settings {
    let provider = Provider {
        protocol: match protocol {
            EndpointProtocol::Anthropic => Protocol::AnthropicMessages,
            EndpointProtocol::OpenAi => Protocol::OpenAiChat,
        },
        base_url: base_url.to_owned(),
        key: Some(ApiKey {
            variable: "TEST_KEY".to_owned(),
            secret: Some(KEY.into()),
        }),
    };
    Settings {
        providers: [("test".to_owned(), provider)].into(),
        retries: Retries {
            attempts: 3,
            first_wait: Duration::from_millis(1),
            longest_wait: Duration::from_millis(5),
        },
        ..Settings::default()
    }
}

fn model(settings: &Settings) -> Arc<dyn Model> {
    connect(&"test:m-1".parse().unwrap(), settings).unwrap()
}

fn user(text: &str) -> Message {
    Message {
        role: Role::User,
        content: vec![Block::Text {
            text: text.to_owned(),
        }],
    }
}

fn request(messages: Vec<Message>) -> Request {
    Request {
        purpose: Purpose::MetaAgent,
        system: "You count.".to_owned(),
        messages,
        tools: vec![ToolSpec {
            name: "count".to_owned(),
            description: "Counts.".to_owned(),
            parameters: json!({"type": "object", "properties": {"path": {"type": "string"}}}),
        }],
        max_tokens: 1000,
    }
}

/// What was observed, in words.
#[derive(Default)]
struct Seen {
    text: String,
    calls: Vec<String>,
    retries: Vec<String>,
}

impl Seen {
    fn see(&mut self, delta: Delta<'_>) {
        match delta {
            Delta::Text(text) => self.text.push_str(text),
            Delta::ToolCall(name) => self.calls.push(name.to_owned()),
            Delta::Retry { attempt, why, .. } => {
                self.text.clear();
                self.calls.clear();
                self.retries.push(format!("{attempt}: {why}"));
            }
            other => panic!("unknown {other:?}"),
        }
    }
}

async fn ask_with(settings: &Settings, messages: Vec<Message>) -> (Result<Reply, LlmError>, Seen) {
    let mut seen = Seen::default();
    let result = model(settings)
        .reply(&request(messages), &mut |delta| seen.see(delta))
        .await;
    (result, seen)
}

async fn ask(
    protocol: EndpointProtocol,
    replies: Vec<EndpointReply>,
) -> (Result<Reply, LlmError>, Seen, ModelEndpoint) {
    let endpoint = ModelEndpoint::of(protocol)
        .key(KEY)
        .replies(replies)
        .start();
    let (result, seen) = ask_with(&settings(protocol, endpoint.url()), vec![user("Go.")]).await;
    (result, seen, endpoint)
}

fn said() -> Said {
    Said::text("I count the lines of “notes.txt” now. ✓")
        .call(
            "count",
            &json!({"path": "notes.txt", "deep": {"é": [1, 2.5, null]}}),
        )
        .call("count", &json!({}))
        .usage(1200, 34)
}

/// The reply to [`said`] without the ids, which are the endpoint's.
#[track_caller]
fn assert_said(reply: &Reply, seen: &Seen) {
    let [
        Block::Text { text },
        Block::ToolCall {
            id: first_id,
            name: first_name,
            arguments: first,
        },
        Block::ToolCall {
            id: second_id,
            arguments: second,
            ..
        },
    ] = reply.content.as_slice()
    else {
        panic!("{reply:?}");
    };
    assert_eq!(text, "I count the lines of “notes.txt” now. ✓");
    assert_eq!(&seen.text, text);
    assert_eq!(first_name, "count");
    assert_eq!(
        first.as_ref().unwrap()["deep"],
        json!({"é": [1, 2.5, null]})
    );
    assert_eq!(second.as_ref().unwrap().len(), 0);
    assert_ne!(first_id, second_id);
    assert_eq!(seen.calls, ["count", "count"]);
    assert_eq!(reply.stop, StopReason::ToolUse);
    assert_eq!(
        reply.usage,
        TokenUsage {
            input_tokens: 1200,
            output_tokens: 34,
            cached_tokens: 0
        }
    );
}

#[tokio::test]
async fn a_reply_with_text_and_calls() {
    for protocol in BOTH {
        let (result, seen, endpoint) = ask(protocol, vec![said().into()]).await;
        assert_said(&result.unwrap(), &seen);
        assert_eq!(seen.retries, [""; 0]);
        assert_eq!(endpoint.received().len(), 1);
    }
}

#[tokio::test]
async fn a_stream_of_single_bytes() {
    for protocol in BOTH {
        let endpoint = ModelEndpoint::of(protocol)
            .replies([said().into()])
            .single_bytes()
            .start();
        let (result, seen) = ask_with(&settings(protocol, endpoint.url()), vec![user("Go.")]).await;
        assert_said(&result.unwrap(), &seen);
        assert_eq!(seen.retries, [""; 0]);
    }
}

#[tokio::test]
async fn a_stream_that_is_cut_off_is_asked_for_again() {
    for protocol in BOTH {
        let (result, seen, endpoint) =
            ask(protocol, vec![Answer::CutOff(said()), said().into()]).await;
        assert_said(&result.unwrap(), &seen);
        assert_eq!(seen.retries.len(), 1, "{:?}", seen.retries);
        assert_eq!(endpoint.received().len(), 2);
    }
}

#[tokio::test]
async fn a_stream_that_is_cut_off_each_time_is_no_answer() {
    for protocol in BOTH {
        let (result, _, endpoint) = ask(protocol, vec![Answer::CutOff(said()); 3]).await;
        let error = result.unwrap_err();
        assert!(
            matches!(error, LlmError::Unreachable { attempts: 3, .. }),
            "{error:?}"
        );
        assert!(error.is_unavailable());
        assert!(
            error.hint().unwrap().contains(endpoint.url()),
            "{:?}",
            error.hint()
        );
        assert_eq!(endpoint.received().len(), 3);
    }
}

#[tokio::test]
async fn a_stream_that_ends_cleanly_but_early_is_no_answer() {
    let begun = [
        "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{}}\n\n",
        "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"I\"}}]}\n\n",
    ];
    for (protocol, begun) in BOTH.into_iter().zip(begun) {
        for text in ["", ": waiting\n\n", begun] {
            let replies = vec![Answer::raw("text/event-stream", text); 3];
            let (result, seen, _) = ask(protocol, replies).await;
            let error = result.unwrap_err();
            assert!(
                matches!(error, LlmError::Unreachable { .. }),
                "{text}: {error:?}"
            );
            let why = "1: the stream ended in the middle of the reply";
            assert_eq!(seen.retries[0], why);
        }
    }
}

#[tokio::test]
async fn an_overloaded_endpoint_is_asked_again() {
    for protocol in BOTH {
        let replies = vec![
            Answer::status(529, "Overloaded"),
            Answer::status(500, "oops"),
            said().into(),
        ];
        let (result, seen, _) = ask(protocol, replies).await;
        assert_said(&result.unwrap(), &seen);
        assert_eq!(
            seen.retries,
            ["1: HTTP 529: Overloaded", "2: HTTP 500: oops"]
        );
    }
}

#[tokio::test]
async fn an_endpoint_that_stays_overloaded_is_unavailable() {
    for protocol in BOTH {
        let (result, seen, _) = ask(protocol, vec![Answer::status(529, "Overloaded"); 3]).await;
        let error = result.unwrap_err();
        let LlmError::Unavailable {
            status,
            attempts,
            message,
            ..
        } = &error
        else {
            panic!("{error:?}");
        };
        assert_eq!(
            (*status, *attempts, message.as_str()),
            (529, 3, "Overloaded")
        );
        assert_eq!(error.hint().as_deref(), Some("try again later"));
        assert_eq!(seen.retries.len(), 2);
    }
}

#[tokio::test]
async fn retry_after_is_honoured_up_to_the_longest_wait() {
    for protocol in BOTH {
        let endpoint = ModelEndpoint::of(protocol)
            .replies([
                Answer::rate_limited("0"),
                Answer::rate_limited("3600"),
                said().into(),
            ])
            .start();
        let mut settings = settings(protocol, endpoint.url());
        // Neither is the wait that the backoff would have chosen.
        settings.retries.first_wait = Duration::from_secs(600);
        settings.retries.longest_wait = Duration::from_millis(20);
        let mut waits = Vec::new();
        let begun = Instant::now();
        let reply = model(&settings)
            .reply(&request(vec![user("Go.")]), &mut |delta| {
                if let Delta::Retry { wait, .. } = delta {
                    waits.push(wait);
                }
            })
            .await;
        assert_eq!(reply.unwrap().stop, StopReason::ToolUse);
        assert_eq!(waits, [Duration::ZERO, Duration::from_millis(20)]);
        assert!(begun.elapsed() < Duration::from_secs(60));
    }
}

#[tokio::test]
async fn silence_is_no_answer() {
    for protocol in BOTH {
        for replies in [vec![Answer::Hang; 3], vec![Answer::Stalled(said()); 3]] {
            let endpoint = ModelEndpoint::of(protocol).replies(replies).start();
            let mut settings = settings(protocol, endpoint.url());
            settings.idle_timeout = Duration::from_millis(50);
            let (result, seen) = ask_with(&settings, vec![user("Go.")]).await;
            let error = result.unwrap_err();
            assert!(
                matches!(error, LlmError::Unreachable { attempts: 3, .. }),
                "{error:?}"
            );
            assert_eq!(seen.retries[1], "2: nothing came for 50ms");
        }
    }
}

#[tokio::test]
async fn after_silence_comes_a_reply() {
    for protocol in BOTH {
        let endpoint = ModelEndpoint::of(protocol)
            .replies([Answer::Hang, said().into()])
            .start();
        let mut settings = settings(protocol, endpoint.url());
        settings.idle_timeout = Duration::from_millis(500);
        let (result, seen) = ask_with(&settings, vec![user("Go.")]).await;
        assert_said(&result.unwrap(), &seen);
    }
}

#[tokio::test]
async fn nobody_listening_is_no_answer() {
    let address = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap()
    };
    for protocol in BOTH {
        let settings = settings(protocol, &format!("http://{address}"));
        let (result, seen) = ask_with(&settings, vec![user("Go.")]).await;
        let error = result.unwrap_err();
        assert!(
            matches!(error, LlmError::Unreachable { attempts: 3, .. }),
            "{error:?}"
        );
        assert!(
            seen.retries[0].contains("Connection refused"),
            "{:?}",
            seen.retries
        );
        assert!(
            error.hint().unwrap().starts_with("start the server"),
            "{error:?}"
        );
    }
}

#[tokio::test]
async fn what_is_not_the_protocol_is_said_and_not_asked_again() {
    let cases = [
        (Answer::html(), "<!doctype html>"),
        (Answer::garbage(), "%$#{["),
        (
            Answer::raw("text/event-stream", "Service ready.\r\n"),
            "Service ready.",
        ),
        (
            Answer::raw("text/event-stream", "{\"error\": 1}"),
            "\"error\"",
        ),
        (
            Answer::raw("application/json", "{\"choices\": []}"),
            "choices",
        ),
        (Answer::raw("text/event-stream", "data: 7\n\n"), "7"),
        (Answer::raw("text/event-stream", "data: [\n\n"), "EOF"),
        (
            Answer::Raw {
                status: 200,
                headers: vec![("content-type".to_owned(), "text/event-stream".to_owned())],
                body: b"data: \xff\xfe\n\n".to_vec(),
            },
            "utf",
        ),
    ];
    for protocol in BOTH {
        for (reply, shown) in cases.clone() {
            let (result, _, endpoint) = ask(protocol, vec![reply.clone()]).await;
            let error = result.unwrap_err();
            assert!(
                matches!(error, LlmError::Protocol { .. }),
                "{reply:?}: {error:?}"
            );
            assert!(error.to_string().contains(shown), "{error}");
            assert!(error.is_unavailable() && error.hint().is_some());
            assert_eq!(endpoint.received().len(), 1);
        }
    }
}

#[tokio::test]
async fn a_wrong_key_is_said_with_where_it_came_from() {
    for protocol in BOTH {
        let endpoint = ModelEndpoint::of(protocol)
            .key("another")
            .replies([said().into()])
            .start();
        let (result, _) = ask_with(&settings(protocol, endpoint.url()), vec![user("Go.")]).await;
        let error = result.unwrap_err();
        assert!(
            matches!(error, LlmError::Unauthorized { status: 401, .. }),
            "{error:?}"
        );
        assert!(
            error.to_string().ends_with("(HTTP 401): the key is wrong"),
            "{error}"
        );
        assert!(
            error.hint().unwrap().contains("`TEST_KEY`"),
            "{:?}",
            error.hint()
        );
        assert!(error.is_unavailable());
        assert_eq!(endpoint.received().len(), 1);
    }
}

#[tokio::test]
async fn a_refused_request_is_not_asked_again() {
    for protocol in BOTH {
        for status in [400, 404, 413, 422] {
            let (result, _, endpoint) = ask(
                protocol,
                vec![Answer::status(status, "max_tokens: too\nmany")],
            )
            .await;
            let error = result.unwrap_err();
            let LlmError::Refused {
                status: found,
                message,
                ..
            } = &error
            else {
                panic!("{error:?}");
            };
            assert_eq!((*found, message.as_str()), (status, "max_tokens: too many"));
            assert_eq!(error.is_unavailable(), status == 404);
            assert_eq!(endpoint.received().len(), 1);
        }
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    for protocol in BOTH {
        let elsewhere = ModelEndpoint::of(protocol).replies([said().into()]).start();
        let location = format!("{}/v1/messages", elsewhere.url());
        let redirect = Answer::Raw {
            status: 307,
            headers: vec![("location".to_owned(), location.clone())],
            body: Vec::new(),
        };
        let (result, _, _) = ask(protocol, vec![redirect]).await;
        let error = result.unwrap_err();
        assert!(
            matches!(error, LlmError::Refused { status: 307, .. }),
            "{error:?}"
        );
        assert!(error.to_string().contains(&location), "{error}");
        assert_eq!(elsewhere.received().len(), 0);
    }
}

#[tokio::test]
async fn an_error_within_a_stream_counts_as_its_kind() {
    let error = |kind: &str| Answer::ErrorInStream {
        said: said(),
        kind: kind.to_owned(),
    };
    for protocol in BOTH {
        let replies = vec![error("overloaded_error"), said().into()];
        let (result, seen, _) = ask(protocol, replies).await;
        assert_said(&result.unwrap(), &seen);
        assert_eq!(seen.retries, ["1: HTTP 529: the test says so"]);

        let (result, _, _) = ask(protocol, vec![error("invalid_request_error")]).await;
        let refused = result.unwrap_err();
        assert!(
            matches!(refused, LlmError::Refused { status: 400, .. }),
            "{refused:?}"
        );

        let (result, _, _) = ask(protocol, vec![error("api_error"); 3]).await;
        let failing = result.unwrap_err();
        let expected = matches!(
            failing,
            LlmError::Unavailable {
                status: 500,
                attempts: 3,
                ..
            }
        );
        assert!(expected, "{failing:?}");
    }
}

#[tokio::test]
async fn a_reply_has_a_largest_size() {
    for protocol in BOTH {
        let endpoint = ModelEndpoint::of(protocol)
            .replies([Answer::text(&"long ".repeat(10_000))])
            .start();
        let mut settings = settings(protocol, endpoint.url());
        settings.max_reply = ByteSize::kib(64);
        let (result, _) = ask_with(&settings, vec![user("Go.")]).await;
        let error = result.unwrap_err();
        assert!(matches!(error, LlmError::Protocol { .. }), "{error:?}");
        assert!(
            error.to_string().contains("longer than 65536 bytes"),
            "{error}"
        );
    }
}

/// Continues a conversation with results for all calls of a reply, and gives the second request.
async fn continue_after(protocol: EndpointProtocol, first: Said) -> (Reply, Value) {
    let endpoint = ModelEndpoint::of(protocol)
        .replies([first.into(), Answer::text("Done.")])
        .start();
    let settings = settings(protocol, endpoint.url());
    let (first, _) = ask_with(&settings, vec![user("Go.")]).await;
    let first = first.unwrap();
    let results = first.content.iter().filter_map(|block| match block {
        Block::ToolCall { id, .. } => Some(Block::ToolResult {
            id: id.clone(),
            content: "3 lines".to_owned(),
            is_error: false,
        }),
        _ => None,
    });
    let messages = vec![
        user("Go."),
        Message {
            role: Role::Assistant,
            content: first.content.clone(),
        },
        Message {
            role: Role::User,
            content: results
                .chain([Block::Text {
                    text: "Two turns are left.".to_owned(),
                }])
                .collect(),
        },
    ];
    let (second, _) = ask_with(&settings, messages).await;
    assert_eq!(second.unwrap().stop, StopReason::End);
    (first, endpoint.received()[1].body.clone())
}

#[tokio::test]
async fn arguments_that_are_no_json_are_told_and_do_not_break_the_conversation() {
    for protocol in BOTH {
        for wrong in [r#"{"path": "a"#, "[1]", "count it"] {
            let said = Said::default().call_with_text("count", wrong);
            let (reply, _) = continue_after(protocol, said).await;
            let [Block::ToolCall { arguments, .. }] = reply.content.as_slice() else {
                panic!("{reply:?}");
            };
            let told = arguments.as_ref().unwrap_err();
            assert!(told.ends_with(wrong), "{told}");
        }
    }
}

#[tokio::test]
async fn thinking_goes_back_unchanged() {
    let said = said().thinking("Lines, I think,\nare what counts.", "EqQBCgIYAhIM+/==");
    let (reply, second) = continue_after(EndpointProtocol::Anthropic, said).await;
    let thinking = json!({
        "type": "thinking",
        "thinking": "Lines, I think,\nare what counts.",
        "signature": "EqQBCgIYAhIM+/==",
    });
    assert_eq!(
        reply.content[0],
        Block::Opaque {
            raw: thinking.clone()
        }
    );
    assert_eq!(second["messages"][1]["content"][0], thinking);
}

#[tokio::test]
async fn anthropics_requests_are_as_documented() {
    let (reply, second) = continue_after(EndpointProtocol::Anthropic, said()).await;
    let Block::ToolCall { id, .. } = &reply.content[2] else {
        panic!("{reply:?}");
    };
    let cache = json!({"type": "ephemeral"});
    assert_eq!(second["model"], "m-1");
    assert_eq!(second["max_tokens"], 1000);
    assert_eq!(
        second["system"],
        json!([{"type": "text", "text": "You count.", "cache_control": cache}])
    );
    assert_eq!(second["tools"][0]["cache_control"], cache);
    assert_eq!(
        second["messages"][1]["content"][2],
        json!({"type": "tool_use", "id": id, "name": "count", "input": {}})
    );
    assert_eq!(
        second["messages"][2]["content"].as_array().unwrap()[1..],
        [
            json!({"type": "tool_result", "tool_use_id": id, "content": "3 lines", "is_error": false}),
            json!({"type": "text", "text": "Two turns are left.", "cache_control": cache}),
        ]
    );
}

#[tokio::test]
async fn openais_requests_are_as_documented() {
    let (reply, second) = continue_after(EndpointProtocol::OpenAi, said()).await;
    let Block::ToolCall { id, .. } = &reply.content[2] else {
        panic!("{reply:?}");
    };
    assert_eq!(second["max_tokens"], 1000);
    assert_eq!(second["stream_options"], json!({"include_usage": true}));
    assert_eq!(second["tools"][0]["function"]["name"], "count");
    let messages = second["messages"].as_array().unwrap();
    assert_eq!(
        messages[0],
        json!({"role": "system", "content": "You count."})
    );
    assert_eq!(
        messages[2]["tool_calls"][1],
        json!({"id": id, "type": "function", "function": {"name": "count", "arguments": "{}"}})
    );
    assert_eq!(
        messages[4..],
        [
            json!({"role": "tool", "tool_call_id": id, "content": "3 lines"}),
            json!({"role": "user", "content": "Two turns are left."}),
        ]
    );
}

#[tokio::test]
async fn the_key_is_sent_and_never_shown() {
    for protocol in BOTH {
        let echo = format!(r#"{{"error":{{"message":"you sent {KEY}"}}}}"#);
        let cut = format!("data: {} {KEY}", "x".repeat(215));
        let replies = [
            Answer::Raw {
                status: 400,
                headers: Vec::new(),
                body: echo.clone().into_bytes(),
            },
            Answer::raw("text/plain", &echo),
            Answer::raw("text/event-stream", &format!("data: {echo}\n\n")),
            Answer::raw("text/event-stream", &format!("data: {KEY}\n\n")),
            Answer::raw("text/event-stream", &format!("{KEY}\n\n")),
            Answer::raw("text/event-stream", &cut.replace("data", "what")),
        ];
        for reply in replies {
            let endpoint = ModelEndpoint::of(protocol)
                .key(KEY)
                .answering(move |_| reply.clone())
                .start();
            let settings = settings(protocol, endpoint.url());
            let (result, seen) = ask_with(&settings, vec![user("Go.")]).await;
            let shown = format!(
                "{:?} {:?} {settings:?} {:?}",
                result.unwrap_err(),
                seen.retries,
                model(&settings)
            );
            assert!(!shown.contains(&KEY[..8]), "{shown}");
        }
    }
}

#[test]
fn what_is_missing_is_said_before_anything_is_sent() {
    let not_configured = |name: &str, settings: &Settings| {
        let name: ModelRef = name.parse().unwrap();
        let error = connect(&name, settings)
            .map(|model| model.name())
            .unwrap_err();
        assert!(matches!(error, LlmError::NotConfigured { .. }), "{error:?}");
        assert!(error.is_unavailable());
        (error.to_string(), error.hint().unwrap())
    };
    let mut settings = Settings::default();
    let (message, hint) = not_configured("anthropic:m", &settings);
    assert_eq!(
        message,
        "the model `anthropic:m` is not configured: there is no key in `ANTHROPIC_API_KEY`"
    );
    assert_eq!(hint, "set `ANTHROPIC_API_KEY` to the provider's key");
    let (_, hint) = not_configured("openai:m", &settings);
    assert!(hint.contains("`OPENAI_API_KEY`"), "{hint}");
    let (message, hint) = not_configured("olama:m", &settings);
    assert!(
        message.ends_with("there is no provider `olama`"),
        "{message}"
    );
    assert!(
        hint.contains("anthropic, ollama, openai, scripted"),
        "{hint}"
    );
    assert_eq!(
        connect(&"ollama:m".parse().unwrap(), &settings)
            .unwrap()
            .name(),
        "ollama:m"
    );

    for key in [" ", "sk-\u{1}-0123456789", "sk-\nx"] {
        let openai = settings.providers.get_mut("openai").unwrap();
        openai.key.as_mut().unwrap().secret = Some(key.into());
        let (message, _) = not_configured("openai:m", &settings);
        assert!(
            message.contains("`OPENAI_API_KEY`") && !message.contains("sk-"),
            "{message}"
        );
    }
    settings.providers.get_mut("ollama").unwrap().base_url = "localhost:11434".to_owned();
    let (message, hint) = not_configured("ollama:m", &settings);
    assert!(message.contains("http://"), "{message}");
    assert!(hint.contains("https://host.example/v1"), "{hint}");
}
