//! Answers from what was recorded.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::io::{self, Read};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::{Method, Response, StatusCode, header};
use sha2::{Digest as _, Sha256};
use spec::Digest;
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::body::{Passing, Piece};
use super::connection::Jobs;
use super::ledger::Open;
use super::problem::Problem;
use super::request::{Asked, Length, range_of, restored, set_length};
use crate::host::{Authority, Scheme};
use crate::{Answer, Bodies, Body, Exchange, Headers};

/// Bytes of a kept body that are read at a time.
const CHUNK: usize = 64 << 10;
/// Characters of a URL that a difference repeats.
const URL_CHARS: usize = 200;
/// How long the program may pause in the body of a request.
const STALL: Duration = Duration::from_mins(2);

/// The exchanges of an earlier run, each of which answers once.
#[derive(Debug)]
pub(super) struct Recording {
    unused: Mutex<HashMap<Key, VecDeque<Kept>>>,
    /// What was recorded for each method and URL, to say what differs.
    known: HashMap<(String, String), Vec<Known>>,
    /// Hosts to which TLS connections were made.
    hosts: BTreeSet<Authority>,
}

/// What an answer was to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    method: String,
    url: String,
    /// The part of the content that was asked for.
    range: Option<String>,
    /// Of the body; without one it is for any body.
    digest: Option<Digest>,
}

impl Key {
    fn connect(authority: &Authority) -> Self {
        Self {
            method: "CONNECT".to_owned(),
            url: authority.to_string(),
            range: None,
            digest: None,
        }
    }
}

/// An answer that was not given again yet.
#[derive(Clone, Debug)]
struct Kept {
    /// Its place among all exchanges.
    place: usize,
    /// The host of the TLS connection in which it came.
    host: Option<Authority>,
    answer: Answer,
}

/// What else was asked for at a URL.
#[derive(Clone, Debug)]
struct Known {
    range: Option<String>,
    body: Option<Body>,
}

impl Recording {
    pub(super) fn new(exchanges: Vec<Exchange>) -> Self {
        let mut unused: HashMap<Key, VecDeque<Kept>> = HashMap::new();
        let mut known: HashMap<(String, String), Vec<Known>> = HashMap::new();
        let mut hosts = BTreeSet::new();
        for (place, exchange) in exchanges.into_iter().enumerate() {
            let host = host_of(&exchange);
            hosts.extend(host.clone());
            let range = range_of(&exchange.headers);
            let (method, url, body) = (exchange.method, exchange.url, exchange.body);
            known
                .entry((method.clone(), url.clone()))
                .or_default()
                .push(Known {
                    range: range.clone(),
                    body,
                });
            let key = Key {
                method,
                url,
                range,
                digest: body.map(|body| body.digest),
            };
            unused.entry(key).or_default().push_back(Kept {
                place,
                host,
                answer: exchange.answer,
            });
        }
        Self {
            unused: Mutex::new(unused),
            known,
            hosts,
        }
    }

    /// Accepts a CONNECT to a host that was reached, or repeats why it was not: when it is the turn of
    /// that, and not of what came in an earlier connection.
    pub(super) fn connect(&self, authority: &Authority) -> Result<(), Problem> {
        let key = Key::connect(authority);
        let refused = {
            let mut unused = self.unused.lock().unwrap_or_else(PoisonError::into_inner);
            let inside = unused
                .iter()
                .filter(|(other, _)| **other != key)
                .filter_map(|(_, kept)| kept.front())
                .filter(|kept| kept.host.as_ref() == Some(authority))
                .map(|kept| kept.place)
                .min();
            let turn = unused.get_mut(&key).and_then(|kept| {
                let place = kept.front()?.place;
                let is_next = inside.is_none_or(|inside| place < inside);
                is_next.then(|| kept.pop_front()).flatten()
            });
            turn.map(|kept| kept.answer)
        };
        if let Some(problem) = refused.as_ref().and_then(Problem::recorded) {
            return Err(problem);
        }
        if self.hosts.contains(authority) {
            return Ok(());
        }
        Err(Problem::unrecorded(format!(
            "the recorded run made no connection to {authority}"
        )))
    }

