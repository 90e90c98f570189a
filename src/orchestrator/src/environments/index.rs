//! The package index: where wheels come from, and how a sandbox reaches it.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use egress::{Approach, Authorization, HostRule, NextProxy, Policy, Resolver};
use futures::future::BoxFuture;
use spec::ByteSize;

use super::EnvironmentError;
use super::access::{Hop, IndexAccess, basic, without_secrets};
use crate::egress::{Authorities, EgressSettings};

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
    /// Further authorities that its certificate may come from.
    authorities: Option<Authorities>,
    /// What people should know when it is asked.
    notes: Vec<String>,
}

/// Why there is no package index. It matters to those alone who need one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IndexError {
    /// Nobody named one.
    #[error("no package index is configured")]
    NotNamed,
    /// Its address cannot be used.
    #[error("the package index `{index}` cannot be used: {why}")]
    Unusable {
        /// Its address, without credentials.
        index: String,
        /// What is wrong with it.
        why: String,
    },
    /// One of the hosts of its files cannot be one.
    #[error("`index_hosts` in [python] names `{host}`: {why}")]
    Files {
        /// What was written, printable.
        host: String,
        /// What is wrong with it.
        why: String,
    },
    /// The authorities that pip is told of cannot be read.
    #[error("pip's `cert` `{}` cannot be read: {why}", .file.display())]
    Certificates {
        /// The file.
        file: PathBuf,
        /// Why not.
        why: String,
    },
}

impl IndexError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::NotNamed => {
                "name it in PIP_INDEX_URL, as `index` in [python] of config.toml, or in pip.conf"
            }
            Self::Unusable { .. } => {
                "name another in PIP_INDEX_URL or as `index` in [python] of config.toml: \
                 http(s)://NAME/...; where NAME is an address of this machine or of a private network \
                 alone, `[egress.hosts]` maps it"
            }
            Self::Files { .. } => "write HOST, HOST:PORT or *.DOMAIN in `index_hosts`",
            Self::Certificates { .. } => "see PIP_CERT and `cert` in pip.conf",
        };
        Some(hint.to_owned())
    }
}

impl PackageIndex {
    /// The index at an address; its files are there too, or at these hosts.
    ///
    /// # Errors
    /// [`IndexError::Unusable`] for an address that is none. Credentials in it are kept apart: they
    /// are no part of [`Self::url`], and never enter a sandbox.
    pub fn new(url: &str, files: BTreeSet<HostRule>) -> Result<Self, IndexError> {
        let wrong = |why: &str| IndexError::Unusable {
            index: without_secrets(url),
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
        let rule: HostRule = host.parse().map_err(|error: egress::HostError| {
            if path.contains('@') {
                // What stands there may be the beginning of a password.
                return wrong("its host is no name; in a password `/` is written `%2F`");
            }
            wrong(&error.to_string())
        })?;
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
            authorities: None,
            notes: Vec::new(),
        })
    }

    /// The same, reached as this machine reaches it.
    #[must_use]
    pub fn reached(self, access: IndexAccess) -> Self {
        Self { access, ..self }
    }

    /// The same with authorities that its certificate may come from, besides those of this machine.
    #[must_use]
    pub fn believing(self, authorities: Option<Authorities>) -> Self {
        Self {
            authorities,
            ..self
        }
    }

    /// The same with what people should know when it is asked.
    #[must_use]
    pub fn noting(self, notes: Vec<String>) -> Self {
        Self { notes, ..self }
    }

    /// Its address, with a `/` at its end and without credentials.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Its host, and those that the operator named for its files.
    pub(super) fn hosts(&self) -> &BTreeSet<HostRule> {
        &self.hosts
    }

    /// Authorities that its certificate may come from, besides those of this machine.
    pub(super) fn authorities(&self) -> Option<&Authorities> {
        self.authorities.as_ref()
    }

    /// What people should know before it is asked.
    pub(super) async fn warnings(
        &self,
        settings: &EgressSettings,
        resolver: &dyn Resolver,
    ) -> Vec<String> {
        let mut warnings = self.notes.clone();
        if self.is_exposed(settings, resolver).await {
            warnings.push(format!(
                "the package index `{}` is asked without TLS: whoever is on the way there decides what \
                 it says",
                self.url
            ));
        }
        warnings
    }

    /// Whether it is asked in the clear, and not on this machine.
    async fn is_exposed(&self, settings: &EgressSettings, resolver: &dyn Resolver) -> bool {
        if self.url.starts_with("https:") {
            return false;
        }
        let (host, port) = (self.own.host(), self.own.port().unwrap_or(80));
        let mapped = settings.hosts.get(&format!("{host}:{port}"));
        if let Some(address) = mapped.or_else(|| settings.hosts.get(host)) {
            return !address.ip().is_loopback();
        }
        if self.access.hop(false, host, port).is_some() {
            return true;
        }
        let found = look_up(resolver, host, port).await;
        found.is_none_or(|address| !address.ip().is_loopback())
    }

    /// What a sandbox may reach that resolves or fetches: these hosts alone.
    ///
    /// Those that the operator has named may be in a private network, as for pip on this machine: they
    /// are looked up as this machine does, its hosts file included. Those that the index names are
    /// checked as every host of a run is, so they are public unless the operator maps them, or unless
    /// they are another site of the very server that the index is: the same address and port.
    pub(super) async fn policy(
        &self,
        allow: &BTreeSet<HostRule>,
        settings: &EgressSettings,
        resolver: &dyn Resolver,
    ) -> Result<Policy, EnvironmentError> {
        let mut places = settings.hosts.clone();
        let mut approaches = Vec::new();
        let own = self.address(settings, resolver).await;
        // The first that fits decides: the index's own, then names, then patterns.
        let mut rules: Vec<&HostRule> = allow.iter().collect();
        rules.sort_by_key(|rule| (**rule != self.own, rule.is_pattern()));
        for rule in rules {
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
                        approach.next = self.next(rule, is_https, port, resolver).await?;
                        is_direct |= approach.next.is_none();
                    }
                    approaches.push(approach);
                }
                if is_direct
                    && !rule.is_pattern()
                    && let Some(address) = look_up(resolver, rule.host(), port).await
                    && (self.hosts.contains(rule) || Some(address) == own)
                {
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

    /// Where it is; none where a proxy stands before it.
    async fn address(
        &self,
        settings: &EgressSettings,
        resolver: &dyn Resolver,
    ) -> Option<SocketAddr> {
        let (host, port) = (self.own.host(), self.port());
        let mapped = settings.hosts.get(&format!("{host}:{port}"));
        if let Some(mapped) = mapped.or_else(|| settings.hosts.get(host)) {
            return Some(*mapped);
        }
        let is_https = self.url.starts_with("https:");
        match self.access.hop(is_https, host, port) {
            Some(_) => None,
            None => look_up(resolver, host, port).await,
        }
    }

    /// The port of its address.
    fn port(&self) -> u16 {
        let usual = if self.url.starts_with("https:") {
            443
        } else {
            80
        };
        self.own.port().unwrap_or(usual)
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
        resolver: &dyn Resolver,
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
                let address = look_up(resolver, host, *port).await.ok_or_else(|| {
                    EnvironmentError::Proxy(format!("http://{host}:{port}"), "it has no address")
                })?;
                Ok(Some(NextProxy {
                    address,
                    authorization: authorization.clone(),
                }))
            }
            // It matters where it would be used.
            Hop::Unusable(shown, why) if self.is_own(rule, is_https) => {
                Err(EnvironmentError::Proxy(shown.clone(), why))
            }
            Hop::Unusable(..) => Ok(None),
        }
    }
}

