//! What can go wrong with one attempt, and which of it may pass.

use std::error::Error;
use std::time::Duration;

use jiff::fmt::rfc2822::DateTimeParser;
use reqwest::header::{DATE, HeaderMap, RETRY_AFTER};
use serde_json::Value;

/// Characters of an endpoint's answer that a message shows.
const SHOWN_CHARS: usize = 300;

/// Why one attempt gave no reply.
#[derive(Debug)]
pub(crate) enum Fault {
    /// The endpoint said so, by a status or within the stream.
    Reported(Reported),
    /// No connection, or it broke, or nothing came for too long.
    Connection(Box<dyn Error + Send + Sync>),
    /// What came is not the protocol: why, with what came, uncut.
    Protocol(String),
}

/// An endpoint's own word on what is wrong.
#[derive(Debug)]
pub(crate) struct Reported {
    /// The status, or the one that stands for the kind of an error within a stream.
    pub(crate) status: u16,
    /// What it said, uncut.
    pub(crate) message: String,
    /// How long it asks to wait.
    pub(crate) retry_after: Option<Duration>,
    /// Whether it said that the account's quota is used up: that does not pass.
    pub(crate) quota: bool,
}

impl Reported {
    /// Reads the body of an answer whose status is not success.
    pub(crate) fn from_answer(status: u16, headers: &HeaderMap, body: &str) -> Self {
        let value: Option<Value> = serde_json::from_str(body).ok();
        let (message, kind) = value
            .as_ref()
            .and_then(message_and_kind)
            .unwrap_or((body, ""));
        Self {
            status,
            message: message.to_owned(),
            retry_after: retry_after(headers),
            quota: kind == "insufficient_quota",
        }
    }

    /// Reads an `error` object that came within a stream.
    pub(crate) fn from_stream(error: &Value) -> Self {
        let whole = Value::from(serde_json::Map::from_iter([(
            "error".to_owned(),
            error.clone(),
        )]));
        let (message, kind) = message_and_kind(&whole).unwrap_or(("", ""));
        let code = error.get("code").and_then(Value::as_u64);
        let status = match code.and_then(|code| u16::try_from(code).ok()) {
            Some(code @ 400..=599) => code,
            _ => status_of_kind(kind),
        };
        Self {
            status,
            message: message.to_owned(),
            retry_after: None,
            quota: kind == "insufficient_quota",
        }
    }

    /// Whether the same request may succeed a little later.
    pub(crate) fn may_pass(&self) -> bool {
        matches!(self.status, 408 | 409 | 425 | 429 | 500..=599) && !self.quota
    }
}

/// The message and the machine-readable kind of an error, in the shapes that endpoints use:
/// `{"error": {"message", "type" | "code"}}`, `{"error": "..."}`, `{"message"}`, `{"detail"}`.
fn message_and_kind(body: &Value) -> Option<(&str, &str)> {
    let error = body.get("error").unwrap_or(body);
    if let Some(message) = error.as_str() {
        return Some((message, ""));
    }
    let text = |key: &str| error.get(key)?.as_str().filter(|text| !text.is_empty());
    let kind = match text("code") {
        Some(code @ "insufficient_quota") => code,
        code => text("type").or(code).unwrap_or(""),
    };
    let message = text("message").or_else(|| text("detail")).unwrap_or(kind);
    (!message.is_empty()).then_some((message, kind))
}

/// The status that an error within a stream would have had before it.
///
/// Source: the vendors' tables of error types; what is unknown counts as the server's failure.
fn status_of_kind(kind: &str) -> u16 {
    match kind {
        "invalid_request_error" => 400,
        "authentication_error" | "invalid_api_key" => 401,
        "billing_error" => 402,
        "permission_error" => 403,
        "not_found_error" => 404,
        "request_too_large" => 413,
        "rate_limit_error" | "rate_limit_exceeded" | "insufficient_quota" => 429,
        "timeout_error" => 504,
        "overloaded_error" => 529,
        _ => 500,
    }
}

