//! A home of its own, and the program under test.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

/// Environment names that decide what the program does; tests start without them.
const CLEARED: &[&str] = &[
    "AGENTFACTORY_HOME",
    "AGENTFACTORY_MODEL",
    "AGENTFACTORY_SUBAGENT_MODEL",
    "ANTHROPIC_API_KEY",
    "ANTHROPIC_BASE_URL",
    "OPENAI_API_KEY",
    "OPENAI_BASE_URL",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "http_proxy",
    "https_proxy",
    "all_proxy",
];

/// A fresh home and a scratch folder, removed at the end.
#[derive(Debug)]
pub struct TestEnv {
    home: TempDir,
    scratch: TempDir,
    variables: Vec<(String, String)>,
}

/// What the program printed and how it ended.
#[derive(Debug)]
pub struct Finished {
    /// Its exit status; -1 when a signal ended it.
    pub status: i32,
    /// What it wrote to standard output.
    pub stdout: String,
    /// What it wrote to standard error.
    pub stderr: String,
}

impl Finished {
    fn of(output: &Output) -> Self {
        Self {
            status: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Standard output as JSON.
    ///
    /// # Panics
    /// When it is something else.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}\n{}", self.stdout, self.stderr))
    }

    /// The same, after a check of the exit status.
    ///
    /// # Panics
    /// When it is another one.
    #[expect(clippy::return_self_not_must_use, reason = "the check alone is a use")]
    pub fn expect_status(self, status: i32) -> Self {
        assert_eq!(
            self.status, status,
            "stdout: {}\nstderr: {}",
            self.stdout, self.stderr
        );
        self
    }
}

/// Whether a variable says that something missing is a failure.
#[expect(
    clippy::disallowed_methods,
    reason = "tests are configured by their environment"
)]
pub(crate) fn is_required() -> bool {
    std::env::var_os("AGENTFACTORY_TEST_REQUIRE_ENGINE").is_some()
}

/// Whether the full counts are to be run instead of a sample.
#[expect(
    clippy::disallowed_methods,
    reason = "tests are configured by their environment"
)]
pub fn full_counts() -> bool {
    std::env::var_os("AGENTFACTORY_TEST_FULL").is_some()
}

/// The program: beside the folder of the running test.
///
/// # Panics
/// When it was not built.
pub fn program() -> PathBuf {
    let test = std::env::current_exe().expect("a running program has a path");
    let built = test
        .ancestors()
        .nth(2)
        .expect("tests lie in target/<profile>/deps")
        .join("agentfactory");
    assert!(
        built.exists(),
        "`{}` is missing: run `cargo build`",
        built.display()
    );
    built
}

/// The repository.
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .canonicalize()
        .expect("the checkout is there")
}

impl Default for TestEnv {
    fn default() -> Self {
        Self::new()
    }
}

impl TestEnv {
    /// A home without an engine's help.
    ///
    /// # Panics
    /// When there is no space for temporary files.
    pub fn new() -> Self {
        let env = Self {
            home: tempfile::tempdir().expect("a temporary folder"),
            scratch: tempfile::tempdir().expect("a temporary folder"),
            variables: Vec::new(),
        };
        std::fs::create_dir(env.runtime()).expect("a folder");
        env
    }

    /// A home for tests that run sandboxes; `None`, said aloud, where there is no engine with the
    /// sandbox image.
    ///
    /// # Panics
    /// When there is none but must be one: `scripts/test` sets `AGENTFACTORY_TEST_REQUIRE_ENGINE`.
    #[expect(clippy::print_stderr, reason = "a skip must be seen")]
    pub fn with_engine() -> Option<Self> {
        let images = Command::new("docker")
            .args(["image", "ls", "--quiet", "agentfactory/base"])
            .output();
        if images.is_ok_and(|output| output.status.success() && !output.stdout.is_empty()) {
            return Some(Self::new());
        }
        assert!(
            !is_required(),
            "there is no engine, or no sandbox image on it: run `agentfactory images build`"
        );
        eprintln!("SKIPPED: there is no engine, or no sandbox image on it");
        None
    }

    /// The same for tests that also need the package index of this machine; `None`, said aloud,
    /// where none can be reached.
    pub fn with_index() -> Option<Self> {
        let env = Self::with_engine()?;
        let index = crate::package_index()?;
        Some(env.set("PIP_INDEX_URL", index))
    }

    /// Sets a variable for every command.
    #[must_use]
    pub fn set(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The home.
    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// A folder for the test's own files.
    pub fn scratch(&self) -> &Path {
        self.scratch.path()
    }

    /// The folder of sockets and locks: a pool of the person who tests is not used.
    pub fn runtime(&self) -> PathBuf {
        self.scratch.path().join("runtime")
    }

    /// Writes a file into the scratch folder, with the folders above it.
    ///
    /// # Panics
    /// When it cannot.
    pub fn write(&self, path: &str, content: &str) -> PathBuf {
        let path = self.scratch.path().join(path);
        std::fs::create_dir_all(path.parent().expect("a file has a folder")).expect("a folder");
        std::fs::write(&path, content).expect("a file");
        path
    }

    /// The program with arguments, ready to be started in the scratch folder.
    pub fn command<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Command {
        let mut command = Command::new(program());
        for name in CLEARED {
            command.env_remove(name);
        }
        command
            .args(arguments)
            .current_dir(self.scratch.path())
            .env("AGENTFACTORY_HOME", self.home.path())
            .env("XDG_CONFIG_HOME", self.scratch.path().join("no-config"))
            .env("XDG_RUNTIME_DIR", self.runtime())
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null());
        command
    }

    /// Runs the program to its end.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn agentfactory<A: AsRef<OsStr>>(
        &self,
        arguments: impl IntoIterator<Item = A>,
    ) -> Finished {
        Finished::of(
            &self
                .command(arguments)
                .output()
                .expect("the program starts"),
        )
    }
}

/// The ids of containers that carry a label, running or not.
///
/// # Panics
/// When the engine does not answer.
pub fn containers(label: &str) -> Vec<String> {
    let output = Command::new("docker")
        .args([
            "ps",
            "--all",
            "--quiet",
            "--filter",
            &format!("label={label}"),
        ])
        .output()
        .expect("docker is there");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .map(str::to_owned)
        .collect()
}
