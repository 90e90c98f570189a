//! How much memory a command has at its peak.

use std::path::Path;
use std::process::Stdio;

use anyhow::{Context as _, ensure};
use tokio::process::Command;

/// Starts a program, waits for it, and says the most memory that it had, in KiB: what `VmHWM` of its status says.
const PEAK: &str = "
import resource, subprocess, sys
done = subprocess.run(sys.argv[1:], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(done.returncode)
";

/// The most memory that a command had, in MiB.
pub(super) async fn peak(program: &Path, home: &Path, command: &[&str]) -> anyhow::Result<f64> {
    let done = Command::new("python3")
        .args(["-c", PEAK])
        .arg(program)
        .args(command)
        .env("AGENTFACTORY_HOME", home)
        .env("XDG_RUNTIME_DIR", home)
        .stdin(Stdio::null())
        .output()
        .await
        .context("python3 is needed to measure memory")?;
    ensure!(
        done.status.success(),
        "`agentfactory {}` failed: {}",
        command.join(" "),
        String::from_utf8_lossy(&done.stderr)
    );
    let kib: f64 = String::from_utf8_lossy(&done.stdout).trim().parse()?;
    Ok(kib / 1024.0)
}