/// How long a `Retry-After` header asks to wait: seconds, or a date, which is taken against the
/// answer's own `Date`, so that no clock has to agree with another.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let asked = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = asked.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let timestamp = |text: &str| DateTimeParser::new().parse_timestamp(text).ok();
    let until = timestamp(asked)?;
    let now = timestamp(headers.get(DATE)?.to_str().ok()?)?;
    Some(Duration::try_from(until.duration_since(now)).unwrap_or_default())
}

/// An endpoint's text as one line that is safe on a terminal, cut.
pub(crate) fn one_line(text: &str) -> String {
    let mut line = String::new();
    let words = text
        .split(|c: char| c.is_whitespace() || c.is_control())
        .filter(|word| !word.is_empty());
    let mut left = SHOWN_CHARS;
    for word in words {
        if !line.is_empty() {
            line.push(' ');
            left = left.saturating_sub(1);
        }
        for character in word.chars() {
            if left == 0 {
                line.push('…');
                return line;
            }
            line.push(character);
            left -= 1;
        }
    }
    if line.is_empty() {
        "(nothing)".to_owned()
    } else {
        line
    }
}

/// The innermost cause of an error, which says most in fewest words.
pub(crate) fn root_cause(error: &(dyn Error + 'static)) -> String {
    let mut cause = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_is_found_in_each_shape() {
        let check = |body: &str, expected: &str| {
            let reported = Reported::from_answer(400, &HeaderMap::new(), body);
            assert_eq!(one_line(&reported.message), expected, "{body}");
        };
        check(
            r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#,
            "Overloaded",
        );
        check(
            r#"{"error":{"message":"no such model","code":404}}"#,
            "no such model",
        );
        check(r#"{"error":"model not found"}"#, "model not found");
        check(r#"{"object":"error","message":"too long"}"#, "too long");
        check(r#"{"detail":"Not Found"}"#, "Not Found");
        check(
            r#"{"error":{"type":"api_error","message":""}}"#,
            "api_error",
        );
        check("upstream\n\u{1b}[31mtimed out", "upstream [31mtimed out");
        check("[1, 2]", "[1, 2]");
        check("", "(nothing)");
        check(&"x".repeat(1000), &format!("{}…", "x".repeat(300)));
    }

    #[test]
    fn a_used_up_quota_does_not_pass() {
        let body = r#"{"error":{"message":"Pay","type":"insufficient_quota","code":"insufficient_quota"}}"#;
        assert!(!Reported::from_answer(429, &HeaderMap::new(), body).may_pass());
        let body =
            r#"{"error":{"message":"Slow down","type":"requests","code":"rate_limit_exceeded"}}"#;
        assert!(Reported::from_answer(429, &HeaderMap::new(), body).may_pass());
    }

    #[test]
    fn an_error_within_a_stream_has_the_status_of_its_kind() {
        let check = |error: &str, status: u16, may_pass: bool| {
            let reported = Reported::from_stream(&serde_json::from_str(error).unwrap());
            assert_eq!(
                (reported.status, reported.may_pass()),
                (status, may_pass),
                "{error}"
            );
        };
        check(
            r#"{"type":"overloaded_error","message":"Overloaded"}"#,
            529,
            true,
        );
        check(
            r#"{"type":"invalid_request_error","message":"no"}"#,
            400,
            false,
        );
        check(
            r#"{"message":"Provider disconnected","code":502}"#,
            502,
            true,
        );
        check(r#"{"message":"bad","code":401}"#, 401, false);
        check(r#"{"message":"?","code":7}"#, 500, true);
        check(r#""broken""#, 500, true);
        check("null", 500, true);
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let check = |asked: &str, date: Option<&str>, expected: Option<u64>| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, asked.parse().unwrap());
            if let Some(date) = date {
                headers.insert(DATE, date.parse().unwrap());
            }
            assert_eq!(
                retry_after(&headers),
                expected.map(Duration::from_secs),
                "{asked}"
            );
        };
        let date = Some("Sun, 06 Nov 1994 08:49:37 GMT");
        check("0", None, Some(0));
        check("7", date, Some(7));
        check("Sun, 06 Nov 1994 08:50:07 GMT", date, Some(30));
        check("Sun, 06 Nov 1994 08:00:00 GMT", date, Some(0));
        check("Sun, 06 Nov 1994 08:50:07 GMT", None, None);
        check("soon", date, None);
        check("-1", date, None);
    }
}
