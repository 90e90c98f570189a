//! How a run ended, for people.

use spec::wire::OutcomeJson;
use spec::{ByteSize, format_duration};
use std::time::Duration;

/// One line: what happened, and which flag moves the limit.
pub(crate) fn outcome_text(outcome: &OutcomeJson) -> String {
    let size = |bytes: &u64| match bytes {
        1 => "1 byte".to_owned(),
        0..1024 => format!("{bytes} bytes"),
        _ => ByteSize::bytes(*bytes).to_string(),
    };
    match outcome {
        OutcomeJson::Completed {} => "completed".to_owned(),
        OutcomeJson::Raised {
            exception, message, ..
        } if message.is_empty() => {
            format!("raised {exception}")
        }
        OutcomeJson::Raised {
            exception, message, ..
        } => format!("raised {exception}: {message}"),
        OutcomeJson::BadResult { why } => format!("gave no result: {why}"),
        OutcomeJson::Exited { status } => format!("ended with status {status}"),
        OutcomeJson::Signalled { signal } => match signal_name(*signal) {
            Some(name) => format!("ended by signal {signal} ({name})"),
            None => format!("ended by signal {signal}"),
        },
        OutcomeJson::TimedOut { clock, limit_ms } if clock == "cpu" => format!(
            "used up its processor time of {} (--cpu-time)",
            format_duration(Duration::from_millis(*limit_ms))
        ),
        OutcomeJson::TimedOut { limit_ms, .. } => format!(
            "used up its time of {} (--timeout)",
            format_duration(Duration::from_millis(*limit_ms))
        ),
        OutcomeJson::OutOfMemory { limit_bytes } => {
            format!("used up its memory of {} (--memory)", size(limit_bytes))
        }
        OutcomeJson::OutputLimit {
            stream,
            limit_bytes,
        } => {
            format!(
                "wrote more than {} to its {stream} (--output-size)",
                size(limit_bytes)
            )
        }
        OutcomeJson::DiskLimit {
            limit_files: Some(files),
            scope,
            ..
        } => {
            format!("used up the {files} files of its {scope} (--workspace-files)")
        }
        OutcomeJson::DiskLimit {
            scope, limit_bytes, ..
        } if scope == "workspace" => {
            format!(
                "filled its workspace of {} (--workspace-size)",
                size(limit_bytes)
            )
        }
        OutcomeJson::DiskLimit {
            scope, limit_bytes, ..
        } if scope == "shared_memory" => {
            format!("filled its /dev/shm of {}", size(limit_bytes))
        }
        OutcomeJson::DiskLimit {
            scope, limit_bytes, ..
        } => {
            format!(
                "filled its /{scope} of {}, which grows with --memory",
                size(limit_bytes)
            )
        }
        OutcomeJson::SandboxLost { why } => format!("was lost with its sandbox: {why}"),
        OutcomeJson::Cancelled {} => "was stopped".to_owned(),
    }
}

/// Names of the signals that end programs. Source: `signal(7)`, which is the same on x86 and ARM.
fn signal_name(signal: u8) -> Option<&'static str> {
    Some(match signal {
        1 => "SIGHUP",
        2 => "SIGINT",
        3 => "SIGQUIT",
        4 => "SIGILL",
        5 => "SIGTRAP",
        6 => "SIGABRT",
        7 => "SIGBUS",
        8 => "SIGFPE",
        9 => "SIGKILL",
        11 => "SIGSEGV",
        13 => "SIGPIPE",
        14 => "SIGALRM",
        15 => "SIGTERM",
        24 => "SIGXCPU",
        25 => "SIGXFSZ",
        31 => "SIGSYS",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_names_its_flag() {
        let check = |outcome: OutcomeJson, expected: &str| {
            assert_eq!(outcome_text(&outcome), expected);
        };
        let timed_out = |clock: &str| OutcomeJson::TimedOut {
            clock: clock.to_owned(),
            limit_ms: 2_000,
        };
        check(timed_out("wall"), "used up its time of 2.0s (--timeout)");
        check(
            timed_out("cpu"),
            "used up its processor time of 2.0s (--cpu-time)",
        );
        check(
            OutcomeJson::OutOfMemory {
                limit_bytes: 64 << 20,
            },
            "used up its memory of 64M (--memory)",
        );
        let output = |limit_bytes| OutcomeJson::OutputLimit {
            stream: "stdout".to_owned(),
            limit_bytes,
        };
        check(
            output(1),
            "wrote more than 1 byte to its stdout (--output-size)",
        );
        check(
            output(9),
            "wrote more than 9 bytes to its stdout (--output-size)",
        );
        check(
            output(1 << 10),
            "wrote more than 1K to its stdout (--output-size)",
        );
        check(
            OutcomeJson::Signalled { signal: 11 },
            "ended by signal 11 (SIGSEGV)",
        );
        check(OutcomeJson::Signalled { signal: 40 }, "ended by signal 40");
    }

    #[test]
    fn the_kind_is_that_of_the_json() {
        for outcome in [
            OutcomeJson::Completed {},
            OutcomeJson::BadResult { why: String::new() },
            OutcomeJson::Exited { status: 1 },
            OutcomeJson::OutputLimit {
                stream: "stdout".to_owned(),
                limit_bytes: 1,
            },
            OutcomeJson::Cancelled {},
        ] {
            let json = serde_json::to_value(&outcome).unwrap();
            assert_eq!(json["kind"], outcome.kind());
        }
    }
}
