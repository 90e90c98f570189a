//! Every limit of a run, with its unit and its reason.

mod error;
mod partial;

pub use error::LimitsError;
pub use partial::{LimitSources, PartialLimits, VERSION_MAX};

use std::time::Duration;

use crate::ByteSize;

/// What one run may use. Everything is enforced outside the subagent's process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Wall time from the subagent's first instruction to its end.
    pub wall: Duration,
    /// Processor time of everything in the sandbox together, from the subagent's first instruction.
    /// None means as much as wall time and processor share give, see [`Self::cpu_bound`].
    pub cpu: Option<Duration>,
    /// Memory of everything in the sandbox, its tmpfs included; there is no swap. Fixed when the
    /// sandbox is created.
    pub memory: ByteSize,
    /// Processor share in thousandths of one CPU. Fixed when the sandbox is created.
    pub cpu_millis: u32,
    /// Processes and threads at once, the harness included. Fixed when the sandbox is created.
    pub pids: u32,
    /// Size of the tmpfs at `/workspace`; also the most that is collected from it. Fixed when the
    /// sandbox is created.
    pub workspace: ByteSize,
    /// Files, folders and links in `/workspace`, itself included. Fixed when the sandbox is created.
    pub workspace_files: u64,
    /// Bytes of each of stdout and stderr; a run that writes more is ended.
    pub output: ByteSize,
    /// Bytes of the serialised `answer` and `summary` together.
    pub result: ByteSize,
    /// Files that are collected; the rest is reported as left behind.
    pub collect_files: u32,
    /// Names in the path of a collected file; what is deeper is reported as left behind.
    pub collect_depth: u32,
    /// Requests of the subagent to tools and models; more are refused, and the run goes on.
    pub tool_calls: u32,
    /// Bytes of these requests and their answers together; more are refused.
    pub tool_bytes: ByteSize,
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
/// Files and directories in a workspace: bounds the collector's walk.
pub const WORKSPACE_INODES: u64 = 65_536;
/// Files that a workspace is made of.
pub const FILES: usize = 16_384;
/// As many files as a workspace can be made of: what one run leaves in an empty one is the input of the next.
pub const COLLECT_FILES: u32 = 16_384;
/// Nesting of a file in a workspace.
pub const PATH_DEPTH: usize = 64;
/// As deep as paths can be.
pub const COLLECT_DEPTH: u32 = 64;
/// Bytes of all paths of a workspace together, and of those that come back: each is held in memory
/// and written into records.
pub const NAMES: ByteSize = ByteSize::mib(4);
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
/// Modules that a sandbox imports while it waits; each program names few itself.
pub const IMPORTS: usize = 32;
/// Bytes of their names together: they travel in one variable.
pub const IMPORTS_BYTES: usize = 2_000;
/// Files of one subagent's source.
pub const SOURCE_FILES: usize = 256;
/// How long a sandbox may take to say READY after start; a busy engine needs seconds.
pub const START: Duration = Duration::from_secs(60);
/// How long a stopped run may take to collect and report before it is killed.
pub const STOP_GRACE: Duration = Duration::from_secs(2);
/// How long the collection of files may take after the subagent's end.
pub const COLLECT: Duration = Duration::from_mins(2);
/// How long a sandbox may say nothing meanwhile: it looks at many files in that, however busy the machine is.
pub const COLLECT_SILENCE: Duration = Duration::from_secs(20);
/// Characters of stdout that `execute_shell_command` returns. Source: the reference implementation.
pub const SHELL_OUTPUT_CHARS: usize = 5_000;

/// Connections of a program to its proxy at once; more wait in the sandbox's kernel. Browsers open
/// about as many; each holds some 100 KiB of the host's memory.
pub const CONNECTIONS: u32 = 32;

