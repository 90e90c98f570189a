//! A run that reaches collection, then files with any names, sizes and contents.
//!
//! Each record is: kind, length of the name, name, announced size, length of the content, content.
#![no_main]

use runner::fuzzing::{TOKEN, read};

fn frame(out: &mut Vec<u8>, kind: u8, parts: &[&[u8]]) {
    let size: usize = parts.iter().map(|part| part.len()).sum();
    out.push(kind);
    out.extend_from_slice(&(size as u32).to_le_bytes());
    for part in parts {
        out.extend_from_slice(part);
    }
}

fn control(json: &str) -> Vec<u8> {
    let mut head = (json.len() as u16).to_le_bytes().to_vec();
    head.extend_from_slice(json.as_bytes());
    head
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let mut out = Vec::new();
    frame(
        &mut out,
        16,
        &[&control(r#"{"protocol":1,"python":"3","size":0}"#)],
    );
    frame(&mut out, 17, &[&TOKEN, &control(r#"{"size":0}"#)]);
    let ended = r#"{"size":0,"wall_ns":1,"cpu_ns":1,"memory_peak":1,"oom_kills":0,"stdout_bytes":0,"stderr_bytes":0,"workspace_full":false,"tmp_full":false,"claimed":false}"#;
    frame(&mut out, 21, &[&TOKEN, &control(ended)]);
    let mut rest = bytes.iter().copied();
    while let Some(kind) = rest.next() {
        let length = usize::from(rest.next().unwrap_or(0));
        let path: String = rest
            .by_ref()
            .take(length)
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let size = u64::from(rest.next().unwrap_or(0)) << (kind >> 3);
        let length = usize::from(rest.next().unwrap_or(0));
        let content: Vec<u8> = rest.by_ref().take(length).collect();
        // One in four says its true size, so that it is whole.
        let size = if kind & 8 == 0 {
            content.len() as u64
        } else {
            size
        };
        let json = format!(r#"{{"path":"{path}","executable":false,"why":"x","size":{size}}}"#);
        match kind % 5 {
            0 | 1 => frame(&mut out, 22, &[&TOKEN, &control(&json), &content]),
            2 => frame(&mut out, 23, &[&TOKEN, &content]),
            3 => frame(
                &mut out,
                24,
                &[
                    &TOKEN,
                    &control(&json.replace(&format!(":{size}}}"), ":0}")),
                ],
            ),
            _ => frame(
                &mut out,
                25,
                &[
                    &TOKEN,
                    &control(&json.replace(&format!(":{size}}}"), ":0}")),
                ],
            ),
        }
    }
    drop(read(&out, 1 << 12));
});
