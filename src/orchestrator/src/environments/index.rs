//! The package index: where wheels come from, and how a sandbox reaches it.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use egress::{Approach, Authorization, HostRule, NextProxy, Policy};
use spec::ByteSize;

use super::EnvironmentError;
use super::access::{Hop, IndexAccess, basic};
use crate::egress::EgressSettings;

/// Bytes of all wheels of one environment, and of the pages about them.
const BYTES_MAX: ByteSize = ByteSize::mib(2_048);
/// Bytes of one wheel.
const WHEEL_MAX: ByteSize = ByteSize::mib(512);
/// Requests of one resolution: pages, metadata and wheels.
const REQUESTS_MAX: u32 = 5_000;

/// Where wheels come from. The operator's word: no version and no model can change it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackageIndex {
    /// Its address, with a `/` at its end.
    url: String,
    /// Its host, and those where its files are.
    hosts: BTreeSet<HostRule>,
    /// Its own host, and what that wants.
    own: HostRule,
    authorization: Option<Authorization>,
    access: IndexAccess,
}

impl PackageIndex {
    /// The index at an address; its files are there too, or at these hosts.
    ///
    /// # Errors
    /// [`EnvironmentError::Index`] for an address that is none. Credentials in it are kept apart: they
    /// are no part of [`Self::url`], and never enter a sandbox.
    pub fn new(url: &str, files: BTreeSet<HostRule>) -> Result<Self, EnvironmentError> {
        let shown = |url: &str| match (url.split_once("://"), url.rsplit_once('@')) {
            (Some((scheme, _)), Some((_, rest))) => format!("{scheme}://...@{rest}"),
            _ => url.to_owned(),
        };
        let wrong = |why: &str| EnvironmentError::Index {
            index: spec::printable(&shown(url), 200),
            why: why.to_owned(),
        };
        let (scheme, rest) = url
            .split_once("://")
            .ok_or_else(|| wrong("it does not begin with https:// or http://"))?;
        if !matches!(scheme, "https" | "http") {
            return Err(wrong("it does not begin with https:// or http://"));
        }
        let plain = |c: char| c.is_ascii_graphic() && !"?#\"'\\<>".contains(c);
        if !rest.chars().all(plain) {
            return Err(wrong("it is not a plain address"));
        }
        let (place, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (authorization, host) = match place.rsplit_once('@') {
            Some((credentials, host)) => (basic(credentials), host),
            None => (None, place),
        };
        let rule: HostRule = host
            .parse()
            .map_err(|error: egress::HostError| wrong(&error.to_string()))?;
        if rule.is_pattern() {
            return Err(wrong("its host is a pattern"));
        }
        let mut hosts = files;
        hosts.insert(rule.clone());
        let url = format!("{scheme}://{host}/{path}");
        Ok(Self {
            url: format!("{}/", url.trim_end_matches('/')),
            hosts,
            own: rule,
            authorization,
            access: IndexAccess::default(),
        })
    }

    /// The same, reached as this machine reaches it.
    #[must_use]
    pub fn reached(self, access: IndexAccess) -> Self {
        Self { access, ..self }
    }

    /// Its address, with a `/` at its end and without credentials.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Its host, and those that the operator named for its files.
    pub(super) fn hosts(&self) -> &BTreeSet<HostRule> {
        &self.hosts
    }

    /// What a sandbox may reach that resolves or fetches: these hosts alone.
    ///
    /// The operator has named the index, and it its files, as for pip on this machine; so they may be
    /// in a private network: they are looked up as this machine does, its hosts file included.
    pub(super) async fn policy(
        &self,
        allow: &BTreeSet<HostRule>,
        settings: &EgressSettings,
    ) -> Result<Policy, EnvironmentError> {
        let mut places = settings.hosts.clone();
        let mut approaches = Vec::new();
        for rule in allow {
            for port in rule.port().map_or(vec![443, 80], |port| vec![port]) {
                let key = format!("{}:{port}", rule.host());
                // Where the operator says it is, no proxy stands before it.
                let is_mapped = places.contains_key(&key) || places.contains_key(rule.host());
                // A port of its own says nothing of the scheme.
                let both = rule.port().is_some();
                let schemes = [true, false].into_iter();
                let schemes = schemes.filter(|is_https| both || *is_https == (port == 443));
                let mut is_direct = false;
                for is_https in schemes {
                    let mut approach = self.approach(rule, is_https);
                    if !is_mapped {
                        approach.next = self.next(rule, is_https, port).await?;
                        is_direct |= approach.next.is_none();
                    }
                    approaches.push(approach);
                }
                if is_direct && let Some(address) = look_up(rule.host(), port).await {
                    places.insert(key, address);
                }
            }
        }
        Ok(Policy {
            allow: allow.clone(),
            hosts: places,
            approaches,
            bytes_max: BYTES_MAX,
            body_max: WHEEL_MAX,
            exchanges_max: REQUESTS_MAX,
            ..Policy::default()
        })
    }

    /// Whether this is what its address names: its own host, over its own scheme.
    fn is_own(&self, rule: &HostRule, is_https: bool) -> bool {
        *rule == self.own && self.url.starts_with("https:") == is_https
    }

    /// What one of the hosts wants over one scheme. No password leaves in the clear that the operator
    /// did not give to such an address.
    fn approach(&self, rule: &HostRule, is_https: bool) -> Approach {
        let is_own = self.is_own(rule, is_https);
        let own = self.authorization.as_ref().filter(|_| is_own);
        let known = self
            .access
            .login(rule.host())
            .filter(|_| is_https || is_own);
        Approach {
            host: rule.clone(),
            is_https,
            authorization: own.or(known).cloned(),
            next: None,
        }
    }

    /// The proxy that stands before one of the hosts.
    async fn next(
        &self,
        rule: &HostRule,
        is_https: bool,
        port: u16,
    ) -> Result<Option<NextProxy>, EnvironmentError> {
        let Some(hop) = self.access.hop(is_https, rule.host(), port) else {
            return Ok(None);
        };
        match hop {
            Hop::Http {
                host,
                port,
                authorization,
            } => {
                let address = look_up(host, *port).await.ok_or_else(|| {
                    EnvironmentError::Proxy(format!("http://{host}:{port}"), "it has no address")
                })?;
                Ok(Some(NextProxy {
                    address,
                    authorization: authorization.clone(),
                }))
            }
            // It matters where it would be used.
            Hop::Unusable(shown) if self.is_own(rule, is_https) => {
                let why = "only proxies at http:// can be used";
                Err(EnvironmentError::Proxy(shown.clone(), why))
            }
            Hop::Unusable(_) => Ok(None),
        }
    }
}

/// The first address of a name; those that every machine reaches come first.
async fn look_up(host: &str, port: u16) -> Option<SocketAddr> {
    let found = tokio::net::lookup_host((host, port)).await.ok()?;
    let mut found: Vec<SocketAddr> = found.collect();
    found.sort_by_key(SocketAddr::is_ipv6);
    found.into_iter().next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_is_an_address_without_secrets() {
        let check = |url: &str, expected: Result<&str, &str>| {
            let index = PackageIndex::new(url, BTreeSet::new());
            match (index, expected) {
                (Ok(index), Ok(expected)) => assert_eq!(index.url(), expected),
                (Err(error), Err(expected)) => {
                    let error = error.to_string();
                    assert!(error.contains(expected), "{error}");
                    assert!(!error.contains("secret"), "{error}");
                }
                (index, expected) => panic!("{url}: {index:?}, not {expected:?}"),
            }
        };
        check(
            "https://index.example.org/simple",
            Ok("https://index.example.org/simple/"),
        );
        check(
            "http://index.example.org:8080/a/",
            Ok("http://index.example.org:8080/a/"),
        );
        check(
            "https://u:secret@index.example.org/simple",
            Ok("https://index.example.org/simple/"),
        );
        check("ftp://u:secret@index.example.org/", Err("https://"));
        check("ftp://index.example.org/", Err("https://"));
        check("index.example.org", Err("https://"));
        check("https://*.example.org/", Err("pattern"));
        check("https://a b/", Err("plain"));
        check("https:///simple", Err(""));
    }

    #[test]
    fn files_may_be_elsewhere() {
        let files = BTreeSet::from(["files.example.org".parse().unwrap()]);
        let index = PackageIndex::new("https://index.example.org/simple", files).unwrap();
        let hosts: Vec<String> = index.hosts.iter().map(ToString::to_string).collect();
        assert_eq!(hosts, ["files.example.org", "index.example.org"]);
    }
}
