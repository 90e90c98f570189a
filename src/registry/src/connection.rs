//! One repository over HTTP: every request has a deadline, every answer a bound.

use std::fmt;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue, LOCATION};
use reqwest::{Client, Method, Response, StatusCode, Url, redirect};
use serde::Deserialize;
use spec::Digest;
use tokio::time::{Instant, timeout_at};

use crate::auth::Authorizations;
use crate::credentials::Credential;
use crate::reach::{Guarded, Reach, may_dial, resolves_nearby};
use crate::{DockerConfig, RegistryError, RepositoryName};

/// How long a connection may take to be there.
const CONNECT: Duration = Duration::from_secs(15);
/// How long a registry may say nothing while it answers.
const IDLE: Duration = Duration::from_secs(30);
/// What any request may take, whatever its size.
pub(crate) const SMALL: Duration = Duration::from_secs(60);
/// The slowest transfer that is waited for, in bytes a second.
const SLOWEST: u64 = 16 << 10;
/// How often an answer may say that it is elsewhere.
const REDIRECTS_MAX: usize = 5;
/// Bytes of an answer that is an error; what they say is shown cut.
const ERROR_MAX: usize = 16 << 10;
/// How often a request is made before its failure counts.
const ATTEMPTS: u32 = 4;
/// How long is waited before the second attempt; each further one waits twice as long.
const PAUSE: Duration = Duration::from_millis(250);

/// How registries are used.
#[derive(Clone, Debug, Default)]
pub struct RegistryOptions {
    /// Hosts, with their ports, that are asked without TLS. Those on loopback are, unless they are in `tls`.
    pub plain_http: Vec<String>,
    /// Hosts on loopback, with their ports, that are asked with TLS all the same.
    pub tls: Vec<String>,
    /// Where credentials come from.
    pub docker: DockerConfig,
}

/// One repository of one registry, with the user's credentials.
pub struct Repository {
    pub(crate) name: RepositoryName,
    base: Url,
    own: Client,
    /// For what the registry redirects to: it dials no address of this machine.
    elsewhere: Client,
    pub(crate) credential: Option<Credential>,
    pub(crate) authorizations: Authorizations,
    /// Where an answer may lead.
    reach: Reach,
}

impl fmt::Debug for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.name.to_string();
        f.debug_struct("Repository")
            .field("name", &name)
            .finish_non_exhaustive()
    }
}

/// What a request wants to do, which decides what its credentials must allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Access {
    Read,
    Write,
}

/// One request.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    /// What it is about, for people.
    pub(crate) what: String,
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) access: Access,
    /// What it may take with its answer.
    pub(crate) limit: Duration,
}

impl Call {
    /// A request without a body.
    pub(crate) fn new(method: Method, url: Url, access: Access, what: &str) -> Self {
        Self {
            what: what.to_owned(),
            method,
            url,
            headers: HeaderMap::new(),
            body: Bytes::new(),
            access,
            limit: SMALL,
        }
    }
}

/// An answer whose body is still to be read.
pub(crate) struct Answer {
    pub(crate) response: Response,
    host: String,
    what: String,
    limit: Duration,
    deadline: Instant,
}

impl Repository {
    /// Makes ready to use a repository. Nothing is sent to it yet; a credential helper may be run.
    ///
    /// # Errors
    /// [`RegistryError::Credentials`], [`RegistryError::Tls`].
    pub async fn connect(
        name: RepositoryName,
        options: &RegistryOptions,
    ) -> Result<Self, RegistryError> {
        let is_own = |host: &String| host.eq_ignore_ascii_case(name.host());
        let is_in = |hosts: &[String]| hosts.iter().any(is_own);
        let plain = is_in(&options.plain_http) || (name.is_local() && !is_in(&options.tls));
        let scheme = if plain { "http" } else { "https" };
        let base = Url::parse(&format!("{scheme}://{}/v2/", name.endpoint()));
        let base = base.map_err(|error| RegistryError::Unreachable {
            host: name.host().to_owned(),
            why: error.to_string(),
        })?;
        let credential = options.docker.credential(name.host()).await?;
        let near = name.is_local() || resolves_nearby(&base).await;
        let tls = |error: reqwest::Error| RegistryError::Tls { why: cause(&error) };
        let own = builder(name.is_local(), plain).build().map_err(tls)?;
        let reach = if name.is_local() {
            Reach::Anything
        } else if near {
            Reach::Network
        } else {
            Reach::World
        };
        let elsewhere = builder(name.is_local(), plain)
            .dns_resolver(std::sync::Arc::new(Guarded(reach)))
            .build()
            .map_err(tls)?;
        Ok(Self {
            name,
            base,
            own,
            elsewhere,
            credential,
            authorizations: Authorizations::default(),
            reach,
        })
    }

