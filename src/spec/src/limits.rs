//! Every limit of a run, with its unit and its reason.

use std::time::Duration;

use crate::ByteSize;

/// What one run may use. Everything is enforced outside the subagent's process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Wall time from the subagent's first instruction to its end.
    pub wall: Duration,
    /// Memory of everything in the sandbox, its tmpfs included; there is no swap.
    pub memory: ByteSize,
    /// Processor share in thousandths of one CPU.
    pub cpu_millis: u32,
    /// Processes and threads at once, the harness included.
    pub pids: u32,
    /// Size of the tmpfs at `/workspace`; also the most that is collected from it.
    pub workspace: ByteSize,
    /// Bytes of each of stdout and stderr; a run that writes more is ended.
    pub output: ByteSize,
}

/// Ten minutes. Source: the reference implementation's timeout for a subagent.
pub const WALL: Duration = Duration::from_mins(10);
/// Enough for pandas and a plot; two runs fit on a small machine.
pub const MEMORY: ByteSize = ByteSize::mib(512);
/// One CPU, so that a busy loop leaves the host usable.
pub const CPU_MILLIS: u32 = 1_000;
/// Thread pools and subprocesses fit, a fork bomb ends at once.
pub const PIDS: u32 = 128;
/// A project folder fits; with [`TMP`] it stays far below [`MEMORY`].
pub const WORKSPACE: ByteSize = ByteSize::mib(128);
/// Chatty programs fit, a flood does not.
pub const OUTPUT: ByteSize = ByteSize::mib(1);

/// Size of the tmpfs at `/tmp`, which also holds HOME; what is there is never collected.
pub const TMP: ByteSize = ByteSize::mib(64);
/// Size of the tmpfs for the subagent's source files.
pub const CODE: ByteSize = ByteSize::mib(16);
/// Memory that must be left above the sum of all tmpfs, for the harness and the interpreter.
pub const MEMORY_ABOVE_TMPFS: ByteSize = ByteSize::mib(32);
/// Files and directories in the workspace: bounds the collector's walk.
pub const WORKSPACE_INODES: u64 = 65_536;
/// Files that are collected from one run; the rest is reported as left behind.
pub const FILES: usize = 16_384;
/// Nesting of a collected file.
pub const PATH_DEPTH: usize = 64;
/// Bytes of a collected file's whole path. Source: `PATH_MAX` less the mount point.
pub const PATH_BYTES: usize = 4_000;
/// Bytes of the serialised `answer` and `summary`: they travel to a model and into records.
pub const RESULT: ByteSize = ByteSize::mib(1);
/// Bytes of a traceback: its beginning and its end are kept.
pub const TRACEBACK: ByteSize = ByteSize::kib(16);
/// Open files per process.
pub const OPEN_FILES: u64 = 1_024;
/// Bytes of one tool call's arguments, and of one answer.
pub const TOOL_CALL: ByteSize = ByteSize::mib(4);
/// Tool calls of one run: each is held in the cassette.
pub const TOOL_CALLS: u32 = 1_000;
/// Bytes of all tool calls and answers of one run: each is held in the cassette.
pub const TOOL_BYTES: ByteSize = ByteSize::mib(64);
/// Bytes of the query: it travels to the sandbox in one frame and into records.
pub const QUERY: ByteSize = ByteSize::mib(1);
/// Bytes of one subagent's source files together.
pub const SOURCE: ByteSize = ByteSize::mib(8);
/// Files of one subagent's source.
pub const SOURCE_FILES: usize = 256;
/// How long a sandbox may take to say READY after start; a busy engine needs seconds.
pub const START: Duration = Duration::from_secs(60);
/// How long a stopped run may take to collect and report before it is killed.
pub const STOP_GRACE: Duration = Duration::from_secs(2);
/// How long the collection of files may take after the subagent's end.
pub const COLLECT: Duration = Duration::from_mins(2);
/// Characters of stdout that `execute_shell_command` returns. Source: the reference implementation.
pub const SHELL_OUTPUT_CHARS: usize = 5_000;

impl Default for Limits {
    fn default() -> Self {
        Self {
            wall: WALL,
            memory: MEMORY,
            cpu_millis: CPU_MILLIS,
            pids: PIDS,
            workspace: WORKSPACE,
            output: OUTPUT,
        }
    }
}

/// Limits that contradict each other or cannot hold a sandbox.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LimitsError {
    /// Files on tmpfs are memory: a full workspace would starve the run.
    #[error("a memory limit of {memory} does not hold a workspace of {workspace}")]
    MemoryBelowTmpfs {
        /// The memory limit.
        memory: ByteSize,
        /// The workspace limit.
        workspace: ByteSize,
        /// The least memory that would.
        needed: ByteSize,
    },
    /// Fewer processes than the harness and one child need.
    #[error("a limit of {0} processes is too low")]
    Pids(u32),
    /// No processor time at all.
    #[error("a limit of 0 CPUs cannot run anything")]
    Cpus,
    /// A size that holds nothing.
    #[error("the {0} limit is too small")]
    TooSmall(&'static str),
    /// More than any run is given.
    #[error("the {what} limit is too large")]
    TooLarge {
        /// Which limit.
        what: &'static str,
        /// The most, for people.
        most: String,
    },
}

