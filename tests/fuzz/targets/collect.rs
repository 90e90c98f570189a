//! A run that reaches collection, then files with any names, sizes and contents.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    drop(fuzz::read(&fuzz::files(bytes), 1 << 12));
});
