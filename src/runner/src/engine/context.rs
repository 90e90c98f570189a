//! From the user's settings to one endpoint, as the `docker` command resolves them.

use std::path::{Path, PathBuf};

use bollard::{API_DEFAULT_VERSION, Docker};
use serde::Deserialize;
use spec::Digest;

use super::EngineConfig;
use crate::RunnerError;

/// The socket that is used when nothing is set.
const DEFAULT_HOST: &str = "unix:///var/run/docker.sock";

/// The context that means "no context".
const DEFAULT_CONTEXT: &str = "default";

/// Source: the ports that `docker -H tcp://HOST` assumes.
const PLAIN_PORT: u16 = 2375;
const TLS_PORT: u16 = 2376;

/// One engine's address, parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Endpoint {
    /// A local socket.
    Unix { path: String },
    /// `HOST:PORT`, not encrypted.
    Http { authority: String },
    /// `HOST:PORT` over TLS.
    Https {
        authority: String,
        material: Material,
    },
}

/// The files of a TLS connection; a file that is `None` does not exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Material {
    ca: Option<PathBuf>,
    cert: Option<PathBuf>,
    key: Option<PathBuf>,
}

impl Material {
    fn of_directory(directory: &Path) -> Self {
        let file = |name: &str| Some(directory.join(name)).filter(|path| path.is_file());
        Self {
            ca: file("ca.pem"),
            cert: file("cert.pem"),
            key: file("key.pem"),
        }
    }

    fn is_empty(&self) -> bool {
        self.ca.is_none() && self.cert.is_none() && self.key.is_none()
    }
}

impl Endpoint {
    /// The address, for people.
    pub(super) fn address(&self) -> String {
        match self {
            Self::Unix { path } => format!("unix://{path}"),
            Self::Http { authority } => format!("tcp://{authority}"),
            Self::Https { authority, .. } => format!("https://{authority}"),
        }
    }

    /// Prepares the connection; only the next request shows whether somebody is there.
    pub(super) fn open(&self, timeout: u64) -> Result<Docker, bollard::errors::Error> {
        match self {
            Self::Unix { path } => Docker::connect_with_unix(path, timeout, API_DEFAULT_VERSION),
            Self::Http { authority } => {
                Docker::connect_with_http(authority, timeout, API_DEFAULT_VERSION)
            }
            Self::Https {
                authority,
                material,
            } => {
                // The library wants three paths. An empty certificate authority file leaves the
                // system's, and a certificate that cannot be read is not presented.
                let nothing = Path::new("/dev/null");
                Docker::connect_with_ssl(
                    authority,
                    material.key.as_deref().unwrap_or(nothing),
                    material.cert.as_deref().unwrap_or(nothing),
                    material.ca.as_deref().unwrap_or(nothing),
                    timeout,
                    API_DEFAULT_VERSION,
                )
            }
        }
    }
}

/// Finds the engine.
pub(super) fn endpoint(config: &EngineConfig) -> Result<Endpoint, RunnerError> {
    if let Some(host) = set(config.host.as_deref()) {
        let directory = config.cert_path.as_ref().or(config.config_dir.as_ref());
        return parse(host, config.tls_verify, || {
            directory.map(|directory| Material::of_directory(directory))
        });
    }
    let current;
    let name = if let Some(name) = set(config.context.as_deref()) {
        name
    } else {
        current = current_context(config.config_dir.as_deref())?;
        set(current.as_deref()).unwrap_or(DEFAULT_CONTEXT)
    };
    if name == DEFAULT_CONTEXT {
        return parse(DEFAULT_HOST, false, || None);
    }
    of_context(name, config.config_dir.as_deref())
}

/// An empty setting is the same as none.
fn set(value: Option<&str>) -> Option<&str> {
    value.map(str::trim).filter(|value| !value.is_empty())
}

