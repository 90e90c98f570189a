//! How repositories are written: `REGISTRY/REPO[:TAG|@DIGEST]`.

use std::fmt;
use std::str::FromStr;

use reqwest::Url;
use spec::Digest;

/// A repository of a registry. Its host is in lower case, however it was written.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RepositoryName {
    host: String,
    path: String,
}

/// A repository, and what is meant in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistryRef {
    /// Where.
    pub repository: RepositoryName,
    /// What; none means the tag `latest`.
    pub target: Option<Target>,
}

/// One manifest of a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// Whatever the registry says that a tag is.
    Tag(String),
    /// Exactly this one.
    Digest(Digest),
}

/// A text that names no repository of a registry.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` does not name a registry's repository: {why}")]
pub struct ReferenceError {
    text: String,
    why: &'static str,
}

impl ReferenceError {
    /// What a caller can do about it.
    pub fn hint(&self) -> Option<String> {
        Some(
            "write REGISTRY/REPO[:TAG] or REGISTRY/REPO@DIGEST, such as registry.example.org/team/csv"
                .to_owned(),
        )
    }
}

/// The default registry of Docker, and the name under which it answers. Source: Docker's own client.
const DOCKER_HOSTS: &[&str] = &["docker.io", "index.docker.io"];
const DOCKER_ENDPOINT: &str = "registry-1.docker.io";
/// The longest repository, in bytes, host included. Source: OCI distribution specification.
const LENGTH_MAX: usize = 255;

impl RepositoryName {
    /// The host, with a port where one was written.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The path within the registry.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Whether the registry is on this machine's loopback.
    pub fn is_local(&self) -> bool {
        let host = match self.host.strip_prefix('[') {
            Some(literal) => literal.split(']').next().unwrap_or_default(),
            None => self.host.split(':').next().unwrap_or_default(),
        };
        let address = host.parse::<std::net::IpAddr>();
        host == "localhost" || address.is_ok_and(|address| address.is_loopback())
    }

    /// Every way to write this repository, where the registry is asked at that port: with and without a port
    /// that need not be written, and by the other names of the default registry.
    pub(crate) fn spellings(&self, base: &Url) -> Vec<String> {
        let host = base.host_str().unwrap_or(&self.host);
        let hosts = if host == DOCKER_ENDPOINT || DOCKER_HOSTS.contains(&host) {
            [DOCKER_HOSTS, &[DOCKER_ENDPOINT]].concat()
        } else {
            vec![host]
        };
        let port = base.port_or_known_default();
        let port = port.map_or_else(String::new, |port| format!(":{port}"));
        let mut ports = vec![port.as_str()];
        if base.port().is_none() {
            ports.push("");
        }
        let mut all = Vec::new();
        for host in hosts {
            all.extend(
                ports
                    .iter()
                    .map(|port| format!("{host}{port}/{}", self.path)),
            );
        }
        all
    }

    /// The host that answers for this one.
    pub(crate) fn endpoint(&self) -> &str {
        let host = self.host.as_str();
        if DOCKER_HOSTS.contains(&host) {
            DOCKER_ENDPOINT
        } else {
            host
        }
    }
}

impl RegistryRef {
    /// What is meant.
    pub fn target_or_latest(&self) -> Target {
        self.target
            .clone()
            .unwrap_or_else(|| Target::Tag("latest".to_owned()))
    }
}

impl FromStr for RegistryRef {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = |why| ReferenceError {
            text: spec::printable(text, 200),
            why,
        };
        let (name, digest) = match text.split_once('@') {
            Some((name, digest)) => {
                let digest = digest.parse().map_err(|_| error("its digest is not one"))?;
                (name, Some(Target::Digest(digest)))
            }
            None => (text, None),
        };
        let (host, rest) = name
            .split_once('/')
            .ok_or_else(|| error("it has no registry or no repository"))?;
        // Names of hosts are the same in any case. Source: RFC 4343.
        let host = host.to_ascii_lowercase();
        if !is_host(&host) {
            return Err(error("it does not begin with a registry's host"));
        }
        let (path, tag) = match rest.rsplit_once(':') {
            Some((path, tag)) => (path, Some(tag)),
            None => (rest, None),
        };
        if !is_path(path) || host.len() + 1 + path.len() > LENGTH_MAX {
            return Err(error("its repository has characters that none has"));
        }
        if tag.is_some_and(|tag| !is_tag(tag)) {
            return Err(error("its tag is not one"));
        }
        if tag.is_some() && digest.is_some() {
            return Err(error("it has a tag and a digest"));
        }
        Ok(Self {
            repository: RepositoryName {
                host,
                path: path.to_owned(),
            },
            target: digest.or_else(|| tag.map(|tag| Target::Tag(tag.to_owned()))),
        })
    }
}

