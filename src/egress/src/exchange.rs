//! What went over the network, as it is recorded.

use serde::{Deserialize, Serialize};
use spec::Digest;

/// Header names, in lower case, and values; those of one name together, in their order.
///
/// A value's bytes are written as the characters U+0000 to U+00FF, so that any value survives.
pub type Headers = Vec<(String, String)>;

/// One HTTP request of the program, and what became of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exchange {
    /// The request's method; `CONNECT` for a tunnel that was refused or closed before any request.
    pub method: String,
    /// `scheme://host[:port]/path?query`, the port only when it is not the scheme's own; for a
    /// `CONNECT`, `host:port`, in lower case where that is a host, else as the program wrote it. At most 64 KiB; escaped when not plain.
    pub url: String,
    /// The request's headers, sorted, without those that are between the program and the proxy.
    pub headers: Headers,
    /// The request's body; none when it was not read to its end, because the answer came before.
    /// Such an exchange answers a request with any body when it is replayed.
    pub body: Option<Body>,
    /// How it ended.
    pub answer: Answer,
    /// From the request's head to the end of the answer, in milliseconds.
    pub duration_ms: u64,
    /// Bytes on the network because of it, in both directions, TLS and headers included.
    pub bytes: u64,
}

/// The digest and the size of a body. An empty body is not among the [`Bodies`](crate::Bodies).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Body {
    /// Of the bytes as they were sent: compressed content stays compressed.
    pub digest: Digest,
    /// In bytes.
    pub size: u64,
}

/// How an exchange ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Answer {
    /// The host answered.
    Response {
        /// The status.
        status: u16,
        /// The headers as they came, without those that are between the host and the proxy.
        headers: Headers,
        /// The body, as far as it was passed on.
        body: Body,
        /// Why the body is not whole, when it is not.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cut: Option<String>,
    },
    /// It was not allowed; the program was told so.
    Refused {
        /// The status that the program got.
        status: u16,
        /// Why, in one line; also the body that the program got.
        reason: String,
    },
    /// It was allowed and did not work: nothing listens, the certificate is wrong, no answer.
    Failed {
        /// The status that the program got.
        status: u16,
        /// Why, in one line; also the body that the program got.
        reason: String,
    },
    /// The connection was closed without an answer.
    Closed {
        /// Why, in one line.
        reason: String,
    },
    /// A replay has no such exchange.
    Unrecorded {
        /// What differs, in one line; also the body that the program got, with status 502.
        reason: String,
    },
}

/// One tunnel to an `opaque` host: its content is not known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tunnel {
    /// The host's name.
    pub host: String,
    /// The port.
    pub port: u16,
    /// Bytes from the program.
    pub up_bytes: u64,
    /// Bytes to the program.
    pub down_bytes: u64,
    /// From its beginning to its end, in milliseconds.
    pub duration_ms: u64,
}

/// Everything that went through one proxy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ledger {
    /// In the order in which they ended.
    pub exchanges: Vec<Exchange>,
    /// Tunnels to opaque hosts, in the order in which they ended.
    pub tunnels: Vec<Tunnel>,
    /// Requests and connections that were turned away and not written down one by one, because the
    /// run had used up what it may ask.
    pub turned_away: u64,
    /// Bytes on the network, in both directions, TLS and headers included.
    pub bytes: u64,
    /// Exchanges and tunnels that are still under way: they are not among the others.
    #[serde(default)]
    pub open: u64,
}

impl Ledger {
    /// The exchanges that were not allowed, each with the reason.
    pub fn refusals(&self) -> impl Iterator<Item = (&Exchange, &str)> {
        self.exchanges
            .iter()
            .filter_map(|exchange| match &exchange.answer {
                Answer::Refused { reason, .. } => Some((exchange, reason.as_str())),
                Answer::Response { .. }
                | Answer::Failed { .. }
                | Answer::Closed { .. }
                | Answer::Unrecorded { .. } => None,
            })
    }

    /// The exchanges that a replay did not have, each with what differs.
    pub fn unrecorded(&self) -> impl Iterator<Item = (&Exchange, &str)> {
        self.exchanges
            .iter()
            .filter_map(|exchange| match &exchange.answer {
                Answer::Unrecorded { reason } => Some((exchange, reason.as_str())),
                Answer::Response { .. }
                | Answer::Refused { .. }
                | Answer::Failed { .. }
                | Answer::Closed { .. } => None,
            })
    }

    /// Whether these exchanges can answer the same run again: nothing went through a tunnel, nothing
    /// is under way, and everything that was asked is written down.
    pub fn is_replayable(&self) -> bool {
        self.tunnels.is_empty() && self.turned_away == 0 && self.open == 0
    }
}
