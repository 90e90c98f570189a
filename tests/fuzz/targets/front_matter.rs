//! Any text as a `SKILL.md`: it is read or refused, and what is read is written and read again.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    fuzz::front_matter(&String::from_utf8_lossy(bytes));
});