    /// Answers as the world did. An error closes the connection without an answer, as it was then.
    pub(super) async fn exchange(
        &self,
        bodies: &Arc<dyn Bodies>,
        jobs: &Jobs,
        asked: &Asked,
        body: Incoming,
        open: Open,
    ) -> io::Result<Response<Passing>> {
        let url = asked.url();
        let body = match read(body).await {
            Ok(body) => body,
            Err(error) => {
                let reason = format!("the request's body ended early: {error}");
                let problem = Problem::refused(StatusCode::BAD_REQUEST, reason);
                open.end(None, problem.answer(), 0);
                return Ok(problem.response());
            }
        };
        let method = asked.method.as_str();
        let range = asked.range();
        let Some(answer) = self.take(method, &url, range.as_ref(), body.digest) else {
            let difference = self.difference(method, &url, range.as_ref(), body);
            let problem = Problem::unrecorded(difference);
            open.end(Some(body), problem.answer(), 0);
            return Ok(problem.response());
        };
        if let Some(problem) = Problem::recorded(&answer) {
            open.end(Some(body), answer, 0);
            return Ok(problem.response());
        }
        let response = match &answer {
            Answer::Response {
                status,
                headers,
                body,
                cut,
            } => {
                let kept = KeptBody {
                    bodies: Arc::clone(bodies),
                    body: *body,
                    is_cut: cut.is_some(),
                };
                respond(jobs, &asked.method, *status, headers, kept)
            }
            Answer::Closed { .. }
            | Answer::Refused { .. }
            | Answer::Failed { .. }
            | Answer::Unrecorded { .. } => Err(io::ErrorKind::ConnectionAborted.into()),
        };
        open.end(Some(body), answer, 0);
        response
    }

    /// The next answer that was given to such a request.
    fn take(
        &self,
        method: &str,
        url: &str,
        range: Option<&String>,
        body: Digest,
    ) -> Option<Answer> {
        let mut unused = self.unused.lock().unwrap_or_else(PoisonError::into_inner);
        [Some(body), None].into_iter().find_map(|digest| {
            let key = Key {
                method: method.to_owned(),
                url: url.to_owned(),
                range: range.cloned(),
                digest,
            };
            let kept = unused.get_mut(&key).and_then(VecDeque::pop_front)?;
            Some(kept.answer)
        })
    }

    fn difference(&self, method: &str, url: &str, range: Option<&String>, body: Body) -> String {
        let known = self.known.get(&(method.to_owned(), url.to_owned()));
        let mut others: Vec<&str> = self
            .known
            .keys()
            .filter(|(_, known)| known == url)
            .map(|(method, _)| method.as_str())
            .collect();
        others.sort_unstable();
        let url = spec::printable(url, URL_CHARS);
        if let Some(known) = known {
            let of_range = || known.iter().filter(|known| known.range.as_ref() == range);
            let is_same =
                |known: &&Known| known.body.is_none_or(|known| known.digest == body.digest);
            let same = of_range().filter(is_same).count();
            if same > 0 {
                return format!("{method} {url} was recorded {same} times and asked for once more");
            }
            if of_range().next().is_none() {
                return format!("{method} {url} was recorded with another `Range`");
            }
            let known = of_range().find_map(|known| known.body);
            return format!(
                "{method} {url} was recorded with another body: {} now, {} then",
                described(body),
                known.map_or_else(|| "unknown".to_owned(), described),
            );
        }
        if others.is_empty() {
            format!("{method} {url} was not recorded")
        } else {
            format!(
                "{method} {url} was not recorded, only with {}",
                others.join(", ")
            )
        }
    }
}

fn described(body: Body) -> String {
    format!("{} bytes with {}", body.size, body.digest)
}

