//! How a run ended: the parent's account and the child's claim, judged.

use std::time::Duration;

use serde::Deserialize;
use spec::{
    Clock, DiskScope, Limits, OutputStream, RunOutcome, RunReport, RunResult, limits, printable,
};

use super::events::Ended;
use crate::{Program, RunnerError};

/// What the child says of itself.
#[derive(Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
enum Claim {
    Result {
        answer: String,
        summary: String,
    },
    BadResult {
        why: String,
    },
    Raised {
        exception: String,
        message: String,
        traceback: String,
        no_space: bool,
        path: String,
    },
}

/// Signal number of a kill that cannot be caught.
const SIGKILL: u8 = 9;
/// What a shell adds to the number of the signal that ended its command.
const SHELL_SIGNAL: u8 = 128;

/// Judges how the run ended. A claim counts only where nothing that we know contradicts it.
pub(super) fn judge(
    end: &Ended,
    claim: Option<&[u8]>,
    program: &Program,
    limits: &Limits,
) -> RunOutcome {
    match end.stopped.as_deref() {
        None => {}
        Some("cpu") => return out_of_cpu(limits),
        Some("stdout") => return output_limit(OutputStream::Stdout, limits),
        Some("stderr") => return output_limit(OutputStream::Stderr, limits),
        Some(why) => {
            let why = why.strip_prefix("channel: ").unwrap_or(why);
            return bad_channel(why);
        }
    }
    let is_shell = matches!(program, Program::Shell { .. });
    let killed = end.signal == Some(SIGKILL)
        // A shell reports the kill of its command as a status.
        || (is_shell && end.status == Some(SHELL_SIGNAL + SIGKILL));
    if killed && end.oom_kills > 0 {
        return RunOutcome::OutOfMemory {
            limit: limits.memory,
        };
    }
    // Where one tick of the harness was too few, or the kernel was faster.
    if Duration::from_nanos(end.cpu_run_ns) > limits.cpu_bound() {
        return out_of_cpu(limits);
    }
    let claim = match claim.map(|claim| parse(claim, limits)) {
        Some(Err(why)) => return bad_channel(&why),
        Some(Ok(claim)) => Some(claim),
        None => None,
    };
    let outcome = match (claim, end.signal, end.status) {
        (_, Some(signal), _) => RunOutcome::Signalled { signal },
        (Some(Claim::Result { answer, summary }), None, Some(0)) => {
            return RunOutcome::Completed {
                result: RunResult { answer, summary },
            };
        }
        // A status of 0 is no failure that a full disk could explain.
        (None, None, Some(0)) => return RunOutcome::Exited { status: 0 },
        (None | Some(Claim::Result { .. }), None, Some(status)) => RunOutcome::Exited { status },
        (Some(Claim::BadResult { why }), None, _) => return RunOutcome::BadResult { why },
        (
            Some(Claim::Raised {
                exception,
                message,
                traceback,
                no_space,
                path,
            }),
            None,
            _,
        ) => {
            if no_space {
                // A relative path is in the workspace: it is the working directory.
                let in_tmp = path.starts_with("/tmp/") || (end.tmp_full && !end.workspace_full);
                let scope = if in_tmp {
                    DiskScope::Tmp
                } else {
                    DiskScope::Workspace
                };
                return disk_limit(scope, end, limits);
            }
            RunOutcome::Raised {
                exception,
                message,
                traceback,
            }
        }
        (_, None, None) => return lost("the harness did not say how the program ended"),
    };
    if end.workspace_full {
        return disk_limit(DiskScope::Workspace, end, limits);
    }
    if end.tmp_full {
        return disk_limit(DiskScope::Tmp, end, limits);
    }
    outcome
}

/// The outcome of a run whose channel carried something else than requests and one result.
pub(super) fn bad_channel(why: &str) -> RunOutcome {
    RunOutcome::BadResult {
        why: format!(
            "the program wrote to the sandbox's own channel: {}",
            printable(why, 200)
        ),
    }
}

/// The outcome of a run of which nothing is known.
pub(super) fn lost(why: &str) -> RunOutcome {
    RunOutcome::SandboxLost {
        why: printable(why, 2_000),
    }
}

/// What is reported of a run when its sandbox may be there still: of a run that did not end in time
/// it is the engine that is known to have failed, and not the program.
pub(super) fn unless_gone(
    mut result: Result<RunReport, RunnerError>,
    gone: bool,
) -> Result<RunReport, RunnerError> {
    if let Ok(report) = &mut result
        && let RunOutcome::TimedOut { limit, .. } = report.outcome
        && !gone
    {
        let limit = limit.as_secs();
        report.outcome = lost(&format!(
            "after its limit of {limit} s the engine did not confirm that it is gone"
        ));
    }
    result
}