impl Default for Limits {
    fn default() -> Self {
        Self {
            wall: WALL,
            cpu: None,
            memory: MEMORY,
            cpu_millis: CPU_MILLIS,
            pids: PIDS,
            workspace: WORKSPACE,
            workspace_files: WORKSPACE_INODES,
            output: OUTPUT,
            result: RESULT,
            collect_files: COLLECT_FILES,
            collect_depth: COLLECT_DEPTH,
            tool_calls: TOOL_CALLS,
            tool_bytes: TOOL_BYTES,
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
/// A week of as many processors as a large machine has.
const CPU_MAX: Duration = Duration::from_hours(168 * 256);
/// What a run may overrun its share in its first and last moments.
const CPU_SLACK: Duration = Duration::from_secs(5);
/// The harness looks at the processor time ten times a second.
const CPU_MIN: Duration = Duration::from_millis(100);
/// The workspace itself and some files.
const WORKSPACE_FILES_MIN: u64 = 4;
/// An empty result, as JSON.
const RESULT_MIN: ByteSize = ByteSize::bytes(64);
/// A result travels in one message of the child, with the names of its parts and its escapes.
const RESULT_MAX: ByteSize = ByteSize::mib(1);
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

    /// The most processor time that a run can use: what was asked for, else what wall time and
    /// processor share give, with room for how exactly the kernel shares. Where the kernel does
    /// share, a run without a limit of its own always meets its wall time first.
    pub fn cpu_bound(&self) -> Duration {
        let share = |time: Duration| {
            let whole = time.saturating_mul(self.cpu_millis / 1_000);
            let part = time.saturating_mul(self.cpu_millis % 1_000) / 1_000;
            whole.saturating_add(part)
        };
        self.cpu.unwrap_or_else(|| {
            share(self.wall.saturating_add(self.wall / 10)).saturating_add(CPU_SLACK)
        })
    }

    /// Refuses limits that no sandbox can have, each for itself.
    fn check_each(&self) -> Result<(), LimitsError> {
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
            return Err(LimitsError::TooLow {
                what: "output",
                least: ByteSize::bytes(1).to_string(),
            });
        }
        let too_low = |what, least: String| Err(LimitsError::TooLow { what, least });
        if self.cpu.is_some_and(|cpu| cpu < CPU_MIN) {
            return too_low("processor time", format!("{}ms", CPU_MIN.as_millis()));
        }
        if self.cpu.is_some_and(|cpu| cpu > CPU_MAX) {
            return too_large("processor time", format!("{}h", CPU_MAX.as_secs() / 3_600));
        }
        if self.workspace_files < WORKSPACE_FILES_MIN {
            return too_low("workspace file", WORKSPACE_FILES_MIN.to_string());
        }
        if self.workspace_files > WORKSPACE_INODES {
            return too_large("workspace file", WORKSPACE_INODES.to_string());
        }
        if self.result < RESULT_MIN {
            return too_low("result", RESULT_MIN.to_string());
        }
        if self.result > RESULT_MAX {
            return too_large("result", RESULT_MAX.to_string());
        }
        if self.collect_files > COLLECT_FILES {
            return too_large("collected file", COLLECT_FILES.to_string());
        }
        if self.collect_depth == 0 {
            return too_low("collection depth", "1".to_owned());
        }
        if self.collect_depth > COLLECT_DEPTH {
            return too_large("collection depth", COLLECT_DEPTH.to_string());
        }
        if self.tool_calls > TOOL_CALLS {
            return too_large("tool call", TOOL_CALLS.to_string());
        }
        if self.tool_bytes > TOOL_BYTES {
            return too_large("tool size", TOOL_BYTES.to_string());
        }
        Ok(())
    }

    /// Refuses limits that contradict each other, or that no sandbox can have.
    ///
    /// # Errors
    /// [`LimitsError`] with the first contradiction.
    pub fn check(&self) -> Result<(), LimitsError> {
        self.check_each()?;
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
    fn processor_time_without_a_limit_ends_after_the_wall_time() {
        for cpu_millis in [10, 500, 1_000, 4_500] {
            let limits = Limits {
                cpu_millis,
                ..Limits::default()
            };
            let most = limits.wall * cpu_millis / 1_000;
            assert!(limits.cpu_bound() > most, "{cpu_millis}");
            assert!(limits.cpu_bound() < most * 2, "{cpu_millis}");
        }
    }

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
        check(Limits {
            cpu: Some(Duration::MAX),
            ..Limits::default()
        });
        check(Limits {
            workspace_files: WORKSPACE_INODES + 1,
            ..Limits::default()
        });
        check(Limits {
            result: ByteSize::bytes(RESULT.get() + 1),
            ..Limits::default()
        });
        check(Limits {
            collect_files: COLLECT_FILES + 1,
            ..Limits::default()
        });
        check(Limits {
            collect_depth: COLLECT_DEPTH + 1,
            ..Limits::default()
        });
        check(Limits {
            tool_calls: TOOL_CALLS + 1,
            ..Limits::default()
        });
        check(Limits {
            tool_bytes: ByteSize::bytes(TOOL_BYTES.get() + 1),
            ..Limits::default()
        });
    }

    #[test]
    fn limits_that_hold_nothing_are_refused() {
        let check = |limits: Limits| {
            let error = limits.check().unwrap_err();
            assert!(matches!(error, LimitsError::TooLow { .. }), "{limits:?}");
            assert!(error.hint().unwrap().starts_with("use at least"));
        };
        check(Limits {
            cpu: Some(Duration::ZERO),
            ..Limits::default()
        });
        check(Limits {
            workspace_files: 0,
            ..Limits::default()
        });
        check(Limits {
            result: ByteSize::bytes(1),
            ..Limits::default()
        });
        check(Limits {
            collect_depth: 0,
            ..Limits::default()
        });
        let none = Limits {
            collect_files: 0,
            tool_calls: 0,
            tool_bytes: ByteSize::default(),
            ..Limits::default()
        };
        assert_eq!(none.check(), Ok(()), "nothing at all is a limit too");
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
