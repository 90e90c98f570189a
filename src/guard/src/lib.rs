//! Says what a shell command would change, and where, from its grammar and without running it.
//!
//! The sandbox is the wall; this is the explanation, and what asks a person who wants to be asked.
