//! What a run may still use, and the streams that take it.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use spec::ByteSize;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The bytes that a run may still send and receive.
#[derive(Debug)]
pub(super) struct Budget {
    max: ByteSize,
    left: AtomicU64,
}

impl Budget {
    pub(super) fn new(max: ByteSize) -> Self {
        Self {
            max,
            left: AtomicU64::new(max.get()),
        }
    }

    pub(super) fn is_used_up(&self) -> bool {
        self.left.load(Ordering::Relaxed) == 0
    }

    pub(super) fn used(&self) -> u64 {
        self.max.get() - self.left.load(Ordering::Relaxed)
    }

    pub(super) fn reason(&self) -> String {
        format!(
            "this run has used up its {} of egress; a larger budget would be needed",
            self.max
        )
    }

    /// Takes up to this many bytes; what is not used must be given back.
    fn take(&self, wanted: usize) -> usize {
        let wanted = wanted as u64;
        let before = self
            .left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                Some(left.saturating_sub(wanted))
            })
            .unwrap_or_else(|left| left);
        usize::try_from(before.min(wanted)).unwrap_or(usize::MAX)
    }

    fn give_back(&self, bytes: usize) {
        self.left.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

/// Bytes that went through one stream.
#[derive(Debug, Default)]
pub(super) struct Meter {
    up: AtomicU64,
    down: AtomicU64,
}

impl Meter {
    pub(super) fn up(&self) -> u64 {
        self.up.load(Ordering::Relaxed)
    }

    pub(super) fn down(&self) -> u64 {
        self.down.load(Ordering::Relaxed)
    }

    pub(super) fn both(&self) -> u64 {
        self.up() + self.down()
    }
}

/// A connection to a host, each byte of which is counted and taken from the budget.
#[derive(Debug)]
pub(super) struct Metered<S> {
    stream: S,
    budget: Arc<Budget>,
    meter: Arc<Meter>,
}

impl<S> Metered<S> {
    pub(super) fn new(stream: S, budget: Arc<Budget>) -> Self {
        Self {
            stream,
            budget,
            meter: Arc::default(),
        }
    }

    pub(super) fn meter(&self) -> Arc<Meter> {
        Arc::clone(&self.meter)
    }
}

fn used_up() -> io::Error {
    io::Error::other("the egress budget is used up")
}

impl<S: AsyncRead + Unpin> AsyncRead for Metered<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let granted = self.budget.take(buffer.remaining());
        if granted == 0 && buffer.remaining() > 0 {
            return Poll::Ready(Err(used_up()));
        }
        let mut part = ReadBuf::new(buffer.initialize_unfilled_to(granted));
        let polled = Pin::new(&mut self.stream).poll_read(cx, &mut part);
        let read = part.filled().len();
        self.budget.give_back(granted - read);
        self.meter.down.fetch_add(read as u64, Ordering::Relaxed);
        buffer.advance(read);
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Metered<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let granted = self.budget.take(bytes.len());
        if granted == 0 && !bytes.is_empty() {
            return Poll::Ready(Err(used_up()));
        }
        let polled = Pin::new(&mut self.stream).poll_write(cx, &bytes[..granted]);
        let written = match &polled {
            Poll::Ready(Ok(written)) => *written,
            Poll::Ready(Err(_)) | Poll::Pending => 0,
        };
        self.budget.give_back(granted - written);
        self.meter.up.fetch_add(written as u64, Ordering::Relaxed);
        Poll::Ready(Ok(ready!(polled)?))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