    /// Its name.
    pub fn name(&self) -> &RepositoryName {
        &self.name
    }

    /// Every way to write its name: with and without the port that its scheme has, and by other names of the same
    /// registry. A rule about repositories is about all of them.
    pub fn spellings(&self) -> Vec<String> {
        self.name.spellings(&self.base)
    }

    /// An address below `/v2/<repository>/`.
    pub(crate) fn url(&self, below: &str) -> Url {
        let mut url = self.base.clone();
        url.set_path(&format!("/v2/{}/{below}", self.name.path()));
        url
    }

    /// Whether an address is the registry's own: only it gets credentials and uploads.
    pub(crate) fn is_own(&self, url: &Url) -> bool {
        let place = |url: &Url| {
            (
                url.scheme().to_owned(),
                url.host_str().map(str::to_owned),
                url.port_or_known_default(),
            )
        };
        place(url) == place(&self.base)
    }

    /// Whether it is asked without TLS.
    fn is_plain(&self) -> bool {
        self.base.scheme() == "http"
    }

    /// The address that a `Location` means, if it is the registry's own.
    pub(crate) fn own_location(&self, answer: &Answer) -> Result<Url, RegistryError> {
        let location = answer.response.headers().get(LOCATION);
        let location = location.and_then(|value| value.to_str().ok());
        let url = location.and_then(|text| answer.response.url().join(text).ok());
        let url = url.ok_or_else(|| answer.untrue("it does not say where to go on"))?;
        if !self.is_own(&url) {
            return Err(answer.untrue("it sends what is to be uploaded to another host"));
        }
        Ok(url)
    }

    /// Sends a request, again where that may help, with credentials where they are wanted, and
    /// follows where the answer is elsewhere if it is a question.
    pub(crate) async fn send(&self, call: &Call) -> Result<Answer, RegistryError> {
        let mut attempt = 1;
        loop {
            let answer = self.send_once(call).await;
            let failed = match answer {
                Ok(answer) if !is_transient(answer.status()) || attempt == ATTEMPTS => {
                    return Ok(answer);
                }
                Err(error) if !error.is_transient() || attempt == ATTEMPTS => return Err(error),
                Ok(answer) => answer.status().to_string(),
                Err(error) => error.to_string(),
            };
            tracing::debug!(what = call.what, attempt, failed, "asking a registry again");
            tokio::time::sleep(PAUSE * 2_u32.pow(attempt - 1)).await;
            attempt += 1;
        }
    }

    /// Sends a request once, but for credentials.
    pub(crate) async fn send_once(&self, call: &Call) -> Result<Answer, RegistryError> {
        let deadline = Instant::now() + call.limit;
        let shown = self.authorizations.get(call.access).await;
        let mut answer = self.ask(call, shown.as_ref(), deadline).await?;
        if answer.status() == StatusCode::UNAUTHORIZED {
            let challenges = crate::auth::challenges(answer.response.headers());
            let (access, shown) = (call.access, shown.as_ref());
            if self.authorize(access, shown, &challenges, deadline).await? {
                let shown = self.authorizations.get(access).await;
                answer = self.ask(call, shown.as_ref(), deadline).await?;
            }
        }
        let is_question = matches!(call.method, Method::GET | Method::HEAD);
        let mut followed = 0;
        while is_question && answer.status().is_redirection() {
            followed += 1;
            if followed > REDIRECTS_MAX {
                return Err(answer.untrue("it redirects without an end"));
            }
            answer = self.follow(call, &answer).await?;
        }
        Ok(answer)
    }