/// The host to which a connection was made for an exchange.
fn host_of(exchange: &Exchange) -> Option<Authority> {
    if exchange.method == "CONNECT" {
        return match exchange.answer {
            Answer::Closed { .. } => Authority::parse(&exchange.url, None).ok(),
            Answer::Response { .. }
            | Answer::Refused { .. }
            | Answer::Failed { .. }
            | Answer::Unrecorded { .. } => None,
        };
    }
    let rest = exchange.url.strip_prefix("https://")?;
    let host = rest.split(['/', '?']).next()?;
    Authority::parse(host, Some(Scheme::Https.port())).ok()
}

/// The digest and the size of a request's body, of which nothing is kept.
async fn read(mut body: Incoming) -> io::Result<Body> {
    let mut hash = Sha256::new();
    let mut size = 0;
    while let Some(frame) = timeout(STALL, body.frame()).await? {
        if let Ok(bytes) = frame.map_err(io::Error::other)?.into_data() {
            size += bytes.len() as u64;
            hash.update(&bytes);
        }
    }
    Ok(Body {
        digest: Digest::from_sha256(hash.finalize().into()),
        size,
    })
}

/// A body that was recorded.
struct KeptBody {
    bodies: Arc<dyn Bodies>,
    body: Body,
    is_cut: bool,
}

/// The same head as then, and a body that is framed as it was: with a length if it had one.
fn respond(
    jobs: &Jobs,
    method: &Method,
    status: u16,
    headers: &Headers,
    kept: KeptBody,
) -> io::Result<Response<Passing>> {
    let status = StatusCode::from_u16(status).map_err(io::Error::other)?;
    let mut headers = restored(headers);
    let size = kept.body.size;
    let has_length = headers.contains_key(header::CONTENT_LENGTH);
    let is_bodiless = *method == Method::HEAD
        || status == StatusCode::NO_CONTENT
        || status == StatusCode::NOT_MODIFIED
        || (has_length && size == 0);
    let passing = if is_bodiless && !kept.is_cut {
        Passing::empty()
    } else {
        let known = (has_length && !kept.is_cut).then_some(size);
        if known.is_some() {
            set_length(&mut headers, Length::Known(size));
        }
        let (pieces, passing) = Passing::piped(known);
        jobs.spawn(play(kept, pieces));
        passing
    };
    let mut response = Response::new(passing);
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    Ok(response)
}

/// Sends a kept body. One that was cut then is cut now.
async fn play(kept: KeptBody, pieces: mpsc::Sender<Piece>) {
    let KeptBody {
        bodies,
        body,
        is_cut,
    } = kept;
    let mut reader: Option<Box<dyn Read + Send>> = None;
    let mut left = body.size;
    while left > 0 {
        let bodies = Arc::clone(&bodies);
        let opened = reader.take();
        let read = spawn_blocking(move || {
            let mut reader = match opened {
                Some(reader) => reader,
                None => bodies.open(&body.digest)?,
            };
            let mut chunk = Vec::with_capacity(CHUNK);
            reader.by_ref().take(CHUNK as u64).read_to_end(&mut chunk)?;
            io::Result::Ok((reader, chunk))
        });
        let piece = match read.await.unwrap_or_else(|panic| Err(panic.into())) {
            Ok((_, chunk)) if chunk.is_empty() => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok((opened, chunk)) => {
                reader = Some(opened);
                left = left.saturating_sub(chunk.len() as u64);
                Ok(Some(Bytes::from(chunk)))
            }
            Err(error) => {
                tracing::error!(%error, digest = %body.digest, "a recorded body is not readable");
                Err(error)
            }
        };
        let is_over = piece.is_err();
        // A program that is gone does not miss the rest.
        if pieces.send(piece).await.is_err() || is_over {
            return;
        }
    }
    let end = if is_cut {
        Err(io::ErrorKind::ConnectionAborted.into())
    } else {
        Ok(None)
    };
    pieces.send(end).await.ok();
}
