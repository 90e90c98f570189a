//! What the sandbox says, checked: from frames to events.

use bytes::{Buf as _, Bytes, BytesMut};
use serde::Deserialize;
use spec::{OutputStream, limits, printable};

use crate::frames::{Decoder, Frame, FrameError, TOKEN_BYTES, split_control, to_host};

/// The version of the frames' meaning that both ends must have.
pub(super) const PROTOCOL: u32 = 1;
/// Characters of a Python version that are kept.
const PYTHON_CHARS: usize = 40;
/// Bytes of one echo.
const ECHO_BYTES: usize = 1_024;
/// Echoes of one sandbox.
const ECHOES: u32 = 64;

/// Something that the harness said. Who may say what when is checked already; whether it is true
/// of the run is for the session to judge.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Event {
    /// The harness wants these bytes back, before it is ready.
    Echo(Bytes),
    /// The sandbox waits for its run, with this version of Python.
    Ready {
        python: String,
    },
    Started,
    Output(OutputStream, Bytes),
    /// A request of the child: the child's own JSON.
    Request {
        id: u32,
        body: Bytes,
    },
    /// Something about one of the program's connections to its proxy.
    Connection {
        number: u32,
        what: Traffic,
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
    /// More of a file that did not fit into its first frame.
    FileData(Bytes),
    /// The end of such a file.
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

/// What happened on a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Traffic {
    Opened,
    Bytes(Bytes),
    Closed,
    Aborted,
    /// The program has taken so many bytes.
    Widened(u32),
    Over,
}

/// The parent's account of how the child ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "it is a list of independent facts"
)]
pub(crate) struct Ended {
    /// Why the parent stopped it: `cancel`, `cpu`, `sockets`, `stdout`, `stderr`, or `channel: ...`.
    pub(super) stopped: Option<String>,
    pub(super) status: Option<u8>,
    pub(super) signal: Option<u8>,
    pub(super) wall_ns: u64,
    pub(super) cpu_ns: u64,
    pub(super) memory_peak: u64,
    pub(super) oom_kills: u64,
    pub(super) stdout_bytes: u64,
    pub(super) stderr_bytes: u64,
    /// Processor time since the program began.
    #[serde(default)]
    pub(super) cpu_run_ns: u64,
    pub(super) workspace_full: bool,
    /// Whether it is the number of files that is used up.
    #[serde(default)]
    pub(super) workspace_files_full: bool,
    pub(super) tmp_full: bool,
    #[serde(default)]
    pub(super) code_full: bool,
    #[serde(default)]
    pub(super) shm_full: bool,
    pub(super) claimed: bool,
}

/// Where the stream stands, which decides what may come next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    #[default]
    Starting,
    Ready,
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
#[derive(Debug, Default)]
pub(crate) struct Events {
    decoder: Decoder,
    /// The run's, from RUN on.
    token: Option<[u8; TOKEN_BYTES]>,
    phase: Phase,
    echoes: u32,
    /// Whether it is quicker when it is stirred while it waits.
    stir: bool,
    body: Option<Body>,
}

#[derive(Deserialize)]
struct Sized {
    size: u64,
}

#[derive(Deserialize)]
struct ReadyHeader {
    protocol: u32,
    python: String,
    #[serde(default)]
    stir: bool,
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
    /// For a sandbox whose READY was read elsewhere.
    pub(super) fn after_ready() -> Self {
        Self {
            phase: Phase::Ready,
            ..Self::default()
        }
    }

    /// Begins a run: what comes from now on carries its token.
    pub(super) fn begin(&mut self, token: [u8; TOKEN_BYTES]) {
        self.token = Some(token);
    }

    /// Whether everything that was taken in has been read.
    pub(super) fn is_drained(&self) -> bool {
        self.body.is_none() && self.decoder.is_empty()
    }

    /// Whether the sandbox is quicker when it is stirred while it waits; it says so with READY.
    pub(super) fn wants_stirring(&self) -> bool {
        self.stir
    }

    /// Takes bytes in; [`Self::next`] is then called until it returns nothing.
    pub(super) fn feed(&mut self, bytes: &[u8]) {
        self.decoder.feed(bytes);
    }