    async fn ask(
        &self,
        call: &Call,
        authorization: Option<&HeaderValue>,
        deadline: Instant,
    ) -> Result<Answer, RegistryError> {
        let mut request = self.own.request(call.method.clone(), call.url.clone());
        request = request.headers(call.headers.clone());
        if let Some(value) = authorization {
            request = request.header(AUTHORIZATION, value.clone());
        }
        if call.method != Method::GET && call.method != Method::HEAD {
            request = request.body(call.body.clone());
        }
        self.answered(call, request, deadline).await
    }

    async fn follow(&self, call: &Call, answer: &Answer) -> Result<Answer, RegistryError> {
        let location = answer.response.headers().get(LOCATION);
        let location = location.and_then(|value| value.to_str().ok());
        let url = location.and_then(|text| answer.response.url().join(text).ok());
        let url = url.ok_or_else(|| answer.untrue("it redirects to nowhere"))?;
        if self.is_own(&url) {
            let call = Call {
                url,
                ..call.clone()
            };
            let shown = self.authorizations.get(call.access).await;
            return self.ask(&call, shown.as_ref(), answer.deadline).await;
        }
        if let Err(why) = may_dial(&url, self.base.scheme(), self.reach) {
            return Err(answer.untrue(&format!("it redirects to {why}")));
        }
        let request = self.elsewhere.request(call.method.clone(), url);
        let request = request.headers(call.headers.clone());
        self.answered(call, request, answer.deadline).await
    }

    /// Sends a request to a place that the registry names for tokens.
    pub(crate) async fn ask_elsewhere(
        &self,
        call: &Call,
        authorization: Option<HeaderValue>,
        deadline: Instant,
    ) -> Result<Answer, RegistryError> {
        if let Err(why) = may_dial(&call.url, self.base.scheme(), self.reach)
            && !self.is_own(&call.url)
        {
            return Err(RegistryError::Untrue {
                host: self.name.host().to_owned(),
                what: call.what.clone(),
                why: format!("it wants credentials to be sent to {why}"),
            });
        }
        let client = if self.is_own(&call.url) {
            &self.own
        } else {
            &self.elsewhere
        };
        let mut request = client.request(call.method.clone(), call.url.clone());
        request = request.headers(call.headers.clone());
        if let Some(value) = authorization {
            request = request.header(AUTHORIZATION, value);
        }
        if call.method == Method::POST {
            request = request.body(call.body.clone());
        }
        self.answered(call, request, deadline).await
    }

    async fn answered(
        &self,
        call: &Call,
        request: reqwest::RequestBuilder,
        deadline: Instant,
    ) -> Result<Answer, RegistryError> {
        let host = || self.name.host().to_owned();
        match timeout_at(deadline, request.send()).await {
            Ok(Ok(response)) => Ok(Answer {
                response,
                host: host(),
                what: call.what.clone(),
                limit: call.limit,
                deadline,
            }),
            Ok(Err(error)) => Err(self.unanswered(&error)),
            Err(_) => Err(RegistryError::TooSlow {
                host: host(),
                what: call.what.clone(),
                limit: call.limit,
            }),
        }
    }

    /// Why there is no answer.
    fn unanswered(&self, error: &reqwest::Error) -> RegistryError {
        let (host, why) = (self.name.host().to_owned(), cause(error));
        // Source: what rustls says of every certificate that it refuses.
        if why.contains("invalid peer certificate") {
            RegistryError::Certificate { host, why }
        } else {
            RegistryError::Unreachable { host, why }
        }
    }

