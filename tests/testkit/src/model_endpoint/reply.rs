//! What an endpoint answers.

use serde_json::Value;

/// One answer.
#[derive(Clone, Debug)]
pub enum EndpointReply {
    /// A reply, streamed whole.
    Said(Said),
    /// A reply whose connection is closed in the middle of the stream.
    CutOff(Said),
    /// A reply that stops in the middle of the stream, with the connection left open.
    Stalled(Said),
    /// A reply whose stream ends in an error instead of its last events.
    ErrorInStream {
        /// What is said before.
        said: Said,
        /// The kind of error, such as `overloaded_error`.
        kind: String,
    },
    /// A refusal in the protocol's own form.
    Status {
        /// The status.
        status: u16,
        /// The header `Retry-After`.
        retry_after: Option<String>,
        /// What it says.
        message: String,
    },
    /// Anything else.
    Raw {
        /// The status.
        status: u16,
        /// The headers.
        headers: Vec<(String, String)>,
        /// The body.
        body: Vec<u8>,
    },
    /// No answer at all; the connection stays open.
    Hang,
}

impl EndpointReply {
    /// A reply of text only.
    pub fn text(text: &str) -> Self {
        Self::Said(Said::text(text))
    }

    /// A reply with one tool call.
    pub fn call(tool: &str, arguments: &Value) -> Self {
        Self::Said(Said::default().call(tool, arguments))
    }

    /// A refusal, such as 529, without `Retry-After`.
    pub fn status(status: u16, message: &str) -> Self {
        Self::Status {
            status,
            retry_after: None,
            message: message.to_owned(),
        }
    }

    /// A rate limit that asks to wait.
    pub fn rate_limited(retry_after: &str) -> Self {
        Self::Status {
            status: 429,
            retry_after: Some(retry_after.to_owned()),
            message: "slow down".to_owned(),
        }
    }

    /// A page, as a wrong address answers it.
    pub fn html() -> Self {
        Self::raw(
            "text/html",
            "<!doctype html><title>Welcome</title><p>It works!",
        )
    }

    /// A stream of events whose data is no JSON.
    pub fn garbage() -> Self {
        Self::raw(
            "text/event-stream",
            "event: message_start\ndata: \u{1}%$#{[\n\n",
        )
    }

    /// Success with any body.
    pub fn raw(content_type: &str, body: &str) -> Self {
        Self::Raw {
            status: 200,
            headers: vec![("content-type".to_owned(), content_type.to_owned())],
            body: body.as_bytes().to_vec(),
        }
    }
}

impl From<Said> for EndpointReply {
    fn from(said: Said) -> Self {
        Self::Said(said)
    }
}

/// What a model says in one reply.
#[derive(Clone, Debug)]
pub struct Said {
    /// Thinking and its signature; only Anthropic's protocol has it.
    pub(super) thinking: Option<(String, String)>,
    pub(super) text: String,
    /// Tool and arguments; a text, so that they can be wrong.
    pub(super) calls: Vec<(String, String)>,
    pub(super) input_tokens: u64,
    pub(super) output_tokens: u64,
    pub(super) cut_at_max_tokens: bool,
}

impl Default for Said {
    /// Nothing, for 25 tokens read and 15 written.
    fn default() -> Self {
        Self {
            thinking: None,
            text: String::new(),
            calls: Vec::new(),
            input_tokens: 25,
            output_tokens: 15,
            cut_at_max_tokens: false,
        }
    }
}

impl Said {
    /// Text.
    pub fn text(text: &str) -> Self {
        Self {
            text: text.to_owned(),
            ..Self::default()
        }
    }

    /// And a tool call.
    #[must_use]
    pub fn call(self, tool: &str, arguments: &Value) -> Self {
        self.call_with_text(tool, &arguments.to_string())
    }

    /// And a tool call with arguments that may be no JSON.
    #[must_use]
    pub fn call_with_text(mut self, tool: &str, arguments: &str) -> Self {
        self.calls.push((tool.to_owned(), arguments.to_owned()));
        self
    }

    /// After signed thinking.
    #[must_use]
    pub fn thinking(mut self, thinking: &str, signature: &str) -> Self {
        self.thinking = Some((thinking.to_owned(), signature.to_owned()));
        self
    }

    /// For so many tokens.
    #[must_use]
    pub fn usage(mut self, input_tokens: u64, output_tokens: u64) -> Self {
        self.input_tokens = input_tokens;
        self.output_tokens = output_tokens;
        self
    }

    /// Cut at the most tokens to write.
    #[must_use]
    pub fn cut_at_max_tokens(mut self) -> Self {
        self.cut_at_max_tokens = true;
        self
    }
}

/// Pieces of a text of at most `size` characters, at least one.
pub(super) fn pieces(text: &str, size: usize) -> Vec<String> {
    let characters: Vec<char> = text.chars().collect();
    let pieces: Vec<String> = characters
        .chunks(size)
        .map(|piece| piece.iter().collect())
        .collect();
    if pieces.is_empty() {
        vec![String::new()]
    } else {
        pieces
    }
}
