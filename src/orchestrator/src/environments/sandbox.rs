//! The sandboxes that make an environment: one that reaches the index, one that installs, one that
//! imports. What comes out of each is hostile.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use egress::{Bodies, BodySink, HostRule, Proxy};
use futures::future::BoxFuture;
use runner::{Broker, ImageId, Observer, Program, RunHost, SandboxSpec, SourceFile, ToolRequest};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use spec::{
    ByteSize, Determinism, Digest, FileEntry, Limits, OutputStream, RunOutcome, Tree, WorkspacePath,
};
use tokio::io::DuplexStream;
use tokio_util::sync::CancellationToken;

use super::cache::{FolderBlobs, LockedJson, hash};
use super::index::MachineNames;
use super::{EnvironmentError, IndexError, PackageIndex, Unmet};
use crate::error::FactoryError;
use crate::factory::Factory;
use crate::watch::{Event, Watcher};

/// The programs, which run in sandboxes.
const RESOLVE: &str = include_str!("../../../../images/environment/resolve.py");
pub(super) const INSTALL: &str = include_str!("../../../../images/environment/install.py");
const CHECK: &str = include_str!("../../../../images/environment/check.py");

/// The one pip that these programs are written for, from the index that everything comes from.
pub(super) const PIP: &str = "pip-26.3-py3-none-any.whl";
/// Its SHA-256.
pub(super) const PIP_SHA256: &str =
    "sha256:f3b60b20ffaadd4415ed7957212a38ac63fa4c5fa375bd0f4a797777940fad13";

/// The same, as a digest.
pub(super) fn pip_digest() -> Digest {
    PIP_SHA256.parse().expect("a test reads the digest")
}

/// How long a slow mirror may take.
const WALL: Duration = Duration::from_mins(20);
/// Wheels, what they hold, its bytecode and one archive of it all fit; more is no environment of ours.
const WORKSPACE: ByteSize = ByteSize::mib(2_048);
/// The workspace is memory.
const MEMORY: ByteSize = ByteSize::mib(3_072);
/// An import may take longer and more than an empty run, but not without end.
const CHECK_WALL: Duration = Duration::from_mins(3);
/// The same.
const CHECK_MEMORY: ByteSize = ByteSize::mib(1_024);
/// Where pip finds the wheels.
pub(super) const WHEELS: &str = "wheels/";
/// What the installing sandbox leaves.
const ARCHIVE: &str = "env.tar";

/// Wheels that were fetched, and what they are.
#[derive(Debug)]
pub(super) struct Fetched {
    pub(super) requirements: Vec<LockedJson>,
    /// The normalised names of what was asked for itself.
    pub(super) direct: Vec<String>,
    pub(super) pip: Digest,
    pub(super) wheels: Vec<FileEntry>,
}

/// What was installed.
#[derive(Debug)]
pub(super) struct Installed {
    pub(super) archive: PathBuf,
    /// The importable names of each distribution.
    pub(super) modules: BTreeMap<String, Vec<String>>,
}

/// Hosts that an index may name by itself.
const ELSEWHERE_MAX: usize = 10;

/// Whether wheels were where they were looked for.
enum Found {
    Here(Fetched),
    /// The hosts that the index says they are at.
    Elsewhere(Vec<String>),
}

