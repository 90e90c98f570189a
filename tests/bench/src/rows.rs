//! What is measured once in each round, one after another, so that a change of the machine's mood
//! meets all rows alike.

use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use futures::future::BoxFuture;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;

use crate::Arguments;
use crate::cli::Program;
use crate::docker::{self, Entered, time};
use crate::images;
use crate::ours::{Job, Ours};
use crate::pandas::Pandas;
use crate::report::Report;
use crate::samples::{Samples, ms};

/// What every row runs that is not ours.
const EMPTY: &[&str] = &["python3", "-c", "pass"];
/// A program of ours that does nothing.
const EMPTY_SUBAGENT: &str = "def main(query):\n    return {'answer': '', 'summary': ''}\n";
/// Rounds of what takes seconds.
const SLOW_ROUNDS: usize = 5;

type Measure<'a> = Box<dyn Fn() -> BoxFuture<'a, anyhow::Result<Duration>> + 'a>;

pub(crate) struct Row<'a> {
    name: &'static str,
    rounds: usize,
    measure: Measure<'a>,
    samples: Samples,
}

pub(crate) fn row<'a, F>(name: &'static str, rounds: usize, measure: impl Fn() -> F + 'a) -> Row<'a>
where
    F: Future<Output = anyhow::Result<Duration>> + Send + 'a,
{
    Row {
        name,
        rounds,
        measure: Box::new(move || Box::pin(measure())),
        samples: Samples::default(),
    }
}

/// Measures all rows.
pub(crate) async fn measure(
    arguments: &Arguments,
    ours: &Ours,
    report: &mut Report,
) -> anyhow::Result<()> {
    let (rounds, image) = (arguments.rounds, arguments.image.as_str());
    let runtime = arguments
        .runtime
        .as_ref()
        .map(|name| format!("--runtime={name}"));
    let flags: Vec<&str> = runtime.iter().map(String::as_str).collect();
    let plain = docker::run(image, &flags, EMPTY);
    let hardened = docker::hardened(image, &flags, EMPTY);
    let empty = Job::subagent(EMPTY_SUBAGENT);
    let shell = Job::shell("true");
    let entered;
    let mut pandas = None;
    let folder = tempfile::tempdir()?;
    let program = Program::new(&arguments.agentfactory, &folder.path().join("home"))?;
    let file = folder.path().join("empty.py");
    std::fs::write(&file, EMPTY_SUBAGENT)?;
    let file = file.to_str().context("a path that is not UTF-8")?;
    let context = folder.path().join("context");
    let context = context.to_str().context("a path that is not UTF-8")?;
    let mut rows = vec![
        row("bare `python3`", rounds, async || time(EMPTY).await),
        row("`docker run`", rounds, async || time(&plain).await),
        row("hardened `docker run`", rounds, async || {
            time(&hardened).await
        }),
        row("leased run", rounds, async || ours.leased(&empty).await),
        row("leased shell command", rounds, async || {
            ours.leased(&shell).await
        }),
        row("cold run", rounds, async || ours.cold(&empty).await),
    ];
    // The rest is about the program as people have it, on the engine's default runtime.
    let mut pool = None;
    if runtime.is_none() {
        entered = Entered::start(image).await?;
        let exec = [&["docker", "exec", &entered.0], EMPTY].concat();
        rows.push(row("`docker exec`", rounds, move || {
            let exec = exec.clone();
            async move { time(&exec).await }
        }));
        program.call(&["images", "build"]).await?;
        pool = Some(program.start(&["pool", "--keep", "2", "--idle", "1h"])?);
        rows.extend(calls(&program, file, rounds));
        program.pool_has(1).await?;
        pandas = Pandas::prepare(&program, folder.path()).await?;
        if let Some(pandas) = &pandas {
            rows.extend(pandas.rows(&program, ours, rounds));
        }
        rows.push(row(
            "client killed to container gone",
            rounds.min(2 * SLOW_ROUNDS),
            || killed_to_gone(image),
        ));
        rows.extend(files(ours, rounds.min(2 * SLOW_ROUNDS))?);
        images::prepare(&program, folder.path(), image).await?;
        rows.extend(images::rows(&program, context, rounds.min(SLOW_ROUNDS)));
    }
    if let Some(python) = &arguments.llm_sandbox {
        let python = python.to_str().context("a path that is not UTF-8")?;
        let image = llm_sandbox_image(image).await?;
        rows.push(row(
            "llm-sandbox (PyPI), to its result",
            rounds.min(SLOW_ROUNDS),
            move || llm_sandbox(python, image),
        ));
    }
    let is_asked_for = |name: &str| arguments.row.iter().any(|part| name.contains(part));
    let names: Vec<_> = rows.iter().map(|row| row.name).collect();
    rows.retain(|row| arguments.row.is_empty() || is_asked_for(row.name));
    ensure!(
        !rows.is_empty(),
        "no row has that in its name; there are: {}",
        names.join(", ")
    );
    rounds_of(&mut rows, rounds, ours).await?;
    for Row { name, samples, .. } in rows {
        report.row(name, samples);
    }
    if pool.take().is_some() {
        images::clean().await?;
    }
    phases(ours, &empty, rounds, "phases of a leased run", report).await?;
    if let Some(pandas) = &pandas {
        let name = "phases of a leased run with pandas";
        phases(ours, &pandas.job, rounds, name, report).await?;
        // What is measured next has the machine for itself.
        ours.give_up(&pandas.job);
    }
    Ok(())
}