/// Names as every program of this machine finds them, by its hosts file too.
#[derive(Clone, Copy, Debug)]
pub(super) struct MachineNames;

impl Resolver for MachineNames {
    fn resolve<'a>(&'a self, name: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>> {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name, 0)).await?;
            Ok(found.map(|address| address.ip()).collect())
        })
    }
}

/// The first address of a name; those that every machine reaches come first.
async fn look_up(resolver: &dyn Resolver, host: &str, port: u16) -> Option<SocketAddr> {
    let mut found = resolver.resolve(host).await.ok()?;
    found.sort_by_key(IpAddr::is_ipv6);
    let first = found.into_iter().next()?;
    Some(SocketAddr::new(first, port))
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
        check("u:secret@index.example.org/simple", Err("https://"));
        check("https://u:sec/secret@index.example.org/", Err("%2F"));
        check("https://secret:x/y@index.example.org/", Err("%2F"));
        check("https://u:secret#x@index.example.org/", Err("plain"));
        check("u:secret://x@index.example.org/", Err("https://"));
        check("https://u:secret@127.0.0.1/", Err("is an address"));
        check("http://10.1.2.3:3141/root", Err("is an address"));
        check("http://localhost/simple", Err("the machine itself"));
        check("file:///simple", Err("https://"));
        check(
            "https://index.example.org/feed@local/simple",
            Ok("https://index.example.org/feed@local/simple/"),
        );
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

    /// A network whose every name is in a private range: those of one company are one machine.
    #[derive(Debug)]
    struct Inside;

    impl Resolver for Inside {
        fn resolve<'a>(&'a self, name: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>> {
            let last = if name.ends_with(".corp.example") {
                4
            } else {
                3
            };
            Box::pin(async move { Ok(vec![IpAddr::from([10, 1, 2, last])]) })
        }
    }

    fn rules(texts: &[&str]) -> BTreeSet<HostRule> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[tokio::test]
    async fn what_the_index_names_is_not_pinned_past_the_checks() {
        let named = rules(&["files.example.org", "*.cdn.example.org"]);
        let index = PackageIndex::new("https://index.example.org/simple", named).unwrap();
        let mut allow = index.hosts().clone();
        allow.extend(rules(&["admin.corp.example", "search.example.org:9200"]));
        let settings = EgressSettings::default();
        let policy = index.policy(&allow, &settings, &Inside).await.unwrap();
        let places: Vec<&str> = policy.hosts.keys().map(String::as_str).collect();
        assert_eq!(
            places,
            [
                "files.example.org:443",
                "files.example.org:80",
                "index.example.org:443",
                "index.example.org:80"
            ]
        );
        assert_eq!(policy.allow, allow);
    }

    #[tokio::test]
    async fn another_site_of_the_server_of_the_index_is_reached() {
        let settings = EgressSettings::default();
        let check = async |url: &str, named: &str, expected: &[&str]| {
            let index = PackageIndex::new(url, BTreeSet::new()).unwrap();
            let mut allow = index.hosts().clone();
            allow.extend(rules(&[named]));
            let policy = index.policy(&allow, &settings, &Inside).await.unwrap();
            let places = policy.hosts.keys().map(String::as_str);
            let places: Vec<&str> = places.filter(|key| key.starts_with(named)).collect();
            assert_eq!(places, expected, "{url} {named}");
        };
        let index = "https://index.example.org/simple";
        check(index, "files.example.org", &["files.example.org:443"]).await;
        // Another program of the same machine is another.
        check(index, "search.example.org:9200", &[]).await;
        check(index, "files.corp.example", &[]).await;
        let index = "http://index.example.org:8080/simple";
        check(index, "files.example.org", &[]).await;
        let mapped = |address: &str| EgressSettings {
            hosts: [("index.example.org".to_owned(), address.parse().unwrap())].into(),
            ..EgressSettings::default()
        };
        let own = PackageIndex::new("https://index.example.org/simple", BTreeSet::new()).unwrap();
        let places = async |index: &PackageIndex, settings: &EgressSettings| {
            let mut allow = index.hosts().clone();
            allow.extend(rules(&["files.example.org"]));
            let policy = index.policy(&allow, settings, &Inside).await.unwrap();
            policy.hosts.contains_key("files.example.org:443")
        };
        // Where the operator says that it is, and not where its name would lead.
        assert!(!places(&own, &mapped("127.0.0.1:443")).await);
        assert!(places(&own, &mapped("10.1.2.3:443")).await);
        // What is behind a proxy has no address here.
        let proxy = IndexAccess::new(Some("http://10.9.9.9:3128"), None, "files.example.org", "");
        assert!(!places(&own.reached(proxy), &settings).await);
        check(index, "files.example.org:8080", &["files.example.org:8080"]).await;
    }

    #[tokio::test]
    async fn an_index_in_the_clear_is_said_unless_it_is_on_this_machine() {
        let check = async |url: &str, hosts: &[(&str, &str)], proxy: Option<&str>, said: bool| {
            let hosts = hosts.iter();
            let hosts = hosts.map(|(host, to)| ((*host).to_owned(), to.parse().unwrap()));
            let settings = EgressSettings {
                hosts: hosts.collect(),
                ..EgressSettings::default()
            };
            let index = PackageIndex::new(url, BTreeSet::new()).unwrap();
            let index = index.reached(IndexAccess::new(None, proxy, "", ""));
            let warnings = index.warnings(&settings, &Inside).await;
            assert_eq!(warnings.len(), usize::from(said), "{url}: {warnings:?}");
            let shown = warnings.iter().all(|one| one.contains("without TLS"));
            assert!(shown && !format!("{warnings:?}").contains("secret"));
        };
        let loopback = [("index.test:8080", "127.0.0.1:1")];
        check("https://index.test/simple", &[], None, false).await;
        check("http://u:secret@index.test/simple", &[], None, true).await;
        check("http://index.test:8080/simple", &loopback, None, false).await;
        check("http://index.test/simple", &loopback, None, true).await;
        check(
            "http://index.test/",
            &[("index.test", "[::1]:1")],
            None,
            false,
        )
        .await;
        check(
            "http://index.test/",
            &[("index.test", "10.1.2.3:1")],
            None,
            true,
        )
        .await;
        let proxy = Some("http://127.0.0.1:3128");
        check("http://index.test:8080/simple", &loopback, proxy, false).await;
        check("http://index.test/simple", &[], proxy, true).await;
        let index = PackageIndex::new("https://index.test/", BTreeSet::new()).unwrap();
        let notes = vec!["a note".to_owned()];
        let index = index.noting(notes.clone());
        let settings = EgressSettings::default();
        assert_eq!(index.warnings(&settings, &Inside).await, notes);
    }

    #[tokio::test]
    async fn a_pattern_of_files_leaves_the_index_its_password() {
        let named = rules(&["*.example.org", "a.example.org"]);
        let index = PackageIndex::new("https://u:p@index.example.org/simple", named).unwrap();
        let settings = EgressSettings::default();
        let policy = index.policy(index.hosts(), &settings, &Inside).await;
        let approaches = policy.unwrap().approaches;
        let hosts: Vec<String> = approaches.iter().map(|one| one.host.to_string()).collect();
        assert_eq!(
            hosts,
            [
                "index.example.org",
                "index.example.org",
                "a.example.org",
                "a.example.org",
                "*.example.org",
                "*.example.org"
            ]
        );
        assert!(approaches[0].is_https && approaches[0].authorization.is_some());
    }
}