/// What is to be fetched.
#[derive(Clone, Copy, Debug)]
pub(super) enum Asked<'a> {
    /// The wheels that satisfy these.
    New(&'a [String]),
    /// These wheels.
    Locked(&'a [LockedJson]),
}

/// The sandboxes of one environment.
#[derive(Debug)]
pub(super) struct Builder<'a> {
    pub(super) factory: &'a Factory,
    pub(super) index: Result<&'a PackageIndex, &'a IndexError>,
    pub(super) blobs: FolderBlobs,
    pub(super) watcher: &'a Arc<dyn Watcher>,
    pub(super) cancel: &'a CancellationToken,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Refused {
    kind: String,
    subject: String,
    why: String,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Resolved {
    Refused {
        refused: Refused,
    },
    /// Hosts that the index has its files at.
    Elsewhere {
        elsewhere: Vec<String>,
    },
    Found {
        lock: Vec<Named>,
        names: Vec<String>,
    },
}

/// A lock as the sandbox says it; hashes are without their kind.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Named {
    name: String,
    version: String,
    wheels: Vec<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Answer {
    Refused {
        refused: String,
    },
    Installed {
        modules: BTreeMap<String, Vec<String>>,
    },
}

/// What a sandbox left.
struct Left {
    answer: String,
    changed: Vec<FileEntry>,
}

impl Builder<'_> {
    /// Resolves requirements, or takes those that are locked, and fetches their wheels.
    pub(super) async fn fetch(
        &self,
        asked: Asked<'_>,
        pip: &Path,
    ) -> Result<Fetched, FactoryError> {
        let settings = self.factory.egress.settings();
        for what in self.index()?.warnings(settings, &MachineNames).await {
            self.watcher.event(&Event::Warning { what: &what });
        }
        let mut hosts = self.index()?.hosts().clone();
        let known = hosts.len();
        loop {
            let elsewhere = match self.fetch_from(asked, pip, &hosts).await? {
                Found::Here(fetched) => return Ok(fetched),
                Found::Elsewhere(elsewhere) => elsewhere,
            };
            // The operator named the index, and the index says where its files are. Once is enough.
            let named = named_by_index(&elsewhere);
            let settings = self.factory.egress.settings();
            for rule in &named {
                // Nobody but the index has named it, so what the operator denies stays denied.
                settings
                    .check(rule, &named)
                    .map_err(|why| EnvironmentError::Unmet {
                        kind: Unmet::Index,
                        what: format!("the package index has its files at `{rule}`"),
                        why,
                    })?;
            }
            if hosts.len() > known || named.is_subset(&hosts) {
                let elsewhere = spec::printable(&elsewhere.join(", "), 200);
                return Err(EnvironmentError::Unmet {
                    kind: Unmet::Index,
                    what: "the package index has its files where they cannot be reached".to_owned(),
                    why: elsewhere,
                }
                .into());
            }
            hosts.extend(named);
        }
    }

    /// The same, from these hosts.
    async fn fetch_from(
        &self,
        asked: Asked<'_>,
        pip: &Path,
        hosts: &BTreeSet<HostRule>,
    ) -> Result<Found, FactoryError> {
        let proxy = self.proxy(hosts).await?;
        let lock = match asked {
            Asked::New(_) => Value::Null,
            Asked::Locked(locked) => lock_json(locked),
        };
        let requirements = match asked {
            Asked::New(requirements) => requirements,
            Asked::Locked(_) => &[],
        };
        let pip_digest = pip_digest();
        let query = json!({
            "index": self.index()?.url(),
            "hosts": hosts.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "pip": {"name": PIP, "sha256": pip_digest.hex()},
            "requirements": requirements,
            "lock": lock,
        });
        let mut files = Vec::new();
        if let Ok((digest, size)) = hash(pip)
            && digest == pip_digest
            && std::fs::copy(pip, self.blobs.path(&digest)).is_ok()
        {
            files.push(file("pip.whl", digest, size)?);
        }
        let limits = limits(WALL, MEMORY, WORKSPACE);
        let action = "resolving";
        let left = self
            .run(action, RESOLVE, &query, files, limits, Some(proxy), None)
            .await?;
        let (lock, direct) = match read_answer(action, &left.answer)? {
            Resolved::Refused { refused } => return Err(unmet(&refused).into()),
            Resolved::Elsewhere { elsewhere } => return Ok(Found::Elsewhere(elsewhere)),
            Resolved::Found { lock, names } => (lock, names),
        };
        if let Some(new) = left.changed.iter().find(|file| is_at(file, "pip.whl"))
            && new.digest == pip_digest
        {
            // Without it, it is fetched again.
            drop(std::fs::copy(self.blobs.path(&new.digest), pip));
        }
        let requirements = match asked {
            Asked::Locked(locked) => locked.to_vec(),
            Asked::New(_) => read_lock(lock)?,
        };
        let wheels: Vec<FileEntry> = left
            .changed
            .into_iter()
            .filter(|file| file.path.as_bytes().starts_with(WHEELS.as_bytes()))
            .collect();
        for requirement in &requirements {
            let locked = |file: &&FileEntry| requirement.wheels.contains(&file.digest);
            if wheels.iter().filter(locked).count() != 1 {
                let name = requirement.name.clone();
                return Err(EnvironmentError::NotLocked { name }.into());
            }
        }
        if wheels.len() != requirements.len() {
            let name = "the index".to_owned();
            return Err(EnvironmentError::NotLocked { name }.into());
        }
        Ok(Found::Here(Fetched {
            requirements,
            direct,
            pip: pip_digest,
            wheels,
        }))
    }

    /// Unpacks wheels, without a network.
    pub(super) async fn install(&self, fetched: &Fetched) -> Result<Installed, FactoryError> {
        let pip = self.blobs.path(&fetched.pip);
        let (digest, size) = hash(&pip).map_err(EnvironmentError::file("read", &pip))?;
        let mut files = fetched.wheels.clone();
        files.push(file("pip.whl", digest, size)?);
        let query = json!({
            "lock": lock_json(&fetched.requirements),
            "root": runner::images::ENVIRONMENT_ROOT,
        });
        let limits = limits(WALL, MEMORY, WORKSPACE);
        let action = "installing";
        let left = self
            .run(action, INSTALL, &query, files, limits, None, None)
            .await?;
        let modules = match read_answer(action, &left.answer)? {
            Answer::Refused { refused } => {
                let refused = spec::printable(&refused, 2_000);
                return Err(EnvironmentError::Install(refused).into());
            }
            Answer::Installed { modules } => modules,
        };
        let archive = left.changed.iter().find(|file| is_at(file, ARCHIVE));
        let archive = archive.ok_or_else(|| {
            EnvironmentError::Install("what they hold is too much to be kept".to_owned())
        })?;
        Ok(Installed {
            archive: self.blobs.path(&archive.digest),
            modules,
        })
    }

    /// Imports what was asked for, as a run would.
    pub(super) async fn check(
        &self,
        image: ImageId,
        modules: &BTreeMap<&String, &Vec<String>>,
    ) -> Result<(), FactoryError> {
        let limits = limits(CHECK_WALL, CHECK_MEMORY, spec::limits::WORKSPACE);
        let (query, action) = (json!(modules), "importing");
        let left = self
            .run(action, CHECK, &query, Vec::new(), limits, None, Some(image))
            .await?;
        let failed: BTreeMap<String, String> = read_answer(action, &left.answer)?;
        match failed.into_iter().next() {
            None => Ok(()),
            Some((name, why)) => Err(EnvironmentError::Import {
                name: spec::printable(&name, 100),
                why: spec::printable(&why, 1_000),
            }
            .into()),
        }
    }

    fn index(&self) -> Result<&PackageIndex, EnvironmentError> {
        let index = self.index.map_err(Clone::clone);
        Ok(index?)
    }

    /// A proxy to these hosts alone. Nothing that goes through it is recorded.
    async fn proxy(&self, hosts: &BTreeSet<HostRule>) -> Result<Proxy, FactoryError> {
        let egress = &self.factory.egress;
        let policy = self
            .index()?
            .policy(hosts, egress.settings(), &MachineNames);
        let policy = policy.await?;
        let upstream = egress.upstream_with(self.index()?.authorities()).await?;
        Ok(Proxy::live(policy, Arc::new(Discard), upstream)?)
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "each decides what the sandbox is"
    )]
    async fn run(
        &self,
        action: &'static str,
        source: &'static str,
        query: &Value,
        files: Vec<FileEntry>,
        limits: Limits,
        proxy: Option<Proxy>,
        image: Option<ImageId>,
    ) -> Result<Left, FactoryError> {
        let path = path("program.py")?;
        let program = Program::Subagent {
            files: vec![SourceFile {
                path: path.clone(),
                content: source.as_bytes().into(),
            }],
            entry: path,
            query: query.to_string(),
        };
        let tree = Tree::from_entries(files)
            .map_err(|error| EnvironmentError::Install(error.to_string()))?;
        let certificates = proxy.as_ref().map(|proxy| runner::Proxy {
            certificates_pem: proxy.certificates_pem().to_owned(),
        });
        let sandbox = SandboxSpec {
            run: self.factory.context.run_id(),
            image: image.unwrap_or_else(|| self.factory.image.clone()),
            program,
            tree: Arc::new(tree),
            mounts: Vec::new(),
            limits,
            proxy: certificates,
            determinism: Determinism::default(),
            imports: spec::Imports::NONE,
            runtime: None,
        };
        let host = RunHost {
            blobs: Arc::new(self.blobs.clone()),
            broker: Arc::new(IndexBroker(proxy)),
            observer: Arc::new(Lines(Arc::clone(self.watcher))),
        };
        let sandboxes = &self.factory.sandboxes;
        let report = sandboxes.run(sandbox, host, self.cancel.clone()).await?;
        let outcome = report.outcome.kind();
        let why = match report.outcome {
            RunOutcome::Completed { result } if report.left_behind.is_empty() => {
                return Ok(Left {
                    answer: result.answer,
                    changed: report.changed,
                });
            }
            RunOutcome::Cancelled => return Err(EnvironmentError::Cancelled.into()),
            RunOutcome::Completed { .. } => "it left what cannot be taken".to_owned(),
            RunOutcome::Raised {
                exception, message, ..
            } => format!("{exception}: {message}"),
            RunOutcome::BadResult { why } | RunOutcome::SandboxLost { why } => why,
            RunOutcome::DiskLimit { limit, .. } => {
                format!("the wheels and what they hold are more than {limit}")
            }
            RunOutcome::OutOfMemory { limit } => format!("it needs more than {limit}"),
            RunOutcome::TimedOut { limit, .. } => {
                format!("it did not end within {}", spec::format_duration(limit))
            }
            RunOutcome::Exited { .. }
            | RunOutcome::Signalled { .. }
            | RunOutcome::OutputLimit { .. } => {
                let said = String::from_utf8_lossy(&report.stderr.content).into_owned();
                said.lines().last().unwrap_or_default().to_owned()
            }
        };
        let why = spec::printable(&why, 1_000);
        Err(EnvironmentError::Sandbox {
            action,
            outcome,
            why,
        }
        .into())
    }
}

