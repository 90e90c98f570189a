//! Any text as a shell command: it is judged, in bounded time, and what cannot be read is not allowed.
#![no_main]

use guard::{Context, Decision, judge};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let text = String::from_utf8_lossy(bytes);
    let verdict = judge(&text, &Context::sandbox());
    let heaviest = verdict
        .findings
        .iter()
        .map(|finding| finding.decision)
        .max();
    assert_eq!(verdict.decision, heaviest.unwrap_or(Decision::Allow));
    assert!(!verdict.reason.is_empty());
    // What comes after does not make up for what came before.
    if verdict.decision == Decision::Refuse && text.len() < 1 << 12 {
        let more = judge(&format!("{text}\nls"), &Context::sandbox());
        assert_ne!(more.decision, Decision::Allow, "{text:?}");
    }
});
