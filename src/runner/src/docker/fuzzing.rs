//! What random bytes are fed to: the stream's reader and the collector, as a session uses them.

use std::sync::Arc;

use spec::{FileEntry, Limits, Tree, limits};
use tokio::sync::mpsc;

use super::collect::{self, Checks, Piece};
use super::events::{Event, Events};
use crate::frames::{PAYLOAD_MAX, TOKEN_BYTES};
use crate::{Blobs, MemoryBlobs};

/// The token that the bytes must carry to be heard after STARTED.
pub const TOKEN: [u8; TOKEN_BYTES] = [7; TOKEN_BYTES];
/// Files that one stream may store here; more end it, as a full disk would.
const PIECES: usize = 1 << 14;
/// What is held of a stream at most: one frame and its head, one message of the child, and what a
/// buffer that doubles has too much.
pub const HELD_MAX: usize = 4 * (PAYLOAD_MAX + 64) + 2 * (limits::TOOL_CALL.get() as usize);

/// What came of a stream.
#[derive(Debug)]
pub struct Read {
    /// Events that were read.
    pub events: usize,
    /// Files that were stored.
    pub files: Vec<FileEntry>,
    /// The most bytes that the reader held between two chunks.
    pub held: usize,
    /// Why it ended before its end.
    pub refused: Option<String>,
}

/// Reads a sandbox's stream in chunks of `cut` bytes, and collects its files.
///
/// # Panics
/// When the reader or the collector breaks one of its promises.
pub fn read(bytes: &[u8], cut: usize) -> Read {
    let allowed = Limits::default();
    let mut events = Events::default();
    let mut checks = Checks::new(&allowed);
    let (pieces, stored) = mpsc::channel(PIECES);
    let mut read = Read {
        events: 0,
        files: Vec::new(),
        held: 0,
        refused: None,
    };
    'stream: for chunk in bytes.chunks(cut.max(1)) {
        events.feed(chunk);
        loop {
            match events.next() {
                Ok(None) => break,
                Ok(Some(event)) => {
                    read.events += 1;
                    if matches!(event, Event::Ready { .. }) {
                        events.begin(TOKEN);
                    }
                    if let Err(why) = collected(event, &mut checks, &pieces) {
                        read.refused = Some(why);
                        break 'stream;
                    }
                }
                Err(error) => {
                    read.refused = Some(error.to_string());
                    break 'stream;
                }
            }
        }
        read.held = read.held.max(events.held());
    }
    drop(pieces);
    assert!(read.held <= HELD_MAX + cut, "{} bytes are held", read.held);
    let blobs: Arc<dyn Blobs> = Arc::new(MemoryBlobs::default());
    read.files = collect::store(&blobs, stored).expect("memory takes everything");
    let size: u64 = read.files.iter().map(|file| file.size).sum();
    assert!(
        size <= allowed.workspace.get(),
        "{size} bytes are collected"
    );
    assert!(read.files.len() <= allowed.collect_files as usize);
    read
}

fn collected(
    event: Event,
    checks: &mut Checks,
    pieces: &mpsc::Sender<Piece>,
) -> Result<(), String> {
    let piece = match event {
        Event::FileBegin {
            path,
            size,
            executable,
            first,
        } => {
            let path = checks.file(path, size)?;
            if first.len() as u64 == size {
                Piece::Whole {
                    path,
                    executable,
                    content: first,
                }
            } else {
                let begin = Piece::Begin {
                    path,
                    size,
                    executable,
                };
                pieces.try_send(begin).map_err(|error| error.to_string())?;
                Piece::Data(first)
            }
        }
        Event::FileData(bytes) => Piece::Data(bytes),
        Event::FileEnd => Piece::End,
        Event::Removed(path) => return checks.removed(path, &Tree::default()),
        Event::Left { path, why } => return checks.left(&path, &why),
        _ => return Ok(()),
    };
    pieces.try_send(piece).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frames::{put, to_host};
    use bytes::BytesMut;
    use proptest::prelude::*;

    /// One frame of a random kind: with the token or without, its header right, wrong or missing.
    fn frame() -> impl Strategy<Value = Vec<u8>> {
        let sizes = prop_oneof![Just(0_u64), 0..64_u64, any::<u64>(), Just(4 << 20)];
        let header = (sizes, any::<u16>(), any::<bool>()).prop_map(|(size, path, executable)| {
            serde_json::json!({
                "size": size, "path": format!("{path:04x}"), "executable": executable, "why": "x",
                "id": path, "protocol": 1, "python": "3", "wall_ns": 1, "cpu_ns": 1, "memory_peak": 1,
                "oom_kills": 0, "stdout_bytes": 0, "stderr_bytes": 0, "workspace_full": false,
                "tmp_full": false, "claimed": executable,
            })
        });
        let body = prop::collection::vec(any::<u8>(), 0..64);
        (14_u8..40, header, body, 0_u8..8).prop_map(|(kind, header, body, form)| {
            let mut out = BytesMut::new();
            let token = if form == 0 { &[][..] } else { &TOKEN[..] };
            let head = if form == 1 {
                Vec::new()
            } else {
                crate::frames::control(&header)
            };
            put(&mut out, kind, &[token, &head, &body]);
            out.to_vec()
        })
    }

    fn beginning() -> Vec<u8> {
        let mut out = BytesMut::new();
        let ready =
            crate::frames::control(&serde_json::json!({"protocol": 1, "python": "3", "size": 0}));
        put(&mut out, to_host::READY, &[&ready]);
        let started = crate::frames::control(&serde_json::json!({"size": 0}));
        put(&mut out, to_host::STARTED, &[&TOKEN, &started]);
        out.to_vec()
    }

    #[test]
    fn the_beginning_of_a_run_is_read() {
        let read = read(&beginning(), 7);
        assert_eq!((read.events, read.refused), (2, None));
    }

    #[test]
    fn announced_sizes_are_not_allocated() {
        // Each frame announces 4 MiB and brings nothing: nothing is held for them.
        let head = crate::frames::control(&serde_json::json!({"id": 1, "size": 4 << 20}));
        let mut out = BytesMut::from(&beginning()[..]);
        put(&mut out, to_host::REQUEST, &[&TOKEN, &head]);
        // A frame's head that announces the most, without its payload.
        out.extend_from_slice(&[to_host::DATA]);
        out.extend_from_slice(&u32::try_from(PAYLOAD_MAX).unwrap().to_le_bytes());
        let read = read(&out, 1 << 16);
        assert_eq!(read.refused, None);
        assert!(read.held < 1 << 17, "{} bytes are held", read.held);
    }

    proptest! {
        #[test]
        fn random_bytes_are_bounded(bytes: Vec<u8>, cut in 1_usize..100) {
            drop(read(&bytes, cut));
        }

        #[test]
        fn random_frames_are_bounded(frames in prop::collection::vec(frame(), 0..40), cut in 1_usize..5_000) {
            drop(read(&[beginning(), frames.concat()].concat(), cut));
        }
    }
}