/// Calls of the program from a shell.
fn calls<'a>(program: &'a Program, file: &'a str, rounds: usize) -> [Row<'a>; 2] {
    [
        row(
            "fresh CLI call against the pool",
            rounds,
            move || async move {
                program.pool_has(1).await?;
                let (printed, took) = program.call(&["exec", file, "", "--json"]).await?;
                let run: serde_json::Value = serde_json::from_str(&printed)?;
                ensure!(
                    run["start"] == "leased",
                    "the call was not served from the pool: {printed}"
                );
                Ok(took)
            },
        ),
        row(
            "fresh CLI call without a pool",
            rounds,
            move || async move {
                let arguments = ["exec", file, "", "--json", "--no-pool"];
                Ok(program.call(&arguments).await?.1)
            },
        ),
    ]
}

/// Leased runs with files.
fn files(ours: &Ours, rounds: usize) -> anyhow::Result<Vec<Row<'_>>> {
    let jobs = [
        ("restore of 1,000 files", ours.restore_many()?),
        ("collect of 1,000 files", Job::collect_many()),
        ("restore of 100 MB", ours.restore_large()?),
        ("collect of 100 MB", Job::collect_large()),
    ];
    let rows = jobs.map(|(name, job)| {
        row(name, rounds, move || {
            let job = job.clone();
            async move { ours.leased(&job).await }
        })
    });
    Ok(rows.into())
}

/// Where the time of a leased run goes.
async fn phases(
    ours: &Ours,
    job: &Job,
    rounds: usize,
    name: &'static str,
    report: &mut Report,
) -> anyhow::Result<()> {
    let names = ["whole", "lease", "restore", "run", "collect"];
    let mut samples = [const { Samples::new() }; 5];
    for _ in 0..rounds {
        ours.settle().await?;
        let (whole, phases) = ours.leased_phases(job).await?;
        let times = [
            whole,
            phases.lease,
            phases.restore,
            phases.run,
            phases.collect,
        ];
        for (samples, took) in samples.iter_mut().zip(times) {
            samples.add(took);
        }
    }
    let medians = names.iter().zip(&samples);
    let medians = medians.map(|(name, samples)| format!("{name} {:.2} ms", ms(samples.median())));
    report.fact(name, medians.collect::<Vec<_>>().join(", "));
    Ok(())
}

/// Measures each row once in each round.
async fn rounds_of(rows: &mut [Row<'_>], rounds: usize, ours: &Ours) -> anyhow::Result<()> {
    for round in 0..=rounds {
        for row in rows.iter_mut().filter(|row| round <= row.rounds) {
            ours.settle().await?;
            let measured = (row.measure)().await;
            let took = measured.with_context(|| format!("measuring {}", row.name))?;
            // The first round warms up.
            if round > 0 {
                row.samples.add(took);
            }
        }
        progress(&format!("round {round}/{rounds}"));
    }
    Ok(())
}

/// Kills a client in the middle of its run; from then until the engine says that the container is
/// gone.
async fn killed_to_gone(image: &str) -> anyhow::Result<Duration> {
    let mut events = Command::new("docker")
        .args([
            "events",
            "--filter",
            "type=container",
            "--filter",
            "event=destroy",
        ])
        .args(["--filter", "label=agentfactory.run", "--format", "{{.ID}}"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let mut destroyed = BufReader::new(events.stdout.take().context("no output")?).lines();
    let mut victim = Command::new(std::env::current_exe()?)
        .args(["--victim", "--image", image])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let mut said = BufReader::new(victim.stdout.take().context("no output")?).lines();
    said.next_line().await?.context("the victim ended")?;
    let began = Instant::now();
    victim.start_kill()?;
    tokio::time::timeout(Duration::from_secs(60), destroyed.next_line())
        .await
        .context("the container stays")??;
    Ok(began.elapsed())
}

/// The package wants a program named `python` in the image.
async fn llm_sandbox_image(image: &str) -> anyhow::Result<&'static str> {
    const NAME: &str = "agentfactory/bench:python";
    let folder = tempfile::tempdir()?;
    let lines = [
        format!("FROM {image}"),
        "USER 0".to_owned(),
        r#"RUN ["/usr/bin/ln", "-s", "python3", "/usr/bin/python"]"#.to_owned(),
        "ENTRYPOINT []".to_owned(),
        r#"CMD ["/bin/sh"]"#.to_owned(),
    ];
    std::fs::write(folder.path().join("Dockerfile"), lines.join("\n"))?;
    let context = folder.path().to_string_lossy().into_owned();
    docker::output(&["docker", "build", "--quiet", "--tag", NAME, &context]).await?;
    Ok(NAME)
}

/// Until the result is there; the package then takes ten seconds more to stop its container.
async fn llm_sandbox(python: &str, image: &'static str) -> anyhow::Result<Duration> {
    const CODE: &str = "
import sys, time
from llm_sandbox import SandboxSession
began = time.perf_counter()
with SandboxSession(lang='python', image=sys.argv[1], keep_template=True, skip_environment_setup=True) as session:
    done = session.run('pass')
    took = time.perf_counter() - began
    session.container.kill()
if done.exit_code != 0:
    sys.exit(str(done))
print(took)
";
    let printed = docker::output(&[python, "-c", CODE, image]).await?;
    let last = printed.lines().last().unwrap_or_default();
    Ok(Duration::from_secs_f64(last.trim().parse()?))
}

#[expect(clippy::print_stderr, reason = "a person waits for minutes")]
pub(crate) fn progress(text: &str) {
    eprint!("\r{text}        ");
}
