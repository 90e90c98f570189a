//! What one run may reach, and how much of it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use hyper::header::HeaderValue;
use spec::{ByteSize, limits};

use crate::HostRule;

/// What one run may reach, and how much of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// The hosts that were granted.
    pub allow: BTreeSet<HostRule>,
    /// Of the granted hosts, those whose TLS is tunnelled unread. An entry grants nothing by itself.
    pub opaque: BTreeSet<HostRule>,
    /// The operator's map from `host` or `host:port` to where it really is; such a host is not
    /// resolved. This is the only way to an address that is not public. It grants nothing by itself.
    pub hosts: BTreeMap<String, SocketAddr>,
    /// Hosts that want a password, or are behind a proxy; the first that fits decides.
    pub approaches: Vec<Approach>,
    /// Bytes on the network, in both directions, TLS and headers included.
    pub bytes_max: ByteSize,
    /// Requests, those that are refused included.
    pub exchanges_max: u32,
    /// Connections of the program at once.
    pub connections_max: u32,
    /// Bytes of one body, of a request or of an answer.
    pub body_max: ByteSize,
    /// How long it waits for each thing.
    pub timeouts: Timeouts,
}

/// How some of the granted hosts are reached, as the operator of this machine says it. It grants
/// nothing by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Approach {
    /// Which hosts.
    pub host: HostRule,
    /// Whether over HTTPS; else over HTTP.
    pub is_https: bool,
    /// What is put on each request on its way out, in place of what the program says. Neither the
    /// program nor the record sees it.
    pub authorization: Option<Authorization>,
    /// The proxy that stands in between. The name of a host is its to resolve.
    pub next: Option<NextProxy>,
}

/// A proxy between this machine and the world, spoken to over HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NextProxy {
    /// Where it is.
    pub address: SocketAddr,
    /// What it wants.
    pub authorization: Option<Authorization>,
}

/// The value of an `Authorization` header. It is a secret: nothing prints it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authorization(HeaderValue);

impl Authorization {
    /// Takes a value, such as `Basic ...`; none for one that no header can have.
    pub fn new(value: &str) -> Option<Self> {
        let mut value = HeaderValue::from_str(value).ok()?;
        value.set_sensitive(true);
        Some(Self(value))
    }

    pub(crate) fn header(&self) -> HeaderValue {
        self.0.clone()
    }
}

/// How long the proxy waits for each thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// For a whole request head from the program, also between two requests of a connection.
    pub head: Duration,
    /// For a TLS handshake, on either side.
    pub handshake: Duration,
    /// For the resolver, and for each address to accept a connection.
    pub connect: Duration,
    /// For the host's answer to begin, once it has the request.
    pub answer: Duration,
    /// For the next piece of a body or of a tunnel, and for the program to take what it is sent.
    pub stall: Duration,
}

/// A package with its dependencies fits; a data set does not.
const BYTES: ByteSize = ByteSize::mib(512);
/// A crawl of a site fits; each exchange is held in the run's record.
pub(crate) const EXCHANGES: u32 = 1_000;
/// The largest wheels on the public index are about this large.
const BODY: ByteSize = ByteSize::mib(256);

impl Default for Policy {
    fn default() -> Self {
        Self {
            allow: BTreeSet::new(),
            opaque: BTreeSet::new(),
            hosts: BTreeMap::new(),
            approaches: Vec::new(),
            bytes_max: BYTES,
            exchanges_max: EXCHANGES,
            connections_max: limits::CONNECTIONS,
            body_max: BODY,
            timeouts: Timeouts::default(),
        }
    }
}

impl Default for Timeouts {
    /// Those of common HTTP servers and clients; a model's answer may take minutes to begin.
    fn default() -> Self {
        Self {
            head: Duration::from_secs(30),
            handshake: Duration::from_secs(10),
            connect: Duration::from_secs(10),
            answer: Duration::from_mins(5),
            stall: Duration::from_mins(2),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_not_printed() {
        let secret = Authorization::new("Basic c2VjcmV0").unwrap();
        assert!(!format!("{secret:?}").contains("c2V"));
        assert_eq!(Authorization::new("a\nb"), None);
    }
}
