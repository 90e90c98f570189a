//! Any bytes as a sandbox's stream. The first one says how the stream is cut.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Some((cut, stream)) = bytes.split_first() {
        drop(fuzz::read(stream, usize::from(*cut) + 1));
    }
});
