//! The way into a sandbox.

use std::io;

use bytes::{Bytes, BytesMut};
use tokio::io::AsyncWriteExt as _;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::ready::Input;
use crate::frames::{put, to_sandbox};

/// Writes what comes before the run, then its replies; CANCEL passes the replies.
///
/// Returns when nothing can come any more; then the sandbox sees the end of the stream.
pub(super) async fn write(
    mut input: Input,
    mut batches: mpsc::Receiver<Bytes>,
    mut replies: mpsc::UnboundedReceiver<Bytes>,
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
