//! A real registry, and one that lies.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod hostile;
mod real;
mod support;
