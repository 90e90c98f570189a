//! What can be written on the command line. Parsing has no side effects.

mod flags;
mod values;

use std::path::PathBuf;

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};

use crate::commands::{
    copy, deploy, diff, doctor, environments, exec, export, gc, images, import, key, list, log,
    pin, pool, pull, push, remove, rename, reproduce, restore, run, runs, search, shell, show,
    sign, solve, stats, tag, undo,
};
pub(crate) use flags::{
    DeterminismFlags, EgressFlags, FolderFlags, LimitFlags, ModelFlags, SandboxFlags, WhyFlags,
    parse_age, parse_duration_or_none,
};
pub(crate) use values::{Cpus, Grants, MountArg, check_length, text_or_stdin};

/// What follows the list of commands in the help.
const AFTER_HELP: &str = "\
Exit codes:
  0    success
  1    the run or task did not succeed, or something failed
  2    the command line or the configuration is wrong
  3    what was named does not exist
  4    refused: a rule, a conflict, or something in the way
  5    the container engine or the model is not available
  70   a bug in AgentFactory
  75   busy: as many runs as may are running; try again later
  130  interrupted

Standard output is data, standard error is for people. Settings: flags win over the environment
(AGENTFACTORY_MODEL, ...), that over `.env` in the working directory, that over config.toml.
Begin with `agentfactory doctor`.";

/// Solves tasks with subagents: small Python programs that a language model writes, runs in
/// locked-down containers, repairs, saves and reuses
#[derive(Debug, Parser)]
#[command(
    name = "agentfactory",
    version,
    after_help = AFTER_HELP,
    arg_required_else_help = true,
    max_term_width = 100
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: GlobalFlags,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What every command takes.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct GlobalFlags {
    /// The folder that holds everything AgentFactory keeps [default: the XDG data directory]
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) home: Option<PathBuf>,
    /// The configuration file [default: agentfactory/config.toml in the XDG config directory]
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// The engine's runtime that sandboxes run under, such as runc, crun or runsc (gVisor)
    ///
    /// It goes over `runtime` and `runtime_for` of the configuration.
    #[arg(long, global = true, value_name = "NAME")]
    pub(crate) runtime: Option<String>,
    /// Print JSON on standard output, and nothing else; a failure is {"error": ...}
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Print no progress and no notes on standard error
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,
    /// Show more of what happens; twice for the log of every step
    #[arg(short, long, global = true, action = ArgAction::Count, conflicts_with = "quiet")]
    pub(crate) verbose: u8,
    /// When to use colours
    #[arg(long, global = true, value_name = "WHEN", default_value_t, value_enum)]
    pub(crate) color: ColorChoice,
}

/// When to use colours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum ColorChoice {
    /// On a terminal, unless `NO_COLOR` is set
    #[default]
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

/// What can be done.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Solve(solve::SolveArgs),
    Run(run::RunArgs),
    Exec(exec::ExecArgs),
    Shell(shell::ShellArgs),
    List(list::ListArgs),
    Search(search::SearchArgs),
    Show(show::ShowArgs),
    Log(log::LogArgs),
    Diff(diff::DiffArgs),
    Undo(undo::UndoArgs),
    Restore(restore::RestoreArgs),
    Tag(tag::TagArgs),
    Pin(pin::PinArgs),
    Unpin(pin::UnpinArgs),
    Rename(rename::RenameArgs),
    Remove(remove::RemoveArgs),
    /// Check that nothing that was saved has changed on disk
    Fsck,
    Gc(gc::GcArgs),
    /// Make what is derived from the store anew: the indexes of its history and of the search
    Reindex,
    Stats(stats::StatsArgs),
    #[command(subcommand)]
    Runs(runs::RunsCommand),
    Reproduce(reproduce::ReproduceArgs),
    Deploy(deploy::DeployArgs),
    Push(push::PushArgs),
    Pull(pull::PullArgs),
    #[command(subcommand)]
    Key(key::KeyCommand),
    Sign(sign::SignArgs),
    Verify(sign::VerifyArgs),
    Import(import::ImportArgs),
    Export(export::ExportArgs),
    Copy(copy::CopyArgs),
    Pool(pool::PoolArgs),
    #[command(subcommand)]
    Images(images::ImagesCommand),
    #[command(subcommand)]
    Env(environments::EnvCommand),
    Doctor(doctor::DoctorArgs),
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn what_excludes_each_other_is_refused() {
        let refused = |line: &str| Cli::try_parse_from(line.split(' ')).is_err();
        assert!(refused("agentfactory exec a.py --input x --workspace y"));
        assert!(refused("agentfactory solve"));
        assert!(refused("agentfactory solve task --question-file q.jsonl"));
        assert!(refused("agentfactory list -q -v"));
        assert!(refused("agentfactory exec a.py --timeout 0"));
        assert!(!refused("agentfactory exec a.py --timeout 10"));
        assert!(!refused("agentfactory --json list --home x"));
    }
}
