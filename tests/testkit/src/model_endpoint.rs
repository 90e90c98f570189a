//! A loopback server that speaks a language model's protocol, and can misbehave in all its ways.

mod anthropic;
mod check;
mod openai;
mod reply;

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;
use std::net::TcpListener;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Method, Response, StatusCode, Uri};
use axum::serve::ListenerExt as _;
use futures::{Stream, StreamExt as _};
use serde_json::Value;
use tokio::sync::oneshot;

pub use self::reply::{EndpointReply, Said};

/// What an endpoint speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndpointProtocol {
    /// `POST /v1/messages`.
    Anthropic,
    /// `POST /v1/chat/completions`.
    OpenAi,
}

/// A request that an endpoint received.
#[derive(Clone, Debug)]
pub struct Received {
    /// The path and query.
    pub target: String,
    /// The headers.
    pub headers: HeaderMap,
    /// The body; `null` if it was no JSON.
    pub body: Value,
}

/// A server on 127.0.0.1 that answers as a model's vendor would, on its own thread, until dropped.
///
/// It refuses, as the vendors do, a request that breaks their rules: a wrong key, a missing field,
/// a tool call without its result. Out of replies, it answers 400, which no client tries again.
#[derive(Debug)]
pub struct ModelEndpoint {
    url: String,
    received: Arc<Mutex<Vec<Received>>>,
    stop: Option<oneshot::Sender<Infallible>>,
    thread: Option<JoinHandle<()>>,
}

/// How an endpoint is to behave; [`ModelEndpoint::of`] begins one.
#[must_use = "call `start`"]
pub struct EndpointOptions {
    protocol: EndpointProtocol,
    answer: Answer,
    key: Option<String>,
    single_bytes: bool,
}

type Answer = Box<dyn FnMut(&Value) -> EndpointReply + Send>;

impl std::fmt::Debug for EndpointOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EndpointOptions")
            .field("protocol", &self.protocol)
            .field("key", &self.key)
            .field("single_bytes", &self.single_bytes)
            .finish_non_exhaustive()
    }
}

impl EndpointOptions {
    /// Answers with these, in order.
    pub fn replies(self, replies: impl IntoIterator<Item = EndpointReply>) -> Self {
        let mut replies: VecDeque<EndpointReply> = replies.into_iter().collect();
        self.answering(move |_| {
            replies
                .pop_front()
                .unwrap_or_else(|| EndpointReply::status(400, "the test has no more replies"))
        })
    }

    /// Answers with what a function makes of the request's body.
    pub fn answering(
        mut self,
        answer: impl FnMut(&Value) -> EndpointReply + Send + 'static,
    ) -> Self {
        self.answer = Box::new(answer);
        self
    }

    /// Wants this key.
    pub fn key(mut self, key: &str) -> Self {
        self.key = Some(key.to_owned());
        self
    }

    /// Sends streams byte by byte, each in a write of its own.
    pub fn single_bytes(mut self) -> Self {
        self.single_bytes = true;
        self
    }

    /// Starts the server.
    pub fn start(self) -> ModelEndpoint {
        ModelEndpoint::start(self)
    }
}

impl ModelEndpoint {
    /// An endpoint to be configured.
    pub fn of(protocol: EndpointProtocol) -> EndpointOptions {
        EndpointOptions {
            protocol,
            answer: Box::new(|_| EndpointReply::status(400, "the test has no replies")),
            key: None,
            single_bytes: false,
        }
    }

    /// Starts an endpoint that speaks Anthropic's protocol and gives these replies in order.
    pub fn anthropic(replies: impl IntoIterator<Item = EndpointReply>) -> Self {
        Self::of(EndpointProtocol::Anthropic)
            .replies(replies)
            .start()
    }

    /// Starts an endpoint that speaks OpenAI's protocol and gives these replies in order.
    pub fn openai(replies: impl IntoIterator<Item = EndpointReply>) -> Self {
        Self::of(EndpointProtocol::OpenAi).replies(replies).start()
    }

    /// The base URL, such as `http://127.0.0.1:40000`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The requests so far, in the order of their arrival, refused ones included.
    pub fn received(&self) -> Vec<Received> {
        lock(&self.received).clone()
    }

    fn start(options: EndpointOptions) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
        listener
            .set_nonblocking(true)
            .expect("a socket can be set to nonblocking");
        let address = listener
            .local_addr()
            .expect("a bound socket has an address");
        let received = Arc::new(Mutex::new(Vec::new()));
        let shared = Arc::new(Shared {
            protocol: options.protocol,
            answer: Mutex::new(options.answer),
            key: options.key,
            single_bytes: options.single_bytes,
            received: Arc::clone(&received),
        });
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::spawn(move || serve(listener, shared, stopped));
        Self {
            url: format!("http://{address}"),
            received,
            stop: Some(stop),
            thread: Some(thread),
        }
    }
}

impl Drop for ModelEndpoint {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            assert!(
                ended.is_ok() || std::thread::panicking(),
                "the endpoint's thread panicked"
            );
        }
    }
}