    /// Bytes that its buffers have taken.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(super) fn held(&self) -> usize {
        let body = self.body.as_ref();
        self.decoder.held() + body.map_or(0, |body| body.received.capacity())
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
        // READY comes before the token is in force, and so does a failure to get to STARTED.
        let early =
            matches!(self.phase, Phase::Starting | Phase::Ready) && kind != to_host::STARTED;
        if !early {
            let Some(token) = self.token else {
                return Err(FrameError::Unexpected(kind));
            };
            if payload.len() < TOKEN_BYTES || payload[..TOKEN_BYTES] != token {
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
            to_host::ECHO => {
                self.echoes += 1;
                self.phase == Phase::Starting
                    && self.echoes <= ECHOES
                    && payload.len() <= ECHO_BYTES
            }
            to_host::READY => self.phase == Phase::Starting,
            to_host::STARTED => self.phase == Phase::Ready,
            to_host::STDOUT
            | to_host::STDERR
            | to_host::REQUEST
            | to_host::ENDED
            | to_host::OPENED..=to_host::OVER => self.phase == Phase::Running,
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
            to_host::ECHO => Ok(Some(Event::Echo(payload))),
            to_host::STDOUT => Ok(Some(Event::Output(OutputStream::Stdout, payload))),
            to_host::STDERR => Ok(Some(Event::Output(OutputStream::Stderr, payload))),
            to_host::OPENED..=to_host::OVER => traffic(kind, payload).map(Some),
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
        let is_file = kind == to_host::FILE;
        // A file that is whole already has no body to wait for.
        if left > 0 || !is_file {
            let received = if is_file { &[][..] } else { &first };
            self.body = Some(Body {
                kind,
                header: header.clone(),
                received: received.into(),
                left,
            });
        }
        if !is_file {
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
                let ReadyHeader {
                    protocol,
                    python,
                    stir,
                } = parse(kind, header)?;
                if protocol != PROTOCOL {
                    return Err(malformed(kind, "its harness speaks another protocol"));
                }
                (self.phase, self.stir) = (Phase::Ready, stir);
                Event::Ready {
                    python: printable(&python, PYTHON_CHARS),
                }
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

/// Reads a frame about a connection: its number, then what its kind asks for and nothing else.
fn traffic(kind: u8, mut payload: Bytes) -> Result<Event, FrameError> {
    if payload.len() < 4 {
        return Err(malformed(kind, "it names no connection"));
    }
    let number = payload.get_u32_le();
    let what = match kind {
        to_host::STREAM => Traffic::Bytes(payload.split_to(payload.len())),
        to_host::WIDENED if payload.len() == 4 => Traffic::Widened(payload.get_u32_le()),
        to_host::OPENED => Traffic::Opened,
        to_host::CLOSED => Traffic::Closed,
        to_host::ABORTED => Traffic::Aborted,
        to_host::OVER => Traffic::Over,
        _ => return Err(malformed(kind, "its length is wrong")),
    };
    if payload.has_remaining() {
        return Err(malformed(kind, "its length is wrong"));
    }
    Ok(Event::Connection { number, what })
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

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::frames::{control, put};

    const TOKEN: [u8; TOKEN_BYTES] = [7; TOKEN_BYTES];

    /// A frame as the harness sends it: with the token, except before STARTED.
    fn frame(kind: u8, header: &Value, body: &[u8]) -> Vec<u8> {
        let early = kind == to_host::READY;
        let token = if early { &[][..] } else { &TOKEN };
        let mut out = BytesMut::new();
        put(&mut out, kind, &[token, &control(header), body]);
        out.to_vec()
    }

    fn raw(kind: u8, bytes: &[u8]) -> Vec<u8> {
        let mut out = BytesMut::new();
        put(&mut out, kind, &[&TOKEN, bytes]);
        out.to_vec()
    }

    fn ended(claim: &[u8]) -> Vec<u8> {
        let header = json!({
            "stopped": null, "status": 0, "wall_ns": 5, "cpu_ns": 6, "memory_peak": 7,
            "oom_kills": 0, "stdout_bytes": 2, "stderr_bytes": 0, "workspace_full": false,
            "tmp_full": false, "claimed": true, "size": claim.len(),
        });
        frame(to_host::ENDED, &header, claim)
    }

    fn whole_run() -> Vec<Vec<u8>> {
        vec![
            frame(
                to_host::READY,
                &json!({"protocol": 1, "python": "3.11.2", "size": 0}),
                b"",
            ),
            frame(to_host::STARTED, &json!({"size": 0}), b""),
            raw(to_host::STDOUT, b"hi"),
            frame(to_host::REQUEST, &json!({"id": 3, "size": 4}), b"{}"),
            raw(to_host::DATA, b"{}"),
            raw(to_host::OPENED, b"\x01\0\0\0"),
            raw(to_host::STREAM, b"\x01\0\0\0GET"),
            raw(to_host::WIDENED, b"\x01\0\0\0\0\x01\0\0"),
            raw(to_host::CLOSED, b"\x01\0\0\0"),
            raw(to_host::ABORTED, b"\x01\0\0\0"),
            raw(to_host::OVER, b"\x01\0\0\0"),
            ended(b"claim"),
            frame(
                to_host::FILE,
                &json!({"path": "61ff", "executable": true, "size": 1}),
                b"x",
            ),
            frame(
                to_host::FILE,
                &json!({"path": "62", "executable": false, "size": 3}),
                b"a",
            ),
            raw(to_host::DATA, b"bc"),
            frame(to_host::REMOVED, &json!({"path": "63", "size": 0}), b""),
            frame(
                to_host::LEFT,
                &json!({"path": "64", "why": "socket", "size": 0}),
                b"",
            ),
            frame(to_host::DONE, &json!({"size": 0}), b""),
        ]
    }

    fn read(bytes: &[u8]) -> Result<Vec<Event>, FrameError> {
        let mut events = Events::default();
        events.begin(TOKEN);
        let mut all = Vec::new();
        events.feed(bytes);
        while let Some(event) = events.next()? {
            all.push(event);
        }
        Ok(all)
    }

    #[test]
    fn a_whole_run_is_read() {
        let events = read(&whole_run().concat()).unwrap();
        let connection = |what| Event::Connection { number: 1, what };
        let end = Ended {
            status: Some(0),
            wall_ns: 5,
            cpu_ns: 6,
            memory_peak: 7,
            stdout_bytes: 2,
            claimed: true,
            ..Ended::default()
        };
        let expected = [
            Event::Ready {
                python: "3.11.2".to_owned(),
            },
            Event::Started,
            Event::Output(OutputStream::Stdout, Bytes::from("hi")),
            Event::Request {
                id: 3,
                body: Bytes::from("{}{}"),
            },
            connection(Traffic::Opened),
            connection(Traffic::Bytes(Bytes::from("GET"))),
            connection(Traffic::Widened(256)),
            connection(Traffic::Closed),
            connection(Traffic::Aborted),
            connection(Traffic::Over),
            Event::Ended {
                end,
                claim: Some(Bytes::from("claim")),
            },
            Event::FileBegin {
                path: b"a\xff".to_vec(),
                size: 1,
                executable: true,
                first: Bytes::from("x"),
            },
            Event::FileBegin {
                path: b"b".to_vec(),
                size: 3,
                executable: false,
                first: Bytes::from("a"),
            },
            Event::FileData(Bytes::from("bc")),
            Event::FileEnd,
            Event::Removed(b"c".to_vec()),
            Event::Left {
                path: b"d".to_vec(),
                why: "socket".to_owned(),
            },
            Event::Done,
        ];
        assert_eq!(events, expected);
    }

    #[test]
    fn echoes_come_before_ready_and_have_bounds() {
        let echo = |bytes: usize| {
            let mut frame = BytesMut::new();
            put(&mut frame, to_host::ECHO, &[&vec![7; bytes]]);
            frame.to_vec()
        };
        let refused = Err(FrameError::Unexpected(to_host::ECHO));
        let expected = vec![Event::Echo(Bytes::from(vec![7; ECHO_BYTES]))];
        assert_eq!(read(&echo(ECHO_BYTES)), Ok(expected));
        assert_eq!(read(&echo(ECHO_BYTES + 1)), refused);
        let most = echo(1).repeat(ECHOES as usize);
        assert_eq!(read(&most).unwrap().len(), ECHOES as usize);
        assert_eq!(read(&[most, echo(1)].concat()), refused);
        let ready = whole_run()[0].clone();
        assert_eq!(read(&[ready, echo(1)].concat()), refused);
    }

    #[test]
    fn frames_out_of_order_or_without_the_token_are_refused() {
        let run = whole_run();
        let check = |frames: &[&[u8]], expected: FrameError| {
            assert_eq!(read(&frames.concat()), Err(expected));
        };
        let started: Vec<u8> = run[..2].concat();
        // Nothing of a run counts before it has started, and nothing more after its end.
        check(&[&run[11]], FrameError::Unexpected(to_host::ENDED));
        check(&[&run[1]], FrameError::Unexpected(to_host::STARTED));
        check(&[&run[0], &run[0]], FrameError::Unexpected(to_host::READY));
        check(&[&started, &run[12]], FrameError::Unexpected(to_host::FILE));
        check(&[&started, &run[17]], FrameError::Unexpected(to_host::DONE));
        check(
            &[&started, &run[1]],
            FrameError::Unexpected(to_host::STARTED),
        );
        check(
            &[&run.concat(), &run[17]],
            FrameError::Unexpected(to_host::DONE),
        );
        check(
            &[&started, &ended(b""), &ended(b"")],
            FrameError::Unexpected(to_host::ENDED),
        );
        check(&[&started, &raw(99, b"")], FrameError::Unexpected(99));
        // A body is followed by the rest of it, and by nothing else.
        check(
            &[&started, &run[3], &run[2]],
            FrameError::Unexpected(to_host::STDOUT),
        );
        check(&[&started, &run[4]], FrameError::Unexpected(to_host::DATA));
        let mut forged = BytesMut::new();
        put(&mut forged, to_host::STDOUT, &[&[8; TOKEN_BYTES], b"hi"]);
        check(&[&started, &forged], FrameError::Token);
        let mut short = BytesMut::new();
        put(&mut short, to_host::STDOUT, &[b"hi"]);
        check(&[&started, &short], FrameError::Token);
    }

    #[test]
    fn headers_that_lie_are_refused() {
        let started = whole_run()[..2].concat();
        let check = |frame: Vec<u8>| {
            let result = read(&[started.clone(), frame].concat());
            assert!(
                matches!(result, Err(FrameError::Malformed { .. })),
                "{result:?}"
            );
        };
        check(frame(to_host::REQUEST, &json!({"id": 1, "size": 1}), b"xx"));
        check(frame(
            to_host::REQUEST,
            &json!({"id": 1, "size": 1_u64 << 40}),
            b"",
        ));
        check(frame(to_host::REQUEST, &json!({"id": -1, "size": 0}), b""));
        check(frame(to_host::REQUEST, &json!({"size": 0}), b""));
        check(frame(to_host::REQUEST, &json!([]), b""));
        check(raw(to_host::OPENED, b"\x01\0\0"));
        check(raw(to_host::OPENED, b"\x01\0\0\0\0"));
        check(raw(to_host::WIDENED, b"\x01\0\0\0\x01"));
        check(raw(to_host::OVER, b"\x01\0\0\0\x01"));
        check(raw(to_host::REQUEST, b"x"));
        check(raw(to_host::REQUEST, b"\xff\xff{}"));
        let mut body = frame(to_host::REQUEST, &json!({"id": 1, "size": 1}), b"");
        body.extend(raw(to_host::DATA, b"xx"));
        check(body);
        let files = [started.clone(), ended(b"")].concat();
        for path in ["6", "6g", "zz", "é"] {
            let file = json!({"path": path, "executable": false, "size": 0});
            let result = read(&[files.clone(), frame(to_host::FILE, &file, b"")].concat());
            assert!(
                matches!(result, Err(FrameError::Malformed { .. })),
                "{path}"
            );
        }
        let other = frame(
            to_host::READY,
            &json!({"protocol": 2, "python": "3", "size": 0}),
            b"",
        );
        assert!(matches!(read(&other), Err(FrameError::Malformed { .. })));
    }

    proptest! {
        #[test]
        fn any_cut_of_a_run_gives_the_same_events(cuts in prop::collection::vec(1_usize..40, 1..60)) {
            let bytes = whole_run().concat();
            let mut events = Events::default();
        events.begin(TOKEN);
            let (mut all, mut at) = (Vec::new(), 0);
            for size in cuts.iter().cycle() {
                let end = (at + size).min(bytes.len());
                events.feed(&bytes[at..end]);
                while let Some(event) = events.next().unwrap() {
                    all.push(event);
                }
                at = end;
                if at == bytes.len() {
                    break;
                }
            }
            prop_assert_eq!(all, read(&bytes).unwrap());
        }

        #[test]
        fn a_damaged_run_never_panics(at in any::<prop::sample::Index>(), byte: u8, length in any::<prop::sample::Index>()) {
            let mut bytes = whole_run().concat();
            let at = at.index(bytes.len());
            bytes[at] = byte;
            bytes.truncate(length.index(bytes.len()) + 1);
            drop(read(&bytes));
        }

        #[test]
        fn any_frames_are_events_or_refused(frames in prop::collection::vec((14_u8..36, any::<Vec<u8>>(), any::<bool>()), 0..20)) {
            let mut out = BytesMut::from(&whole_run()[..2].concat()[..]);
            for (kind, payload, with_token) in &frames {
                let token = if *with_token { &TOKEN[..] } else { &[] };
                put(&mut out, *kind, &[token, payload]);
            }
            drop(read(&out));
        }
    }
}
