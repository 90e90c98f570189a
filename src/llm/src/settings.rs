//! What is known of the providers, and how patient to be with them.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::time::Duration;

use reqwest::Url;
use secrecy::SecretString;
use spec::ByteSize;

/// Five attempts pass over a rate limit or a restart of the endpoint.
const ATTEMPTS: u32 = 5;
/// Source: the vendors' own clients wait this long before the second attempt.
const FIRST_WAIT: Duration = Duration::from_millis(500);
/// Rate limits are counted by the minute: waiting longer is a person's decision.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// A local server may load a model, and a vendor's may think, before the first byte.
const IDLE: Duration = Duration::from_secs(180);
/// A host that answers at all answers a connection within this.
const CONNECT: Duration = Duration::from_secs(15);
/// A reply of 128,000 tokens at 300 bytes of protocol each, and some.
const REPLY: ByteSize = ByteSize::mib(64);

/// How models are reached. The library reads no environment: keys and addresses arrive here.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The providers by the name that stands before the colon of a model's name.
    pub providers: BTreeMap<String, Provider>,
    /// How often a request is made again.
    pub retries: Retries,
    /// How long an endpoint may say nothing, before its reply and within it. There is no limit
    /// on the whole reply: whoever asks has a deadline of his own and drops the request.
    pub idle_timeout: Duration,
    /// How long a connection may take.
    pub connect_timeout: Duration,
    /// Bytes of one streamed reply, protocol included.
    pub max_reply: ByteSize,
}

impl Default for Settings {
    /// The built-in providers `anthropic`, `openai` and `ollama`, without keys.
    fn default() -> Self {
        let built_in = |protocol, base_url: &str, variable: Option<&str>| Provider {
            protocol,
            base_url: base_url.to_owned(),
            key: variable.map(|variable| ApiKey {
                variable: variable.to_owned(),
                secret: None,
            }),
        };
        let anthropic = built_in(
            Protocol::AnthropicMessages,
            "https://api.anthropic.com",
            Some("ANTHROPIC_API_KEY"),
        );
        let openai = built_in(
            Protocol::OpenAiChat,
            "https://api.openai.com/v1",
            Some("OPENAI_API_KEY"),
        );
        let ollama = built_in(Protocol::OpenAiChat, "http://localhost:11434/v1", None);
        Self {
            providers: [
                ("anthropic", anthropic),
                ("openai", openai),
                ("ollama", ollama),
            ]
            .map(|(name, provider)| (name.to_owned(), provider))
            .into(),
            retries: Retries::default(),
            idle_timeout: IDLE,
            connect_timeout: CONNECT,
            max_reply: REPLY,
        }
    }
}

/// One endpoint.
#[derive(Clone, Debug)]
pub struct Provider {
    /// What it speaks.
    pub protocol: Protocol,
    /// Where it is: with or without a version such as `/v1`, with or without a slash at the end,
    /// or the whole address of the protocol's method.
    pub base_url: String,
    /// The key it wants; `None` when it wants none.
    pub key: Option<ApiKey>,
}

/// A key that a provider wants.
#[derive(Clone, Debug)]
pub struct ApiKey {
    /// The environment variable that holds it, for messages.
    pub variable: String,
    /// The key, when the variable is set.
    pub secret: Option<SecretString>,
}

/// What an endpoint speaks. Written `anthropic` and `openai` in the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// The Messages API of Anthropic, streamed.
    AnthropicMessages,
    /// The Chat Completions API of OpenAI, streamed, as Ollama, vLLM, llama.cpp and routers speak it.
    OpenAiChat,
}

/// A text that names no protocol.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a protocol: write `anthropic` or `openai`")]
pub struct ProtocolError(String);

impl FromStr for Protocol {
    type Err = ProtocolError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "anthropic" => Ok(Self::AnthropicMessages),
            "openai" => Ok(Self::OpenAiChat),
            _ => Err(ProtocolError(text.to_owned())),
        }
    }
}

