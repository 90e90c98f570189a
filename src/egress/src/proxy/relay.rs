//! One exchange with the world: the request goes there, the answer comes back, both are recorded.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body as _, Incoming};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{self, HeaderValue};
use hyper::{Request, Response, StatusCode, Version};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until, timeout};

use super::body::{Passing, Piece};
use super::budget::Meter;
use super::connection::Jobs;
use super::ledger::Open;
use super::problem::{Problem, chain};
use super::record::{Recorder, empty};
use super::request::{Asked, Length, end_to_end, recorded, set_length};
use super::world::{Wire, World};
use crate::host::{Authority, Scheme};
use crate::{Answer, Bodies, Body};

/// Source: the limit of common servers and clients; also bounds the memory of a connection.
pub(super) const HEAD_BYTES: usize = 64 << 10;
/// Source: more than any host is known to send.
pub(super) const HEADERS: usize = 256;
/// An idle connection is used again for so long: most hosts keep one open longer.
const REUSE: Duration = Duration::from_secs(4);
/// Why an answer was not passed on to its end, when nobody was there to take it.
const GONE: &str = "the program closed the connection";
/// How long a whole answer waits for its request to be over as well.
const REQUEST_END: Duration = Duration::from_secs(5);

/// A connection to a host that can carry the next request.
#[derive(Debug)]
pub(super) struct Link {
    scheme: Scheme,
    authority: Authority,
    sender: SendRequest<Passing>,
    meter: Arc<Meter>,
    idle_since: Instant,
}

/// The link that a connection of the program used last.
pub(super) type Slot = Arc<Mutex<Option<Link>>>;

/// What one exchange needs.
pub(super) struct Relay<'c> {
    pub(super) world: &'c Arc<World>,
    pub(super) bodies: &'c Arc<dyn Bodies>,
    pub(super) jobs: &'c Jobs,
    pub(super) slot: &'c Slot,
}

/// What became of a request's body.
type Upload = Result<Option<Body>, Problem>;

