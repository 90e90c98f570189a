//! The proxy with real sockets, real TLS and programs that do not behave.
#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on should stop where it is"
)]

mod hostile;
mod limits;
mod live;
mod next;
mod opaque;
mod programs;
mod refused;
mod replay;
mod support;
