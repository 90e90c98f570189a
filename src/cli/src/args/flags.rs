//! Flags that several commands share.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use egress::HostRule;
use jiff::Timestamp;
use llm::ModelRef;
use spec::{ByteSize, Determinism, DurationError, PartialLimits, parse_duration};

use super::{Cpus, MountArg};

/// Which models answer.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Model options")]
pub(crate) struct ModelFlags {
    /// The model: anthropic:ID, openai:ID, ollama:ID, a configured PROVIDER:ID, or scripted:FILE
    #[arg(long, value_name = "PROVIDER:ID")]
    pub(crate) model: Option<ModelRef>,
    /// The model that answers subagents' own `call_llm` [default: the same model]
    #[arg(long, value_name = "PROVIDER:ID")]
    pub(crate) subagent_model: Option<ModelRef>,
}

/// What is said about a change, for the log.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct WhyFlags {
    /// Say why, at most 64 KiB; the log keeps it
    #[arg(long, value_name = "TEXT")]
    pub(crate) why: Option<String>,
}

/// Where the workspace comes from.
#[derive(Clone, Debug, Default, Args)]
#[group(skip)]
pub(crate) struct Sources {
    /// Copy this folder to /workspace; the folder itself is never changed
    #[arg(long, value_name = "DIR", conflicts_with = "workspace")]
    pub(crate) input: Option<PathBuf>,
    /// Copy this folder to /workspace and, after success, write what changed back
    #[arg(long, value_name = "DIR")]
    pub(crate) workspace: Option<PathBuf>,
}

/// What a run sees of the host's folders, and where its files go.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Folder options")]
pub(crate) struct FolderFlags {
    #[command(flatten)]
    pub(crate) sources: Sources,
    /// Bind a folder at /mnt/NAME, read-only unless `:rw`; may be given several times
    ///
    /// NAME is what follows the last `=`; without it, the folder's own name. What happens in a
    /// writable one is outside the run's transaction.
    #[arg(long, value_name = "DIR[:rw][=NAME]")]
    pub(crate) mount: Vec<MountArg>,
    /// Write the files that are new or changed to this folder, whether or not the run succeeds
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
}

/// What a run may reach.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Network options")]
pub(crate) struct EgressFlags {
    /// Let it reach this host over HTTP and HTTPS: HOST, HOST:PORT or *.HOST; may be given several times
    #[arg(long, value_name = "HOST[:PORT]", value_delimiter = ',')]
    pub(crate) egress: Vec<HostRule>,
}

/// What each run may use.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
#[command(next_help_heading = "Limit options")]
pub(crate) struct LimitFlags {
    /// Wall time of a run, such as 10s or 5m [default: 10m]
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub(crate) timeout: Option<Duration>,
    /// Processor time of everything in a run's sandbox together [default: what --timeout and --cpus give]
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub(crate) cpu_time: Option<Duration>,
    /// Memory of a run, such as 256M [default: 512M]
    #[arg(long, value_name = "SIZE")]
    pub(crate) memory: Option<ByteSize>,
    /// Processors of a run, such as 0.5 or 2 [default: 1]
    #[arg(long, value_name = "NUMBER")]
    pub(crate) cpus: Option<Cpus>,
    /// Processes and threads of a run [default: 128]
    #[arg(long, value_name = "NUMBER")]
    pub(crate) pids: Option<u32>,
    /// Size of /workspace, which is memory [default: 128M]
    #[arg(long, value_name = "SIZE")]
    pub(crate) workspace_size: Option<ByteSize>,
    /// Files and folders in /workspace [default: 65536]
    #[arg(long, value_name = "NUMBER")]
    pub(crate) workspace_files: Option<u64>,
    /// Bytes of each of standard output and error of a run [default: 1M]
    #[arg(long, value_name = "SIZE")]
    pub(crate) output_size: Option<ByteSize>,
    /// Bytes of `answer` and `summary` together [default: 1M]
    #[arg(long, value_name = "SIZE")]
    pub(crate) result_size: Option<ByteSize>,
    /// New or changed files that are collected from a run; more are left behind [default: 16384]
    #[arg(long, value_name = "NUMBER")]
    pub(crate) collect_files: Option<u32>,
    /// Names in the path of a file that is collected; deeper ones are left behind [default: 64]
    #[arg(long, value_name = "NUMBER")]
    pub(crate) collect_depth: Option<u32>,
    /// Calls of tools and models by a run; more are refused to it [default: 1000]
    #[arg(long, value_name = "NUMBER")]
    pub(crate) tool_calls: Option<u32>,
    /// Bytes of these calls and their answers together [default: 64M]
    #[arg(long, value_name = "SIZE")]
    pub(crate) tool_size: Option<ByteSize>,
}

/// What a run is given in place of the world's clock and randomness.
#[derive(Clone, Copy, Debug, Default, Args)]
#[command(next_help_heading = "Reproduction options")]
pub(crate) struct DeterminismFlags {
    /// Begin Python's clock at this time, such as 2026-01-01T00:00:00Z
    ///
    /// Each reading is a millisecond after the one before, and sleeping moves it as long as was asked.
    /// Monotonic clocks, times of files and other programs keep the machine's.
    #[arg(long, value_name = "TIME", value_parser = parse_clock)]
    pub(crate) clock: Option<u64>,
    /// Seed the generators of `random` and `numpy.random`: 0 to 4294967295
    ///
    /// `secrets`, `os.urandom` and `uuid` stay random.
    #[arg(long, value_name = "NUMBER")]
    pub(crate) seed: Option<u32>,
}