impl Relay<'_> {
    /// Sends a request on and answers with what comes back.
    pub(super) async fn exchange(
        &self,
        asked: Asked,
        body: Incoming,
        open: Open,
    ) -> Response<Passing> {
        match self.try_exchange(asked, body).await {
            // Nothing is left to wait for; it is in the record before the program asks again.
            Ok((response, download)) if download.pieces.is_none() => {
                download.run(open).await;
                response
            }
            Ok((response, download)) => {
                self.jobs.spawn(download.run(open));
                response
            }
            Err((problem, bytes)) => {
                open.end(None, problem.answer(), bytes);
                problem.response()
            }
        }
    }

    async fn try_exchange(
        &self,
        asked: Asked,
        mut body: Incoming,
    ) -> Result<(Response<Passing>, Download), (Problem, u64)> {
        let length = Length::of(&body);
        let unsent = |problem| (problem, 0);
        let policy = self.world.policy();
        let route = match self.world.route(asked.scheme, &asked.authority).await {
            Ok(route) => route,
            Err(problem) => {
                discard(&mut body, &asked).await;
                return Err(unsent(problem));
            }
        };
        let body_max = policy.body_max;
        if body.size_hint().lower() > body_max.get() {
            return Err(unsent(Problem::refused(
                StatusCode::PAYLOAD_TOO_LARGE,
                format!("the request's body is larger than {body_max}"),
            )));
        }
        let reused = self.reuse(asked.scheme, &asked.authority);
        let mut is_reused = reused.is_some();
        let connect = || async {
            let wire = self
                .world
                .connect(&route, asked.scheme, &asked.authority)
                .await?;
            self.link(wire, asked.scheme, asked.authority.clone()).await
        };
        let mut link = match reused {
            Some(link) => link,
            None => connect().await.map_err(unsent)?,
        };
        let progress = Arc::new(Progress::new());
        let (sent_body, upload) = self.upload(body, &progress);
        let mut request = Request::new(sent_body);
        *request.method_mut() = asked.method.clone();
        *request.uri_mut() = asked.target.clone();
        *request.version_mut() = Version::HTTP_11;
        request.headers_mut().clone_from(&asked.headers);
        set_length(request.headers_mut(), length);
        if matches!(length, Length::Unknown) {
            // Where a body is unusual, as with GET, it is left out unless the head says that it comes.
            let chunked = HeaderValue::from_static("chunked");
            request
                .headers_mut()
                .insert(header::TRANSFER_ENCODING, chunked);
        }
        self.approach(&asked, &mut request);
        let (response, bytes_before) = loop {
            let bytes_before = if is_reused { link.meter.both() } else { 0 };
            let spent = |meter: &Meter| meter.both() - bytes_before;
            let sending = link.sender.try_send_request(request);
            match progress.wait(policy.timeouts.answer, sending).await {
                Some(Ok(response)) => break (response, bytes_before),
                Some(Err(mut error)) => match error.take_message() {
                    // The host closed an idle connection; nothing of the request was sent.
                    Some(unsent_request) if is_reused => {
                        is_reused = false;
                        request = unsent_request;
                        link = connect().await.map_err(unsent)?;
                    }
                    Some(_) | None => {
                        let spent = spent(&link.meter);
                        let problem = self.sending_problem(&asked, error.error(), upload).await;
                        return Err((problem, spent));
                    }
                },
                None => {
                    let reason = format!("{} did not answer in time", asked.authority);
                    return Err((Problem::late(reason), spent(&link.meter)));
                }
            }
        };
        self.answer(&asked, response, link, bytes_before, upload)
    }

    /// Puts on a request what the operator says: what the host wants, and the form that a proxy reads.
    /// The record holds what the program asked.
    fn approach(&self, asked: &Asked, request: &mut Request<Passing>) {
        let Some(approach) = self.world.approach(asked.scheme, &asked.authority) else {
            return;
        };
        if let Some(authorization) = &approach.authorization {
            let value = authorization.header();
            request.headers_mut().insert(header::AUTHORIZATION, value);
        }
        if asked.scheme == Scheme::Http
            && let Some(next) = &approach.next
        {
            let Authority { host, port } = &asked.authority;
            let whole = if *port == Scheme::Http.port() {
                format!("http://{host}{}", asked.target)
            } else {
                format!("http://{host}:{port}{}", asked.target)
            };
            if let Ok(whole) = whole.parse() {
                *request.uri_mut() = whole;
            }
            if let Some(authorization) = &next.authorization {
                let value = authorization.header();
                let name = header::PROXY_AUTHORIZATION;
                request.headers_mut().insert(name, value);
            }
        }
    }

    /// Turns an answer's head into the program's, and the rest into a job.
    fn answer(
        &self,
        asked: &Asked,
        response: Response<Incoming>,
        link: Link,
        bytes_before: u64,
        upload: oneshot::Receiver<Upload>,
    ) -> Result<(Response<Passing>, Download), (Problem, u64)> {
        let (head, body) = response.into_parts();
        let spent = link.meter.both() - bytes_before;
        if head.status == StatusCode::SWITCHING_PROTOCOLS {
            let reason = format!("{} switched to another protocol", asked.authority);
            return Err((Problem::failed(reason), spent));
        }
        let body_max = self.world.policy().body_max;
        if body.size_hint().lower() > body_max.get() {
            let reason = format!(
                "the answer has {} bytes, more than the {body_max} of one body",
                body.size_hint().lower()
            );
            return Err((Problem::failed(reason), spent));
        }
        let mut headers = end_to_end(&head.headers);
        set_length(&mut headers, Length::of(&body));
        let (pieces, passing) = if body.is_end_stream() {
            (None, Passing::empty())
        } else {
            let (pieces, passing) = Passing::piped(body.size_hint().exact());
            (Some(pieces), passing)
        };
        let mut response = Response::new(passing);
        *response.status_mut() = head.status;
        response.headers_mut().clone_from(&headers);
        let may_reuse = !head
            .headers
            .get_all(header::CONNECTION)
            .iter()
            .any(|value| value.as_bytes().eq_ignore_ascii_case(b"close"));
        let download = Download {
            world: Arc::clone(self.world),
            recorder: Recorder::new(Arc::clone(self.bodies)),
            slot: Arc::clone(self.slot),
            answer: (head.status.as_u16(), recorded(&headers)),
            body,
            pieces,
            link,
            may_reuse,
            bytes_before,
            upload,
        };
        Ok((response, download))
    }

    fn reuse(&self, scheme: Scheme, authority: &Authority) -> Option<Link> {
        let link = self
            .slot
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()?;
        let fits = link.scheme == scheme && link.authority == *authority;
        let is_fresh = link.idle_since.elapsed() < REUSE && link.sender.is_ready();
        (fits && is_fresh).then_some(link)
    }

    async fn link(
        &self,
        wire: Wire,
        scheme: Scheme,
        authority: Authority,
    ) -> Result<Link, Problem> {
        let (sender, meter) = match wire {
            Wire::Plain(stream) => {
                let meter = stream.meter();
                (self.handshake(stream).await, meter)
            }
            Wire::Tls(stream) => {
                let meter = stream.get_ref().0.meter();
                (self.handshake(*stream).await, meter)
            }
        };
        let sender = sender.map_err(|error| Problem::failed(chain(&error)))?;
        Ok(Link {
            scheme,
            authority,
            sender,
            meter,
            idle_since: Instant::now(),
        })
    }

    async fn handshake<S>(&self, stream: S) -> hyper::Result<SendRequest<Passing>>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (sender, connection) = http1::Builder::new()
            .max_buf_size(HEAD_BYTES)
            .max_headers(HEADERS)
            .handshake(TokioIo::new(stream))
            .await?;
        self.jobs.spawn_link(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection to a host ended");
            }
        });
        Ok(sender)
    }

    /// Starts to pass the request's body on.
    fn upload(
        &self,
        body: Incoming,
        progress: &Arc<Progress>,
    ) -> (Passing, oneshot::Receiver<Upload>) {
        let (done, upload) = oneshot::channel();
        if body.is_end_stream() {
            done.send(Ok(Some(empty()))).ok();
            return (Passing::empty(), upload);
        }
        let (pieces, passing) = Passing::piped(body.size_hint().exact());
        let policy = self.world.policy();
        let stall = policy.timeouts.stall;
        let body_max = policy.body_max;
        let mut recorder = Recorder::new(Arc::clone(self.bodies));
        let progress = Arc::clone(progress);
        self.jobs.spawn(async move {
            let mut body = body;
            let result = loop {
                let bytes = match next_piece(&mut body, stall).await {
                    Ok(Some(bytes)) => bytes,
                    Ok(None) => {
                        break recorder
                            .finish()
                            .await
                            .map(Some)
                            .map_err(|error| unrecordable(&error));
                    }
                    Err(error) => {
                        let reason = format!("the request's body ended early: {}", chain(&error));
                        break Err(Problem::refused(StatusCode::BAD_REQUEST, reason));
                    }
                };
                if recorder.size() + bytes.len() as u64 > body_max.get() {
                    break Err(Problem::refused(
                        StatusCode::PAYLOAD_TOO_LARGE,
                        format!("the request's body is larger than {body_max}"),
                    ));
                }
                if let Err(error) = recorder.write(&bytes).await {
                    break Err(unrecordable(&error));
                }
                progress.made();
                // A host that answered early reads no more. Nor does the record: what did not go over
                // the network is in no budget.
                if pieces.send(Ok(Some(bytes))).await.is_err() {
                    break Ok(None);
                }
            };
            let last: Piece = match &result {
                Ok(_) => Ok(None),
                Err(_) => Err(io::ErrorKind::ConnectionAborted.into()),
            };
            progress.made();
            // The cause first: whoever sees the body end asks for it.
            done.send(result).ok();
            pieces.send(last).await.ok();
        });
        (passing, upload)
    }

    async fn sending_problem(
        &self,
        asked: &Asked,
        error: &hyper::Error,
        upload: oneshot::Receiver<Upload>,
    ) -> Problem {
        if self.world.budget().is_used_up() {
            return Problem::forbidden(self.world.budget().reason());
        }
        if error.is_user()
            && let Ok(Ok(Err(problem))) = timeout(REQUEST_END, upload).await
        {
            return problem;
        }
        Problem::failed(format!(
            "no answer from {}: {}",
            asked.authority,
            chain(error)
        ))
    }
}

