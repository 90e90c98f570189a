//! Many runs at once: a burst, the best sustained rate, and latency at half of it.

use std::time::{Duration, Instant};

use futures::future::join_all;
use futures::stream::FuturesUnordered;
use futures::{StreamExt as _, TryStreamExt as _};
use spec::Start;

use crate::Arguments;
use crate::docker;
use crate::ours::{Job, Ours};
use crate::report::Report;
use crate::rows::progress;
use crate::samples::{Samples, ms, ratio};

/// Runs per concurrency of a sustained measurement.
const RUNS: usize = 40;
/// Runs at once of a sustained measurement.
const CONCURRENCIES: &[usize] = &[1, 2, 4, 8];
/// Runs of a burst.
const BURST: usize = 100;
/// Sandboxes that wait, for what one costs.
const WAITING: usize = 20;
/// How long waiting sandboxes are watched.
const WATCHED: Duration = Duration::from_secs(5);

pub(crate) async fn measure(
    arguments: &Arguments,
    ours: &Ours,
    report: &mut Report,
) -> anyhow::Result<()> {
    let empty = Job::subagent("def main(query):\n    return {}\n");
    let image = arguments.image.as_str();
    let runtime = arguments
        .runtime
        .as_ref()
        .map(|name| format!("--runtime={name}"));
    let flags: Vec<&str> = runtime.iter().map(String::as_str).collect();
    let command = docker::run(image, &flags, &["python3", "-c", "pass"]);

    // What the rows before have written would keep the engine waiting for the disk.
    docker::output(&["sync"]).await?;
    progress("burst of 100");
    ours.settle().await?;
    let began = Instant::now();
    let runs = join_all((0..BURST).map(|_| ours.pooled(&empty))).await;
    let took = began.elapsed();
    let failed = runs.iter().filter(|run| run.is_err()).count();
    report.fact(
        "burst of 100 runs at once",
        format!("{failed} failed, {:.1} s in all", took.as_secs_f64()),
    );
    #[expect(clippy::cast_precision_loss, reason = "at most 100")]
    report.at_most("failures of 100 runs at once", "none", failed as f64, 0.0);

    let (mut theirs, mut mine) = ((0.0, 0), (0.0, 0));
    for &concurrency in CONCURRENCIES {
        progress(&format!("sustained rate, {concurrency} at once"));
        ours.settle().await?;
        let rate = sustained(concurrency, async || docker::time(&command).await).await?;
        theirs = if rate > theirs.0 {
            (rate, concurrency)
        } else {
            theirs
        };
        ours.settle().await?;
        let rate = sustained(concurrency, async || Ok(ours.pooled(&empty).await?.0)).await?;
        mine = if rate > mine.0 {
            (rate, concurrency)
        } else {
            mine
        };
    }
    report.fact(
        "sustained single-use runs",
        format!(
            "{:.1} a second ({} at once); `docker run --rm` {:.1} a second at its best ({} at once)",
            mine.0, mine.1, theirs.0, theirs.1
        ),
    );
    report.at_least(
        "sustained runs a second",
        "`docker run --rm`",
        mine.0 / theirs.0,
        1.2,
    );

    let (latencies, cold) = open_loop(ours, &empty, mine.0 / 2.0).await?;
    report.fact(
        "open loop at half the sustained rate",
        format!(
            "p50 {:.1} ms, p99 {:.1} ms, {cold} of {BURST} started for their run",
            ms(latencies.median()),
            ms(latencies.at(0.99))
        ),
    );
    if let Some(run) = report.samples("`docker run`") {
        let share = ratio(latencies.at(0.99), run.median());
        report.at_most("open loop, p99", "p50 of `docker run`", share, 0.125);
    }

    progress("waiting sandboxes");
    let waiting = ours.waiting(WAITING, WATCHED).await?;
    report.fact(
        "a waiting sandbox costs",
        format!(
            "{:.1} MiB and {:.3} % of a CPU",
            waiting.mib, waiting.cpu_percent
        ),
    );
    report.at_most(
        "MiB of a waiting sandbox",
        "16 MiB",
        waiting.mib / 16.0,
        1.0,
    );
    Ok(())
}

/// Runs a second, with as many at once.
async fn sustained<F>(concurrency: usize, run: impl Fn() -> F) -> anyhow::Result<f64>
where
    F: Future<Output = anyhow::Result<Duration>>,
{
    let began = Instant::now();
    let runs = futures::stream::iter((0..RUNS).map(|_| run()));
    let done: Vec<_> = runs.buffer_unordered(concurrency).try_collect().await?;
    #[expect(clippy::cast_precision_loss, reason = "a few dozen")]
    Ok(done.len() as f64 / began.elapsed().as_secs_f64())
}

/// Runs arrive at a fixed rate, whether or not earlier ones have ended. Returns their latencies, and how
/// many found no sandbox that waited.
async fn open_loop(ours: &Ours, job: &Job, rate: f64) -> anyhow::Result<(Samples, usize)> {
    progress("open loop");
    docker::output(&["sync"]).await?;
    ours.settle().await?;
    let mut ticks = tokio::time::interval(Duration::from_secs_f64(1.0 / rate));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Burst);
    let mut open = FuturesUnordered::new();
    let mut samples = Samples::default();
    let (mut arrivals, mut cold) = (0, 0);
    while arrivals < BURST || !open.is_empty() {
        tokio::select! {
            _ = ticks.tick(), if arrivals < BURST => {
                arrivals += 1;
                open.push(ours.pooled(job));
            }
            Some(done) = open.next() => {
                let (took, start) = done?;
                samples.add(took);
                cold += usize::from(start == Start::Cold);
            }
        }
    }
    Ok((samples, cold))
}
