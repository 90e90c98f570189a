//! How a run ended: the parent's account and the child's claim, judged.

use std::time::Duration;

use serde::Deserialize;
use spec::{
    Clock, DiskScope, Imports, Limits, OutputStream, RunOutcome, RunReport, RunResult, limits,
    printable,
};

use super::create::SHM;
use super::events::Ended;
use crate::{Program, RunnerError};

/// What the child says of itself.
#[derive(Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
enum Claim {
    Result {
        answer: String,
        summary: String,
        #[serde(default)]
        imports: Imports,
    },
    BadResult {
        why: String,
        #[serde(default)]
        imports: Imports,
    },
    Raised {
        exception: String,
        message: String,
        traceback: String,
        no_space: bool,
        path: String,
        #[serde(default)]
        imports: Imports,
    },
}

impl Claim {
    /// The modules that it says it imported.
    fn take_imports(&mut self) -> Imports {
        match self {
            Self::Result { imports, .. }
            | Self::BadResult { imports, .. }
            | Self::Raised { imports, .. } => std::mem::take(imports),
        }
    }
}

/// Signal number of a kill that cannot be caught.
const SIGKILL: u8 = 9;
/// The signals of a mapped page that cannot be had, and of a file that is as large as any may be.
/// Source: `signal(7)`; they are the same on all our architectures.
const OF_FULL_DISKS: [u8; 2] = [7, 25];
/// What a shell adds to the number of the signal that ended its command.
const SHELL_SIGNAL: u8 = 128;

/// Judges how the run ended. A claim counts only where nothing that we know contradicts it; what it
/// says of `imports` is put there.
pub(super) fn judge(
    end: &Ended,
    claim: Option<&[u8]>,
    program: &Program,
    limits: &Limits,
    imports: &mut Imports,
) -> RunOutcome {
    match end.stopped.as_deref() {
        None => {}
        Some("cpu") => return out_of_cpu(limits),
        // Their buffers are memory, which only the second version of control groups counts.
        // What it left takes so much that it cannot even be looked at.
        Some("sockets" | "memory") => return out_of_memory(limits),
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
        return out_of_memory(limits);
    }
    // Where one tick of the harness was too few, or the kernel was faster.
    if Duration::from_nanos(end.cpu_run_ns) > limits.cpu_bound() {
        return out_of_cpu(limits);
    }
    let claim = match claim.map(|claim| parse(claim, limits)) {
        Some(Err(why)) => return bad_channel(&why),
        Some(Ok(mut claim)) => {
            *imports = claim.take_imports();
            Some(claim)
        }
        None => None,
    };
    let outcome = match (claim, end.signal, end.status) {
        (_, Some(signal), _) => RunOutcome::Signalled { signal },
        (
            Some(Claim::Result {
                answer, summary, ..
            }),
            None,
            Some(0),
        ) => {
            return RunOutcome::Completed {
                result: RunResult { answer, summary },
            };
        }
        // A status of 0 is no failure that a full disk could explain.
        (None, None, Some(0)) => return RunOutcome::Exited { status: 0 },
        (None | Some(Claim::Result { .. }), None, Some(status)) => RunOutcome::Exited { status },
        (Some(Claim::BadResult { why, .. }), None, _) => return RunOutcome::BadResult { why },
        (
            Some(Claim::Raised {
                exception,
                message,
                traceback,
                no_space,
                path,
                ..
            }),
            None,
            _,
        ) => {
            if no_space && let Some(scope) = scope_of(&path, end) {
                return disk_limit(scope, end, limits);
            }
            // The exception says what it is; that something was full beside it is in the usage.
            return RunOutcome::Raised {
                exception,
                message,
                traceback,
            };
        }
        (_, None, None) => return lost("the harness did not say how the program ended"),
    };
    // A crash is one of a full file system where a page of a mapped file could not be had.
    if matches!(outcome, RunOutcome::Signalled { signal } if !OF_FULL_DISKS.contains(&signal)) {
        return outcome;
    }
    match full(end).first() {
        Some(scope) => disk_limit(*scope, end, limits),
        None => outcome,
    }
}

/// Which file systems were full at the end, the likeliest cause of a failure first.
pub(super) fn full(end: &Ended) -> Vec<DiskScope> {
    let all = [
        (end.workspace_full, DiskScope::Workspace),
        (end.tmp_full, DiskScope::Tmp),
        (end.code_full, DiskScope::Code),
        (end.shm_full, DiskScope::SharedMemory),
    ];
    let full = all.iter().filter(|(is_full, _)| *is_full);
    full.map(|(_, scope)| *scope).collect()
}

/// Where there was no space: where the path says, else where it is full at the end. None where it is not
/// a file system of the sandbox that the program names.
fn scope_of(path: &str, end: &Ended) -> Option<DiskScope> {
    let roots = [
        ("/tmp/", DiskScope::Tmp),
        ("/code/", DiskScope::Code),
        ("/dev/shm/", DiskScope::SharedMemory),
    ];
    let named = roots.iter().find(|(root, _)| path.starts_with(root));
    match named {
        Some((_, scope)) => Some(*scope),
        None if ["/mnt/", "/dev/"].iter().any(|root| path.starts_with(root)) => None,
        // A relative path is in the workspace: it is the working directory.
        None if !path.is_empty() => Some(DiskScope::Workspace),
        None => Some(*full(end).first().unwrap_or(&DiskScope::Workspace)),
    }
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
        Claim::Result {
            answer, summary, ..
        } => (answer.len() + summary.len()) as u64 <= result,
        Claim::BadResult { why, .. } => why.len() as u64 <= traceback,
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

pub(super) fn out_of_memory(limits: &Limits) -> RunOutcome {
    RunOutcome::OutOfMemory {
        limit: limits.memory,
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
        DiskScope::Code => (limits.code(), false),
        DiskScope::SharedMemory => (SHM, false),
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
        let (limits, mut imports) = (Limits::default(), Imports::NONE);
        judge(end, claim.as_deref(), program, &limits, &mut imports).kind()
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
        let crashed_full = Ended {
            workspace_full: true,
            ..ended(None, Some(11))
        };
        let unmapped_full = Ended {
            shm_full: true,
            ..ended(None, Some(7))
        };
        let too_many_sockets = Ended {
            stopped: Some("sockets".to_owned()),
            ..killed.clone()
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
        check(&full, Some(&raised), "raised");
        check(&full, Some(&no_space), "disk_limit");
        check(&crashed_full, None, "signalled");
        check(&unmapped_full, None, "disk_limit");
        check(&too_many_sockets, Some(&result), "out_of_memory");
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
    #[test]
    fn the_full_file_system_is_the_one_that_the_path_names() {
        let tmp_full = Ended {
            tmp_full: true,
            ..Ended::default()
        };
        let check = |path: &str, end: &Ended, expected: DiskScope| {
            assert_eq!(scope_of(path, end), Some(expected), "{path}");
        };
        let nothing = Ended::default();
        for path in ["/mnt/data/x", "/dev/full"] {
            assert_eq!(scope_of(path, &tmp_full), None, "{path}");
        }
        check("/tmp/x", &nothing, DiskScope::Tmp);
        check("/code/x", &tmp_full, DiskScope::Code);
        check("/dev/shm/x", &tmp_full, DiskScope::SharedMemory);
        check("x", &tmp_full, DiskScope::Workspace);
        check("/workspace/x", &tmp_full, DiskScope::Workspace);
        check("", &tmp_full, DiskScope::Tmp);
        check("", &nothing, DiskScope::Workspace);
    }
}
