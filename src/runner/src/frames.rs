//! The frames that cross a sandbox's one stream, and their codec.
//!
//! A frame is `kind u8, length u32 LE, payload`, at most [`PAYLOAD_MAX`] bytes of payload. The
//! payload of a control frame is `length u16 LE, JSON header`, then the beginning of a body whose
//! whole length the header names as `size`; DATA frames carry the rest of it. After RUN, each
//! frame of the sandbox begins with the run's token. `images/base/harness` is the other end.

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use serde::Serialize;

/// Bytes of one frame's payload, so that one frame never decides how much memory we use.
pub(crate) const PAYLOAD_MAX: usize = 1 << 20;
/// Bytes of a run's token.
pub(crate) const TOKEN_BYTES: usize = 16;
const HEAD: usize = 5;

/// Frame kinds, host to sandbox.
pub(crate) mod to_sandbox {
    /// One file: header and the beginning of its content.
    pub(crate) const FILE: u8 = 1;
    /// The rest of a body.
    pub(crate) const DATA: u8 = 2;
    /// The program, the token and the limits; everything before it has been sent.
    pub(crate) const RUN: u8 = 3;
    /// The answer to a request.
    pub(crate) const REPLY: u8 = 4;
    /// The run is to end now.
    pub(crate) const CANCEL: u8 = 5;
    /// Bytes of a connection: its number, then they.
    pub(crate) const STREAM: u8 = 6;
    /// Nothing more comes on a connection.
    pub(crate) const CLOSE: u8 = 7;
    /// Nothing more comes on a connection, and nothing more is taken.
    pub(crate) const ABORT: u8 = 8;
    /// So many bytes of a connection were taken: its number and `u32 LE`.
    pub(crate) const WIDEN: u8 = 9;
    /// What an ECHO said.
    pub(crate) const ECHOED: u8 = 10;
    /// A run may come any moment; there is no answer.
    pub(crate) const STIR: u8 = 11;
}

/// Frame kinds, sandbox to host.
pub(crate) mod to_host {
    /// The child has been forked and waits.
    pub(crate) const READY: u8 = 16;
    /// The child begins with the program.
    pub(crate) const STARTED: u8 = 17;
    /// Bytes of standard output.
    pub(crate) const STDOUT: u8 = 18;
    /// Bytes of standard error.
    pub(crate) const STDERR: u8 = 19;
    /// A request of the child.
    pub(crate) const REQUEST: u8 = 20;
    /// The child ended: how, what it used, and its claim.
    pub(crate) const ENDED: u8 = 21;
    /// One collected file: header and the beginning of its content.
    pub(crate) const FILE: u8 = 22;
    /// The rest of a body.
    pub(crate) const DATA: u8 = 23;
    /// One file of the input that is gone.
    pub(crate) const REMOVED: u8 = 24;
    /// Something that was not collected.
    pub(crate) const LEFT: u8 = 25;
    /// Nothing follows.
    pub(crate) const DONE: u8 = 26;
    /// The harness cannot go on.
    pub(crate) const FAILED: u8 = 27;
    /// The program has opened a connection to its proxy: its number, `u32 LE`.
    pub(crate) const OPENED: u8 = 28;
    /// Bytes of a connection: its number, then they.
    pub(crate) const STREAM: u8 = 29;
    /// Nothing more comes on a connection.
    pub(crate) const CLOSED: u8 = 30;
    /// Nothing more comes on a connection, and nothing more is taken.
    pub(crate) const ABORTED: u8 = 31;
    /// So many bytes of a connection were taken: its number and `u32 LE`.
    pub(crate) const WIDENED: u8 = 32;
    /// Both ends of a connection have ended; the last word on it.
    pub(crate) const OVER: u8 = 33;
    /// A few bytes that the harness wants back before it is ready.
    pub(crate) const ECHO: u8 = 34;
}

/// One frame as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) payload: Bytes,
}

/// Bytes that are not frames.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FrameError {
    /// The length is beyond the bound.
    #[error("a frame of {0} bytes")]
    TooLong(u32),
    /// The payload is not what its kind asks for.
    #[error("a frame of kind {kind} is malformed: {why}")]
    Malformed { kind: u8, why: &'static str },
    /// A kind that does not exist, or not at this point.
    #[error("an unexpected frame of kind {0}")]
    Unexpected(u8),
    /// The token is not the run's.
    #[error("a frame without the run's token")]
    Token,
}

/// Cuts a stream of bytes into frames.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    buffer: BytesMut,
}

impl Decoder {
    /// Takes bytes in; [`Self::next`] is then called until it returns nothing.
    pub(crate) fn feed(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// Whether no byte of a further frame is here.
    pub(crate) fn is_empty(&self) -> bool {
        self.buffer.is_empty()
    }

    /// Bytes that its buffer has taken.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(crate) fn held(&self) -> usize {
        self.buffer.capacity()
    }

    /// The next frame that is complete.
    ///
    /// What is kept between calls is at most one frame and the last bytes fed, because an overlong
    /// frame is refused by its head.
    pub(crate) fn next(&mut self) -> Result<Option<Frame>, FrameError> {
        let Some(head) = self.buffer.first_chunk::<HEAD>() else {
            return Ok(None);
        };
        let [kind, length @ ..] = *head;
        let length = u32::from_le_bytes(length);
        let size = usize::try_from(length).unwrap_or(usize::MAX);
        if size > PAYLOAD_MAX {
            return Err(FrameError::TooLong(length));
        }
        if self.buffer.len() < HEAD + size {
            return Ok(None);
        }
        self.buffer.advance(HEAD);
        let payload = self.buffer.split_to(size).freeze();
        Ok(Some(Frame { kind, payload }))
    }
}

