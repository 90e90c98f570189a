//! A streamed reply: from bytes to events to a reply.

use std::error::Error;
use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use futures::{Stream, StreamExt};
use serde_json::{Map, Value};
use sse_stream::SseByteStream;
use tokio::time::timeout;

use crate::fault::Fault;
use crate::{Delta, Reply};

/// Who is told of what arrives.
pub(crate) type Observer<'a> = &'a mut (dyn FnMut(Delta<'_>) + Send);

/// Makes a reply of the events of one protocol.
pub(crate) trait Decoder {
    /// Takes one event: its type, empty if it has none, and its data.
    ///
    /// # Errors
    /// [`Fault::Reported`] if the event is an error, [`Fault::Protocol`] if it makes no sense.
    fn event(&mut self, kind: &str, data: &str, observe: Observer<'_>) -> Result<Step, Fault>;

    /// Whether a stream that ends here without its last event has said everything.
    fn is_complete(&self) -> bool;

    /// The reply, once complete.
    ///
    /// # Errors
    /// [`Fault::Protocol`] if the parts make no reply.
    fn finish(self: Box<Self>) -> Result<Reply, Fault>;
}

/// What comes after an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// More events.
    More,
    /// Nothing: this was the last.
    Done,
}

/// How much and how long to read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// The longest silence.
    pub(crate) idle: Duration,
    /// The most bytes.
    pub(crate) bytes: u64,
}

/// Why the bytes of a stream ended early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    #[error("the connection broke")]
    Broken(#[source] Box<dyn Error + Send + Sync>),
    #[error("nothing came for {}", spec::format_duration(*.0))]
    Idle(Duration),
    #[error("the stream ended in the middle of the reply")]
    CutOff,
    #[error("the reply is longer than {0} bytes")]
    TooLong(u64),
    #[error("this is not a stream of events: {0}")]
    NotEvents(String),
}

impl From<ReadError> for Fault {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Broken(_) | ReadError::Idle(_) | ReadError::CutOff => {
                Self::Connection(error.into())
            }
            ReadError::TooLong(_) | ReadError::NotEvents(_) => Self::Protocol(error.to_string()),
        }
    }
}

/// Reads events until the last one, or as much of them as `bounds` allow.
///
/// # Errors
/// [`Fault::Connection`] for a stream that ends early, and what the decoder says.
pub(crate) async fn read<E: Error + Send + Sync + 'static>(
    body: impl Stream<Item = Result<Bytes, E>> + Send,
    bounds: Bounds,
    mut decoder: Box<dyn Decoder + Send>,
    observe: Observer<'_>,
) -> Result<Reply, Fault> {
    let body = pin!(body);
    let chunks = pin!(bounded(body, bounds));
    let mut events = SseByteStream::new(chunks);
    while let Some(event) = events.next().await {
        let event = event.map_err(from_sse)?;
        // A block without data is a comment or a keep-alive.
        let Some(data) = event.data.filter(|data| !data.is_empty()) else {
            continue;
        };
        let kind = event.event.as_deref().unwrap_or("");
        if decoder.event(kind, &data, observe)? == Step::Done {
            return decoder.finish();
        }
    }
    if decoder.is_complete() {
        decoder.finish()
    } else {
        Err(ReadError::CutOff.into())
    }
}

/// The chunks of a body, watched: for silence, for size, and for not being events at all.
fn bounded<E: Error + Send + Sync + 'static>(
    body: impl Stream<Item = Result<Bytes, E>> + Unpin,
    bounds: Bounds,
) -> impl Stream<Item = Result<Bytes, ReadError>> {
    let start = (body, 0_u64, Vec::new());
    futures::stream::unfold(start, move |(mut body, mut read, mut head)| async move {
        let chunk = match timeout(bounds.idle, body.next()).await {
            Err(_) => Err(ReadError::Idle(bounds.idle)),
            Ok(None) => return None,
            Ok(Some(Err(error))) => Err(ReadError::Broken(Box::new(error))),
            Ok(Some(Ok(chunk))) => Ok(chunk),
        };
        let chunk = chunk.and_then(|chunk| {
            read = read.saturating_add(chunk.len() as u64);
            if read > bounds.bytes {
                return Err(ReadError::TooLong(bounds.bytes));
            }
            if head.len() < HEAD_BYTES {
                head.extend_from_slice(&chunk[..chunk.len().min(HEAD_BYTES)]);
                check_head(&head)?;
            }
            Ok(chunk)
        });
        Some((chunk, (body, read, head)))
    })
}

/// Bytes that tell a stream of events from a page or a message.
const HEAD_BYTES: usize = 256;

/// Refuses a beginning that is no field and no comment. Less than a field's name proves nothing.
fn check_head(head: &[u8]) -> Result<(), ReadError> {
    let text = head.strip_prefix("\u{feff}".as_bytes()).unwrap_or(head);
    let text = text.trim_ascii_start();
    let fields: [&[u8]; 5] = [b"event", b"data", b"id", b"retry", b":"];
    // A byte order mark may be cut, too.
    let fits = text.starts_with(b"\xef")
        || fields
            .iter()
            .any(|field| text.starts_with(field) || field.starts_with(text));
    if fits {
        Ok(())
    } else {
        Err(ReadError::NotEvents(
            String::from_utf8_lossy(head).into_owned(),
        ))
    }
}

fn from_sse(error: sse_stream::Error) -> Fault {
    match error {
        sse_stream::Error::Body(error) => match error.downcast::<ReadError>() {
            Ok(error) => Fault::from(*error),
            Err(error) => Fault::Connection(error),
        },
        other => Fault::Protocol(other.to_string()),
    }
}

/// Parses the data of an event.
///
/// # Errors
/// [`Fault::Protocol`] with the beginning of what is not the JSON that was expected.
pub(crate) fn parse<'de, T: serde::Deserialize<'de>>(data: &'de str) -> Result<T, Fault> {
    serde_json::from_str(data)
        .map_err(|error| Fault::Protocol(format!("an event is wrong ({error}): {data}")))
}

/// Characters of wrong arguments that the model gets to see again.
const WRONG_ARGUMENTS_CHARS: usize = 4_000;

/// The arguments of a tool call, as a model wrote them. Nothing at all means none.
///
/// # Errors
/// What is wrong, and the text, cut.
pub(crate) fn parse_arguments(text: &str) -> Result<Map<String, Value>, String> {
    if text.trim().is_empty() {
        return Ok(Map::new());
    }
    let why = match serde_json::from_str(text) {
        Ok(Value::Object(arguments)) => return Ok(arguments),
        Ok(Value::Null) => return Ok(Map::new()),
        Ok(_) => "not an object".to_owned(),
        Err(error) => error.to_string(),
    };
    let written: String = text.chars().take(WRONG_ARGUMENTS_CHARS).collect();
    Err(format!("not a JSON object ({why}): {written}"))
}

/// What goes back to a provider in place of arguments that were no JSON object: some servers
/// parse what they get, and refuse the whole conversation for it.
pub(crate) fn arguments_as_sent(arguments: &Result<Map<String, Value>, String>) -> Value {
    match arguments {
        Ok(arguments) => Value::Object(arguments.clone()),
        Err(wrong) => serde_json::json!({ "invalid": wrong }),
    }
}

#[cfg(test)]
mod tests;
