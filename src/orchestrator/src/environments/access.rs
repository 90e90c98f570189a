//! How this machine reaches a package index: through a proxy, and with a password.
//!
//! None of it enters a sandbox: the host's own proxy puts it on what leaves.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use egress::Authorization;

/// The proxies of this machine and the passwords of its user.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IndexAccess {
    https: Option<Hop>,
    http: Option<Hop>,
    /// Hosts that are reached without a proxy, as `NO_PROXY` names them.
    direct: Vec<String>,
    logins: Vec<Login>,
}

/// A proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Hop {
    /// One that is spoken to over HTTP.
    Http {
        host: String,
        port: u16,
        authorization: Option<Authorization>,
    },
    /// One that cannot be used: its address without credentials, and why.
    Unusable(String, &'static str),
}

/// What a host wants, from the user's netrc file.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Login {
    /// None stands for every host.
    host: Option<String>,
    authorization: Option<Authorization>,
}

impl IndexAccess {
    /// `HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY` as they are usual, and the content of a netrc file.
    pub fn new(https: Option<&str>, http: Option<&str>, no_proxy: &str, netrc: &str) -> Self {
        let direct = no_proxy.split([',', ' ']).map(str::trim);
        let direct = direct.filter(|one| !one.is_empty());
        Self {
            https: https.map(Hop::of),
            http: http.map(Hop::of),
            direct: direct
                .map(|one| one.trim_start_matches("*.").to_lowercase())
                .collect(),
            logins: logins(netrc),
        }
    }

    /// The proxy that stands before a host.
    pub(super) fn hop(&self, is_https: bool, host: &str, port: u16) -> Option<&Hop> {
        let hop = if is_https { &self.https } else { &self.http };
        let is_direct = |one: &String| {
            let (name, only) = match one.rsplit_once(':') {
                Some((name, digits)) => (name, digits.parse::<u16>().ok()),
                None => (one.as_str(), None),
            };
            let domain = name.trim_start_matches('.');
            let below = host
                .strip_suffix(domain)
                .is_some_and(|rest| rest.ends_with('.'));
            let fits = name == "*" || host == domain || below;
            fits && only.is_none_or(|only| only == port)
        };
        hop.as_ref().filter(|_| !self.direct.iter().any(is_direct))
    }

    /// What a host wants, as the netrc file says it: an entry of its own, else the one for all.
    pub(super) fn login(&self, host: &str) -> Option<&Authorization> {
        let find = |wanted| self.logins.iter().find(|one| one.host.as_deref() == wanted);
        let found = find(Some(host)).or_else(|| find(None))?;
        found.authorization.as_ref()
    }
}

impl Hop {
    fn of(text: &str) -> Self {
        let unusable = |why| Self::Unusable(without_secrets(text), why);
        let (scheme, rest) = text.split_once("://").unwrap_or(("http", text));
        if !scheme.eq_ignore_ascii_case("http") {
            return unusable("only proxies at http:// can be used");
        }
        let (place, path) = rest.split_once(['/', '?', '#']).unwrap_or((rest, ""));
        if path.contains('@') {
            // What stands before it would be taken for the host.
            return unusable("in its password `/`, `?` and `#` are written `%2F`, `%3F` and `%23`");
        }
        let (credentials, place) = match place.rsplit_once('@') {
            Some((credentials, place)) => (Some(credentials), place),
            None => (None, place),
        };
        let (host, port) = match place.rsplit_once(':') {
            Some((host, port)) => (host, port.parse().ok()),
            None => (place, Some(80)),
        };
        match port {
            Some(port) if !host.is_empty() => Self::Http {
                host: host.trim_matches(['[', ']']).to_owned(),
                port,
                authorization: credentials.and_then(basic),
            },
            _ => unusable("it names no host or port"),
        }
    }
}

impl fmt::Display for Hop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http { host, port, .. } => write!(f, "http://{host}:{port}"),
            Self::Unusable(shown, _) => f.write_str(shown),
        }
    }
}

/// An address for people. Whatever stands before its last `@` may be a password, however it is
/// written.
pub(super) fn without_secrets(address: &str) -> String {
    let shown = match address.rsplit_once('@') {
        Some((_, rest)) => format!("...@{rest}"),
        None => address.to_owned(),
    };
    spec::printable(&shown, 200)
}

/// The header of `USER:PASSWORD` as an address holds them. Source: RFC 3986 and RFC 7617.
pub(super) fn basic(credentials: &str) -> Option<Authorization> {
    let (user, password) = credentials.split_once(':').unwrap_or((credentials, ""));
    let (mut pair, password) = (decoded(user), decoded(password));
    pair.push(b':');
    pair.extend(password);
    Authorization::new(&format!("Basic {}", STANDARD.encode(pair)))
}