/// `host.example`, `host:port`, `localhost`, `[::1]:port`: a plain word could be a folder.
fn is_host(text: &str) -> bool {
    let (host, port) = match text.rfind(':') {
        Some(colon) if !text.ends_with(']') => (&text[..colon], Some(&text[colon + 1..])),
        _ => (text, None),
    };
    let port_ok = port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0));
    let literal = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    if let Some(literal) = literal {
        return port_ok && literal.parse::<std::net::Ipv6Addr>().is_ok();
    }
    let label = |label: &str| {
        let plain = label
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'-');
        (1..=63).contains(&label.len()) && plain && !label.starts_with('-') && !label.ends_with('-')
    };
    let says_so = host.contains('.') || port.is_some() || host == "localhost";
    port_ok && says_so && host.split('.').all(label)
}

/// Source: OCI distribution specification, the grammar of names.
fn is_path(text: &str) -> bool {
    let is_word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let component = |text: &str| {
        let bytes = text.as_bytes();
        let ends = bytes.first().copied().is_some_and(is_word)
            && bytes.last().copied().is_some_and(is_word);
        let separators = text.split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
        let separated = separators.into_iter().all(|between| {
            matches!(between, "" | "." | "_" | "__") || between.bytes().all(|b| b == b'-')
        });
        ends && separated
    };
    text.split('/').all(component)
}

/// Source: OCI distribution specification, the grammar of tags.
fn is_tag(text: &str) -> bool {
    let plain = text
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
    (1..=128).contains(&text.len()) && plain && !text.starts_with(['.', '-'])
}

impl fmt::Display for RepositoryName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.host, self.path)
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tag(tag) => f.write_str(tag),
            Self::Digest(digest) => digest.fmt(f),
        }
    }
}

impl fmt::Display for RegistryRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.repository.fmt(f)?;
        match &self.target {
            None => Ok(()),
            Some(Target::Tag(tag)) => write!(f, ":{tag}"),
            Some(Target::Digest(digest)) => write!(f, "@{digest}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_well_formed_is_written_back() {
        let digest = Digest::of(b"x");
        for text in [
            "registry.example.org/team/csv-cleaner",
            "registry.example.org/csv:v1.2",
            "127.0.0.1:5000/a/b_c/d--e",
            "[::1]:5000/a",
            "localhost/a:latest",
            &format!("registry.example.org:443/a@{digest}"),
        ] {
            assert_eq!(text.parse::<RegistryRef>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn one_place_is_known_by_all_its_names() {
        let check = |text: &str, base: &str, expected: &[&str]| {
            let parsed: RegistryRef = format!("{text}/a/b").parse().unwrap();
            let url = Url::parse(&format!("{base}://{}/v2/", parsed.repository.endpoint()));
            let expected: Vec<_> = expected.iter().map(|host| format!("{host}/a/b")).collect();
            assert_eq!(
                parsed.repository.spellings(&url.unwrap()),
                expected,
                "{text}"
            );
        };
        let both = &["registry.example.org:443", "registry.example.org"];
        check("registry.example.org", "https", both);
        check("Registry.EXAMPLE.org:443", "https", both);
        check("registry.example.org:0443", "https", both);
        let both = &["registry.example.org:80", "registry.example.org"];
        check("registry.example.org", "http", both);
        check("registry.example.org:80", "http", both);
        // Another port is another place.
        check(
            "registry.example.org:80",
            "https",
            &["registry.example.org:80"],
        );
        check(
            "registry.example.org:443",
            "http",
            &["registry.example.org:443"],
        );
        check("[::0001]:5000", "http", &["[::1]:5000"]);
        let docker = [
            "docker.io:443",
            "docker.io",
            "index.docker.io:443",
            "index.docker.io",
            "registry-1.docker.io:443",
            "registry-1.docker.io",
        ];
        for text in docker {
            check(text, "https", &docker);
        }
    }

    #[test]
    fn a_host_is_the_same_in_any_case() {
        let parsed: RegistryRef = "LocalHost/a:Tag".parse().unwrap();
        assert_eq!(parsed.to_string(), "localhost/a:Tag");
        assert!(parsed.repository.is_local());
    }

    #[test]
    fn what_is_not_is_refused() {
        let digest = Digest::of(b"x");
        for text in [
            "",
            "csv",
            "team/csv",
            "registry.example.org",
            "registry.example.org/",
            "registry.example.org/A",
            "registry.example.org/../x",
            "registry.example.org/a//b",
            "registry.example.org/a:",
            "registry.example.org/a:-x",
            "registry.example.org/a@sha256:12",
            "registry.example.org/a___b",
            "registry.example.org/a?b",
            "user@registry.example.org/a",
            "https://registry.example.org/a",
            "registry.example.org:0/a",
            "-x.org/a",
            &format!("registry.example.org/a:b@{digest}"),
            &format!("registry.example.org/{}", "a".repeat(300)),
        ] {
            assert!(text.parse::<RegistryRef>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn loopback_is_known() {
        let check = |text: &str, local: bool| {
            let parsed: RegistryRef = text.parse().unwrap();
            assert_eq!(parsed.repository.is_local(), local, "{text}");
        };
        check("127.0.0.1:5000/a", true);
        check("localhost:5000/a", true);
        check("[::1]:5000/a", true);
        check("127.0.0.1.example.org/a", false);
        check("localhost.example.org/a", false);
    }
}
