//! The OpenAI Chat Completions API, streamed, as its vendor and the many who copy it speak it.
//!
//! Source: the vendor's documentation of `POST /v1/chat/completions`; where servers are known to
//! differ from it, a comment says how.

mod calls;
mod decode;
mod encode;

pub(crate) use decode::Chunks;
pub(crate) use encode::body;

/// A reasoning model's thoughts: some servers send them beside the reply, and want them back with
/// the tool calls that they led to.
const REASONING: &str = "reasoning_content";
