//! A model behind HTTP: one request, made again while that may help.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{Stream, StreamExt};
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, LOCATION};
use reqwest::{Client, Response, Url, redirect};
use secrecy::{ExposeSecret, SecretString};
use tokio::time::timeout;

use crate::fault::{Fault, Reported, one_line, root_cause};
use crate::settings::{Protocol, Provider, Retries, Settings};
use crate::stream::{self, Bounds, Observer, ReadError};
use crate::{Delta, LlmError, Model, ModelRef, Reply, Request, anthropic, openai};

/// Bytes of an answer that is an error; what they say is shown cut.
const ERROR_BYTES: usize = 64 << 10;
/// A key shorter than this may be any word: it is not looked for in answers.
const KEY_BYTES_MIN: usize = 8;

/// Connects to a provider's model, without asking it anything yet.
///
/// # Errors
/// [`LlmError::NotConfigured`] for a key that is missing or no key, and for a wrong base URL.
pub(crate) fn connect(
    model: &ModelRef,
    provider: &Provider,
    settings: &Settings,
) -> Result<Arc<dyn Model>, LlmError> {
    let not_configured = |why: String, hint: Option<String>| LlmError::NotConfigured {
        model: model.to_string(),
        why,
        hint,
    };
    let endpoint = provider.endpoint().map_err(|why| {
        let hint = "write it like https://host.example/v1".to_owned();
        not_configured(why, Some(hint))
    })?;
    let key = provider.key.as_ref().map(|key| {
        let hint = || Some(format!("set `{}` to the provider's key", key.variable));
        let secret = key
            .secret
            .as_ref()
            .map(|secret| secret.expose_secret().trim());
        let secret = secret.filter(|secret| !secret.is_empty()).ok_or_else(|| {
            not_configured(format!("there is no key in `{}`", key.variable), hint())
        })?;
        if HeaderValue::from_str(secret).is_err() {
            let why = format!("`{}` holds characters that no key has", key.variable);
            return Err(not_configured(why, hint()));
        }
        Ok((key.variable.clone(), SecretString::from(secret)))
    });
    let key = key.transpose()?;
    let client = client(&endpoint, settings.connect_timeout).map_err(|error| {
        let hint = "see that the system's CA certificates are installed".to_owned();
        not_configured(root_cause(&error), Some(hint))
    })?;
    let mut shown = endpoint.clone();
    // A query may hold what nobody should read.
    shown.set_query(None);
    Ok(Arc::new(HttpModel {
        name: model.to_string(),
        id: model.id.clone(),
        protocol: provider.protocol,
        endpoint,
        shown: shown.into(),
        key,
        client,
        retries: settings.retries,
        bounds: Bounds {
            idle: settings.idle_timeout,
            bytes: settings.max_reply.get(),
        },
    }))
}

fn client(endpoint: &Url, connect_timeout: Duration) -> Result<Client, reqwest::Error> {
    let mut client = Client::builder()
        .user_agent(concat!("agentfactory/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(connect_timeout)
        // The key is for this endpoint and no other.
        .redirect(redirect::Policy::none())
        .referer(false);
    if is_local(endpoint) {
        // A proxy cannot reach this machine's loopback.
        client = client.no_proxy();
        if endpoint.scheme() == "http" {
            // No certificate is needed, and a bare image has none to load.
            client = client.tls_certs_only([]);
        }
    }
    client.build()
}

fn is_local(endpoint: &Url) -> bool {
    let host = endpoint.host_str().unwrap_or("");
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost"
        || host.ends_with(".localhost")
        || address
            .parse()
            .is_ok_and(|address: std::net::IpAddr| address.is_loopback())
}

struct HttpModel {
    name: String,
    id: String,
    protocol: Protocol,
    endpoint: Url,
    shown: String,
    /// The variable that the key came from, and the key.
    key: Option<(String, SecretString)>,
    client: Client,
    retries: Retries,
    bounds: Bounds,
}

impl fmt::Debug for HttpModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpModel")
            .field("name", &self.name)
            .field("protocol", &self.protocol)
            .field("url", &self.shown)
            .finish_non_exhaustive()
    }
}

impl Model for HttpModel {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn reply<'a>(
        &'a self,
        request: &'a Request,
        observe: &'a mut (dyn FnMut(Delta<'_>) + Send),
    ) -> BoxFuture<'a, Result<Reply, LlmError>> {
        Box::pin(self.ask(request, observe))
    }
}

impl HttpModel {
    async fn ask(&self, request: &Request, observe: Observer<'_>) -> Result<Reply, LlmError> {
        let body = match self.protocol {
            Protocol::AnthropicMessages => anthropic::body(&self.id, request),
            Protocol::OpenAiChat => {
                openai::body(&self.id, self.endpoint.host_str().unwrap_or(""), request)
            }
        };
        let body = Bytes::from(body.to_string());
        let mut waits = ExponentialBuilder::new()
            .with_min_delay(self.retries.first_wait)
            .with_max_delay(self.retries.longest_wait)
            .with_max_times(self.retries.attempts.saturating_sub(1) as usize)
            .with_jitter()
            .build();
        let mut attempt = 0;
        loop {
            attempt += 1;
            let fault = match self.attempt(request, body.clone(), observe).await {
                Ok(reply) => return Ok(reply),
                Err(fault) => fault,
            };
            let (why, asked) = match &fault {
                Fault::Reported(reported) if reported.may_pass() => {
                    let message = self.for_people(&reported.message);
                    let why = format!("HTTP {}: {message}", reported.status);
                    (why, reported.retry_after)
                }
                Fault::Connection(source) => (root_cause(source.as_ref()), None),
                Fault::Reported(_) | Fault::Protocol(_) => return Err(self.error(fault, attempt)),
            };
            let Some(wait) = waits.next() else {
                return Err(self.error(fault, attempt));
            };
            let wait = asked.unwrap_or(wait).min(self.retries.longest_wait);
            tracing::warn!(
                model = self.name,
                attempt,
                ?wait,
                why,
                "model request failed"
            );
            observe(Delta::Retry {
                attempt,
                wait,
                why: &why,
            });
            tokio::time::sleep(wait).await;
        }
    }