impl DeterminismFlags {
    /// What is asked for.
    pub(crate) fn fixed(self) -> Determinism {
        Determinism {
            clock_ms: self.clock,
            seed: self.seed,
        }
    }
}

/// A time with its zone, in milliseconds since 1970 began.
pub(crate) fn parse_clock(text: &str) -> Result<u64, String> {
    let wrong = |why: &str| format!("{why}: write a time such as 2026-01-01T00:00:00Z");
    let time: Timestamp = text
        .parse()
        .map_err(|_| wrong("it is not a time with its zone"))?;
    if time.subsec_nanosecond() % 1_000_000 != 0 {
        return Err(wrong("the clock goes by milliseconds"));
    }
    let clock = u64::try_from(time.as_millisecond()).ok();
    clock
        .filter(|ms| *ms <= Determinism::CLOCK_MS_MAX)
        .ok_or_else(|| wrong("the clock begins in 1970 at the earliest, and in 9000 at the latest"))
}

/// How a run gets its sandbox.
#[derive(Clone, Copy, Debug, Default, Args)]
#[command(next_help_heading = "Sandbox options")]
pub(crate) struct SandboxFlags {
    /// How long to wait while as many runs as may are running, such as 0s or 5m [default: 60s]
    #[arg(long, value_name = "TIME", value_parser = parse_duration_or_none)]
    pub(crate) queue_timeout: Option<Duration>,
    /// Start a sandbox of its own even where `agentfactory pool` keeps some ready
    #[arg(long)]
    pub(crate) no_pool: bool,
}

/// An age: a duration, a number of days such as `30d`, or none at all.
pub(crate) fn parse_age(text: &str) -> Result<Duration, DurationError> {
    let days = text.strip_suffix('d').filter(|days| !days.is_empty());
    let days = days.and_then(|days| days.parse::<u64>().ok()?.checked_mul(24 * 60 * 60));
    days.map_or_else(
        || parse_duration_or_none(text),
        |seconds| Ok(Duration::from_secs(seconds)),
    )
}

/// A duration, or none at all.
pub(crate) fn parse_duration_or_none(text: &str) -> Result<Duration, DurationError> {
    match text {
        "0" | "0s" => Ok(Duration::ZERO),
        text => parse_duration(text),
    }
}

impl LimitFlags {
    /// What is given.
    pub(crate) fn partial(&self) -> PartialLimits {
        PartialLimits {
            wall: self.timeout,
            cpu: self.cpu_time,
            memory: self.memory,
            cpu_millis: self.cpus.map(Cpus::millis),
            pids: self.pids,
            workspace: self.workspace_size,
            workspace_files: self.workspace_files,
            output: self.output_size,
            result: self.result_size,
            collect_files: self.collect_files,
            collect_depth: self.collect_depth,
            tool_calls: self.tool_calls,
            tool_bytes: self.tool_size,
        }
    }
}

#[cfg(test)]
mod tests {
    use spec::Limits;

    use super::*;

    #[test]
    fn clocks_are_read() {
        let check = |text: &str, expected: Option<u64>| {
            assert_eq!(parse_clock(text).ok(), expected, "{text}");
        };
        check("1970-01-01T00:00:00Z", Some(0));
        check("2026-01-01T00:00:00Z", Some(1_767_225_600_000));
        check("2026-01-01T01:00:00.25+01:00", Some(1_767_225_600_250));
        check("9000-01-01T00:00:00Z", Some(Determinism::CLOCK_MS_MAX));
        for bad in [
            "",
            "now",
            "0",
            "2026-01-01",
            "2026-01-01T00:00:00",
            "1969-12-31T23:59:59Z",
            "9000-01-01T00:00:00.001Z",
            "2026-01-01T00:00:00.0001Z",
        ] {
            check(bad, None);
        }
    }

    #[test]
    fn the_defaults_in_the_help_are_the_defaults() {
        use clap::CommandFactory as _;

        let limits = Limits::default();
        let expected = [
            (
                "timeout",
                "10m".to_owned(),
                limits.wall == parse_duration("10m").unwrap(),
            ),
            ("memory", limits.memory.to_string(), true),
            ("cpus", "1".to_owned(), limits.cpu_millis == 1_000),
            ("pids", limits.pids.to_string(), true),
            ("workspace_size", limits.workspace.to_string(), true),
            ("workspace_files", limits.workspace_files.to_string(), true),
            ("output_size", limits.output.to_string(), true),
            ("result_size", limits.result.to_string(), true),
            ("collect_files", limits.collect_files.to_string(), true),
            ("collect_depth", limits.collect_depth.to_string(), true),
            ("tool_calls", limits.tool_calls.to_string(), true),
            ("tool_size", limits.tool_bytes.to_string(), true),
        ];
        let command = super::super::Cli::command();
        let exec = command.find_subcommand("exec").unwrap();
        for (id, text, holds) in expected {
            let flag = exec
                .get_arguments()
                .find(|flag| flag.get_id() == id)
                .unwrap();
            let help = flag.get_help().unwrap().to_string();
            assert!(
                holds && help.ends_with(&format!("[default: {text}]")),
                "{help}"
            );
        }
    }
}
