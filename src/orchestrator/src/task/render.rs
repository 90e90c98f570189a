//! What the model reads: feedback, in as few tokens as it takes.

use std::fmt::Write as _;

use spec::{ByteSize, Captured, Clock, RunOutcome, RunReport, format_duration};

/// Characters of each stream's end that the model reads.
const TAIL_CHARS: usize = 2_000;
/// Characters of an answer or a summary that the model reads.
const RESULT_CHARS: usize = 6_000;
/// Characters of a traceback that the model reads.
const TRACEBACK_CHARS: usize = 4_000;
/// Files that are named.
const FILES_MAX: usize = 30;

/// What a run gave, for the model.
pub(crate) fn run_feedback(report: &RunReport) -> String {
    let mut text = format!("outcome: {}", report.outcome.kind());
    ending(&mut text, &report.outcome);
    let usage = &report.usage;
    if usage.oom_kills > 0 && !matches!(report.outcome, RunOutcome::OutOfMemory { .. }) {
        let killed = usage.oom_kills;
        let _ = write!(text, "\nnote: {killed} of its processes ran out of memory");
    }
    for scope in &usage.full {
        if !matches!(&report.outcome, RunOutcome::DiskLimit { scope: named, .. } if named == scope)
        {
            let _ = write!(text, "\nnote: its {} was full at the end", scope.name());
        }
    }
    stream(&mut text, "stdout", &report.stdout);
    stream(&mut text, "stderr", &report.stderr);
    files(&mut text, report);
    let _ = write!(text, "\nused: {}", format_duration(report.usage.wall));
    for (skill, used) in &report.usage.skills {
        let _ = write!(text, ", {skill} {} calls", used.calls);
        if used.input_tokens + used.output_tokens > 0 {
            let _ = write!(text, " {}+{} tokens", used.input_tokens, used.output_tokens);
        }
    }
    text
}

/// What is said of an outcome after its name.
fn ending(text: &mut String, outcome: &RunOutcome) {
    match outcome {
        RunOutcome::Completed { result } => {
            let _ = write!(text, "\nanswer: {}", middle(&result.answer, RESULT_CHARS));
            let _ = write!(text, "\nsummary: {}", middle(&result.summary, RESULT_CHARS));
        }
        RunOutcome::Raised {
            exception: _,
            message: _,
            traceback,
        } => {
            let _ = write!(text, "\n{}", middle(traceback.trim_end(), TRACEBACK_CHARS));
        }
        RunOutcome::BadResult { why } | RunOutcome::SandboxLost { why } => {
            let _ = write!(text, ": {}", middle(why, TRACEBACK_CHARS));
        }
        RunOutcome::Exited { status } => {
            let _ = write!(
                text,
                " with status {status} and without a result: return a dict from main"
            );
        }
        RunOutcome::Signalled { signal } => {
            let _ = write!(text, " by signal {signal}");
        }
        RunOutcome::TimedOut { clock, limit } => {
            let what = match clock {
                Clock::Wall => "",
                Clock::Cpu => " of processor time",
            };
            let _ = write!(text, " after {}{what}", format_duration(*limit));
        }
        RunOutcome::OutOfMemory { limit } => {
            let _ = write!(text, ": the sandbox has {limit}");
        }
        RunOutcome::OutputLimit { stream, limit } => {
            let _ = write!(text, ": more than {limit} on {}", stream.name());
        }
        RunOutcome::DiskLimit {
            scope,
            files: Some(files),
            ..
        } => {
            let _ = write!(text, ": {} is full at {files} files", scope.name());
        }
        RunOutcome::DiskLimit { scope, limit, .. } => {
            let _ = write!(text, ": {} is full at {limit}", scope.name());
        }
        RunOutcome::Cancelled => {}
    }
}

/// What happened to the workspace.
fn files(text: &mut String, report: &RunReport) {
    if !report.changed.is_empty() || !report.removed.is_empty() {
        let kept = matches!(report.outcome, RunOutcome::Completed { .. });
        let _ = write!(
            text,
            "\nfiles{}:",
            if kept {
                ""
            } else {
                " (discarded, because the run failed)"
            }
        );
        for file in report.changed.iter().take(FILES_MAX) {
            let _ = write!(text, " {} ({}),", file.path, ByteSize::bytes(file.size));
        }
        for path in report.removed.iter().take(FILES_MAX) {
            let _ = write!(text, " {path} (removed),");
        }
        text.pop();
        let rest = report.changed.len().saturating_sub(FILES_MAX)
            + report.removed.len().saturating_sub(FILES_MAX);
        if rest > 0 {
            let _ = write!(text, " and {rest} more");
        }
    }
    for left in report.left_behind.iter().take(FILES_MAX) {
        let _ = write!(
            text,
            "\nleft behind: {} ({})",
            spec::printable(&left.path, 200),
            left.why
        );
    }
}

fn stream(text: &mut String, name: &str, captured: &Captured) {
    let content = String::from_utf8_lossy(&captured.content);
    let content = content.trim_end();
    if content.is_empty() {
        return;
    }
    let skipped = content.chars().count().saturating_sub(TAIL_CHARS);
    let tail: String = content.chars().skip(skipped).collect();
    let cut = if skipped > 0 { " (its end)" } else { "" };
    let _ = write!(text, "\n{name}{cut}:\n{tail}");
}

/// The beginning and the end of a text that is too long.
pub(crate) fn middle(text: &str, chars_max: usize) -> String {
    let count = text.chars().count();
    if count <= chars_max {
        return text.to_owned();
    }
    let half = chars_max / 2;
    let head: String = text.chars().take(half).collect();
    let tail: String = text.chars().skip(count - half).collect();
    format!(
        "{head}\n[... {} characters left out ...]\n{tail}",
        count - 2 * half
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_loses_its_middle() {
        assert_eq!(middle("abc", 3), "abc");
        assert_eq!(
            middle("abcdef", 4),
            "ab\n[... 2 characters left out ...]\nef"
        );
        assert_eq!(middle("äöüßé", 2), "ä\n[... 3 characters left out ...]\né");
    }
}
