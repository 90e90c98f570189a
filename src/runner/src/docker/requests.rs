//! What the running program asks for: from REQUEST to REPLY.

use std::collections::HashSet;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures::FutureExt as _;
use serde::{Deserialize, Serialize};
use spec::{ByteSize, Limits, limits};
use tokio::task::JoinSet;

use super::restore::REQUESTS_OPEN;
use super::write::Replies;
use crate::frames::{put_message, split_frames, to_sandbox};
use crate::{Broker, ToolRequest};

/// Values in a request: each takes many times its bytes when it is read.
const REQUEST_VALUES: usize = 20_000;

/// Why a request ends the run.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// The harness let through what it must not.
    Rules,
    /// The child's channel carried something else than requests.
    Garbage(String),
}

/// Requests that are answered beyond twice those that may be carried out.
const REFUSALS: u32 = 100;

/// The requests of one run that are open, and the jobs that answer them.
#[derive(Debug)]
pub(super) struct Requests {
    broker: Arc<dyn Broker>,
    /// Replies to the running sandbox.
    replies: Replies,
    answers: JoinSet<(u32, Bytes)>,
    open: HashSet<u32>,
    /// All of them, whatever came of them.
    seen: u32,
    calls: u32,
    calls_max: u32,
    bytes: u64,
    bytes_max: u64,
}

impl Requests {
    pub(super) fn new(broker: Arc<dyn Broker>, replies: Replies, limits: &Limits) -> Self {
        Self {
            broker,
            replies,
            answers: JoinSet::new(),
            open: HashSet::new(),
            seen: 0,
            calls: 0,
            calls_max: limits.tool_calls,
            bytes: 0,
            bytes_max: limits.tool_bytes.get(),
        }
    }

    /// Takes one request, to be answered at once or by a job.
    pub(super) fn take(&mut self, id: u32, body: &[u8]) -> Result<(), Refused> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Wire {
            tool: String,
            arguments: serde_json::Value,
        }
        if self.open.len() >= REQUESTS_OPEN || !self.open.insert(id) {
            return Err(Refused::Rules);
        }
        // A refusal is an answer that a program can read; one that does not keeps the host busy.
        self.seen = self.seen.saturating_add(1);
        let seen_max = self.calls_max.saturating_mul(2).saturating_add(REFUSALS);
        if self.seen > seen_max {
            return Err(Refused::Garbage(format!("more than {seen_max} requests")));
        }
        if values_of(body) > REQUEST_VALUES {
            let text = format!("a request may hold {REQUEST_VALUES} values");
            self.reply(id, &refusal(&text));
            return Ok(());
        }
        let Wire { tool, arguments } = match serde_json::from_slice(body) {
            Ok(wire) => wire,
            // JSON that Python writes and we do not read: the program means well.
            Err(error) if is_beyond_us(&error) => {
                let text = format!("the arguments cannot be read: {error}");
                self.reply(id, &refusal(&text));
                return Ok(());
            }
            Err(error) => return Err(Refused::Garbage(format!("a request: {error}"))),
        };
        self.calls = self.calls.saturating_add(1);
        if self.calls > self.calls_max {
            let text = format!("a run may ask for tools {} times", self.calls_max);
            self.reply(id, &refusal(&text));
            return Ok(());
        }
        if !self.has_room(body.len()) {
            self.reply(id, &self.no_room());
            return Ok(());
        }
        let broker = Arc::clone(&self.broker);
        self.answers.spawn(async move {
            let answer = AssertUnwindSafe(broker.answer(ToolRequest { tool, arguments }));
            let answer = match answer.catch_unwind().await {
                Ok(answer) => serde_json::to_vec(&answer).ok().map(Bytes::from),
                Err(_) => None,
            };
            let answer = answer.unwrap_or_else(|| refusal("the tool failed"));
            if answer.len() as u64 > limits::TOOL_CALL.get() {
                return (id, refusal("the answer is too long for a sandbox"));
            }
            (id, answer)
        });
        Ok(())
    }

    /// Whether an answer is to be waited for.
    pub(super) fn is_empty(&self) -> bool {
        self.answers.is_empty()
    }

    /// Waits for the next answer and sends it. Cancel-safe.
    pub(super) async fn answer(&mut self) {
        if let Some(Ok((id, mut answer))) = self.answers.join_next().await {
            if !self.has_room(answer.len()) {
                answer = self.no_room();
            }
            self.reply(id, &answer);
        }
    }

    /// Counts bytes of a request or an answer, unless they are more than the run may have.
    fn has_room(&mut self, bytes: usize) -> bool {
        let bytes = self.bytes.saturating_add(bytes as u64);
        let fits = bytes <= self.bytes_max;
        if fits {
            self.bytes = bytes;
        }
        fits
    }

    fn no_room(&self) -> Bytes {
        let most = ByteSize::bytes(self.bytes_max);
        refusal(&format!("requests and answers of a run may have {most}"))
    }

    /// Ends the jobs.
    pub(super) async fn shutdown(&mut self) {
        self.answers.shutdown().await;
    }

    fn reply(&mut self, id: u32, answer: &[u8]) {
        #[derive(Serialize)]
        struct Header {
            id: u32,
            size: usize,
        }
        self.open.remove(&id);
        let mut out = BytesMut::new();
        let size = answer.len();
        put_message(&mut out, to_sandbox::REPLY, &Header { id, size }, answer);
        // In pieces, so that CANCEL never waits for a whole reply.
        for frame in split_frames(out.freeze()) {
            self.replies.send(frame);
        }
    }
}

fn refusal(text: &str) -> Bytes {
    serde_json::json!({ "error": text }).to_string().into()
}

/// At least as many as there are values in a JSON text; what a string holds does not count.
fn values_of(json: &[u8]) -> usize {
    let (mut count, mut in_string, mut is_escaped) = (1, false, false);
    for byte in json {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if in_string => is_escaped = true,
            b'"' => in_string = !in_string,
            b',' | b':' | b'[' | b'{' if !in_string => count += 1,
            _ => {}
        }
    }
    count
}

/// Whether an error means a number too large or nesting too deep.
fn is_beyond_us(error: &serde_json::Error) -> bool {
    let text = error.to_string();
    text.starts_with("number out of range") || text.starts_with("recursion limit exceeded")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_counted_outside_of_strings() {
        let check =
            |json: &str, expected| assert_eq!(values_of(json.as_bytes()), expected, "{json}");
        check("1", 1);
        check(r#"{"a": "b,c:[{\",", "d": [1, 2]}"#, 7);
        check("[[],[]]", 5);
    }
}
