//! What a pool process and its clients say to each other.
//!
//! Frames are those of a sandbox's stream: `kind u8, length u32 LE, payload`. A client says HELLO,
//! the server gives its ANSWER. When that is a sandbox, what the client sends from then on are the
//! bytes of the sandbox's standard input, without frames, until it closes its side, which ends the
//! sandbox; the server sends what the sandbox says in OUT and ERR frames, and GONE when it is gone.

use std::io;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use spec::{Ahead, Digest, Imports, Limits};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use crate::Warm;
use crate::frames::{Decoder, Frame, PAYLOAD_MAX, put};

/// The version of all of this. Others are refused.
pub(super) const PROTOCOL: u32 = 4;
/// Bytes of a HELLO. What a pool answers is a frame at most.
const HELLO_MAX: usize = 64 << 10;
/// How long the other side may take to say HELLO.
pub(super) const HELLO_TIME: Duration = Duration::from_secs(5);
/// How long the other side may not take what it is sent.
pub(super) const STALL: Duration = Duration::from_secs(60);
/// Bytes that are read at once.
const CHUNK: usize = 64 << 10;

/// Kinds of frames.
pub(super) mod kind {
    /// Client to server: what it wants.
    pub(in super::super) const HELLO: u8 = 64;
    /// Server to client: what it gets.
    pub(in super::super) const ANSWER: u8 = 65;
    /// A piece of the sandbox's standard output.
    pub(in super::super) const OUT: u8 = 66;
    /// A piece of the sandbox's standard error.
    pub(in super::super) const ERR: u8 = 67;
    /// The sandbox is gone.
    pub(in super::super) const GONE: u8 = 68;
}

/// What a client says first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Hello {
    pub(super) protocol: u32,
    pub(super) want: Want,
}

/// What a client wants.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Want {
    /// A sandbox.
    Sandbox(Wanted),
    /// That such sandboxes wait, for those who come later.
    Keep(Wanted),
    /// To know how the pool is.
    Status,
    /// The pool's end.
    Stop,
}

/// The sandbox that a client wants. One that differs in anything is of no use to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wanted {
    /// The engine's address.
    pub engine: String,
    /// The engine's runtime; none is its default.
    pub runtime: Option<String>,
    /// What decides the sandbox image, from [`crate::images::key`].
    pub image: Digest,
    /// The image on the engine of an environment on that image; none is the sandbox image itself.
    pub environment: Option<Digest>,
    /// The modules that it has imported, if it has been waiting.
    pub imports: Imports,
    /// What it should have ready; one that has something else is of use too.
    pub warm: Warm,
    /// What the sandbox may use.
    pub limits: WantedLimits,
}

/// The limits that a sandbox is created with, and the time that its lease covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WantedLimits {
    memory_bytes: u64,
    cpu_millis: u32,
    pids: u32,
    workspace_bytes: u64,
    workspace_files: u64,
    wall_ms: u64,
}

impl WantedLimits {
    /// What of these limits a sandbox is created with.
    pub fn of(limits: &Limits) -> Self {
        // Each by name, so that a new limit is sorted in.
        let Limits {
            wall,
            memory,
            cpu_millis,
            pids,
            workspace,
            workspace_files,
            cpu: _,
            output: _,
            result: _,
            collect_files: _,
            collect_depth: _,
            tool_calls: _,
            tool_bytes: _,
        } = *limits;
        Self {
            memory_bytes: memory.get(),
            cpu_millis,
            pids,
            workspace_bytes: workspace.get(),
            workspace_files,
            wall_ms: u64::try_from(wall.as_millis()).unwrap_or(u64::MAX),
        }
    }

    /// Limits that a sandbox is created with; the rest is as by default, and for the client to set.
    pub(crate) fn limits(self) -> Limits {
        let Self {
            memory_bytes,
            cpu_millis,
            pids,
            workspace_bytes,
            workspace_files,
            wall_ms,
        } = self;
        Limits {
            memory: spec::ByteSize::bytes(memory_bytes),
            cpu_millis,
            pids,
            workspace: spec::ByteSize::bytes(workspace_bytes),
            workspace_files,
            wall: Duration::from_millis(wall_ms),
            ..Limits::default()
        }
    }
}

/// What a client gets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Answer {
    /// The other end of this connection is a sandbox that has said READY.
    Sandbox(Given),
    /// There is none for this client, which starts one of its own.
    None { why: String },
    /// Such sandboxes are kept from now on.
    Kept,
    /// How the pool is.
    Status(Box<super::PoolStatus>),
    /// The pool ends; the connection closes when all its waiting sandboxes are gone.
    Stopping,
    /// The client's protocol is another.
    Protocol { protocol: u32 },
}