    async fn attempt(
        &self,
        request: &Request,
        body: Bytes,
        observe: Observer<'_>,
    ) -> Result<Reply, Fault> {
        let sent = self
            .client
            .post(self.endpoint.clone())
            .headers(self.headers())
            .body(body)
            .send();
        let response = timeout(self.bounds.idle, sent)
            .await
            .map_err(|_| Fault::from(ReadError::Idle(self.bounds.idle)))?
            .map_err(|error| Fault::Connection(Box::new(error.without_url())))?;
        let status = response.status();
        if !status.is_success() {
            return Err(Fault::Reported(self.reported(response).await));
        }
        let kind = response.headers().get(CONTENT_TYPE);
        let kind = kind.map(|kind| String::from_utf8_lossy(kind.as_bytes()).to_ascii_lowercase());
        if let Some(kind) = kind.filter(|kind| !kind.starts_with("text/event-stream")) {
            let text = self.text(response).await;
            let why = format!("`{kind}` instead of a stream of events: {text}");
            return Err(Fault::Protocol(why));
        }
        let decoder: Box<dyn stream::Decoder + Send> = match self.protocol {
            Protocol::AnthropicMessages => Box::new(anthropic::Events::default()),
            Protocol::OpenAiChat => Box::new(openai::Chunks::new(request.messages.len())),
        };
        stream::read(chunks(response), self.bounds, decoder, observe).await
    }

    fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if self.protocol == Protocol::AnthropicMessages {
            let version = HeaderValue::from_static(anthropic::VERSION);
            headers.insert(HeaderName::from_static("anthropic-version"), version);
        }
        if let Some((_, key)) = &self.key {
            let (name, value) = match self.protocol {
                Protocol::AnthropicMessages => (
                    HeaderName::from_static("x-api-key"),
                    key.expose_secret().to_owned(),
                ),
                Protocol::OpenAiChat => (AUTHORIZATION, format!("Bearer {}", key.expose_secret())),
            };
            let mut value =
                HeaderValue::from_str(&value).expect("`connect` refused what is no header");
            value.set_sensitive(true);
            headers.insert(name, value);
        }
        headers
    }

    /// What an answer says whose status is not success.
    async fn reported(&self, response: Response) -> Reported {
        let status = response.status();
        let headers = response.headers().clone();
        let location = headers.get(LOCATION).filter(|_| status.is_redirection());
        let body = match location {
            Some(location) => {
                let location = String::from_utf8_lossy(location.as_bytes());
                format!("it redirects to {location}")
            }
            None => self.text(response).await,
        };
        Reported::from_answer(status.as_u16(), &headers, &body)
    }

    /// The beginning of an answer that is not a stream, as far as it comes.
    async fn text(&self, response: Response) -> String {
        let mut body = Vec::new();
        let read = async {
            let mut chunks = std::pin::pin!(chunks(response));
            while let Some(Ok(chunk)) = chunks.next().await {
                body.extend_from_slice(&chunk);
                if body.len() >= ERROR_BYTES {
                    break;
                }
            }
        };
        // What came until then is good enough.
        let _ = timeout(self.bounds.idle, read).await;
        body.truncate(ERROR_BYTES);
        String::from_utf8_lossy(&body).into_owned()
    }

    /// An endpoint's text in one line, cut, and without the key: it may repeat what it was sent.
    fn for_people(&self, text: &str) -> String {
        let Some((_, key)) = &self.key else {
            return one_line(text);
        };
        let key = key.expose_secret();
        if key.len() < KEY_BYTES_MIN {
            return one_line(text);
        }
        let mut text = text.replace(key, "[key]");
        // What came may have been cut within the key.
        let begun = (KEY_BYTES_MIN..key.len())
            .rev()
            .filter_map(|end| key.get(..end))
            .find(|begun| text.ends_with(begun));
        if let Some(begun) = begun {
            text.truncate(text.len() - begun.len());
            text.push_str("[key]");
        }
        one_line(&text)
    }

    fn error(&self, fault: Fault, attempts: u32) -> LlmError {
        let url = self.shown.clone();
        match fault {
            Fault::Connection(source) => LlmError::Unreachable {
                url,
                attempts,
                source,
            },
            Fault::Protocol(why) => LlmError::Protocol {
                url,
                why: self.for_people(&why),
            },
            Fault::Reported(reported) => {
                let may_pass = reported.may_pass();
                let message = self.for_people(&reported.message);
                match reported.status {
                    status @ (401 | 403) => LlmError::Unauthorized {
                        url,
                        status,
                        key: self.key.as_ref().map(|(variable, _)| variable.clone()),
                        message,
                    },
                    status if may_pass => LlmError::Unavailable {
                        url,
                        status,
                        attempts,
                        message,
                    },
                    status => LlmError::Refused {
                        url,
                        status,
                        message,
                    },
                }
            }
        }
    }
}

/// The body's chunks; errors come without the address, which the caller names.
fn chunks(response: Response) -> impl Stream<Item = Result<Bytes, reqwest::Error>> + Send {
    response
        .bytes_stream()
        .map(|chunk| chunk.map_err(reqwest::Error::without_url))
}