impl LimitsError {
    /// What a caller can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::MemoryBelowTmpfs { needed, .. } => Some(format!(
                "raise --memory to {needed} or lower --workspace-size"
            )),
            Self::Pids(_) => Some(format!("use at least {PIDS_MIN}")),
            Self::Cpus => Some("use a number such as 0.5 or 2".to_owned()),
            Self::TooSmall(_) => Some(format!("use at least {SIZE_MIN}")),
            Self::TooLarge { most, .. } => Some(format!("use at most {most}")),
        }
    }
}

/// The harness, the child, and a shell with one command.
pub const PIDS_MIN: u32 = 4;
/// Smaller tmpfs and buffers hold nothing useful.
const SIZE_MIN: ByteSize = ByteSize::kib(4);
/// A week: a lease that never ends is none.
const WALL_MAX: Duration = Duration::from_hours(168);
/// More than the machines that this runs on have; the engine says where it has less.
const MEMORY_MAX: ByteSize = ByteSize::mib(1 << 20);
/// Output is held in memory and in the run's record.
const OUTPUT_MAX: ByteSize = ByteSize::mib(64);
/// Source: the kernel's default `pid_max`.
const PIDS_MAX: u32 = 32_768;
/// Source: more than the kernel's `NR_CPUS` in any distribution.
const CPU_MILLIS_MAX: u32 = 8_192_000;

impl Limits {
    /// Size of the tmpfs at `/tmp` under these limits: a small sandbox has a small one.
    pub fn tmp(&self) -> ByteSize {
        TMP.min(ByteSize::bytes(self.memory.get() / 8))
    }

    /// Size of the tmpfs that holds the source under these limits.
    pub fn code(&self) -> ByteSize {
        CODE.min(ByteSize::bytes(self.memory.get() / 8))
    }

    /// Refuses limits that contradict each other.
    ///
    /// # Errors
    /// [`LimitsError`] with the first contradiction.
    pub fn check(&self) -> Result<(), LimitsError> {
        if self.pids < PIDS_MIN {
            return Err(LimitsError::Pids(self.pids));
        }
        if self.cpu_millis == 0 {
            return Err(LimitsError::Cpus);
        }
        let too_large = |what, most: String| Err(LimitsError::TooLarge { what, most });
        if self.wall > WALL_MAX {
            return too_large("time", format!("{}h", WALL_MAX.as_secs() / 3_600));
        }
        if self.memory > MEMORY_MAX {
            return too_large("memory", MEMORY_MAX.to_string());
        }
        if self.output > OUTPUT_MAX {
            return too_large("output", OUTPUT_MAX.to_string());
        }
        if self.pids > PIDS_MAX {
            return too_large("process", PIDS_MAX.to_string());
        }
        if self.cpu_millis > CPU_MILLIS_MAX {
            return too_large("CPU", (CPU_MILLIS_MAX / 1_000).to_string());
        }
        if self.workspace < SIZE_MIN {
            return Err(LimitsError::TooSmall("workspace"));
        }
        if self.output == ByteSize::default() {
            return Err(LimitsError::TooSmall("output"));
        }
        // A quarter of the memory goes to /tmp and the source at most, so this has a solution.
        let fixed = self.tmp().get() + self.code().get() + MEMORY_ABOVE_TMPFS.get();
        if self.workspace.get().saturating_add(fixed) > self.memory.get() {
            let needed = (self
                .workspace
                .get()
                .saturating_add(MEMORY_ABOVE_TMPFS.get()))
            .saturating_mul(4)
            .div_ceil(3)
            .div_ceil(1 << 20);
            return Err(LimitsError::MemoryBelowTmpfs {
                memory: self.memory,
                workspace: self.workspace,
                needed: ByteSize::bytes(needed << 20),
            });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_agree_with_each_other() {
        assert_eq!(Limits::default().check(), Ok(()));
    }

    #[test]
    fn limits_beyond_all_measure_are_refused() {
        let check = |limits: Limits| {
            assert!(
                matches!(limits.check(), Err(LimitsError::TooLarge { .. })),
                "{limits:?}"
            );
        };
        check(Limits {
            wall: Duration::from_hours(1_000_000),
            ..Limits::default()
        });
        check(Limits {
            memory: ByteSize::bytes(u64::MAX),
            ..Limits::default()
        });
        check(Limits {
            output: ByteSize::mib(1 << 20),
            ..Limits::default()
        });
        check(Limits {
            pids: u32::MAX,
            ..Limits::default()
        });
        check(Limits {
            cpu_millis: u32::MAX,
            ..Limits::default()
        });
    }

    #[test]
    fn the_hint_for_too_little_memory_is_enough_memory() {
        for workspace in [1, 64, 128, 500, 4096] {
            let limits = Limits {
                memory: ByteSize::mib(16),
                workspace: ByteSize::mib(workspace),
                ..Limits::default()
            };
            let Err(LimitsError::MemoryBelowTmpfs { needed, .. }) = limits.check() else {
                panic!("16M cannot hold {workspace}M");
            };
            assert_eq!(
                Limits {
                    memory: needed,
                    ..limits
                }
                .check(),
                Ok(()),
                "{workspace}"
            );
        }
    }
}
