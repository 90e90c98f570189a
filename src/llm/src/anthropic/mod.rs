//! The Anthropic Messages API, streamed.
//!
//! Source: the vendor's documentation of `POST /v1/messages`, version `2023-06-01`.

mod decode;
mod encode;

pub(crate) use decode::Events;
pub(crate) use encode::body;

/// The version of the API, sent as `anthropic-version`.
pub(crate) const VERSION: &str = "2023-06-01";
