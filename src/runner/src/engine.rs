//! The connection to the engine.

pub(crate) mod capabilities;
mod context;
pub(crate) mod runtimes;

use std::path::PathBuf;
use std::time::Duration;

use bollard::{API_DEFAULT_VERSION, Docker};

use crate::{RunnerError, Runtimes};
use capabilities::Capabilities;

/// How long an engine may take to answer its first request.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long one request may take to answer, unless the caller sets another deadline on its handle.
const CALL_TIMEOUT_SECONDS: u64 = 120;

/// How many bytes of what the engine says its version is are kept.
const VERSION_SHOWN: usize = 60;

/// The oldest engine that has all we rely on: Docker Engine 20.10.
const OLDEST_API: ApiVersion = ApiVersion(1, 41);

/// The newest API that the client library knows; a newer engine is spoken to in this version.
const NEWEST_API: ApiVersion = ApiVersion(
    API_DEFAULT_VERSION.major_version,
    API_DEFAULT_VERSION.minor_version,
);

/// Where the engine is: the settings that the `docker` command reads, as values.
///
/// `host` wins over `context`, which wins over the current context of `config_dir`; without any of
/// them it is the default socket.
#[derive(Clone, Debug, Default)]
pub struct EngineConfig {
    /// `DOCKER_HOST`: `unix://`, `tcp://`, `http://` or `https://`.
    pub host: Option<String>,
    /// `DOCKER_TLS_VERIFY`: `tcp://` means TLS, verified in both directions.
    pub tls_verify: bool,
    /// `DOCKER_CERT_PATH`: the directory of `ca.pem`, `cert.pem` and `key.pem`; else `config_dir`.
    pub cert_path: Option<PathBuf>,
    /// `DOCKER_CONTEXT`: the name of a context that `docker context create` made.
    pub context: Option<String>,
    /// `DOCKER_CONFIG`: the directory of `config.json` and the contexts, usually `~/.docker`.
    pub config_dir: Option<PathBuf>,
}

/// A connection to an engine. Cloning it is cheap.
///
/// Every request names the API version that was negotiated, so a newer engine cannot change the
/// meaning of what we ask.
#[derive(Clone, Debug)]
pub struct Engine {
    pub(crate) docker: Docker,
    pub(crate) address: String,
    pub(crate) api: ApiVersion,
    /// The version of the engine itself.
    pub(crate) version: String,
}

/// A version of the engine's API, such as 1.41.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ApiVersion(usize, usize);

impl std::fmt::Display for ApiVersion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

impl ApiVersion {
    fn parse(text: &str) -> Option<Self> {
        let (major, minor) = text.split_once('.')?;
        Some(Self(major.parse().ok()?, minor.parse().ok()?))
    }
}

impl Engine {
    /// Connects, and asks the engine for its version.
    ///
    /// # Errors
    /// [`RunnerError::EngineAddress`] and [`RunnerError::EngineContext`] when the settings name no
    /// usable engine, [`RunnerError::EngineUnreachable`] when nothing answers there, and
    /// [`RunnerError::EngineVersion`] when what answers is too old or too new.
    pub async fn connect(config: &EngineConfig) -> Result<Self, RunnerError> {
        let endpoint = context::endpoint(config)?;
        let address = endpoint.address();
        let unreachable = |source: bollard::errors::Error| RunnerError::EngineUnreachable {
            address: address.clone(),
            source: source.into(),
        };
        let docker = endpoint.open(CALL_TIMEOUT_SECONDS).map_err(unreachable)?;
        let version = tokio::time::timeout(CONNECT_TIMEOUT, docker.version())
            .await
            .map_err(|_| unreachable(bollard::errors::Error::RequestTimeoutError))?
            .map_err(unreachable)?;
        let api = negotiate(
            &version.api_version.unwrap_or_default(),
            version.min_api_version.as_deref(),
        )
        .map_err(|offered| RunnerError::EngineVersion {
            address: address.clone(),
            offered,
            needed: format!("{OLDEST_API} to {NEWEST_API}"),
        })?;
        Ok(Self {
            docker: speaking(docker, api),
            address,
            api,
            version: spec::printable(&version.version.unwrap_or_default(), VERSION_SHOWN),
        })
    }

    /// The address of the engine that these settings name, as [`Self::address`] has it. Nothing is
    /// asked of it.
    ///
    /// # Errors
    /// [`RunnerError::EngineAddress`] and [`RunnerError::EngineContext`].
    pub fn address_of(config: &EngineConfig) -> Result<String, RunnerError> {
        Ok(context::endpoint(config)?.address())
    }

