//! Why there is no reply, and what to do about it.

use crate::fault::root_cause;

/// Why there is no reply.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LlmError {
    /// No key, unknown provider, unreadable script.
    #[error("the model `{model}` is not configured: {why}")]
    NotConfigured {
        /// The model.
        model: String,
        /// What is missing.
        why: String,
        /// What would supply it.
        hint: Option<String>,
    },
    /// The key was refused.
    #[error("`{url}` refused {} (HTTP {status}): {message}", subject(key.as_ref()))]
    Unauthorized {
        /// The endpoint.
        url: String,
        /// 401 or 403.
        status: u16,
        /// The environment variable that the key came from; `None` when no key was sent.
        key: Option<String>,
        /// What it said, cut.
        message: String,
    },
    /// The endpoint refused the request itself.
    #[error("`{url}` refused the request (HTTP {status}): {message}")]
    Refused {
        /// The endpoint.
        url: String,
        /// The status.
        status: u16,
        /// What it said, cut.
        message: String,
    },
    /// Overloaded, rate-limited or failing, still after the retries.
    #[error("`{url}` is not available (HTTP {status}) after {}: {message}", count(*attempts))]
    Unavailable {
        /// The endpoint.
        url: String,
        /// The last status.
        status: u16,
        /// How often it was asked.
        attempts: u32,
        /// What it said last, cut.
        message: String,
    },
    /// No connection, or it broke.
    #[error("no answer from `{url}` after {}", count(*attempts))]
    Unreachable {
        /// The endpoint.
        url: String,
        /// How often it was asked.
        attempts: u32,
        /// What the connection said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// What came is not the protocol.
    #[error("`{url}` answered something that is not its protocol: {why}")]
    Protocol {
        /// The endpoint.
        url: String,
        /// What is wrong with it.
        why: String,
    },
    /// The scripted model has no reply for this request.
    #[error("the script `{file}` has no reply for this request: {why}")]
    Script {
        /// The script.
        file: String,
        /// What was asked, cut, and what the next reply expected.
        why: String,
    },
}

impl LlmError {
    /// What a person can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NotConfigured { hint, .. } => hint.clone(),
            Self::Unauthorized { key: Some(key), .. } => Some(format!(
                "check the key in `{key}`, and that it may use this model"
            )),
            Self::Unauthorized { key: None, .. } => {
                Some("name the variable that holds the key as the provider's `key_env`".to_owned())
            }
            Self::Refused { status, .. } => refused_hint(*status).map(str::to_owned),
            Self::Unavailable { status: 429, .. } => {
                Some("try again later, or raise the provider's rate limit".to_owned())
            }
            Self::Unavailable { .. } => Some("try again later".to_owned()),
            Self::Unreachable { url, source, .. } => {
                Some(unreachable_hint(url, &root_cause(source.as_ref())))
            }
            Self::Protocol { .. } => Some(
                "check that the provider's base URL and protocol belong to each other".to_owned(),
            ),
            Self::Script { .. } => {
                Some("give the script a reply for this request, or correct its `expect`".to_owned())
            }
        }
    }

    /// Whether the model as such cannot be used now, whatever it is asked: not set up, not
    /// reachable, or not answering as a model does. Otherwise this one request was at fault.
    pub fn is_unavailable(&self) -> bool {
        match self {
            Self::NotConfigured { .. }
            | Self::Unauthorized { .. }
            | Self::Unavailable { .. }
            | Self::Unreachable { .. }
            | Self::Protocol { .. } => true,
            // Payment, unknown model or address, moved address, quota.
            Self::Refused { status, .. } => matches!(status, 300..=399 | 402 | 404 | 405 | 429),
            Self::Script { .. } => false,
        }
    }
}

fn refused_hint(status: u16) -> Option<&'static str> {
    match status {
        300..=399 => {
            Some("set the provider's base URL to where the redirect points, if you trust it")
        }
        402 | 429 => Some("check the account's credit and quota"),
        404 | 405 => Some("check the model's name and the provider's base URL"),
        413 => Some("the request is too large: give the task fewer or smaller files"),
        _ => None,
    }
}

fn unreachable_hint(url: &str, cause: &str) -> String {
    if cause.contains("certificate") {
        return "if you trust its certificate, name the authority's file in `SSL_CERT_FILE`"
            .to_owned();
    }
    let local = url.contains("://localhost") || url.contains("://127.") || url.contains("://[::1]");
    match (local, url.contains(":11434")) {
        (true, true) => "start Ollama with `ollama serve`".to_owned(),
        (true, false) => format!("start the server that should answer at {url}"),
        _ => "check the network and the provider's base URL, then try again".to_owned(),
    }
}

fn count(attempts: u32) -> String {
    match attempts {
        1 => "1 attempt".to_owned(),
        _ => format!("{attempts} attempts"),
    }
}

fn subject(key: Option<&String>) -> &'static str {
    match key {
        Some(_) => "the key",
        None => "a request without a key",
    }
}
