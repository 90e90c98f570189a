//! Bodies that pass through, and bodies of our own.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::sync::mpsc;

/// What a job sends into a body: pieces, then the end. Without the end the body is not whole.
pub(super) type Piece = io::Result<Option<Bytes>>;

/// A body of a request to a host or of an answer to the program.
#[derive(Debug)]
pub(super) enum Passing {
    /// All of it is here.
    Whole(Option<Bytes>),
    /// A job sends it piece by piece.
    Piped {
        pieces: mpsc::Receiver<Piece>,
        /// Bytes that are still to come, when that is known.
        left: Option<u64>,
        is_over: bool,
    },
}

impl Passing {
    pub(super) fn empty() -> Self {
        Self::Whole(None)
    }

    /// A body of this size, if it is known, and where to send its pieces. Only one piece waits at
    /// a time, so that a slow reader slows the writer.
    pub(super) fn piped(size: Option<u64>) -> (mpsc::Sender<Piece>, Self) {
        let (sender, pieces) = mpsc::channel(1);
        let body = Self::Piped {
            pieces,
            left: size,
            is_over: false,
        };
        (sender, body)
    }
}

impl From<String> for Passing {
    fn from(text: String) -> Self {
        Self::Whole(Some(text.into()))
    }
}

impl Body for Passing {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        match &mut *self {
            Self::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Piped { is_over: true, .. } => Poll::Ready(None),
            Self::Piped {
                pieces,
                left,
                is_over,
            } => {
                let piece = match ready!(pieces.poll_recv(cx)) {
                    Some(Ok(Some(bytes))) => {
                        *left = left.map(|left| left.saturating_sub(bytes.len() as u64));
                        return Poll::Ready(Some(Ok(Frame::data(bytes))));
                    }
                    Some(Ok(None)) => None,
                    Some(Err(error)) => Some(Err(error)),
                    None => Some(Err(io::ErrorKind::ConnectionAborted.into())),
                };
                *is_over = true;
                Poll::Ready(piece)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(bytes) => bytes.is_none(),
            Self::Piped { left, is_over, .. } => *is_over || *left == Some(0),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            Self::Piped { left, .. } => left.map_or_else(SizeHint::default, SizeHint::with_exact),
        }
    }
}
