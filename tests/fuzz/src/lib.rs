//! What the targets feed: the modules of `runner` and `orchestrator` that read hostile bytes, and nothing else of them.
//!
//! They are compiled from where they are. A dependency on `runner` would build the engine's client and
//! its cryptography with the fuzzer's flags, which takes many minutes.
#![expect(dead_code, reason = "the rest of `runner` uses more of these modules")]

#[path = "../../../src/runner/src/blobs.rs"]
mod blobs;
#[path = "../../../src/runner/src/docker/collect.rs"]
mod collect;
#[path = "../../../src/runner/src/docker/events.rs"]
mod events;
#[path = "../../../src/runner/src/frames.rs"]
mod frames;
#[path = "../../../src/orchestrator/src/front_matter/mod.rs"]
mod front_matter;
#[path = "../../../src/runner/src/docker/fuzzing.rs"]
mod fuzzing;

use blobs::{BlobSink, Blobs, MemoryBlobs};

pub use fuzzing::{files, read};

/// Any text as a `SKILL.md`.
pub fn front_matter(text: &str) {
    front_matter::check_any(text);
}