fn parse(
    host: &str,
    tls: bool,
    material: impl FnOnce() -> Option<Material>,
) -> Result<Endpoint, RunnerError> {
    let refuse = |why: &str| RunnerError::EngineAddress {
        address: host.to_owned(),
        why: why.to_owned(),
    };
    let Some((scheme, rest)) = host.split_once("://") else {
        return Err(refuse("it has no scheme"));
    };
    let tls = match scheme {
        "unix" if rest.starts_with('/') => {
            return Ok(Endpoint::Unix {
                path: rest.to_owned(),
            });
        }
        "unix" => return Err(refuse("the socket's path is not absolute")),
        "tcp" => tls,
        "http" => false,
        "https" => true,
        "ssh" => return Err(refuse("connections over ssh are not built in")),
        _ => return Err(refuse("this kind of address is not supported")),
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if authority.is_empty() || authority.contains('@') {
        return Err(refuse("it names no host"));
    }
    if !tls {
        return Ok(Endpoint::Http {
            authority: with_port(authority, PLAIN_PORT),
        });
    }
    Ok(Endpoint::Https {
        authority: with_port(authority, TLS_PORT),
        material: material().unwrap_or(Material {
            ca: None,
            cert: None,
            key: None,
        }),
    })
}

/// Adds the port when there is none; the brackets of an IPv6 address hide its colons.
fn with_port(authority: &str, port: u16) -> String {
    let after_brackets = authority.rsplit(']').next().unwrap_or_default();
    if after_brackets.contains(':') {
        authority.to_owned()
    } else {
        format!("{authority}:{port}")
    }
}

/// `config.json`, as far as we read it.
#[derive(Deserialize)]
struct CliConfig {
    #[serde(rename = "currentContext")]
    current_context: Option<String>,
}

/// A context's `meta.json`, as far as we read it.
#[derive(Deserialize)]
struct ContextMeta {
    #[serde(rename = "Endpoints")]
    endpoints: ContextEndpoints,
}

#[derive(Deserialize)]
struct ContextEndpoints {
    docker: ContextEndpoint,
}

#[derive(Deserialize)]
struct ContextEndpoint {
    #[serde(rename = "Host")]
    host: String,
    #[serde(rename = "SkipTLSVerify", default)]
    skip_tls_verify: bool,
}

fn current_context(config_dir: Option<&Path>) -> Result<Option<String>, RunnerError> {
    let Some(path) = config_dir.map(|directory| directory.join("config.json")) else {
        return Ok(None);
    };
    match read::<CliConfig>(&path) {
        Ok(config) => Ok(config.current_context),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(RunnerError::EngineContext {
            what: format!("`{}`", path.display()),
            source,
        }),
    }
}

fn of_context(name: &str, config_dir: Option<&Path>) -> Result<Endpoint, RunnerError> {
    // Source: the Docker command's context store, where a context's folder is the hash of its name.
    let id = Digest::of(name.as_bytes()).hex();
    let contexts = config_dir.unwrap_or(Path::new("")).join("contexts");
    let meta: ContextMeta =
        read(&contexts.join("meta").join(&id).join("meta.json")).map_err(|source| {
            RunnerError::EngineContext {
                what: format!("the Docker context `{name}`"),
                source,
            }
        })?;
    let endpoint = meta.endpoints.docker;
    let material = Material::of_directory(&contexts.join("tls").join(&id).join("docker"));
    let tls = !material.is_empty();
    if endpoint.skip_tls_verify && (tls || endpoint.host.starts_with("https://")) {
        return Err(RunnerError::EngineAddress {
            address: endpoint.host,
            why: format!("the Docker context `{name}` says not to verify who answers"),
        });
    }
    let host = set(Some(&endpoint.host)).unwrap_or(DEFAULT_HOST);
    parse(host, tls, || Some(material))
}

/// Reads a JSON file; what it does not parse as is invalid data.
fn read<T: serde::de::DeserializeOwned>(path: &Path) -> std::io::Result<T> {
    let bytes = std::fs::read(path)?;
    serde_json::from_slice(&bytes)
        .map_err(|error| std::io::Error::new(std::io::ErrorKind::InvalidData, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(host: &str) -> EngineConfig {
        EngineConfig {
            host: Some(host.to_owned()),
            ..EngineConfig::default()
        }
    }

    #[test]
    fn addresses_are_read_as_docker_reads_them() {
        let check = |text: &str, tls_verify: bool, expected: Option<&str>| {
            let found = endpoint(&EngineConfig {
                tls_verify,
                ..host(text)
            });
            let address = found.as_ref().ok().map(Endpoint::address);
            assert_eq!(address.as_deref(), expected, "{text}: {found:?}");
        };
        check("", false, Some("unix:///var/run/docker.sock"));
        check(" \n", false, Some("unix:///var/run/docker.sock"));
        check("unix:///run/x.sock", false, Some("unix:///run/x.sock"));
        check("unix:///run/x.sock", true, Some("unix:///run/x.sock"));
        check("unix://run/x.sock", false, None);
        check("tcp://engine:99", false, Some("tcp://engine:99"));
        check("tcp://engine:99/", false, Some("tcp://engine:99"));
        check("tcp://engine", false, Some("tcp://engine:2375"));
        check("tcp://engine", true, Some("https://engine:2376"));
        check("tcp://[::1]", false, Some("tcp://[::1]:2375"));
        check("tcp://[::1]:9", false, Some("tcp://[::1]:9"));
        check("http://engine:99", true, Some("tcp://engine:99"));
        check("https://engine", false, Some("https://engine:2376"));
        check("ssh://me@engine", false, None);
        check("tcp://", false, None);
        check("npipe:////./pipe/docker_engine", false, None);
        check("/var/run/docker.sock", false, None);
    }

    #[test]
    fn certificates_come_from_their_directory() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("ca.pem"), "").unwrap();
        let found = endpoint(&EngineConfig {
            tls_verify: true,
            cert_path: Some(directory.path().to_owned()),
            ..host("tcp://engine")
        })
        .unwrap();
        let material = Material {
            ca: Some(directory.path().join("ca.pem")),
            cert: None,
            key: None,
        };
        assert_eq!(
            found,
            Endpoint::Https {
                authority: "engine:2376".to_owned(),
                material
            }
        );
    }

    /// A docker configuration directory with one context.
    fn config_dir(name: &str, meta: &str, tls: bool) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        let id = Digest::of(name.as_bytes()).hex();
        let meta_dir = directory.path().join("contexts/meta").join(&id);
        std::fs::create_dir_all(&meta_dir).unwrap();
        std::fs::write(meta_dir.join("meta.json"), meta).unwrap();
        if tls {
            let tls_dir = directory
                .path()
                .join("contexts/tls")
                .join(&id)
                .join("docker");
            std::fs::create_dir_all(&tls_dir).unwrap();
            std::fs::write(tls_dir.join("ca.pem"), "").unwrap();
        }
        directory
    }

    fn meta(host: &str, skip: bool) -> String {
        serde_json::json!({
            "Name": "far",
            "Metadata": {"Description": "elsewhere"},
            "Endpoints": {"docker": {"Host": host, "SkipTLSVerify": skip}},
        })
        .to_string()
    }

    #[test]
    fn the_context_is_found_by_name_or_as_the_current_one() {
        let directory = config_dir("far", &meta("tcp://far.example:7", false), false);
        let mut config = EngineConfig {
            context: Some("far".to_owned()),
            config_dir: Some(directory.path().to_owned()),
            ..EngineConfig::default()
        };
        let address = |config: &EngineConfig| endpoint(config).map(|found| found.address());
        assert_eq!(address(&config).unwrap(), "tcp://far.example:7");

        config.context = None;
        assert_eq!(address(&config).unwrap(), DEFAULT_HOST);
        let file = directory.path().join("config.json");
        std::fs::write(&file, r#"{"auths":{},"currentContext":"far"}"#).unwrap();
        assert_eq!(address(&config).unwrap(), "tcp://far.example:7");

        config.context = Some("default".to_owned());
        assert_eq!(address(&config).unwrap(), DEFAULT_HOST);
        config.host = Some("tcp://near:1".to_owned());
        assert_eq!(address(&config).unwrap(), "tcp://near:1");

        config.host = None;
        config.context = Some("nowhere".to_owned());
        assert!(matches!(
            endpoint(&config),
            Err(RunnerError::EngineContext { .. })
        ));
        config.context = None;
        std::fs::write(&file, "{").unwrap();
        assert!(matches!(
            endpoint(&config),
            Err(RunnerError::EngineContext { .. })
        ));
    }

    #[test]
    fn a_context_with_certificates_speaks_tls_and_always_verifies() {
        let of = |meta: &str| {
            let directory = config_dir("far", meta, true);
            endpoint(&EngineConfig {
                context: Some("far".to_owned()),
                config_dir: Some(directory.path().to_owned()),
                ..EngineConfig::default()
            })
            .map(|found| found.address())
        };
        assert_eq!(
            of(&meta("tcp://far.example", false)).unwrap(),
            "https://far.example:2376"
        );
        assert!(matches!(
            of(&meta("tcp://far.example", true)),
            Err(RunnerError::EngineAddress { .. })
        ));
        assert!(of("{}").is_err());
    }
}
