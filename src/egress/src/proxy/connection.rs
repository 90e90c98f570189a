//! One connection of the program.

use std::future::Future;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::upgrade::OnUpgrade;
use hyper::{Method, Request, Response, StatusCode, header};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::LazyConfigAcceptor;

use super::body::Passing;
use super::patient::Patient;
use super::problem::{Problem, chain};
use super::relay::{HEAD_BYTES, HEADERS, Relay, Slot};
use super::request::{Asked, Place, recorded, shown_url};
use super::world::Route;
use super::{Shared, Source, tunnel};
use crate::Answer;
use crate::host::{Authority, Scheme};

/// How long the jobs of a closed connection may take to write down how it ended.
const CLOSING: Duration = Duration::from_secs(10);

/// The jobs of one connection: they end with it.
#[derive(Debug, Default)]
pub(super) struct Jobs {
    /// Bodies on their way; awaited at the end.
    bodies: Mutex<JoinSet<()>>,
    /// Connections to hosts; aborted at the end.
    links: Mutex<JoinSet<()>>,
}

impl Jobs {
    pub(super) fn spawn(&self, job: impl Future<Output = ()> + Send + 'static) {
        spawn(&self.bodies, job);
    }

    pub(super) fn spawn_link(&self, job: impl Future<Output = ()> + Send + 'static) {
        spawn(&self.links, job);
    }
}

fn spawn(jobs: &Mutex<JoinSet<()>>, job: impl Future<Output = ()> + Send + 'static) {
    let mut jobs = jobs.lock().unwrap_or_else(PoisonError::into_inner);
    while jobs.try_join_next().is_some() {}
    jobs.spawn(job);
}

/// What follows a CONNECT that was accepted.
struct Next {
    upgrade: OnUpgrade,
    authority: Authority,
    /// Where an opaque host is; none for a host whose TLS is terminated here.
    tunnel: Option<Route>,
}

struct Connection {
    shared: Arc<Shared>,
    jobs: Jobs,
    slot: Slot,
    next: Mutex<Option<Next>>,
}

/// Serves one connection of the program until either end closes it.
pub(super) async fn serve<S>(shared: &Arc<Shared>, stream: S)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let timeouts = shared.timeouts;
    let mut stream = Patient::new(stream, timeouts.stall);
    let Ok(_permit) = shared.connections.try_acquire() else {
        shared.book.turn_away();
        // Whoever does not read it does not get it.
        drop(timeout(timeouts.handshake, stream.write_all(BUSY)).await);
        drop(timeout(timeouts.handshake, stream.shutdown()).await);
        return;
    };
    let connection = Arc::new(Connection {
        shared: Arc::clone(shared),
        jobs: Jobs::default(),
        slot: Slot::default(),
        next: Mutex::default(),
    });
    let service = {
        let connection = Arc::clone(&connection);
        service_fn(move |request| {
            let connection = Arc::clone(&connection);
            async move { connection.answer(request, &Place::Proxy).await }
        })
    };
    let outcome = http(timeouts.head)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades()
        .await;
    match outcome {
        Ok(()) => {
            let next = lock(&connection.next).take();
            if let Some(next) = next {
                connection.follow(next).await;
            }
        }
        Err(error) => tracing::debug!(%error, "a connection of the program ended"),
    }
    connection.close().await;
}

/// For a program that has too many connections open.
const BUSY: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\n\
    content-type: text/plain; charset=utf-8\r\nconnection: close\r\n\r\n\
    this subagent has too many connections open; close some of them\n";