fn unrecordable(error: &io::Error) -> Problem {
    tracing::error!(%error, "a body cannot be kept");
    Problem::failed("a body cannot be kept where the proxy runs")
}

/// The next bytes of a body; none at its end. Trailers are dropped.
async fn next_piece(body: &mut Incoming, stall: Duration) -> io::Result<Option<Bytes>> {
    loop {
        let frame = timeout(stall, body.frame())
            .await
            .map_err(|_| io::Error::other("nothing came in time"))?;
        match frame {
            None => return Ok(None),
            Some(Ok(frame)) => {
                if let Ok(bytes) = frame.into_data()
                    && !bytes.is_empty()
                {
                    return Ok(Some(bytes));
                }
            }
            Some(Err(error)) => return Err(io::Error::other(chain(&error))),
        }
    }
}

/// Reads a small body that nobody wants, so that its sender sees the answer.
pub(super) async fn discard(body: &mut Incoming, asked: &Asked) {
    const BYTES: u64 = 256 << 10;
    const WAIT: Duration = Duration::from_secs(2);
    if asked.expects_continue {
        return;
    }
    let reading = async {
        let mut read = 0;
        while let Ok(Some(bytes)) = next_piece(body, WAIT).await {
            read += bytes.len() as u64;
            if read > BYTES {
                return;
            }
        }
    };
    // What does not come in time is not waited for.
    drop(timeout(WAIT, reading).await);
}

