//! How long a cold run takes, beside `docker run` of the same image.

use std::time::{Duration, Instant};

use crate::env::{Env, answer};

const ROUNDS: usize = 15;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "it measures, and has nothing to check"]
async fn a_cold_run_beside_docker_run() {
    let Some(env) = Env::open().await else { return };
    let image = env.image.0.to_string();
    let (mut ours, mut theirs, mut reports) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let begun = Instant::now();
        let report = env.python("def main(q): return {'answer': q}").await;
        ours.push(begun.elapsed());
        assert_eq!(answer(&report), "ping");
        reports.push(report);
        let begun = Instant::now();
        let arguments = [
            "run",
            "--rm",
            "--entrypoint",
            "python3",
            &image,
            "-c",
            "pass",
        ];
        let docker = tokio::process::Command::new("docker")
            .args(arguments)
            .output();
        assert!(docker.await.unwrap().status.success());
        theirs.push(begun.elapsed());
    }
    let phase = |of: fn(&spec::PhaseTimings) -> Duration| {
        median(reports.iter().map(|report| of(&report.timings)).collect())
    };
    eprintln!(
        "cold run {:?}, docker run {:?}; lease {:?}, run {:?}, collect {:?}",
        median(ours),
        median(theirs),
        phase(|t| t.lease),
        phase(|t| t.run),
        phase(|t| t.collect),
    );
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}