    /// The error that an answer is.
    pub(crate) async fn refusal(&self, answer: Answer, access: Access) -> RegistryError {
        let status = answer.status();
        let (host, what) = (answer.host.clone(), answer.what.clone());
        match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => RegistryError::Denied {
                repository: self.name.to_string(),
                what: match access {
                    Access::Read => "reading",
                    Access::Write => "writing",
                },
                had_credentials: self.credential.is_some(),
            },
            StatusCode::NOT_FOUND => RegistryError::NotFound { what },
            _ => {
                let message = answer.message().await;
                if status == StatusCode::BAD_REQUEST && self.is_plain() && message.is_empty() {
                    return RegistryError::MayWantTls { host, what };
                }
                RegistryError::Answered {
                    host,
                    what,
                    status: status.as_u16(),
                    message,
                }
            }
        }
    }
}

/// What a transfer of so many bytes may take.
pub(crate) fn limit_of(bytes: u64) -> Duration {
    SMALL + Duration::from_secs(bytes / SLOWEST)
}

pub(crate) fn is_transient(status: StatusCode) -> bool {
    status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error()
}

impl Answer {
    pub(crate) fn status(&self) -> StatusCode {
        self.response.status()
    }

    /// A header as a digest.
    pub(crate) fn digest(&self) -> Option<Digest> {
        let header = self.response.headers().get("docker-content-digest")?;
        header.to_str().ok()?.parse().ok()
    }

    /// The next bytes of the body; none at its end.
    pub(crate) async fn chunk(&mut self) -> Result<Option<Bytes>, RegistryError> {
        match timeout_at(self.deadline, self.response.chunk()).await {
            Ok(Ok(chunk)) => Ok(chunk),
            Ok(Err(error)) => Err(RegistryError::Unreachable {
                host: self.host.clone(),
                why: cause(&error),
            }),
            Err(_) => Err(RegistryError::TooSlow {
                host: self.host.clone(),
                what: self.what.clone(),
                limit: self.limit,
            }),
        }
    }

    /// The body, if it is not longer than this.
    pub(crate) async fn body(mut self, max: usize) -> Result<Bytes, RegistryError> {
        let mut body = BytesMut::new();
        while let Some(chunk) = self.chunk().await? {
            if body.len() + chunk.len() > max {
                return Err(self.untrue(&format!("it has more than {max} bytes")));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body.freeze())
    }

    /// What an error says. Source: OCI distribution specification, error codes.
    async fn message(self) -> String {
        #[derive(Deserialize)]
        struct Errors {
            errors: Vec<One>,
        }
        #[derive(Deserialize)]
        struct One {
            #[serde(default)]
            code: String,
            #[serde(default)]
            message: String,
        }
        let body = self.body(ERROR_MAX).await.unwrap_or_default();
        let errors: Option<Errors> = serde_json::from_slice(&body).ok();
        let one = errors.and_then(|errors| errors.errors.into_iter().next());
        let text = one.map_or_else(String::new, |one| {
            if one.message.is_empty() {
                one.code
            } else {
                one.message
            }
        });
        spec::printable(&text, 200)
    }

    pub(crate) fn untrue(&self, why: &str) -> RegistryError {
        RegistryError::Untrue {
            host: self.host.clone(),
            what: self.what.clone(),
            why: why.to_owned(),
        }
    }
}

fn builder(is_local: bool, is_plain: bool) -> reqwest::ClientBuilder {
    let client = Client::builder()
        .user_agent(concat!("agentfactory/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(CONNECT)
        .read_timeout(IDLE)
        // Where an answer leads is looked at before it is followed.
        .redirect(redirect::Policy::none())
        .referer(false)
        // A digest is that of the bytes that are sent.
        .gzip(false);
    // A proxy cannot reach this machine's loopback.
    let client = if is_local { client.no_proxy() } else { client };
    if is_local && is_plain {
        // No certificate is needed, and a bare image has none to load.
        return client.tls_certs_only([]);
    }
    client
}

/// The last cause of an error: what is above it names addresses with queries.
pub(crate) fn cause(error: &reqwest::Error) -> String {
    let mut last: &dyn std::error::Error = error;
    while let Some(source) = last.source() {
        last = source;
    }
    spec::printable(&last.to_string(), 200)
}
