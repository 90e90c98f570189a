//! What the sandbox says, checked: from frames to events.

use bytes::{Bytes, BytesMut};
use serde::Deserialize;
use spec::{OutputStream, limits};

use crate::frames::{Decoder, Frame, FrameError, TOKEN_BYTES, split_control, to_host};

/// The version of the frames' meaning that both ends must have.
pub(super) const PROTOCOL: u32 = 1;

/// Something that the harness said. Who may say what when is checked already; whether it is true
/// of the run is for the session to judge.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Event {
    Ready,
    Started,
    Output(OutputStream, Bytes),
    /// A request of the child: the child's own JSON.
    Request {
        id: u32,
        body: Bytes,
    },
    /// The child ended; `claim` is the child's own JSON.
    Ended {
        end: Ended,
        claim: Option<Bytes>,
    },
    FileBegin {
        path: Vec<u8>,
        size: u64,
        executable: bool,
        /// The beginning of its content.
        first: Bytes,
    },
    FileData(Bytes),
    FileEnd,
    Removed(Vec<u8>),
    Left {
        path: Vec<u8>,
        why: String,
    },
    Done,
    /// The harness cannot go on.
    Failed(String),
}

/// The parent's account of how the child ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub(super) struct Ended {
    /// Why the parent stopped it: `cancel`, `stdout`, `stderr`, or `channel: ...`.
    pub(super) stopped: Option<String>,
    pub(super) status: Option<u8>,
    pub(super) signal: Option<u8>,
    pub(super) wall_ns: u64,
    pub(super) cpu_ns: u64,
    pub(super) memory_peak: u64,
    pub(super) oom_kills: u64,
    pub(super) stdout_bytes: u64,
    pub(super) stderr_bytes: u64,
    pub(super) workspace_full: bool,
    pub(super) tmp_full: bool,
    claimed: bool,
}

/// Where the stream stands, which decides what may come next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Starting,
    Running,
    Collecting,
    Done,
}

/// A body of which more frames are to come.
#[derive(Debug)]
struct Body {
    kind: u8,
    header: Bytes,
    received: BytesMut,
    left: u64,
}

/// Reads a sandbox's stream.
#[derive(Debug)]
pub(super) struct Events {
    decoder: Decoder,
    token: [u8; TOKEN_BYTES],
    phase: Phase,
    body: Option<Body>,
}

#[derive(Deserialize)]
struct Sized {
    size: u64,
}

#[derive(Deserialize)]
struct ReadyHeader {
    protocol: u32,
}

#[derive(Deserialize)]
struct RequestHeader {
    id: u32,
}

#[derive(Deserialize)]
struct FileHeader {
    path: String,
    executable: bool,
}

#[derive(Deserialize)]
struct PathHeader {
    path: String,
    #[serde(default)]
    why: String,
}

impl Events {
    pub(super) fn new(token: [u8; TOKEN_BYTES]) -> Self {
        Self {
            decoder: Decoder::default(),
            token,
            phase: Phase::Starting,
            body: None,
        }
    }

    /// Takes bytes in; [`Self::next`] is then called until it returns nothing.
    pub(super) fn feed(&mut self, bytes: &[u8]) {
        self.decoder.feed(bytes);
    }

    /// The next event that is complete.
    pub(super) fn next(&mut self) -> Result<Option<Event>, FrameError> {
        loop {
            // A file's end needs no frame of its own.
            if let Some(body) = &self.body
                && body.left == 0
            {
                return self.finish_body().map(Some);
            }
            let Some(frame) = self.decoder.next()? else {
                return Ok(None);
            };
            if let Some(event) = self.take(frame)? {
                return Ok(Some(event));
            }
        }
    }