/// A sandbox that was given away.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Given {
    /// The image it was made from.
    pub(super) image: Digest,
    /// What the engine is, for the run's record.
    pub(super) engine: String,
    /// As whom it runs.
    pub(super) user: u32,
    /// The version of its Python.
    pub(super) python: String,
    /// The runtime that it runs under, where that is known.
    #[serde(default)]
    pub(super) runtime: Option<String>,
    /// Whether it had been waiting, or was started for this client.
    pub(super) was_waiting: bool,
    /// Whether it has imported what it was to; none when it was to import nothing, or did not wait.
    pub(super) has_imported: Option<bool>,
}

impl Given {
    pub(super) fn imports(&self) -> Ahead {
        match self.has_imported {
            None => Ahead::Nothing,
            Some(true) => Ahead::Imported,
            Some(false) => Ahead::Failed,
        }
    }
}

/// That a sandbox is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct GoneMessage {
    /// Whether the engine said so.
    pub(super) is_known: bool,
    /// With which status its first process ended, where that was still known.
    pub(super) status: Option<i64>,
    /// Whether it ended because it took more memory than it may, as the pool or its engine knows.
    pub(super) exceeded_memory: bool,
}

/// Why the other side cannot be talked to.
#[derive(Debug, thiserror::Error)]
pub(super) enum ProtocolError {
    #[error("the connection broke")]
    Io(#[from] io::Error),
    #[error("the connection was closed in the middle of a message")]
    Truncated,
    #[error("it said something that is not understood: {0}")]
    Malformed(String),
    #[error("it did not answer in time")]
    Timeout,
}

/// Reads frames. What it holds is at most one frame and one chunk.
#[derive(Debug)]
pub(super) struct FrameReader<R> {
    reader: R,
    decoder: Decoder,
    chunk: BytesMut,
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    pub(super) fn new(reader: R) -> Self {
        Self {
            reader,
            decoder: Decoder::default(),
            chunk: BytesMut::new(),
        }
    }

    /// The next frame; `None` at the end between two frames. Cancel-safe.
    pub(super) async fn next(&mut self) -> Result<Option<Frame>, ProtocolError> {
        loop {
            match self.decoder.next() {
                Ok(Some(frame)) => return Ok(Some(frame)),
                Ok(None) => {}
                Err(error) => return Err(ProtocolError::Malformed(error.to_string())),
            }
            self.chunk.reserve(CHUNK);
            let count = (&mut self.reader)
                .take(CHUNK as u64)
                .read_buf(&mut self.chunk)
                .await?;
            if count == 0 {
                return if self.decoder.is_empty() {
                    Ok(None)
                } else {
                    Err(ProtocolError::Truncated)
                };
            }
            self.decoder.feed(&self.chunk);
            self.chunk.clear();
        }
    }