    /// Refuses an engine on which nothing may run, and runtimes that it does not have.
    ///
    /// # Errors
    /// [`RunnerError::Unsafe`], [`RunnerError::UnknownRuntime`], and what asking it fails with.
    pub async fn check(&self, runtimes: &Runtimes) -> Result<(), RunnerError> {
        let capabilities = Capabilities::ask(self).await?;
        capabilities.check_filter()?;
        let mut named = runtimes.all();
        named.try_for_each(|runtime| capabilities.check_runtime(runtime))
    }

    /// Refuses limits beyond what the engine's machine has, as each run does.
    ///
    /// # Errors
    /// [`RunnerError::Machine`], and [`RunnerError::Engine`] when the engine does not say.
    pub async fn check_limits(&self, limits: &spec::Limits) -> Result<(), RunnerError> {
        Capabilities::ask(self).await?.check_limits(limits)
    }

    /// The engine's address, for people.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// What ran something, for its record: `docker 20.10.24, api 1.41`. Nothing is asked of it.
    pub fn describe(&self) -> String {
        format!("docker {}, api {}", self.version, self.api)
    }
}

/// The version to speak with an engine that offers `min` to `max`; else what it offers.
fn negotiate(max: &str, min: Option<&str>) -> Result<ApiVersion, String> {
    let offered = || match min {
        Some(min) if !min.is_empty() => format!("{min} to {max}"),
        _ => format!("`{max}`"),
    };
    let newest = ApiVersion::parse(max).ok_or_else(offered)?;
    let oldest = min.and_then(ApiVersion::parse).unwrap_or(OLDEST_API);
    let chosen = newest.min(NEWEST_API);
    if chosen < OLDEST_API || chosen < oldest {
        return Err(offered());
    }
    Ok(chosen)
}

/// Puts the version in front of each request's path; the client library negotiates a version but
/// leaves it out.
fn speaking(docker: Docker, api: ApiVersion) -> Docker {
    docker.with_request_modifier(move |mut request| {
        let uri = request.uri();
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let versioned = match (uri.scheme_str(), uri.authority()) {
            (Some(scheme), Some(authority)) => format!("{scheme}://{authority}/v{api}{path}"),
            _ => format!("/v{api}{path}"),
        };
        *request.uri_mut() = versioned
            .parse()
            .expect("a valid address stays valid with one more path segment");
        request
    })
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use tokio::io::AsyncReadExt as _;

    use super::*;

    #[test]
    fn the_newest_version_that_both_know_is_spoken() {
        let check = |max: &str, min: Option<&str>, expected: Result<&str, &str>| {
            let chosen = negotiate(max, min).map(|version| version.to_string());
            assert_eq!(chosen.as_deref().map_err(String::as_str), expected, "{max}");
        };
        check("1.41", Some("1.12"), Ok("1.41"));
        check("1.44", None, Ok("1.44"));
        check("1.53", Some("1.44"), Ok("1.53"));
        check("1.99", Some("1.44"), Ok("1.53"));
        check("1.40", Some("1.12"), Err("1.12 to 1.40"));
        check("1.9", None, Err("`1.9`"));
        check("1.99", Some("1.60"), Err("1.60 to 1.99"));
        check("2.0", Some("2.0"), Err("2.0 to 2.0"));
        check("", None, Err("``"));
        check("one", Some("1.0"), Err("1.0 to one"));
    }

    #[tokio::test]
    async fn each_request_names_the_version() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let config = EngineConfig {
            host: Some(format!("tcp://127.0.0.1:{port}")),
            ..EngineConfig::default()
        };
        let docker = context::endpoint(&config).unwrap().open(5).unwrap();
        let docker = speaking(docker, ApiVersion(1, 41));
        // A listener that keeps the request's first bytes and hangs up is all it takes to see it.
        let listen = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut buffer = [0; 64];
            let read = stream.read(&mut buffer).await.unwrap();
            String::from_utf8_lossy(&buffer[..read]).into_owned()
        };
        let (request, answer) = tokio::join!(listen, docker.info());
        assert!(answer.is_err());
        assert!(request.starts_with("GET /v1.41/info HTTP/1.1"), "{request}");
    }

    #[tokio::test]
    async fn an_address_where_nobody_listens_is_unreachable() {
        let connect = async |host: String| {
            let config = EngineConfig {
                host: Some(host),
                ..EngineConfig::default()
            };
            Engine::connect(&config).await.unwrap_err()
        };
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("docker.sock");
        let socket = format!("unix://{}", socket.display());
        let tls = "https://127.0.0.1:1".to_owned();
        for host in ["tcp://127.0.0.1:1".to_owned(), tls, socket] {
            let error = connect(host).await;
            assert!(
                matches!(error, RunnerError::EngineUnreachable { .. }),
                "{error:?}"
            );
            let why = error.source().unwrap().to_string();
            assert!(!why.contains("client error"), "{why}");
        }
    }
}