fn limits(wall: Duration, memory: ByteSize, workspace: ByteSize) -> Limits {
    let cpus = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    Limits {
        wall,
        memory,
        workspace,
        cpu_millis: if cpus > 1 { 2_000 } else { 1_000 },
        ..Limits::default()
    }
}

/// The hosts that a sandbox says the index names: single ones, and few of them.
fn named_by_index(said: &[String]) -> BTreeSet<HostRule> {
    let rules = said.iter().filter_map(|host| host.parse().ok());
    let single = rules.filter(|rule: &HostRule| !rule.is_pattern());
    single.take(ELSEWHERE_MAX).collect()
}

fn path(text: &str) -> Result<WorkspacePath, EnvironmentError> {
    let path = WorkspacePath::from_bytes(text.as_bytes().to_vec());
    path.map_err(|error| EnvironmentError::Install(error.to_string()))
}

pub(super) fn file(name: &str, digest: Digest, size: u64) -> Result<FileEntry, EnvironmentError> {
    Ok(FileEntry {
        path: path(name)?,
        size,
        digest,
        executable: false,
    })
}

fn is_at(file: &FileEntry, name: &str) -> bool {
    file.path.as_bytes() == name.as_bytes()
}

fn lock_json(locked: &[LockedJson]) -> Value {
    let one = |one: &LockedJson| {
        let wheels: Vec<String> = one.wheels.iter().map(Digest::hex).collect();
        json!({"name": one.name, "version": one.version, "wheels": wheels})
    };
    locked.iter().map(one).collect()
}