    /// The next frame, which must be a message of this kind.
    pub(super) async fn message<T: DeserializeOwned>(
        &mut self,
        kind: u8,
    ) -> Result<T, ProtocolError> {
        let frame = self.next().await?.ok_or(ProtocolError::Truncated)?;
        if frame.kind != kind {
            let other = frame.kind;
            return Err(ProtocolError::Malformed(format!("a frame of kind {other}")));
        }
        parse(&frame.payload)
    }
}

/// Reads the first frame of a connection, which must be a HELLO, and not a byte more: what follows
/// it is the sandbox's.
pub(super) async fn read_hello<R: AsyncRead + Unpin>(
    reader: &mut R,
) -> Result<Hello, ProtocolError> {
    let truncated = |error: io::Error| match error.kind() {
        io::ErrorKind::UnexpectedEof => ProtocolError::Truncated,
        _ => ProtocolError::Io(error),
    };
    let mut head = [0; 5];
    reader.read_exact(&mut head).await.map_err(truncated)?;
    let [kind, length @ ..] = head;
    let length = usize::try_from(u32::from_le_bytes(length)).unwrap_or(usize::MAX);
    if kind != kind::HELLO || length > HELLO_MAX {
        let what = format!("a frame of kind {kind} with {length} bytes");
        return Err(ProtocolError::Malformed(what));
    }
    let mut payload = vec![0; length];
    reader.read_exact(&mut payload).await.map_err(truncated)?;
    parse(&payload)
}

/// Reads a JSON message.
pub(super) fn parse<T: DeserializeOwned>(payload: &[u8]) -> Result<T, ProtocolError> {
    serde_json::from_slice(payload).map_err(|error| ProtocolError::Malformed(error.to_string()))
}

/// Writes a JSON message.
pub(super) async fn write_message<W: AsyncWrite + Unpin>(
    writer: &mut W,
    kind: u8,
    message: &impl Serialize,
) -> Result<(), ProtocolError> {
    let json = serde_json::to_vec(message).expect("messages are plain structs");
    write(writer, kind, &json).await
}

/// Writes bytes in as many frames as they need, unless the other side does not take them.
pub(super) async fn write_piece<W: AsyncWrite + Unpin>(
    writer: &mut W,
    kind: u8,
    bytes: &Bytes,
) -> Result<(), ProtocolError> {
    for piece in bytes.chunks(PAYLOAD_MAX) {
        write(writer, kind, piece).await?;
    }
    Ok(())
}

async fn write<W: AsyncWrite + Unpin>(
    writer: &mut W,
    kind: u8,
    payload: &[u8],
) -> Result<(), ProtocolError> {
    let mut out = BytesMut::with_capacity(payload.len() + 5);
    put(&mut out, kind, &[payload]);
    let written = async {
        writer.write_all(&out).await?;
        writer.flush().await
    };
    match tokio::time::timeout(STALL, written).await {
        Ok(written) => Ok(written?),
        Err(_) => Err(ProtocolError::Timeout),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn run<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
            .block_on(future)
    }

    fn hello() -> Hello {
        Hello {
            protocol: PROTOCOL,
            want: Want::Sandbox(Wanted {
                engine: "unix:///run/docker.sock".to_owned(),
                runtime: Some("runsc".to_owned()),
                image: Digest::of(b"image"),
                environment: Some(Digest::of(b"environment")),
                imports: Imports::of(["pandas", "numpy"]),
                warm: Warm::Interpreter,
                limits: WantedLimits::of(&Limits::default()),
            }),
        }
    }

    fn encoded(hello: &Hello) -> Vec<u8> {
        let mut bytes = Vec::new();
        run(write_message(&mut bytes, kind::HELLO, hello)).unwrap();
        bytes
    }

    #[test]
    fn limits_come_back_as_they_were_sent() {
        let limits = Limits {
            pids: 77,
            memory: spec::ByteSize::mib(300),
            ..Limits::default()
        };
        assert_eq!(WantedLimits::of(&limits).limits(), limits);
    }

    #[test]
    fn a_hello_is_read_and_nothing_after_it() {
        let mut bytes = encoded(&hello());
        bytes.extend_from_slice(b"rest");
        let mut rest = &bytes[..];
        assert_eq!(run(read_hello(&mut rest)).unwrap(), hello());
        assert_eq!(rest, b"rest");
    }

    #[test]
    fn a_length_beyond_the_bound_is_refused_before_it_is_read() {
        let mut huge = &[kind::HELLO, 255, 255, 255, 255][..];
        let error = run(read_hello(&mut huge)).unwrap_err();
        assert!(matches!(error, ProtocolError::Malformed(_)), "{error:?}");
        let mut reader = FrameReader::new(&[kind::OUT, 1, 0, 16, 0][..]);
        let error = run(reader.next()).unwrap_err();
        assert!(matches!(error, ProtocolError::Malformed(_)), "{error:?}");
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_hello_or_refused(bytes: Vec<u8>) {
            drop(run(read_hello(&mut &bytes[..])));
            let mut framed = vec![kind::HELLO];
            framed.extend_from_slice(&u32::try_from(bytes.len()).unwrap().to_le_bytes());
            framed.extend_from_slice(&bytes);
            drop(run(read_hello(&mut &framed[..])));
        }

        #[test]
        fn a_hello_that_is_cut_is_refused(cut in 0_usize..200) {
            let bytes = encoded(&hello());
            let cut = cut.min(bytes.len() - 1);
            let refused = run(read_hello(&mut &bytes[..cut]));
            prop_assert!(matches!(refused, Err(ProtocolError::Truncated)));
        }

        #[test]
        fn a_hello_that_is_damaged_is_refused_or_another(
            at in any::<prop::sample::Index>(), byte: u8,
        ) {
            let mut bytes = encoded(&hello());
            let at = at.index(bytes.len());
            bytes[at] = byte;
            drop(run(read_hello(&mut &bytes[..])));
        }

        #[test]
        fn frames_survive_slow_peers(
            pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..12),
            size in 1_usize..64,
        ) {
            // A pipe that holds a few bytes makes each side wait for the other.
            let got = run(async {
                let (mut one, other) = tokio::io::duplex(size);
                let mut reader = FrameReader::new(other);
                let write = async {
                    for piece in &pieces {
                        write_piece(&mut one, kind::OUT, &Bytes::from(piece.clone())).await.unwrap();
                    }
                    drop(one);
                };
                let read = async {
                    let mut got = Vec::new();
                    while let Some(frame) = reader.next().await.unwrap() {
                        assert_eq!(frame.kind, kind::OUT);
                        got.extend_from_slice(&frame.payload);
                    }
                    got
                };
                tokio::join!(write, read).1
            });
            prop_assert_eq!(got, pieces.concat());
        }

        #[test]
        fn any_stream_of_frames_ends(bytes: Vec<u8>, cut in 1_usize..32) {
            run(async {
                let (mut one, other) = tokio::io::duplex(cut);
                let mut reader = FrameReader::new(other);
                let write = async {
                    // The reader may hang up in the middle.
                    drop(one.write_all(&bytes).await);
                    drop(one);
                };
                let read = async move {
                    while let Ok(Some(_)) = reader.next().await {}
                };
                tokio::join!(write, read)
            });
        }
    }
}