/// How often and how patiently a request is made again when an endpoint is overloaded, failing or
/// out of reach. Waits double, with up to as much again by chance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retries {
    /// Requests in all, at least one.
    pub attempts: u32,
    /// The wait before the second.
    pub first_wait: Duration,
    /// The longest wait, also when the endpoint asks for more.
    pub longest_wait: Duration,
}

impl Default for Retries {
    fn default() -> Self {
        Self {
            attempts: ATTEMPTS,
            first_wait: FIRST_WAIT,
            longest_wait: LONGEST_WAIT,
        }
    }
}

impl Provider {
    /// The address that a request is sent to.
    ///
    /// # Errors
    /// What is wrong with the base URL.
    pub(crate) fn endpoint(&self) -> Result<Url, String> {
        let text = self.base_url.trim();
        let mut url =
            Url::parse(text).map_err(|error| format!("the base URL is wrong: {error}"))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err("the base URL does not begin with http:// or https://".to_owned());
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err("the base URL holds a user name or a password".to_owned());
        }
        let method = match self.protocol {
            Protocol::AnthropicMessages => "/messages",
            Protocol::OpenAiChat => "/chat/completions",
        };
        let path = url.path().trim_end_matches('/');
        let path = if path.ends_with(method) {
            path.to_owned()
        } else if path.split('/').any(is_version) {
            format!("{path}{method}")
        } else {
            format!("{path}/v1{method}")
        };
        url.set_path(&path);
        url.set_fragment(None);
        Ok(url)
    }
}

/// Whether a segment of a path is a version, such as `v1`, `v4` or `v1beta`.
fn is_version(segment: &str) -> bool {
    segment
        .strip_prefix('v')
        .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(protocol: Protocol, base_url: &str) -> Result<String, String> {
        let provider = Provider {
            protocol,
            base_url: base_url.to_owned(),
            key: None,
        };
        provider.endpoint().map(String::from)
    }

    #[test]
    fn a_base_url_may_end_in_many_ways() {
        let check = |base_url: &str, expected: &str| {
            assert_eq!(
                endpoint(Protocol::OpenAiChat, base_url).as_deref(),
                Ok(expected)
            );
        };
        let plain = "http://localhost:11434/v1/chat/completions";
        check("http://localhost:11434", plain);
        check("http://localhost:11434/", plain);
        check("http://localhost:11434/v1", plain);
        check(" http://localhost:11434/v1/ ", plain);
        check("http://localhost:11434/v1/chat/completions", plain);
        check(
            "https://host.test/api/v4",
            "https://host.test/api/v4/chat/completions",
        );
        check(
            "https://host.test/v1beta/openai/",
            "https://host.test/v1beta/openai/chat/completions",
        );
        check(
            "https://host.test/vllm?region=a",
            "https://host.test/vllm/v1/chat/completions?region=a",
        );
    }

    #[test]
    fn the_other_protocol_has_another_method() {
        let check = |base_url: &str, expected: &str| {
            assert_eq!(
                endpoint(Protocol::AnthropicMessages, base_url).as_deref(),
                Ok(expected)
            );
        };
        check("https://host.test", "https://host.test/v1/messages");
        check("https://host.test/v1/", "https://host.test/v1/messages");
        check(
            "https://host.test/v1/messages",
            "https://host.test/v1/messages",
        );
        check(
            "https://host.test/anthropic",
            "https://host.test/anthropic/v1/messages",
        );
    }

    #[test]
    fn what_is_no_base_url_is_refused() {
        for wrong in [
            "",
            "localhost:8080",
            "127.0.0.1:80",
            "ftp://host.test",
            "http://",
        ] {
            assert!(endpoint(Protocol::OpenAiChat, wrong).is_err(), "{wrong}");
        }
        let with_password = "https://me:hunter2@host.test";
        let refused = endpoint(Protocol::OpenAiChat, with_password).unwrap_err();
        assert!(!refused.contains("hunter2"), "{refused}");
    }
}
