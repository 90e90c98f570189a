//! The way into a sandbox.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::{Bytes, BytesMut};
use spec::limits;
use tokio::io::AsyncWriteExt as _;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::ready::Input;
use super::restore::REQUESTS_OPEN;
use super::streams::{OPEN, WINDOW};
use crate::frames::{put, to_sandbox};

/// Bytes that wait for the sandbox to take them. One that keeps the rules comes to a window for each
/// connection and an answer for each request that are open; the rest is for small frames.
const WAITING_MAX: u64 =
    2 * OPEN as u64 * WINDOW as u64 + (REQUESTS_OPEN as u64 + 1) * limits::TOOL_CALL.get();
/// What a frame costs besides its bytes.
const FRAME_COST: u64 = 64;

/// Where replies to the running sandbox go. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Replies {
    frames: mpsc::UnboundedSender<Bytes>,
    waiting: Arc<AtomicU64>,
}

/// Replies that wait to be written.
#[derive(Debug)]
pub(super) struct Waiting {
    frames: mpsc::UnboundedReceiver<Bytes>,
    waiting: Arc<AtomicU64>,
}

/// A queue of replies. What it holds is watched with [`Replies::are_too_many`].
pub(super) fn replies() -> (Replies, Waiting) {
    let (frames, out) = mpsc::unbounded_channel();
    let waiting = Arc::new(AtomicU64::new(0));
    let replies = Replies {
        frames,
        waiting: Arc::clone(&waiting),
    };
    let out = Waiting {
        frames: out,
        waiting,
    };
    (replies, out)
}

impl Replies {
    /// Queues a frame. A writer that is gone means a sandbox that is gone, which the reader finds
    /// out.
    pub(super) fn send(&self, frame: Bytes) {
        let cost = frame.len() as u64 + FRAME_COST;
        self.waiting.fetch_add(cost, Ordering::Relaxed);
        drop(self.frames.send(frame));
    }

    /// Whether the sandbox asks for more than it takes.
    pub(super) fn are_too_many(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > WAITING_MAX
    }
}

impl Waiting {
    /// The next frame; none once nobody can send any. Cancel-safe.
    pub(super) async fn recv(&mut self) -> Option<Bytes> {
        let frame = self.frames.recv().await?;
        let cost = frame.len() as u64 + FRAME_COST;
        self.waiting.fetch_sub(cost, Ordering::Relaxed);
        Some(frame)
    }
}

/// Writes what comes before the run, then its replies; CANCEL passes the replies.
///
/// Returns when nothing can come any more; then the sandbox sees the end of the stream.
pub(super) async fn write(
    mut input: Input,
    mut batches: mpsc::Receiver<Bytes>,
    mut replies: Waiting,
    cancelled: CancellationToken,
) -> io::Result<()> {
    while let Some(batch) = batches.recv().await {
        input.write_all(&batch).await?;
    }
    input.flush().await?;
    loop {
        let frame = tokio::select! {
            biased;
            () = cancelled.cancelled() => break,
            frame = replies.recv() => frame,
        };
        let Some(frame) = frame else { return Ok(()) };
        input.write_all(&frame).await?;
        input.flush().await?;
    }
    let mut cancel = BytesMut::new();
    put(&mut cancel, to_sandbox::CANCEL, &[]);
    input.write_all(&cancel).await?;
    input.flush().await?;
    // The end of the stream would end the sandbox at once; it has a word to say first.
    while replies.recv().await.is_some() {}
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_nobody_takes_is_too_much_at_some_point() {
        let (replies, mut waiting) = replies();
        let frame = Bytes::from(vec![0; 1 << 20]);
        let mut sent = 0;
        while !replies.are_too_many() {
            replies.send(frame.clone());
            sent += 1;
            assert!(sent <= 100, "nothing bounds it");
        }
        assert!(sent > 64, "an answer for each request fits");
        for _ in 0..sent {
            waiting.recv().await.unwrap();
        }
        assert!(!replies.are_too_many());
    }
}