/// Appends a frame.
///
/// # Panics
/// When the payload is longer than [`PAYLOAD_MAX`]: callers cut bodies first.
pub(crate) fn put(out: &mut BytesMut, kind: u8, parts: &[&[u8]]) {
    let size: usize = parts.iter().map(|part| part.len()).sum();
    assert!(size <= PAYLOAD_MAX, "the caller cuts payloads to the bound");
    out.reserve(HEAD + size);
    out.put_u8(kind);
    out.put_u32_le(u32::try_from(size).expect("the bound is below 4 GiB"));
    for part in parts {
        out.put_slice(part);
    }
}

/// Appends a control frame with a body, cut into as many frames as it needs.
///
/// `header` must be a JSON object with the body's length in `size`.
pub(crate) fn put_message(out: &mut BytesMut, kind: u8, header: &impl Serialize, body: &[u8]) {
    let head = control(header);
    let (first, rest) = body.split_at(body.len().min(PAYLOAD_MAX - head.len()));
    put(out, kind, &[&head, first]);
    for chunk in rest.chunks(PAYLOAD_MAX) {
        put(out, to_sandbox::DATA, &[chunk]);
    }
}

/// Takes encoded frames apart again, without copying.
pub(crate) fn split_frames(mut frames: Bytes) -> impl Iterator<Item = Bytes> {
    std::iter::from_fn(move || {
        let [_, length @ ..] = *frames.first_chunk::<HEAD>()?;
        let size = usize::try_from(u32::from_le_bytes(length)).unwrap_or(usize::MAX);
        let end = HEAD.saturating_add(size).min(frames.len());
        Some(frames.split_to(end))
    })
}

/// The beginning of a control frame's payload.
///
/// # Panics
/// When the header is no JSON or longer than 64 KiB: all of ours are small structs, and paths are
/// bounded.
pub(crate) fn control(header: &impl Serialize) -> Vec<u8> {
    let json = serde_json::to_vec(header).expect("headers are plain structs");
    let length = u16::try_from(json.len()).expect("headers are bounded");
    let mut head = length.to_le_bytes().to_vec();
    head.extend_from_slice(&json);
    head
}

/// Splits a control frame's payload into the header's JSON and the beginning of the body.
pub(crate) fn split_control(kind: u8, mut payload: Bytes) -> Result<(Bytes, Bytes), FrameError> {
    let short = FrameError::Malformed {
        kind,
        why: "it is too short",
    };
    if payload.len() < 2 {
        return Err(short);
    }
    let length = usize::from(payload.get_u16_le());
    if payload.len() < length {
        return Err(short);
    }
    let header = payload.split_to(length);
    Ok((header, payload))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn decode_all(chunks: &[Vec<u8>]) -> Result<Vec<Frame>, FrameError> {
        let mut decoder = Decoder::default();
        let mut frames = Vec::new();
        for chunk in chunks {
            decoder.feed(chunk);
            while let Some(frame) = decoder.next()? {
                frames.push(frame);
            }
            assert!(decoder.buffer.len() < HEAD + PAYLOAD_MAX);
        }
        Ok(frames)
    }

    #[test]
    fn an_overlong_frame_is_refused_by_its_head() {
        let mut bytes = vec![18];
        bytes.extend_from_slice(&(1 << 20 | 1_u32).to_le_bytes());
        assert_eq!(
            decode_all(&[bytes]),
            Err(FrameError::TooLong((1 << 20) + 1))
        );
    }

    #[test]
    fn a_long_body_is_cut_into_frames() {
        #[derive(Serialize)]
        struct Header {
            size: usize,
        }
        let body = vec![7; 3 * PAYLOAD_MAX];
        let mut out = BytesMut::new();
        put_message(
            &mut out,
            to_sandbox::RUN,
            &Header { size: body.len() },
            &body,
        );
        let parts: Vec<Vec<u8>> = split_frames(out.clone().freeze()).map(Vec::from).collect();
        assert_eq!(parts.len(), 4);
        assert_eq!(parts.concat(), out);
        let frames = decode_all(&[out.to_vec()]).unwrap();
        let (header, mut whole) = {
            let (header, first) = split_control(3, frames[0].payload.clone()).unwrap();
            (header, first.to_vec())
        };
        for frame in &frames[1..] {
            assert_eq!(frame.kind, to_sandbox::DATA);
            whole.extend_from_slice(&frame.payload);
        }
        assert_eq!(&header[..], br#"{"size":3145728}"#);
        assert_eq!(whole, body);
    }

    proptest! {
        #[test]
        fn frames_survive_any_cut(
            frames in prop::collection::vec((any::<u8>(), prop::collection::vec(any::<u8>(), 0..300)), 0..20),
            cut in 1_usize..64,
        ) {
            let mut out = BytesMut::new();
            for (kind, payload) in &frames {
                put(&mut out, *kind, &[payload]);
            }
            let chunks: Vec<Vec<u8>> = out.chunks(cut).map(<[u8]>::to_vec).collect();
            let decoded = decode_all(&chunks).unwrap();
            let expected: Vec<Frame> = frames
                .into_iter()
                .map(|(kind, payload)| Frame { kind, payload: payload.into() })
                .collect();
            prop_assert_eq!(decoded, expected);
        }

        #[test]
        fn any_bytes_are_frames_or_refused(chunks: Vec<Vec<u8>>) {
            if let Ok(frames) = decode_all(&chunks) {
                for frame in frames {
                    // Whether it is a control frame or not: it must not panic.
                    drop(split_control(frame.kind, frame.payload));
                }
            }
        }
    }
}
