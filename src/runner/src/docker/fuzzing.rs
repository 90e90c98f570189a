//! What random bytes are fed to: the stream's reader and the collector, as a session uses them.

use std::fmt::Write as _;
use std::sync::Arc;

use bytes::BytesMut;
use serde_json::{Value, json};
use spec::{FileEntry, Limits, Tree, limits};
use tokio::sync::mpsc;

use super::collect::{self, Checks, Piece};
use super::events::{Event, Events};
use crate::frames::{PAYLOAD_MAX, TOKEN_BYTES, control, put, to_host};
use crate::{Blobs, MemoryBlobs};

/// The token that the bytes must carry to be heard after STARTED.
pub const TOKEN: [u8; TOKEN_BYTES] = [7; TOKEN_BYTES];
/// Files that one stream may store here; more end it, as a full disk would.
const PIECES: usize = 1 << 14;
/// What is held of a stream at most: one frame and its head, one message of the child, and what a
/// buffer that doubles has too much.
pub const HELD_MAX: u64 = 4 * (PAYLOAD_MAX as u64 + 64) + 2 * limits::TOOL_CALL.get();

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
    let held = read.held as u64;
    assert!(held <= HELD_MAX + cut as u64, "{held} bytes are held");
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

/// A run that reaches collection, then files with any names, sizes and contents.
///
/// Each record of `bytes` is: kind, length of the name, name, announced size, length of the content,
/// content.
pub fn files(bytes: &[u8]) -> Vec<u8> {
    let mut out = BytesMut::new();
    let ready = json!({"protocol": 1, "python": "3", "size": 0});
    put(&mut out, to_host::READY, &[&control(&ready)]);
    say(&mut out, to_host::STARTED, &json!({"size": 0}), &[]);
    let ended = json!({
        "size": 0, "wall_ns": 1, "cpu_ns": 1, "memory_peak": 1, "oom_kills": 0, "stdout_bytes": 0,
        "stderr_bytes": 0, "workspace_full": false, "tmp_full": false, "claimed": false,
    });
    say(&mut out, to_host::ENDED, &ended, &[]);
    let mut rest = bytes.iter().copied();
    while let Some(kind) = rest.next() {
        let length = usize::from(rest.next().unwrap_or(0));
        let mut path = String::new();
        for byte in rest.by_ref().take(length) {
            write!(path, "{byte:02x}").expect("memory takes everything");
        }
        let announced = u64::from(rest.next().unwrap_or(0)) << (kind >> 3);
        let length = usize::from(rest.next().unwrap_or(0));
        let content: Vec<u8> = rest.by_ref().take(length).collect();
        // Half of them say their true size, so that they are whole.
        let size = if kind & 8 == 0 {
            content.len() as u64
        } else {
            announced
        };
        let header = |size| json!({"path": path, "executable": false, "why": "x", "size": size});
        match kind % 5 {
            0 | 1 => say(&mut out, to_host::FILE, &header(size), &content),
            2 => put(&mut out, to_host::DATA, &[&TOKEN, &content]),
            3 => say(&mut out, to_host::REMOVED, &header(0), &[]),
            _ => say(&mut out, to_host::LEFT, &header(0), &[]),
        }
    }
    out.to_vec()
}

fn say(out: &mut BytesMut, kind: u8, header: &Value, body: &[u8]) {
    put(out, kind, &[&TOKEN, &control(header), body]);
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
    use std::path::Path;

    use proptest::prelude::*;

    use super::*;

    /// Every seed of a fuzz target.
    fn seeds(target: &str) -> Vec<Vec<u8>> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fuzz/corpus");
        let files = std::fs::read_dir(folder.join(target)).unwrap();
        files
            .map(|file| std::fs::read(file.unwrap().path()).unwrap())
            .collect()
    }

    #[test]
    fn the_seeds_of_the_fuzz_targets_keep_the_promises() {
        let (streams, files) = (seeds("stream"), seeds("collect"));
        assert!(!streams.is_empty() && !files.is_empty());
        for stream in &streams {
            if let Some((cut, stream)) = stream.split_first() {
                drop(read(stream, usize::from(*cut) + 1));
            }
        }
        let collected = files
            .iter()
            .map(|bytes| read(&super::files(bytes), 1 << 12).files.len());
        assert!(collected.sum::<usize>() > 0);
    }

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
