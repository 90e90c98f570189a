//! Why a registry could not be used.

use std::io;
use std::time::Duration;

use spec::Digest;

/// Why a registry could not be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegistryError {
    /// Nothing answered, or the connection was lost again and again.
    #[error("the registry `{host}` cannot be reached: {why}")]
    Unreachable {
        /// The registry.
        host: String,
        /// What went wrong, down to its cause.
        why: String,
    },
    /// Its certificate is from an authority that is not known here, for another name, or too old.
    #[error("the registry `{host}` does not prove that it is itself: {why}")]
    Certificate {
        /// The registry.
        host: String,
        /// What is wrong with its certificate.
        why: String,
    },
    /// It was asked without TLS, and refuses that without a word that a registry would say.
    #[error("the registry `{host}` refused {what}, which was asked without TLS, with status 400")]
    MayWantTls {
        /// The registry.
        host: String,
        /// What was asked of it.
        what: String,
    },
    /// It takes too long.
    #[error("the registry `{host}` is too slow: {what} took more than {} s", .limit.as_secs())]
    TooSlow {
        /// The registry.
        host: String,
        /// What was asked of it.
        what: String,
        /// What it may take.
        limit: Duration,
    },
    /// It wants other credentials, or others than these may do this.
    #[error("the registry does not allow {what} `{repository}`")]
    Denied {
        /// The repository.
        repository: String,
        /// What was to be done with it: `reading` or `writing`.
        what: &'static str,
        /// Whether credentials were sent.
        had_credentials: bool,
    },
    /// It has no such manifest, blob or repository.
    #[error("the registry has no `{what}`")]
    NotFound {
        /// What was asked for.
        what: String,
    },
    /// It answered with an error.
    #[error("the registry `{host}` refused {what} with status {status}{}", of_message(.message))]
    Answered {
        /// The registry.
        host: String,
        /// What was asked of it.
        what: String,
        /// The HTTP status.
        status: u16,
        /// What it said, cut and printable.
        message: String,
    },
    /// What it sent cannot be right. Nothing of it was kept.
    #[error("the registry `{host}` sent {what} that cannot be right: {why}")]
    Untrue {
        /// The registry.
        host: String,
        /// What was asked of it.
        what: String,
        /// What is wrong.
        why: String,
    },
    /// A manifest that is to be pushed is not one.
    #[error("{digest} is not a manifest that can be pushed: {why}")]
    BadManifest {
        /// Its digest.
        digest: Digest,
        /// What is wrong.
        why: String,
    },
    /// Docker's configuration or a credential helper cannot be used.
    #[error("credentials for `{host}` cannot be read: {why}")]
    Credentials {
        /// The registry.
        host: String,
        /// What is wrong.
        why: String,
    },
    /// No HTTP client can be made.
    #[error("no secure connection can be made: {why}")]
    Tls {
        /// What is wrong.
        why: String,
    },
    /// Content on this side could not be read or written.
    #[error("{} could not be {action}", .digest)]
    Content {
        /// What was being done: `read` or `kept`.
        action: &'static str,
        /// The blob.
        digest: Digest,
        /// What the other side of [`crate::Content`] said.
        source: io::Error,
    },
}

impl RegistryError {
    /// What a caller can do about it.
    pub fn hint(&self) -> Option<String> {
        let text = match self {
            // Source: what rustls says of an answer that is not TLS.
            Self::Unreachable { why, .. } if why.contains("InvalidContentType") => {
                "if it speaks no TLS, name its host in `plain_http` of [registry] in config.toml"
            }
            Self::Certificate { why, .. } if why.contains("UnknownIssuer") => {
                "if you trust the authority of its certificate, name that authority's PEM file in \
                 `SSL_CERT_FILE`"
            }
            Self::Certificate { .. } => {
                "its operator must give it a certificate that is valid now and for this name"
            }
            Self::MayWantTls { .. } => {
                "if it speaks TLS, take its host out of `plain_http` of [registry] in config.toml, or, \
                 where it is on loopback, name it in `tls` there"
            }
            Self::Unreachable { .. } | Self::TooSlow { .. } => {
                "check the host, the network and the proxy; what was transferred whole is not sent again"
            }
            Self::Denied {
                had_credentials: false,
                ..
            } => "log in with `docker login`: its credentials are used",
            Self::Denied { .. } => "these credentials may not do this: log in as somebody who may",
            Self::NotFound { .. } => "check the repository and the tag",
            Self::Answered { .. } => "see what the registry's operator allows and logs",
            Self::Untrue { .. } => {
                "nothing was kept; the registry, or what is between, is broken or hostile"
            }
            Self::Credentials { .. } => {
                "check Docker's config.json, or log in again with `docker login`"
            }
            Self::Tls { .. } => "see that the system's CA certificates are installed",
            Self::BadManifest { .. } | Self::Content { .. } => return None,
        };
        Some(text.to_owned())
    }

    /// Whether asking again may help.
    pub(crate) fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Answered { status, .. } => matches!(status, 429 | 500..=599),
            _ => false,
        }
    }
}

fn of_message(message: &str) -> String {
    if message.is_empty() {
        String::new()
    } else {
        format!(": {message}")
    }
}