/// The rest of an exchange, after the answer's head.
struct Download {
    world: Arc<World>,
    recorder: Recorder,
    slot: Slot,
    answer: (u16, crate::Headers),
    body: Incoming,
    /// Where the body goes; nowhere when there is none.
    pieces: Option<mpsc::Sender<Piece>>,
    link: Link,
    may_reuse: bool,
    bytes_before: u64,
    upload: oneshot::Receiver<Upload>,
}

impl Download {
    /// Passes the answer's body on, writes the exchange down, and only then lets the program see
    /// the end: whatever it asks next comes after this in the record.
    async fn run(mut self, open: Open) {
        let stall = self.world.policy().timeouts.stall;
        let body_max = self.world.policy().body_max;
        let mut last = None;
        let mut cut = None;
        while let Some(pieces) = &self.pieces {
            let next = tokio::select! {
                next = next_piece(&mut self.body, stall) => next,
                () = pieces.closed() => {
                    cut = Some(GONE.to_owned());
                    break;
                }
            };
            let bytes = match next {
                Ok(Some(bytes)) => bytes,
                Ok(None) => break,
                Err(_) if self.world.budget().is_used_up() => {
                    cut = Some(self.world.budget().reason());
                    break;
                }
                Err(error) => {
                    cut = Some(format!("the host ended it early: {error}"));
                    break;
                }
            };
            if self.recorder.size() + bytes.len() as u64 > body_max.get() {
                cut = Some(format!("the answer's body is larger than {body_max}"));
                break;
            }
            if let Err(error) = self.recorder.write(&bytes).await {
                cut = Some(unrecordable(&error).reason().to_owned());
                break;
            }
            if self.body.is_end_stream() {
                last = Some(bytes);
                break;
            }
            if pieces.send(Ok(Some(bytes))).await.is_err() {
                cut = Some(GONE.to_owned());
                break;
            }
        }
        self.end(open, last, cut).await;
    }

    async fn end(self, open: Open, last: Option<Bytes>, cut: Option<String>) {
        let sent = match timeout(REQUEST_END, self.upload).await {
            Ok(Ok(Ok(body))) => body,
            Ok(Ok(Err(_)) | Err(_)) | Err(_) => None,
        };
        let bytes = self.link.meter.both() - self.bytes_before;
        let is_whole = cut.is_none();
        let is_recorded = match self.recorder.finish().await {
            Ok(body) => {
                let (status, headers) = self.answer;
                let answer = Answer::Response {
                    status,
                    headers,
                    body,
                    cut,
                };
                open.end(sent, answer, bytes);
                true
            }
            Err(error) => {
                open.end(sent, unrecordable(&error).answer(), bytes);
                false
            }
        };
        if is_whole && is_recorded && self.may_reuse && sent.is_some() {
            let mut link = self.link;
            link.idle_since = Instant::now();
            *self.slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(link);
        }
        let Some(pieces) = self.pieces else { return };
        // A program that is gone does not miss the end.
        if let Some(bytes) = last {
            pieces.send(Ok(Some(bytes))).await.ok();
        }
        let end = if is_whole && is_recorded {
            Ok(None)
        } else {
            Err(io::ErrorKind::ConnectionAborted.into())
        };
        pieces.send(end).await.ok();
    }
}

/// When a request last got any further.
struct Progress {
    started: Instant,
    at_ms: AtomicU64,
}

impl Progress {
    fn new() -> Self {
        Self {
            started: Instant::now(),
            at_ms: AtomicU64::new(0),
        }
    }

    fn made(&self) {
        let elapsed = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.at_ms.store(elapsed, Ordering::Relaxed);
    }

    /// Waits until the future is over, or nothing has got any further for so long.
    async fn wait<F: Future>(&self, patience: Duration, future: F) -> Option<F::Output> {
        let mut future = std::pin::pin!(future);
        loop {
            let seen = self.at_ms.load(Ordering::Relaxed);
            let deadline = self.started + Duration::from_millis(seen) + patience;
            tokio::select! {
                output = &mut future => return Some(output),
                () = sleep_until(deadline) => {
                    if self.at_ms.load(Ordering::Relaxed) == seen {
                        return None;
                    }
                }
            }
        }
    }
}
