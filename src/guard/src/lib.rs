//! Says what a shell command would change, and where, from its grammar and without running it.
//!
//! The sandbox is the wall; this is the explanation, and what asks a person who wants to be asked.
//! [`judge`] walks the parsed command as a shell would, with values that may be unknown: it follows
//! `cd`, variables, functions, substitutions, pipes into shells and the usual wrappers. What would
//! change something outside the workspace is refused, what cannot be told is asked about, and
//! everything else is allowed. What is decided how is in the crate's README, with the figures that
//! its corpus gives.

mod code;
mod commands;
mod depth;
mod environment;
mod findings;
mod judge;
mod merge;
mod place;
mod redirect;
mod shell;
mod simple;
mod state;
mod value;
mod verdict;
mod words;

pub use judge::{LENGTH_MAX, judge};
pub use verdict::{Context, Decision, FINDINGS_MAX, Finding, Verdict};
