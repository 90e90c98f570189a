//! Any bytes as a version's manifest or config: what is accepted is in the one form that it has.
#![no_main]

use store::{Store, VersionContent};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    drop(Store::manifest_parts(bytes));
    if let Ok(content) = VersionContent::from_config(bytes) {
        // Orders and duplicates are for the digest to tell; what is written is read as the same.
        let written = content.to_config().expect("what was read can be written");
        assert_eq!(VersionContent::from_config(&written).ok(), Some(content));
    }
});