fn read_answer<T: DeserializeOwned>(action: &'static str, text: &str) -> Result<T, FactoryError> {
    serde_json::from_str(text).map_err(|error| {
        EnvironmentError::Sandbox {
            action,
            outcome: "completed",
            why: format!("what it said makes no sense: {error}"),
        }
        .into()
    })
}

/// The lock that a sandbox found. Whether each is a requirement is the store's question.
fn read_lock(lock: Vec<Named>) -> Result<Vec<LockedJson>, EnvironmentError> {
    let mut read = Vec::new();
    for one in lock {
        let wheels = one.wheels.iter();
        let wheels = wheels.map(|hex| format!("sha256:{hex}").parse());
        let name = spec::printable(&one.name, 100);
        let wheels: Result<_, _> = wheels.collect();
        read.push(LockedJson {
            wheels: wheels.map_err(|_| EnvironmentError::NotLocked { name })?,
            name: one.name,
            version: one.version,
        });
    }
    read.sort();
    Ok(read)
}

fn unmet(refused: &Refused) -> EnvironmentError {
    let subject = spec::printable(&refused.subject, 200);
    let why = spec::printable(&refused.why, 1_000);
    let (kind, what) = match refused.kind.as_str() {
        "syntax" => {
            return EnvironmentError::Syntax {
                requirement: subject,
                why,
            };
        }
        "hash" => return EnvironmentError::NotLocked { name: why },
        "unknown" => (Unmet::Unknown, format!("there is no `{subject}`")),
        "no_wheel" => (Unmet::NoWheel, format!("`{subject}` has no wheel")),
        "version" => (Unmet::Version, format!("no version fits `{subject}`")),
        "python" => (Unmet::Python, format!("`{subject}` needs another Python")),
        "conflict" => (
            Unmet::Conflict,
            "the requirements exclude each other".to_owned(),
        ),
        "pip" => (
            Unmet::Installer,
            format!("the installer `{subject}` cannot be had"),
        ),
        "index" => (
            Unmet::Index,
            format!("the package index gave no answer about `{subject}`"),
        ),
        _ => (
            Unmet::Other,
            "the requirements cannot be resolved".to_owned(),
        ),
    };
    EnvironmentError::Unmet { kind, what, why }
}

