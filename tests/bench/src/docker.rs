//! What we are compared with: the engine's own command line, and a bare interpreter.

use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use tokio::process::Command;

/// The flags that make `docker run` about as strict as a sandbox.
const HARDENED: &[&str] = &[
    "--read-only",
    "--cap-drop=ALL",
    "--security-opt=no-new-privileges",
    "--network=none",
    "--memory=512m",
    "--memory-swap=512m",
    "--pids-limit=128",
    "--cpus=1",
    "--user=65532:65532",
    "--tmpfs=/tmp:size=64m",
    "--tmpfs=/workspace:size=128m",
    "--log-driver=none",
    "--ulimit=core=0",
    "--ulimit=nofile=1024",
];
/// Nothing here takes this long, unless the engine hangs.
const LIMIT: Duration = Duration::from_secs(120);

/// Runs a command to its end and says how long that took.
pub(crate) async fn time(command: &[&str]) -> anyhow::Result<Duration> {
    let began = Instant::now();
    output(command).await?;
    Ok(began.elapsed())
}

/// Runs a command to its end and returns what it printed.
pub(crate) async fn output(command: &[&str]) -> anyhow::Result<String> {
    let (program, arguments) = command.split_first().context("an empty command")?;
    let child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let done = tokio::time::timeout(LIMIT, child)
        .await
        .with_context(|| format!("`{}` hangs", command.join(" ")))??;
    ensure!(
        done.status.success(),
        "`{}` failed: {}",
        command.join(" "),
        String::from_utf8_lossy(&done.stderr)
    );
    Ok(String::from_utf8_lossy(&done.stdout).into_owned())
}

/// `docker run --rm` of an image, with more flags, up to the command.
pub(crate) fn run<'a>(image: &'a str, flags: &[&'a str], command: &[&'a str]) -> Vec<&'a str> {
    let mut all = vec!["docker", "run", "--rm", "--entrypoint=/usr/bin/env"];
    all.extend(flags);
    all.push(image);
    all.extend(command);
    all
}

/// The same, as strict as a sandbox.
pub(crate) fn hardened<'a>(image: &'a str, flags: &[&'a str], command: &[&'a str]) -> Vec<&'a str> {
    run(image, &[HARDENED, flags].concat(), command)
}

/// A container that waits to be entered with `docker exec`; gone when dropped.
#[derive(Debug)]
pub(crate) struct Entered(pub(crate) String);

impl Entered {
    pub(crate) async fn start(image: &str) -> anyhow::Result<Self> {
        let command = [
            "docker",
            "run",
            "--detach",
            "--rm",
            "--init",
            "--network=none",
            "--entrypoint=/usr/bin/env",
            image,
            "sleep",
            "infinity",
        ];
        Ok(Self(output(&command).await?.trim().to_owned()))
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        let removal = std::process::Command::new("docker")
            .args(["rm", "--force", &self.0])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        drop(removal);
    }
}
