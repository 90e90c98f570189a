//! Names of hosts, as they are granted and as they are asked for.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use spec::printable;

/// A host that a version may reach: `host`, `host:port`, `*.host` or `*.host:port`.
///
/// Without a port it means HTTP on port 80 and HTTPS on port 443. `*.host` means every name below
/// `host`, not `host` itself. Names are ASCII and kept in lower case; other scripts are written in
/// their `xn--` form. An IP address is not a host.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostRule {
    host: Host,
    below: bool,
    port: Option<u16>,
}

/// A text that names no host that could be granted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HostError {
    /// Nothing is there.
    #[error("the host's name is empty")]
    Empty,
    /// An IP address, in whatever spelling.
    #[error("`{0}` is an address, not a name")]
    Address(String),
    /// The machine itself.
    #[error("`{0}` is the machine itself")]
    Localhost(String),
    /// A name in another spelling than the one that is matched.
    #[error("`{0}` ends in a dot")]
    TrailingDot(String),
    /// Not a name of the DNS.
    #[error("`{0}` is not a host name")]
    Name(String),
    /// Not a number from 1 to 65535 in its plain spelling.
    #[error("`{0}` has no valid port")]
    Port(String),
    /// `*` is not followed by a domain of at least two labels.
    #[error("`{0}` is not a pattern")]
    Pattern(String),
    /// A URL, a path or credentials where only a host belongs.
    #[error("`{0}` is more than a host")]
    NotOnlyAHost(String),
}

impl HostError {
    /// What a caller can do about it.
    pub fn hint(&self) -> Option<String> {
        Some(
            match self {
                Self::Empty => "write a name such as `api.example.org`",
                Self::Address(_) | Self::Localhost(_) => {
                    "grant a name, and map it to an address in the configuration's `[egress.hosts]`"
                }
                Self::TrailingDot(_) => "leave the last dot out",
                Self::Name(_) => {
                    "use letters, digits, `-` and `.`, and the `xn--` form of other scripts"
                }
                Self::Port(_) => "write a port from 1 to 65535 after the colon, or none",
                Self::Pattern(_) => "write `*.` and a domain, such as `*.example.org`",
                Self::NotOnlyAHost(_) => "write `host` or `host:port`, without scheme and path",
            }
            .to_owned(),
        )
    }
}

/// A name of the DNS, in lower case, that is not an address in disguise and not the machine itself.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Host(String);

/// The most of a hostile name that a message repeats, in characters.
const SHOWN_CHARS: usize = 100;
/// Source: RFC 1035, section 2.3.4.
const NAME_BYTES: usize = 253;
/// Source: RFC 1035, section 2.3.4.
const LABEL_BYTES: usize = 63;