fn http(head: Duration) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(head)
        .max_buf_size(HEAD_BYTES)
        .max_headers(HEADERS)
        // What is recorded is what the program gets.
        .auto_date_header(false);
    builder
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Connection {
    /// Answers one request. An error closes the connection without an answer.
    async fn answer(
        &self,
        mut request: Request<Incoming>,
        place: &Place,
    ) -> io::Result<Response<Passing>> {
        if request.method() == Method::CONNECT {
            return Ok(self.connect(&mut request, place).await);
        }
        let asked = Asked::of(&request, place);
        let (url, mut headers) = match &asked {
            Ok(asked) => (asked.url(), recorded(&asked.headers)),
            Err(_) => (shown_url(&request, place), Vec::new()),
        };
        headers.sort_by(|(a, _), (b, _)| a.cmp(b));
        let method = request.method().as_str().to_owned();
        let open = match self.shared.book.open(method, url, headers) {
            Ok(open) => open,
            Err(reason) => return Ok(turned_away(reason)),
        };
        let asked = match asked {
            Ok(asked) => asked,
            Err(problem) => {
                open.end(None, problem.answer(), 0);
                return Ok(problem.response());
            }
        };
        let body = request.into_body();
        match &self.shared.source {
            Source::World(world) => {
                let relay = Relay {
                    world,
                    bodies: &self.shared.bodies,
                    jobs: &self.jobs,
                    slot: &self.slot,
                };
                Ok(relay.exchange(asked, body, open).await)
            }
            Source::Recording(recording) => {
                recording
                    .exchange(&self.shared.bodies, &self.jobs, &asked, body, open)
                    .await
            }
        }
    }

    /// Accepts a CONNECT, or says why not.
    async fn connect(&self, request: &mut Request<Incoming>, place: &Place) -> Response<Passing> {
        match self.check_connect(request, place).await {
            Ok((authority, tunnel)) => {
                *lock(&self.next) = Some(Next {
                    upgrade: hyper::upgrade::on(request),
                    authority,
                    tunnel,
                });
                Response::new(Passing::empty())
            }
            Err(problem) => {
                // As a replay asks for it, whatever its capitals.
                let asked = request.uri().authority();
                let url = asked
                    .and_then(|asked| Authority::parse(asked.as_str(), None).ok())
                    .map_or_else(|| shown_url(request, place), |asked| asked.to_string());
                match self.shared.book.open("CONNECT".to_owned(), url, Vec::new()) {
                    Ok(open) => open.end(None, problem.answer(), 0),
                    Err(reason) => return turned_away(reason),
                }
                problem.response()
            }
        }
    }

    async fn check_connect(
        &self,
        request: &Request<Incoming>,
        place: &Place,
    ) -> Result<(Authority, Option<Route>), Problem> {
        let bad = |reason: &str| Problem::refused(StatusCode::BAD_REQUEST, reason);
        if let Place::Host(_) = place {
            return Err(bad("a CONNECT belongs to the proxy, not to a host"));
        }
        if request.headers().contains_key(header::TRANSFER_ENCODING) {
            return Err(bad("a CONNECT has no body"));
        }
        let target = request
            .uri()
            .authority()
            .ok_or_else(|| bad("a CONNECT needs a host and a port"))?;
        let authority = Authority::parse(target.as_str(), None)
            .map_err(|error| Problem::forbidden(error.to_string()))?;
        match &self.shared.source {
            Source::World(world) => {
                let route = world.route(Scheme::Https, &authority).await?;
                let tunnel = world.is_opaque(&authority).then_some(route);
                Ok((authority, tunnel))
            }
            Source::Recording(recording) => {
                recording.connect(&authority)?;
                Ok((authority, None))
            }
        }
    }

    /// Goes on after a CONNECT was accepted.
    async fn follow(self: &Arc<Self>, next: Next) {
        let authority = next.authority;
        let ended = match next.upgrade.await {
            Err(error) => Err(format!("it ended before TLS: {}", chain(&error))),
            Ok(stream) => match (next.tunnel, &self.shared.source) {
                (Some(route), Source::World(world)) => {
                    let stream = TokioIo::new(stream);
                    tunnel::run(&self.shared.book, world, &authority, &route, stream).await
                }
                (Some(_) | None, _) => self.terminate(TokioIo::new(stream), &authority).await,
            },
        };
        let Err(reason) = ended else { return };
        let opened = self
            .shared
            .book
            .open("CONNECT".to_owned(), authority.to_string(), Vec::new());
        // Beyond what the record holds, it was counted.
        if let Ok(open) = opened {
            open.end(None, Answer::Closed { reason }, 0);
        }
    }

    /// Speaks TLS as the host, and HTTP inside. An error says why it came to no request.
    async fn terminate<S>(self: &Arc<Self>, stream: S, authority: &Authority) -> Result<(), String>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let timeouts = self.shared.timeouts;
        let acceptor = LazyConfigAcceptor::new(rustls::server::Acceptor::default(), stream);
        let hello = match timeout(timeouts.handshake, acceptor).await {
            Err(_) => return Err("no TLS handshake came in time".to_owned()),
            Ok(Err(error)) => return Err(format!("no TLS handshake came: {}", chain(&error))),
            Ok(Ok(hello)) => hello,
        };
        check_sni(hello.client_hello().server_name(), authority)?;
        let leaf = self
            .shared
            .certificates
            .leaf(&authority.host)
            .map_err(|error| chain(&error))?;
        let stream = match timeout(timeouts.handshake, hello.into_stream(leaf)).await {
            Err(_) => return Err("the TLS handshake did not end in time".to_owned()),
            Ok(Err(error)) => {
                return Err(format!("the TLS handshake failed: {}", chain(&error)));
            }
            Ok(Ok(stream)) => stream,
        };
        let place = Place::Host(authority.clone());
        let service = service_fn(|request| {
            let connection = Arc::clone(self);
            let place = place.clone();
            async move { connection.answer(request, &place).await }
        });
        let served = http(timeouts.head)
            .serve_connection(TokioIo::new(stream), service)
            .await;
        if let Err(error) = served {
            tracing::debug!(%error, "a TLS connection of the program ended");
        }
        Ok(())
    }

    /// Lets the jobs write down how it ended.
    async fn close(&self) {
        // Without a link in reserve, connections to hosts end when their exchanges do.
        drop(lock(&self.slot).take());
        let mut bodies = std::mem::take(&mut *lock(&self.jobs.bodies));
        let ended = timeout(CLOSING, async {
            while bodies.join_next().await.is_some() {}
        });
        if ended.await.is_err() {
            tracing::warn!("the bodies of a closed connection took too long");
        }
        bodies.shutdown().await;
        let mut links = std::mem::take(&mut *lock(&self.jobs.links));
        links.shutdown().await;
    }
}

/// Refuses a TLS connection that is for another host than it was made to.
pub(super) fn check_sni(named: Option<&str>, authority: &Authority) -> Result<(), String> {
    match named {
        Some(name) if name.eq_ignore_ascii_case(authority.host.as_str()) => Ok(()),
        Some(name) => Err(format!(
            "its TLS handshake names `{}`, not {}",
            spec::printable(name, 253),
            authority.host
        )),
        None => Err("its TLS handshake names no host".to_owned()),
    }
}

fn turned_away(reason: String) -> Response<Passing> {
    let mut response = Problem::forbidden(reason).response();
    let close = header::HeaderValue::from_static("close");
    response.headers_mut().insert(header::CONNECTION, close);
    response
}