fn parse(claim: &[u8], limits: &Limits) -> Result<Claim, String> {
    let claim: Claim =
        serde_json::from_slice(claim).map_err(|_| "a result that cannot be read".to_owned())?;
    let (result, traceback) = (limits.result.get(), limits::TRACEBACK.get());
    let fits = match &claim {
        Claim::Result { answer, summary } => (answer.len() + summary.len()) as u64 <= result,
        Claim::BadResult { why } => why.len() as u64 <= traceback,
        Claim::Raised {
            exception,
            message,
            traceback: text,
            path,
            ..
        } => [exception, message, text, path]
            .iter()
            .all(|text| text.len() as u64 <= traceback),
    };
    if fits {
        Ok(claim)
    } else {
        Err("a result that is too long".to_owned())
    }
}

fn output_limit(stream: OutputStream, limits: &Limits) -> RunOutcome {
    RunOutcome::OutputLimit {
        stream,
        limit: limits.output,
    }
}

fn out_of_cpu(limits: &Limits) -> RunOutcome {
    let (clock, limit) = (Clock::Cpu, limits.cpu_bound());
    RunOutcome::TimedOut { clock, limit }
}

fn disk_limit(scope: DiskScope, end: &Ended, limits: &Limits) -> RunOutcome {
    let (limit, names) = match scope {
        DiskScope::Workspace => (limits.workspace, end.workspace_files_full),
        DiskScope::Tmp => (limits.tmp(), false),
    };
    RunOutcome::DiskLimit {
        scope,
        limit,
        files: names.then_some(limits.workspace_files),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn ended(status: Option<u8>, signal: Option<u8>) -> Ended {
        Ended {
            status,
            signal,
            ..Ended::default()
        }
    }

    fn kind(end: &Ended, claim: Option<&serde_json::Value>, program: &Program) -> &'static str {
        let claim = claim.map(|claim| claim.to_string().into_bytes());
        judge(end, claim.as_deref(), program, &Limits::default()).kind()
    }

    #[test]
    fn a_claim_counts_only_where_nothing_contradicts_it() {
        let subagent = Program::Subagent {
            files: Vec::new(),
            entry: spec::WorkspacePath::from_text("main.py").unwrap(),
            query: String::new(),
        };
        let shell = Program::Shell {
            command: String::new(),
        };
        let result = json!({"kind": "result", "answer": "a", "summary": ""});
        let raised = json!({
            "kind": "raised", "exception": "E", "message": "", "traceback": "",
            "no_space": false, "path": "",
        });
        let no_space = json!({
            "kind": "raised", "exception": "E", "message": "", "traceback": "",
            "no_space": true, "path": "",
        });
        let check = |end: &Ended, claim: Option<&serde_json::Value>, expected: &str| {
            assert_eq!(kind(end, claim, &subagent), expected, "{end:?} {claim:?}");
        };
        let (ok, failed) = (ended(Some(0), None), ended(Some(1), None));
        let killed = ended(None, Some(9));
        let starved = Ended {
            oom_kills: 1,
            ..killed.clone()
        };
        let full = Ended {
            workspace_full: true,
            ..failed.clone()
        };
        let full_ok = Ended {
            workspace_full: true,
            ..ok.clone()
        };
        let flood = Ended {
            stopped: Some("stdout".to_owned()),
            ..ok.clone()
        };
        check(&ok, Some(&result), "completed");
        check(&failed, Some(&result), "exited");
        check(&killed, Some(&result), "signalled");
        check(&starved, Some(&result), "out_of_memory");
        check(&flood, Some(&result), "output_limit");
        check(&full_ok, Some(&result), "completed");
        check(&ok, None, "exited");
        check(&full_ok, None, "exited");
        check(&full, None, "disk_limit");
        check(&failed, Some(&raised), "raised");
        check(&full, Some(&raised), "disk_limit");
        check(&failed, Some(&no_space), "disk_limit");
        check(&killed, Some(&raised), "signalled");
        check(&ok, Some(&json!({"kind": "result"})), "bad_result");
        check(&ok, Some(&json!("text")), "bad_result");
        let stopped_at_cpu = Ended {
            stopped: Some("cpu".to_owned()),
            ..killed.clone()
        };
        let over_cpu = Ended {
            cpu_run_ns: u64::MAX,
            ..ok.clone()
        };
        check(&stopped_at_cpu, Some(&result), "timed_out");
        check(&over_cpu, Some(&result), "timed_out");
        let long = json!({"kind": "result", "answer": "a".repeat(2 << 20), "summary": ""});
        check(&ok, Some(&long), "bad_result");
        check(&ended(None, None), None, "sandbox_lost");
        let shell_killed = Ended {
            oom_kills: 1,
            ..ended(Some(137), None)
        };
        assert_eq!(kind(&shell_killed, None, &shell), "out_of_memory");
        assert_eq!(kind(&shell_killed, None, &subagent), "exited");
    }
}
