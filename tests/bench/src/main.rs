//! Measures, in one interleaved run, and prints ratios: absolute times depend on the machine.
//!
//! Every row runs the same empty Python program, so what is measured is what a sandbox costs.

mod cli;
mod docker;
mod images;
mod library;
mod load;
mod ours;
mod pandas;
mod report;
mod rows;
mod samples;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser;

use report::Report;

/// What is measured, and where it goes.
#[derive(Debug, Parser)]
struct Arguments {
    /// Interleaved rounds; every row is measured once in each
    #[arg(long, default_value_t = 30)]
    rounds: usize,
    /// Also write every sample to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Also write the tables to this file
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
    /// The program
    #[arg(
        long,
        value_name = "FILE",
        default_value = "target/release/agentfactory"
    )]
    agentfactory: PathBuf,
    /// The sandbox image, as the engine knows it
    #[arg(long, default_value = "agentfactory/base:latest")]
    image: String,
    /// A Python that has the package llm-sandbox, to compare with it
    #[arg(long, value_name = "FILE")]
    llm_sandbox: Option<PathBuf>,
    /// The engine's runtime to measure, instead of its default
    #[arg(long)]
    runtime: Option<String>,
    /// Measure the library alone, with so many versions [default: 100000]; no engine is needed
    #[arg(long, value_name = "VERSIONS", num_args = 0..=1, default_missing_value = "100000")]
    library: Option<usize>,
    /// Measure only rows whose name has this in it, and no load; may be given again
    #[arg(long, value_name = "TEXT")]
    row: Vec<String>,
    /// Leave out what loads the machine: burst, sustained rate, open loop
    #[arg(long)]
    quick: bool,
    /// Runs one sandbox that never ends, for the measurement of a client that is killed
    #[arg(long, hide = true)]
    victim: bool,
    /// Ends with a failure when an aim is missed
    #[arg(long)]
    strict: bool,
}

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    if let Some(versions) = arguments.library {
        return library(&arguments, versions).await;
    }
    let ours = ours::Ours::connect(&arguments.image, arguments.runtime.as_deref()).await?;
    if arguments.victim {
        ours.run_for_ever().await?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut report = Report::default();
    let measured = measure(&arguments, &ours, &mut report).await;
    ours.shutdown().await;
    measured?;
    let machine = machine(&arguments, &ours).await?;
    tell(&arguments, &report, &machine)
}

/// Measures what needs no engine.
async fn library(arguments: &Arguments, versions: usize) -> anyhow::Result<ExitCode> {
    let mut report = Report::default();
    library::measure(arguments, versions, &mut report).await?;
    let cpus = std::thread::available_parallelism()?;
    let machine = BTreeMap::from([("cpus", format!("{cpus} CPUs"))]);
    tell(arguments, &report, &machine)
}

/// Prints and writes what was measured.
fn tell(
    arguments: &Arguments,
    report: &Report,
    machine: &BTreeMap<&'static str, String>,
) -> anyhow::Result<ExitCode> {
    let table = report.markdown(machine);
    say(&table);
    if let Some(file) = &arguments.markdown {
        std::fs::write(file, &table).with_context(|| format!("writing {}", file.display()))?;
    }
    if let Some(file) = &arguments.json {
        let json = report.json(machine);
        std::fs::write(file, json).with_context(|| format!("writing {}", file.display()))?;
    }
    Ok(if arguments.strict && !report.holds() {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

async fn measure(
    arguments: &Arguments,
    ours: &ours::Ours,
    report: &mut Report,
) -> anyhow::Result<()> {
    rows::measure(arguments, ours, report).await?;
    if !arguments.quick && arguments.row.is_empty() {
        load::measure(arguments, ours, report).await?;
    }
    compare(arguments, report);
    Ok(())
}

/// What the issue of the numbers is: each of them is an aim of the README.
fn compare(arguments: &Arguments, report: &mut Report) {
    let (run, hardened) = ("`docker run`", "hardened `docker run`");
    if arguments.runtime.is_some() {
        report.faster("leased run", run, 70.0);
        return;
    }
    report.faster("leased run", hardened, 100.0);
    report.faster("leased run", "`docker exec`", 25.0);
    if let Some(leased) = report.samples("leased run") {
        let spread = samples::ratio(leased.at(0.95), leased.median());
        report.at_most("leased run, p95", "its p50", spread, 2.0);
    }
    report.faster("leased shell command", run, 60.0);
    report.faster("fresh CLI call against the pool", run, 10.0);
    report.takes_at_most("cold run", run, 0.65);
    report.takes_at_most("client killed to container gone", run, 0.5);
    pandas::compare(report);
    images::compare(report);
}

async fn machine(
    arguments: &Arguments,
    ours: &ours::Ours,
) -> anyhow::Result<BTreeMap<&'static str, String>> {
    let cpus = std::thread::available_parallelism()?;
    let info = docker::output(&[
        "docker",
        "info",
        "--format",
        "{{.Driver}}, {{.KernelVersion}}",
    ]);
    let runtime = arguments.runtime.as_deref().unwrap_or("default");
    Ok(BTreeMap::from([
        ("cpus", format!("{cpus} CPUs")),
        ("engine", format!("{}, {runtime} runtime", ours.engine())),
        ("host", info.await?.trim().to_owned()),
        ("rounds", format!("{} interleaved rounds", arguments.rounds)),
    ]))
}

#[expect(clippy::print_stdout, reason = "the program's one output")]
fn say(text: &str) {
    println!("{text}");
}
