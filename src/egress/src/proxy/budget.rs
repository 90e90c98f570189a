//! What a run may still use, and the streams that take it.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use spec::ByteSize;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes that go through a connection at once. Source: a TLS record.
const AT_ONCE: usize = 16 << 10;

/// The bytes that a run may send and receive.
///
/// They are counted once they have gone: what is reserved for one connection would be missing to
/// the others. So each connection may exceed it by what it reads or writes at once.
#[derive(Debug)]
pub(super) struct Budget {
    max: ByteSize,
    used: AtomicU64,
}

impl Budget {
    pub(super) fn new(max: ByteSize) -> Self {
        Self {
            max,
            used: AtomicU64::new(0),
        }
    }

    pub(super) fn is_used_up(&self) -> bool {
        self.used.load(Ordering::Relaxed) >= self.max.get()
    }

    pub(super) fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    pub(super) fn reason(&self) -> String {
        format!(
            "this run has used up its {} of egress; a larger budget would be needed",
            self.max
        )
    }

    /// Bytes that a connection may read or write now.
    fn at_once(&self) -> usize {
        let left = self.max.get().saturating_sub(self.used());
        usize::try_from(left).map_or(AT_ONCE, |left| left.min(AT_ONCE))
    }

    /// Takes bytes that have gone over the network.
    fn take(&self, bytes: usize) {
        let bytes = bytes as u64;
        self.used.fetch_add(bytes, Ordering::Relaxed);
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
        let room = buffer.remaining().min(self.budget.at_once());
        if room == 0 && buffer.remaining() > 0 {
            return Poll::Ready(Err(used_up()));
        }
        let mut part = ReadBuf::new(buffer.initialize_unfilled_to(room));
        let polled = Pin::new(&mut self.stream).poll_read(cx, &mut part);
        let read = part.filled().len();
        self.budget.take(read);
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
        let part = &bytes[..bytes.len().min(self.budget.at_once())];
        if part.is_empty() && !bytes.is_empty() {
            return Poll::Ready(Err(used_up()));
        }
        let written = ready!(Pin::new(&mut self.stream).poll_write(cx, part))?;
        self.budget.take(written);
        self.meter.up.fetch_add(written as u64, Ordering::Relaxed);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    use super::*;

    #[tokio::test]
    async fn one_that_waits_takes_nothing_from_the_others() {
        let budget = Arc::new(Budget::new(ByteSize::kib(40)));
        let (inner, mut far) = duplex(64 << 10);
        let mut first = Metered::new(inner, Arc::clone(&budget));
        let second_budget = Arc::clone(&budget);
        // Reads from the other stream in the middle of its own poll.
        let mut nested = Nested(budget.clone());
        let mut buffer = vec![0; 100 << 10];
        let mut part = ReadBuf::new(&mut buffer);
        let mut outer = Metered::new(&mut nested, second_budget);
        let waker = std::task::Waker::noop();
        let mut cx = Context::from_waker(waker);
        assert!(
            Pin::new(&mut outer)
                .poll_read(&mut cx, &mut part)
                .is_pending()
        );
        far.write_all(&vec![1; 40 << 10]).await.unwrap();
        let mut read = vec![0; 40 << 10];
        first.read_exact(&mut read).await.unwrap();
        assert_eq!(budget.used(), 40 << 10);
        assert!(first.read(&mut [0]).await.is_err(), "it is used up");
        assert!(first.write(&[0]).await.is_err(), "in both directions");
        assert_eq!(first.meter().both(), 40 << 10);
    }

    /// Nothing to read; sees whether others could read while it is asked.
    struct Nested(Arc<Budget>);

    impl AsyncRead for &mut Nested {
        fn poll_read(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            _: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            assert!(!self.0.is_used_up(), "a poll took what it does not use");
            Poll::Pending
        }
    }
}