/// Carries connections to the index, and answers nothing else.
#[derive(Debug)]
struct IndexBroker(Option<Proxy>);

impl Broker for IndexBroker {
    fn answer(&self, request: ToolRequest) -> BoxFuture<'_, Value> {
        drop(request);
        Box::pin(async { json!({"error": "there are no tools here"}) })
    }

    fn connect(&self, connection: DuplexStream) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            if let Some(proxy) = &self.0 {
                proxy.serve(connection).await;
            }
        })
    }
}

/// Shows what the program says it does.
#[derive(Debug)]
struct Lines(Arc<dyn Watcher>);

impl Observer for Lines {
    fn output(&self, stream: OutputStream, bytes: &[u8]) {
        if stream == OutputStream::Stdout
            && let Some(line) = String::from_utf8_lossy(bytes).lines().last()
        {
            let what = &spec::printable(line, 100);
            self.0.event(&Event::Preparing { what });
        }
    }
}

/// Bodies that nobody reads again.
#[derive(Debug)]
struct Discard;

struct DiscardSink(sha2::Sha256);

impl Bodies for Discard {
    fn open(&self, _digest: &Digest) -> std::io::Result<Box<dyn std::io::Read + Send>> {
        Err(std::io::ErrorKind::NotFound.into())
    }

    fn create(&self) -> std::io::Result<Box<dyn BodySink>> {
        Ok(Box::new(DiscardSink(sha2::Digest::new())))
    }
}

impl std::io::Write for DiscardSink {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        sha2::Digest::update(&mut self.0, bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl BodySink for DiscardSink {
    fn finish(self: Box<Self>) -> std::io::Result<Digest> {
        Ok(Digest::from_sha256(sha2::Digest::finalize(self.0).into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_names_few_single_hosts() {
        let said = [
            "*.example.org",
            "10.1.2.3",
            "localhost",
            "not a host",
            "f.example.org:8443",
        ];
        let named = named_by_index(&said.map(str::to_owned));
        assert_eq!(
            named,
            BTreeSet::from(["f.example.org:8443".parse().unwrap()])
        );
        let many: Vec<String> = (0..100).map(|at| format!("f{at}.example.org")).collect();
        assert_eq!(named_by_index(&many).len(), ELSEWHERE_MAX);
    }
}