impl Host {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    pub(crate) fn parse(text: &str) -> Result<Self, HostError> {
        let shown = || printable(text, SHOWN_CHARS);
        if text.is_empty() {
            return Err(HostError::Empty);
        }
        if text.contains(['/', '@', '?', '#', '\\']) {
            return Err(HostError::NotOnlyAHost(shown()));
        }
        let bare = text.trim_start_matches('[').trim_end_matches(']');
        let zoneless = bare.split('%').next().unwrap_or(bare);
        if text.starts_with('[')
            || bare.parse::<IpAddr>().is_ok()
            || zoneless.parse::<Ipv6Addr>().is_ok()
        {
            return Err(HostError::Address(shown()));
        }
        if text.ends_with('.') {
            return Err(HostError::TrailingDot(shown()));
        }
        let name = text.to_ascii_lowercase();
        let labels = || name.split('.');
        if name.len() > NAME_BYTES || !labels().all(is_label) {
            return Err(HostError::Name(shown()));
        }
        // `127.1`, `0x7f.1` and `2130706433` are addresses to most resolvers.
        // Source: WHATWG URL Standard, "ends in a number checker".
        if labels().next_back().is_some_and(is_number) {
            return Err(HostError::Address(shown()));
        }
        // Source: RFC 6761, section 6.3; `localdomain` is what hosts files append to it.
        let last = labels().next_back().unwrap_or_default();
        if last == "localhost" || last == "localdomain" {
            return Err(HostError::Localhost(shown()));
        }
        Ok(Self(name))
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Letters, digits, hyphens and underscores, which names of services have.
fn is_label(label: &str) -> bool {
    !label.is_empty()
        && label.len() <= LABEL_BYTES
        && !label.starts_with('-')
        && !label.ends_with('-')
        && label
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

fn is_number(label: &str) -> bool {
    label.bytes().all(|b| b.is_ascii_digit())
        || label
            .strip_prefix("0x")
            .is_some_and(|hex| hex.bytes().all(|b| b.is_ascii_hexdigit()))
}

/// A host and a port that the program asked for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Authority {
    pub(crate) host: Host,
    pub(crate) port: u16,
}

impl Authority {
    /// Parses `host` or `host:port`.
    pub(crate) fn parse(text: &str, default_port: Option<u16>) -> Result<Self, HostError> {
        let (host, port) = split_port(text)?;
        let port = port
            .or(default_port)
            .ok_or_else(|| HostError::Port(printable(text, SHOWN_CHARS)))?;
        Ok(Self {
            host: Host::parse(host)?,
            port,
        })
    }
}

impl fmt::Display for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// Splits a port off, if there is one. IPv6 addresses are left whole, to be refused as addresses.
fn split_port(text: &str) -> Result<(&str, Option<u16>), HostError> {
    let zoneless = text.split('%').next().unwrap_or(text);
    if zoneless.parse::<Ipv6Addr>().is_ok() {
        return Ok((text, None));
    }
    let Some((host, port)) = text.rsplit_once(':') else {
        return Ok((text, None));
    };
    if host.starts_with('[') && port.ends_with(']') {
        return Ok((text, None));
    }
    let plain = !port.starts_with('0') && port.bytes().all(|b| b.is_ascii_digit());
    match port.parse() {
        Ok(port) if plain => Ok((host, Some(port))),
        Ok(_) | Err(_) => Err(if text.contains(['/', '@', '?', '#', '\\']) {
            HostError::NotOnlyAHost(printable(text, SHOWN_CHARS))
        } else {
            HostError::Port(printable(text, SHOWN_CHARS))
        }),
    }
}

/// How a program speaks to a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scheme {
    Http,
    Https,
}

impl Scheme {
    pub(crate) fn port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

impl HostRule {
    /// The name, or the domain below which names are meant.
    pub fn host(&self) -> &str {
        self.host.as_str()
    }

    /// Whether it means the names below [`Self::host`].
    pub fn is_pattern(&self) -> bool {
        self.below
    }

    /// The only port, if one was named.
    pub fn port(&self) -> Option<u16> {
        self.port
    }

    /// The one host that it means, if it is no pattern.
    pub(crate) fn into_single(self) -> Option<(Host, Option<u16>)> {
        (!self.below).then_some((self.host, self.port))
    }

    pub(crate) fn matches(&self, scheme: Scheme, authority: &Authority) -> bool {
        let name = authority.host.as_str();
        let host_matches = if self.below {
            name.strip_suffix(self.host.as_str())
                .is_some_and(|rest| rest.len() > 1 && rest.ends_with('.'))
        } else {
            name == self.host.as_str()
        };
        host_matches && authority.port == self.port.unwrap_or(scheme.port())
    }
}

impl FromStr for HostRule {
    type Err = HostError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (host, port) = split_port(text)?;
        let below = host.strip_prefix("*.");
        let parsed = if host.contains('*') {
            let domain = below
                .filter(|domain| !domain.contains('*') && domain.contains('.'))
                .ok_or_else(|| HostError::Pattern(printable(text, SHOWN_CHARS)))?;
            Host::parse(domain)?
        } else {
            Host::parse(host)?
        };
        Ok(Self {
            host: parsed,
            below: below.is_some(),
            port,
        })
    }
}

impl fmt::Display for HostRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.below {
            f.write_str("*.")?;
        }
        write!(f, "{}", self.host)?;
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

impl Serialize for HostRule {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for HostRule {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_is_written_as_it_is_read() {
        let check = |text: &str, written: &str| {
            assert_eq!(text.parse::<HostRule>().unwrap().to_string(), written);
        };
        check("api.example.org", "api.example.org");
        check("API.Example.org", "api.example.org");
        check("api.example.org:8443", "api.example.org:8443");
        check("*.example.org", "*.example.org");
        check("*.example.org:80", "*.example.org:80");
        check("xn--bcher-kva.example", "xn--bcher-kva.example");
        check("registry", "registry");
        check("_dmarc.example.org", "_dmarc.example.org");
        check("1password.com", "1password.com");
        check("x.0xg", "x.0xg");
    }