fn decoded(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let digits = after.get(..2).and_then(|two| std::str::from_utf8(two).ok());
        let byte = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match byte {
            Some(byte) if first == b'%' => {
                bytes.push(byte);
                rest = &after[2..];
            }
            _ => {
                bytes.push(first);
                rest = after;
            }
        }
    }
    bytes
}

/// The entries of a netrc file. Source: `netrc(5)`, without macros.
fn logins(text: &str) -> Vec<Login> {
    let words = text.lines().enumerate().flat_map(|(line, text)| {
        let words = text.split_whitespace();
        words.map(move |word| (line, word))
    });
    let mut words = words.peekable();
    let mut entries: Vec<(Option<String>, &str, &str)> = Vec::new();
    while let Some((line, word)) = words.next() {
        // Only here: a password may begin with this, too.
        if word.starts_with('#') {
            while words.next_if(|(other, _)| *other == line).is_some() {}
            continue;
        }
        if word == "default" {
            entries.push((None, "", ""));
            continue;
        }
        if !matches!(word, "machine" | "login" | "password" | "account") {
            continue;
        }
        let value = words.next().map(|(_, value)| value).unwrap_or_default();
        match (word, entries.last_mut()) {
            ("machine", _) => entries.push((Some(value.to_lowercase()), "", "")),
            ("login", Some(entry)) => entry.1 = value,
            ("password", Some(entry)) => entry.2 = value,
            _ => {}
        }
    }
    let entries = entries.into_iter();
    let entries = entries.map(|(host, user, password)| Login {
        host,
        authorization: {
            let pair = STANDARD.encode(format!("{user}:{password}"));
            Authorization::new(&format!("Basic {pair}"))
        },
    });
    entries.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proxies_are_read_as_is_usual() {
        let access = IndexAccess::new(
            Some("http://u:s%40cret@proxy.test:3128/"),
            Some("socks5://u:secret@proxy.test"),
            "localhost, .inner.test,*.other.test,only.test:8443",
            "",
        );
        let check = |is_https, host: &str, port, expected: Option<&str>| {
            let hop = access.hop(is_https, host, port).map(ToString::to_string);
            assert_eq!(hop.as_deref(), expected, "{host}:{port}");
        };
        check(true, "a.test", 443, Some("http://proxy.test:3128"));
        check(false, "a.test", 80, Some("...@proxy.test"));
        check(true, "localhost", 443, None);
        check(true, "a.inner.test", 443, None);
        check(true, "a.other.test", 443, None);
        check(true, "another.test", 443, Some("http://proxy.test:3128"));
        check(true, "only.test", 8443, None);
        check(true, "only.test", 443, Some("http://proxy.test:3128"));
        assert!(!format!("{access:?}").contains("cret"), "{access:?}");
        let Some(Hop::Http { authorization, .. }) = access.hop(true, "a.test", 443) else {
            panic!("{access:?}");
        };
        // `u:s@cret`
        assert_eq!(*authorization, Authorization::new("Basic dTpzQGNyZXQ="));
        assert_eq!(
            IndexAccess::new(Some("http://p"), None, "*", "").hop(true, "a", 443),
            None
        );
    }

    #[test]
    fn a_proxy_that_cannot_be_used_keeps_its_password() {
        let check = |text: &str, shown: &str, why: &str| {
            let Hop::Unusable(said, reason) = Hop::of(text) else {
                panic!("{text} can be used");
            };
            assert_eq!(said, shown);
            assert!(reason.contains(why), "{text}: {reason}");
        };
        check("http://u:sec/ret@p.test:3128", "...@p.test:3128", "%2F");
        check("http://u:80/ret@p.test:3128", "...@p.test:3128", "%2F");
        check("u:sec#ret@p.test:3128", "...@p.test:3128", "%2F");
        check("https://u:secret@p.test", "...@p.test", "http://");
        check("socks5://p.test", "socks5://p.test", "http://");
        check("u:secret://x@p.test", "...@p.test", "http://");
        check("http://u:secret@p.test:x", "...@p.test:x", "port");
        check("", "", "no host");
    }

    #[test]
    fn a_netrc_file_names_hosts() {
        let text = "# all machine a.test login x password x\n\
                    default login d password e # machine a.test\n\
                    machine a.test login u password p\n\
                    machine b.test\n  login v\n  password q # x\n\
                    machine h.test login #u password #p #no\n\
                    machine i.test account login login w password r\n";
        let access = IndexAccess::new(None, None, "", text);
        let check = |host: &str, pair: &str| {
            let expected = Authorization::new(&format!("Basic {}", STANDARD.encode(pair)));
            assert_eq!(access.login(host), expected.as_ref(), "{host}");
        };
        check("a.test", "u:p");
        check("b.test", "v:q");
        check("c.test", "d:e");
        check("h.test", "#u:#p");
        check("i.test", "w:r");
        assert_eq!(IndexAccess::default().login("a.test"), None);
    }
}