    fn take(&mut self, frame: Frame) -> Result<Option<Event>, FrameError> {
        let Frame { kind, mut payload } = frame;
        // READY comes before the token is in force, and so does a failure to get there.
        let early = self.phase == Phase::Starting && kind != to_host::STARTED;
        if !early {
            if payload.len() < TOKEN_BYTES || payload[..TOKEN_BYTES] != self.token {
                return Err(FrameError::Token);
            }
            payload = payload.slice(TOKEN_BYTES..);
        }
        if let Some(body) = &mut self.body {
            if kind != to_host::DATA {
                return Err(FrameError::Unexpected(kind));
            }
            let length = payload.len() as u64;
            if length > body.left || length == 0 {
                return Err(malformed(kind, "it does not fit its body"));
            }
            body.left -= length;
            if body.kind == to_host::FILE {
                return Ok(Some(Event::FileData(payload)));
            }
            body.received.extend_from_slice(&payload);
            return Ok(None);
        }
        let allowed = match kind {
            to_host::READY | to_host::STARTED => self.phase == Phase::Starting,
            to_host::STDOUT | to_host::STDERR | to_host::REQUEST | to_host::ENDED => {
                self.phase == Phase::Running
            }
            to_host::FILE | to_host::REMOVED | to_host::LEFT | to_host::DONE => {
                self.phase == Phase::Collecting
            }
            to_host::FAILED => self.phase != Phase::Done,
            _ => false,
        };
        if !allowed {
            return Err(FrameError::Unexpected(kind));
        }
        match kind {
            to_host::STDOUT => Ok(Some(Event::Output(OutputStream::Stdout, payload))),
            to_host::STDERR => Ok(Some(Event::Output(OutputStream::Stderr, payload))),
            _ => self.begin_body(kind, payload),
        }
    }

    fn begin_body(&mut self, kind: u8, payload: Bytes) -> Result<Option<Event>, FrameError> {
        let (header, first) = split_control(kind, payload)?;
        let Sized { size } = parse(kind, &header)?;
        // Files stream through; everything else is held, and is at most one message of the child.
        if kind != to_host::FILE && size > limits::TOOL_CALL.get() {
            return Err(malformed(kind, "its body is too long"));
        }
        let left = size
            .checked_sub(first.len() as u64)
            .ok_or(malformed(kind, "its body is longer than it says"))?;
        self.body = Some(Body {
            kind,
            header: header.clone(),
            received: BytesMut::new(),
            left,
        });
        if kind != to_host::FILE {
            if let Some(body) = &mut self.body {
                body.received.extend_from_slice(&first);
            }
            return Ok(None);
        }
        let FileHeader { path, executable } = parse(kind, &header)?;
        Ok(Some(Event::FileBegin {
            path: hex(kind, &path)?,
            size,
            executable,
            first,
        }))
    }

    fn finish_body(&mut self) -> Result<Event, FrameError> {
        let Some(body) = self.body.take() else {
            return Err(FrameError::Unexpected(to_host::DATA));
        };
        let (kind, header) = (body.kind, &body.header);
        let received = body.received.freeze();
        Ok(match kind {
            to_host::READY => {
                let ReadyHeader { protocol } = parse(kind, header)?;
                if protocol != PROTOCOL {
                    return Err(malformed(kind, "its harness speaks another protocol"));
                }
                Event::Ready
            }
            to_host::STARTED => {
                self.phase = Phase::Running;
                Event::Started
            }
            to_host::REQUEST => {
                let RequestHeader { id } = parse(kind, header)?;
                Event::Request { id, body: received }
            }
            to_host::ENDED => {
                self.phase = Phase::Collecting;
                let end: Ended = parse(kind, header)?;
                let claim = end.claimed.then_some(received);
                Event::Ended { end, claim }
            }
            to_host::FILE => Event::FileEnd,
            to_host::REMOVED => {
                let PathHeader { path, .. } = parse(kind, header)?;
                Event::Removed(hex(kind, &path)?)
            }
            to_host::LEFT => {
                let PathHeader { path, why } = parse(kind, header)?;
                let path = hex(kind, &path)?;
                Event::Left { path, why }
            }
            to_host::DONE => {
                self.phase = Phase::Done;
                Event::Done
            }
            to_host::FAILED => {
                #[derive(Deserialize)]
                struct Why {
                    why: String,
                }
                let Why { why } = parse(kind, header)?;
                Event::Failed(why)
            }
            _ => return Err(FrameError::Unexpected(kind)),
        })
    }
}

fn malformed(kind: u8, why: &'static str) -> FrameError {
    FrameError::Malformed { kind, why }
}

fn parse<'a, T: Deserialize<'a>>(kind: u8, header: &'a [u8]) -> Result<T, FrameError> {
    serde_json::from_slice(header).map_err(|_| malformed(kind, "its header cannot be read"))
}

fn hex(kind: u8, text: &str) -> Result<Vec<u8>, FrameError> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let bytes = text.as_bytes().chunks(2).map(|pair| match *pair {
        [high, low] => Some((digit(high)? * 16 + digit(low)?).to_le_bytes()[0]),
        _ => None,
    });
    bytes
        .collect::<Option<Vec<u8>>>()
        .ok_or(malformed(kind, "its path is not hexadecimal"))
}
