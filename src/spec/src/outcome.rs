//! How a run ended.

use std::time::Duration;

use crate::ByteSize;

/// What `main(query)` returned. Source: the reference implementation's contract.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunResult {
    /// The value of `answer`: a string as it is, anything else as its JSON text, absent as "".
    pub answer: String,
    /// The value of `summary`, in the same way.
    pub summary: String,
}

/// One of the two output streams of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutputStream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

impl OutputStream {
    /// The name in JSON: `stdout` or `stderr`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

/// A file system of the sandbox that can fill up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskScope {
    /// `/workspace`.
    Workspace,
    /// `/tmp`, which holds HOME too.
    Tmp,
    /// `/code`, which holds the source.
    Code,
    /// `/dev/shm`.
    SharedMemory,
}

impl DiskScope {
    /// The name in JSON: `workspace`, `tmp`, `code` or `shared_memory`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Workspace => "workspace",
            Self::Tmp => "tmp",
            Self::Code => "code",
            Self::SharedMemory => "shared_memory",
        }
    }
}

/// Which time of a run was used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clock {
    /// Wall time.
    Wall,
    /// Processor time of everything in the sandbox together.
    Cpu,
}

impl Clock {
    /// The name in JSON: `wall` or `cpu`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Wall => "wall",
            Self::Cpu => "cpu",
        }
    }
}

/// How a run ended. Failing to start one is an error of the runner, not an outcome.
///
/// A result is the subagent's claim; every other fact here is the harness's or the host's word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RunOutcome {
    /// `main` returned a dict and the process then ended with status 0.
    Completed {
        /// What it returned.
        result: RunResult,
    },
    /// The code raised an exception that nothing caught, at import or in `main`.
    Raised {
        /// The exception's class, such as `ValueError`.
        exception: String,
        /// Its message.
        message: String,
        /// The traceback with source lines, cut in the middle at [`crate::limits::TRACEBACK`].
        traceback: String,
    },
    /// `main` is missing, or what it returned is not a dict that JSON can express within its limit.
    BadResult {
        /// What is wrong with it.
        why: String,
    },
    /// The process ended by itself without a result; for a shell command the normal end.
    Exited {
        /// Its exit status.
        status: u8,
    },
    /// A signal ended the process: a crash, or a kill from inside the sandbox.
    Signalled {
        /// The signal's number on Linux.
        signal: u8,
    },
    /// The wall time or the processor time was used up.
    TimedOut {
        /// Which of them.
        clock: Clock,
        /// The limit.
        limit: Duration,
    },
    /// The kernel killed the process at the memory limit.
    OutOfMemory {
        /// The limit.
        limit: ByteSize,
    },
    /// A stream carried more than its limit; what came before is kept.
    OutputLimit {
        /// Which one.
        stream: OutputStream,
        /// The limit of each stream.
        limit: ByteSize,
    },
    /// The run failed with a full file system.
    DiskLimit {
        /// Which one.
        scope: DiskScope,
        /// Its size.
        limit: ByteSize,
        /// How many files it holds, where these were used up and not its size.
        files: Option<u64>,
    },
    /// The sandbox or its stream ended without a report: nothing is known of the run.
    SandboxLost {
        /// What was seen.
        why: String,
    },
    /// Somebody asked for it to stop.
    Cancelled,
}

impl RunOutcome {
    /// The name in JSON and records: the variant in snake case.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Completed { .. } => "completed",
            Self::Raised { .. } => "raised",
            Self::BadResult { .. } => "bad_result",
            Self::Exited { .. } => "exited",
            Self::Signalled { .. } => "signalled",
            Self::TimedOut { .. } => "timed_out",
            Self::OutOfMemory { .. } => "out_of_memory",
            Self::OutputLimit { .. } => "output_limit",
            Self::DiskLimit { .. } => "disk_limit",
            Self::SandboxLost { .. } => "sandbox_lost",
            Self::Cancelled => "cancelled",
        }
    }
}