    #[test]
    fn what_is_not_plainly_a_name_is_no_host() {
        let check = |text: &str, expected: fn(String) -> HostError| {
            let shown = printable(text, SHOWN_CHARS);
            assert_eq!(text.parse::<HostRule>(), Err(expected(shown)), "{text:?}");
        };
        for address in [
            "127.0.0.1",
            "127.1",
            "127.0.1",
            "0x7f.1",
            "0X7F.0.0.1",
            "0x7f000001",
            "0x",
            "2130706433",
            "017700000001",
            "0177.0.0.1",
            "1.2.3.4.5",
            "a.1",
            "[::1]",
            "::1",
            "::ffff:127.0.0.1",
            "[::ffff:7f00:1]",
            "fe80::1%eth0",
            "[fe80::1%25eth0]",
        ] {
            check(address, HostError::Address);
        }
        for name in [
            "localhost",
            "LOCALHOST",
            "a.localhost",
            "localhost.localdomain",
        ] {
            check(name, HostError::Localhost);
        }
        for name in ["example.org.", "localhost.", "127.0.0.1."] {
            check(name, HostError::TrailingDot);
        }
        for name in [
            "a b",
            " a",
            "a\0b",
            "a\r\nb",
            "a..b",
            ".a",
            "-a.b",
            "a-.b",
            "bücher.example",
            "ex%61mple.org",
            "１２７.０.０.１",
            "a。b",
            "a,b",
            "a;b",
            "a'b",
        ] {
            check(name, HostError::Name);
        }
        check(&"a".repeat(64), HostError::Name);
        check(&["a"; 128].join("."), HostError::Name);
        for text in [
            "https://a.b",
            "a.b/c",
            "user@a.b",
            "user:pw@a.b",
            "a.b?c",
            "a.b#c",
            "a\\b",
        ] {
            check(text, HostError::NotOnlyAHost);
        }
        for text in [
            "a.b:",
            "a.b:0",
            "a.b:080",
            "a.b:65536",
            "a.b:+80",
            "a.b:8o",
            "a:b:c",
        ] {
            check(text, HostError::Port);
        }
        for text in [
            "*", "*.", "*.org", "*a.b.c", "*.*.b.c", "a.*.c", "**.b.c", "*.a.*",
        ] {
            check(text, HostError::Pattern);
        }
        assert_eq!("".parse::<HostRule>(), Err(HostError::Empty));
        assert_eq!(":80".parse::<HostRule>(), Err(HostError::Empty));
        check("[::1]:80", |_| HostError::Address("[::1]".to_owned()));
        check("127.0.0.1:80", |_| {
            HostError::Address("127.0.0.1".to_owned())
        });
        check("*.127.0.0.1", |_| {
            HostError::Address("127.0.0.1".to_owned())
        });
    }

    #[test]
    fn a_rule_means_its_host_and_port_and_no_other() {
        let check = |rule: &str, scheme, asked: &str, expected: bool| {
            let rule: HostRule = rule.parse().unwrap();
            let asked = Authority::parse(asked, None).unwrap();
            assert_eq!(rule.matches(scheme, &asked), expected, "{rule} {asked}");
        };
        check("a.b", Scheme::Http, "a.b:80", true);
        check("a.b", Scheme::Https, "a.b:443", true);
        check("a.b", Scheme::Https, "A.B:443", true);
        check("a.b", Scheme::Https, "a.b:80", false);
        check("a.b", Scheme::Http, "a.b:443", false);
        check("a.b", Scheme::Https, "a.b:22", false);
        check("a.b:22", Scheme::Https, "a.b:22", true);
        check("a.b:22", Scheme::Https, "a.b:443", false);
        check("a.b", Scheme::Https, "x.a.b:443", false);
        check("a.b", Scheme::Https, "xa.b:443", false);
        check("*.a.b", Scheme::Https, "x.a.b:443", true);
        check("*.a.b", Scheme::Https, "y.x.a.b:443", true);
        check("*.a.b", Scheme::Https, "a.b:443", false);
        check("*.a.b", Scheme::Https, "xa.b:443", false);
        check("*.a.b", Scheme::Https, "x.a.b.c:443", false);
        check("*.a.b:8443", Scheme::Https, "x.a.b:8443", true);
    }

    #[test]
    fn a_rule_keeps_its_spelling_in_json() {
        let rule: HostRule = "*.a.b:8443".parse().unwrap();
        let json = serde_json::to_string(&rule).unwrap();
        assert_eq!(json, r#""*.a.b:8443""#);
        assert_eq!(serde_json::from_str::<HostRule>(&json).unwrap(), rule);
        assert!(serde_json::from_str::<HostRule>(r#""127.0.0.1""#).is_err());
    }
}