struct Shared {
    protocol: EndpointProtocol,
    answer: Mutex<Answer>,
    key: Option<String>,
    single_bytes: bool,
    received: Arc<Mutex<Vec<Received>>>,
}

/// Serves until the other end of `stopped` is dropped; then all connections are, too.
fn serve(listener: TcpListener, shared: Arc<Shared>, stopped: oneshot::Receiver<Infallible>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime can be built");
    runtime.block_on(async move {
        let listener = tokio::net::TcpListener::from_std(listener)
            .expect("the listener is nonblocking")
            .tap_io(|stream| stream.set_nodelay(true).expect("TCP knows no delay"));
        let router = Router::new().fallback(handle).with_state(shared);
        tokio::select! {
            served = axum::serve(listener, router) => served.expect("serving never ends"),
            _ = stopped => {}
        }
    });
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn handle(
    State(shared): State<Arc<Shared>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response<Body> {
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    lock(&shared.received).push(Received {
        target: uri.to_string(),
        headers: headers.clone(),
        body: body.clone(),
    });
    let checked = check::request(
        shared.protocol,
        shared.key.as_deref(),
        &method,
        uri.path(),
        &headers,
        &body,
    );
    let reply = match checked {
        Ok(()) => (lock(&shared.answer))(&body),
        Err((status, message)) => EndpointReply::status(status, &message),
    };
    let sequence = lock(&shared.received).len();
    let stream_of = |said: &Said| match shared.protocol {
        EndpointProtocol::Anthropic => anthropic::stream(said, &body, sequence),
        EndpointProtocol::OpenAi => openai::stream(said, &body, sequence),
    };
    let events = |text: Vec<u8>, end: End| {
        let chunks = chunks(text, end, shared.single_bytes);
        Response::builder()
            .header("content-type", "text/event-stream; charset=utf-8")
            .header("cache-control", "no-cache")
            .body(Body::from_stream(chunks))
    };
    let response = match reply {
        EndpointReply::Said(said) if body["stream"] != true => {
            let whole = match shared.protocol {
                EndpointProtocol::Anthropic => anthropic::whole(&said, &body, sequence),
                EndpointProtocol::OpenAi => openai::whole(&said, &body, sequence),
            };
            Response::builder()
                .header("content-type", "application/json")
                .body(Body::from(whole.to_string()))
        }
        EndpointReply::Said(said) => events(stream_of(&said).into_bytes(), End::Clean),
        EndpointReply::CutOff(said) => {
            let mut text = stream_of(&said).into_bytes();
            text.truncate(text.len() / 2);
            events(text, End::Broken)
        }
        EndpointReply::Stalled(said) => {
            let mut text = stream_of(&said).into_bytes();
            text.truncate(text.len() / 2);
            events(text, End::Never)
        }
        EndpointReply::ErrorInStream { said, kind } => {
            let text = match shared.protocol {
                EndpointProtocol::Anthropic => anthropic::with_error(&stream_of(&said), &kind),
                EndpointProtocol::OpenAi => openai::with_error(&stream_of(&said), &kind),
            };
            events(text.into_bytes(), End::Clean)
        }
        EndpointReply::Status {
            status,
            retry_after,
            message,
        } => {
            let body = match shared.protocol {
                EndpointProtocol::Anthropic => anthropic::error(status, &message),
                EndpointProtocol::OpenAi => openai::error(status, &message),
            };
            let mut response = Response::builder()
                .status(StatusCode::from_u16(status).expect("the test gives a real status"))
                .header("content-type", "application/json");
            if let Some(retry_after) = retry_after {
                response = response.header("retry-after", retry_after);
            }
            response.body(Body::from(body.to_string()))
        }
        EndpointReply::Raw {
            status,
            headers,
            body,
        } => {
            let mut response = Response::builder()
                .status(StatusCode::from_u16(status).expect("the test gives a real status"));
            for (name, value) in headers {
                response = response.header(name, value);
            }
            response.body(Body::from_stream(chunks(
                body,
                End::Clean,
                shared.single_bytes,
            )))
        }
        EndpointReply::Hang => std::future::pending().await,
    };
    response.expect("the test gives real headers")
}

/// How a body ends.
#[derive(Clone, Copy, Debug)]
enum End {
    /// As it should.
    Clean,
    /// The connection is closed in the middle.
    Broken,
    /// It does not.
    Never,
}

/// A body's chunks. Between two the task yields, so that the server flushes each.
fn chunks(
    text: Vec<u8>,
    end: End,
    single_bytes: bool,
) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
    let text = Bytes::from(text);
    let size = if single_bytes { 1 } else { text.len().max(1) };
    let starts = (0..text.len()).step_by(size);
    let pieces = starts.map(move |start| text.slice(start..text.len().min(start + size)));
    let end = async move {
        tokio::task::yield_now().await;
        match end {
            End::Clean => None,
            End::Broken => Some(Err(io::Error::other("cut off, as the test wants it"))),
            End::Never => std::future::pending().await,
        }
    };
    futures::stream::iter(pieces)
        .then(|piece| async {
            tokio::task::yield_now().await;
            Ok(piece)
        })
        .chain(futures::stream::once(end).filter_map(std::future::ready))
}
