//! `[egress]`: what the operator decides about the network.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use egress::HostRule;
use orchestrator::{Authorities, EgressSettings};
use serde::de::value::SeqAccessDeserializer;
use serde::de::{self, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use spec::ByteSize;

use super::file::Text;
use crate::exit::Problem;

/// `[egress]`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EgressTable {
    allow: Option<Allow>,
    #[serde(default)]
    deny: BTreeSet<HostRule>,
    #[serde(default)]
    opaque: BTreeSet<HostRule>,
    #[serde(default)]
    hosts: BTreeMap<Text<HostRule>, Text<Address>>,
    /// Relative to the configuration file.
    pub(super) ca_file: Option<PathBuf>,
    bytes: Option<Text<ByteSize>>,
}

/// Everything, nothing, or these hosts.
#[derive(Debug)]
enum Allow {
    All(bool),
    These(BTreeSet<HostRule>),
}

impl<'de> Deserialize<'de> for Allow {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AllowVisitor;
        impl<'de> Visitor<'de> for AllowVisitor {
            type Value = Allow;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("true, false, or a list of hosts")
            }

            fn visit_bool<E: de::Error>(self, all: bool) -> Result<Self::Value, E> {
                Ok(Allow::All(all))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Self::Value, A::Error> {
                BTreeSet::deserialize(SeqAccessDeserializer::new(list)).map(Allow::These)
            }
        }
        deserializer.deserialize_any(AllowVisitor)
    }
}

/// Where the connections to a host go.
#[derive(Debug)]
struct Address(SocketAddr);

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let address = text.parse().map_err(|_| {
            let text = spec::printable(text, 80);
            format!("`{text}` is not ADDRESS:PORT, such as `127.0.0.1:8080` or `[::1]:8080`")
        });
        address.map(Self)
    }
}

impl EgressTable {
    /// The same, with the file of certificate authorities read.
    pub(super) fn settings(self) -> Result<EgressSettings, Problem> {
        let default = EgressSettings::default();
        let (allow_all, allow) = match self.allow {
            None => (default.allow_all, default.allow),
            Some(Allow::All(all)) => (all, BTreeSet::new()),
            Some(Allow::These(hosts)) => (false, hosts),
        };
        let mut hosts = BTreeMap::new();
        for (Text(host), Text(Address(address))) in self.hosts {
            if host.is_pattern() {
                return Err(
                    Problem::usage(format!("[egress.hosts] names the pattern `{host}`"))
                        .hint("map each host by its own name"),
                );
            }
            hosts.insert(host.to_string(), address);
        }
        let bytes_max = self.bytes.map_or(default.bytes_max, |Text(bytes)| bytes);
        if bytes_max == ByteSize::default() {
            return Err(Problem::usage("`bytes` in [egress] is 0")
                .hint("grant no host at all to forbid the network"));
        }
        Ok(EgressSettings {
            allow_all,
            allow,
            deny: self.deny,
            opaque: self.opaque,
            hosts,
            authorities: self.ca_file.as_deref().map(authorities).transpose()?,
            bytes_max,
        })
    }
}

fn authorities(path: &Path) -> Result<Authorities, Problem> {
    let shown = path.display();
    let pem = std::fs::read(path).map_err(|error| {
        Problem::of_path(format!("the `ca_file` `{shown}` cannot be read"), error)
    })?;
    Ok(Authorities {
        file: shown.to_string(),
        pem,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(toml: &str) -> Result<EgressSettings, String> {
        let table: EgressTable = toml::from_str(toml).map_err(|error| error.to_string())?;
        table.settings().map_err(|problem| problem.to_string())
    }

    #[test]
    fn the_table_is_read() {
        let read = settings(
            "allow = ['API.Example.org']\ndeny = ['*.internal.example']\nopaque = ['a.b:8443']\n\
             bytes = '1M'\n[hosts]\n'site.test' = '127.0.0.1:8080'\n'b.test:443' = '[::1]:8443'",
        )
        .unwrap();
        let rules = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
        assert_eq!(read.allow, rules(&["api.example.org"]));
        assert_eq!(read.deny, rules(&["*.internal.example"]));
        assert_eq!(read.opaque, rules(&["a.b:8443"]));
        assert_eq!(read.hosts["b.test:443"], "[::1]:8443".parse().unwrap());
        assert_eq!(read.bytes_max, ByteSize::mib(1));
        assert!(!read.allow_all);
        assert!(settings("allow = true").unwrap().allow_all);
        assert!(!settings("").unwrap().allow_all);
    }

    #[test]
    fn what_is_wrong_is_said() {
        let said = |toml: &str, expected: &str| {
            let error = settings(toml).unwrap_err();
            assert!(error.contains(expected), "{error}");
        };
        said("allow = ['1.2.3.4']", "1.2.3.4");
        said("allow = 'a.b'", "true, false, or a list of hosts");
        said("[hosts]\n'site.test' = 'nonsense'", "ADDRESS:PORT");
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for wrong in [
            "allow = 'api.example.org'",
            "allow = ['127.0.0.1']",
            "allow = ['https://api.example.org']",
            "deny = ['*']",
            "bytes = '0'",
            "bytes = 0",
            "ca_file = '/nowhere/at/all.pem'",
            "[hosts]\n'site.test' = '127.0.0.1'",
            "[hosts]\n'site.test' = 'localhost:80'",
            "[hosts]\n'*.site.test' = '127.0.0.1:80'",
            "[hosts]\n'127.0.0.1' = '127.0.0.1:80'",
            "unknown = 1",
        ] {
            assert!(settings(wrong).is_err(), "{wrong}");
        }
    }
}
