//! The program itself, as a person or a script calls it.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use tokio::process::{Child, Command};

/// How long a pool may take to have a sandbox ready.
const READY: Duration = Duration::from_secs(60);

/// The program with a home of its own.
#[derive(Debug)]
pub(crate) struct Program {
    path: PathBuf,
    home: PathBuf,
}

impl Program {
    pub(crate) fn new(path: &Path, home: &Path) -> anyhow::Result<Self> {
        std::fs::create_dir_all(home)?;
        Ok(Self {
            path: path.to_owned(),
            home: home.to_owned(),
        })
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.path);
        command
            .args(arguments)
            .env("AGENTFACTORY_HOME", &self.home)
            .env("XDG_RUNTIME_DIR", &self.home)
            .stdin(Stdio::null())
            .kill_on_drop(true);
        command
    }

    /// Calls it and returns what it printed and how long it took.
    pub(crate) async fn call(&self, arguments: &[&str]) -> anyhow::Result<(String, Duration)> {
        let began = Instant::now();
        let done = self.command(arguments).output().await?;
        let took = began.elapsed();
        ensure!(
            done.status.success(),
            "`agentfactory {}` failed: {}",
            arguments.join(" "),
            String::from_utf8_lossy(&done.stderr)
        );
        Ok((String::from_utf8_lossy(&done.stdout).into_owned(), took))
    }

    /// Starts it and leaves it running.
    pub(crate) fn start(&self, arguments: &[&str]) -> anyhow::Result<Child> {
        let mut command = self.command(arguments);
        command.stdout(Stdio::piped()).stderr(Stdio::null());
        Ok(command.spawn()?)
    }

    /// Waits until the pool process has this many sandboxes ready.
    pub(crate) async fn pool_has(&self, waiting: u64) -> anyhow::Result<()> {
        self.pool_has_of(waiting, None).await
    }

    /// The same, of those that have imported this module and nothing else; of `None`, nothing.
    pub(crate) async fn pool_has_of(
        &self,
        waiting: u64,
        module: Option<&str>,
    ) -> anyhow::Result<()> {
        let imports: Vec<&str> = module.into_iter().collect();
        let imports = serde_json::json!(imports);
        let began = Instant::now();
        let mut last = String::new();
        while began.elapsed() < READY {
            if let Ok((status, _)) = self.call(&["pool", "status", "--json"]).await {
                let json: serde_json::Value =
                    serde_json::from_str(&status).context("the pool's status")?;
                let classes = json["classes"].as_array().context("the pool's classes")?;
                let has: u64 = classes
                    .iter()
                    .filter(|class| class["imports"] == imports)
                    .filter_map(|class| class["waiting"].as_u64())
                    .sum();
                if has >= waiting {
                    return Ok(());
                }
                last = status;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        bail!("the pool has no {waiting} sandboxes ready: {last}");
    }
}
