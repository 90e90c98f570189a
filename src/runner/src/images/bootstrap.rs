//! A base from the distribution's packages, for machines that reach no registry.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::io;
use std::process::Stdio;
use std::time::Duration;

use bollard::models::ImageInspect;
use rustix::process::{Pid, Signal, kill_process_group};
use serde::{Deserialize, Serialize};
use spec::Digest;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, Command};

use super::assemble::Assembly;
use super::base::{self, Base};
use super::config::{ImageConfig, LABEL_IMAGE, Platform};
use super::files::{Cache, Cached, LockedBase};
use super::recipe::Bootstrap;
use super::{BaseSource, BuildRequest, ImageError, Progress, apt, rootfs};
use crate::Engine;
use crate::docker::calls::call;

/// How long mmdebstrap may say and write nothing: it downloads all packages in one silent step.
const IDLE: Duration = Duration::from_mins(30);

/// How long apt may take to say what it knows.
const ASK: Duration = Duration::from_secs(30);

/// The time of everything that is generated; the same in all builds.
const SOURCE_DATE_EPOCH: &str = "1700000000";

/// The exit status of a program that starts another one and does not find it.
const NOT_FOUND: i32 = 127;

/// How many of the lines in which mmdebstrap complains are kept for an error.
const LINES_KEPT: usize = 12;

/// How many bootstrapped bases stay cached: one for each of two architectures or recipes.
const BASES_KEPT: usize = 2;

/// On a bootstrapped base: what is in it.
const PACKAGES: &str = "agentfactory.packages";

/// The variables that programs of the host get; nothing else of our environment reaches them.
pub(super) type Environment<'a> = &'a [(OsString, OsString)];

/// What is known about a cached base.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Facts {
    /// `NAME=VERSION` of each package: why two bases of different days differ.
    packages: Vec<String>,
}

/// Gets the bootstrapped base: from the engine, from the cache, or from the packages.
pub(super) async fn ensure(
    engine: &Engine,
    request: &BuildRequest<'_>,
    recipe: &Bootstrap,
    cache: &Cache,
    locked: Option<&LockedBase>,
) -> Result<Base, ImageError> {
    let progress = request.progress;
    let version = call("tell its version", engine.docker.version()).await?;
    let architecture = version.arch.unwrap_or_default();
    let digest = recipe.digest(&architecture);
    let name = format!("rootfs-{}", digest.short());
    let locked = match locked {
        Some(LockedBase::Bootstrap { recipe, layer }) if *recipe == digest => Some(*layer),
        _ => None,
    };
    if let Some(layer) = locked
        && let Some(image) = loaded(engine, layer).await?
    {
        progress.phase("using the bootstrapped base, which the engine has");
        return of(image, digest, layer);
    }
    let cached = cache.get::<Facts>(&name).filter(|_| !request.refresh);
    let cached = if let Some(cached) = cached {
        cached
    } else {
        let raw = run(request, recipe, &architecture, cache).await?;
        progress.phase("leaving out what differs from machine to machine");
        let made = make(raw, recipe.clone(), cache, &name).await?;
        cache.prune("rootfs-", BASES_KEPT)?;
        progress.note(&format!("{} packages", made.facts.packages.len()));
        made
    };
    let layer = cached.layer.digest;
    if locked.is_some_and(|locked| locked != layer) {
        progress.note("the distribution's packages have changed since the base was locked");
    }
    let image = if let Some(image) = loaded(engine, layer).await? {
        image
    } else {
        load(engine, recipe, &architecture, &cached, cache, progress).await?
    };
    of(image, digest, layer)
}

fn tag(layer: Digest) -> String {
    format!("agentfactory/bootstrap:{}", layer.short())
}

fn of(image: ImageInspect, recipe: Digest, layer: Digest) -> Result<Base, ImageError> {
    let locked = LockedBase::Bootstrap { recipe, layer };
    Base::of(image, tag(layer), locked, BaseSource::Bootstrapped)
}

/// The base of this layer, if the engine has it.
async fn loaded(engine: &Engine, layer: Digest) -> Result<Option<ImageInspect>, ImageError> {
    let tag = tag(layer);
    let Some(image) = base::inspect(engine, &tag).await? else {
        return Ok(None);
    };
    let same = base::layers(&image, &tag)? == [layer];
    Ok(same.then_some(image))
}

/// `NAME=VERSION` of each package in the base of this layer; none when the engine has no such base.
pub(super) async fn packages(engine: &Engine, layer: Digest) -> Result<Vec<String>, ImageError> {
    let labels = loaded(engine, layer)
        .await?
        .and_then(|image| image.config?.labels);
    let packages = labels.and_then(|mut labels| labels.remove(PACKAGES));
    let packages = packages.unwrap_or_default();
    Ok(packages.split_whitespace().map(str::to_owned).collect())
}

async fn load(
    engine: &Engine,
    recipe: &Bootstrap,
    architecture: &str,
    cached: &Cached<Facts>,
    cache: &Cache,
    progress: &dyn Progress,
) -> Result<ImageInspect, ImageError> {
    let config = ImageConfig {
        platform: Platform {
            os: "linux".to_owned(),
            architecture: architecture.to_owned(),
            variant: None,
        },
        environment: Vec::new(),
        entrypoint: Vec::new(),
        user: String::new(),
        working_dir: String::new(),
        labels: [
            (LABEL_IMAGE, "bootstrap".to_owned()),
            ("agentfactory.suite", recipe.suite.clone()),
            (PACKAGES, cached.facts.packages.join(" ")),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into(),
        layers: vec![cached.layer.digest],
    };
    let image = Assembly {
        parent: None,
        layers: vec![cached.file()],
        config,
    };
    let tag = tag(cached.layer.digest);
    image
        .load(
            engine,
            std::slice::from_ref(&tag),
            &cache.partial(),
            progress,
        )
        .await?;
    let image = loaded(engine, cached.layer.digest).await?;
    image.ok_or(ImageError::NotWhatWasSent(tag))
}

async fn make(
    raw: tempfile::NamedTempFile,
    recipe: Bootstrap,
    cache: &Cache,
    name: &str,
) -> Result<Cached<Facts>, ImageError> {
    let out = cache.temporary()?;
    let raw_path = raw.path().to_owned();
    let job = tokio::task::spawn_blocking(move || {
        let rootfs = rootfs::normalise(raw.as_file(), &recipe, out.as_file())?;
        Ok::<_, io::Error>((rootfs, out))
    });
    let (rootfs, out) = job
        .await
        .map_err(io::Error::other)
        .flatten()
        .map_err(ImageError::file("read or rewrite", &raw_path))?;
    let packages = rootfs.packages;
    cache.put(name, out, rootfs.layer, Facts { packages })
}

/// Runs mmdebstrap and keeps the archive that it writes.
async fn run(
    request: &BuildRequest<'_>,
    recipe: &Bootstrap,
    architecture: &str,
    cache: &Cache,
) -> Result<tempfile::NamedTempFile, ImageError> {
    let progress = request.progress;
    let environment = request.environment.as_slice();
    progress.phase(&format!(
        "making a base from the packages of `{}` with mmdebstrap",
        recipe.suite
    ));
    let sources = apt::sources(&recipe.suite, environment).await;
    let mut command = if rustix::process::geteuid().is_root() {
        // What it mounts is then gone with it, however it ends, and the next build removes its
        // files. Other users get the first from its mode; and it cannot use folders of theirs.
        let mut command = program("unshare", environment);
        command.args(["--mount", "--", "mmdebstrap"]);
        if environment.iter().all(|(name, _)| name != "TMPDIR") {
            command.env("TMPDIR", cache.partial());
        }
        command
    } else {
        program("mmdebstrap", environment)
    };
    command
        // It waits for its children when it is told to end, so they are told too.
        .process_group(0)
        .env("SOURCE_DATE_EPOCH", SOURCE_DATE_EPOCH)
        .arg(format!("--variant={}", recipe.variant))
        .arg(format!("--include={}", recipe.include.join(",")))
        .arg(format!(
            "--architectures={}",
            distribution_name(architecture)
        ));
    for setting in apt::settings(environment).await {
        command.arg(format!("--aptopt={setting}"));
    }
    // The archive goes to standard output: if we are killed, mmdebstrap cannot write and clears up.
    command.arg("--").arg(&recipe.suite).arg("-");
    if sources.is_some() {
        command.arg("-");
    } else {
        progress.note("apt here does not know the distribution; using mmdebstrap's own mirror");
    }
    let mut child = command
        .stdin(Stdio::piped())
        .spawn()
        .map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => ImageError::NoMmdebstrap,
            _ => ImageError::file("run", "mmdebstrap".as_ref())(error),
        })?;
    let guard = Terminate::new(&child);
    let raw = cache.temporary()?;
    let mut last_lines = VecDeque::new();
    let result = follow(&mut child, sources, &raw, &mut last_lines, progress).await;
    let status = match result {
        Ok(()) => child
            .wait()
            .await
            .map_err(ImageError::file("wait for", "mmdebstrap".as_ref()))?,
        Err(error) => {
            // It removes its mounts and its folder before it ends.
            drop(guard);
            let _ended = tokio::time::timeout(ASK, child.wait()).await;
            return Err(error);
        }
    };
    guard.disarm();
    if status.success() {
        return Ok(raw);
    }
    if status.code() == Some(NOT_FOUND) {
        return Err(ImageError::NoMmdebstrap);
    }
    Err(ImageError::Mmdebstrap {
        status: status.to_string(),
        last_lines: Vec::from(last_lines).join("\n"),
    })
}

/// Copies what mmdebstrap writes and reports what it says, until it has closed both.
async fn follow(
    child: &mut Child,
    sources: Option<String>,
    raw: &tempfile::NamedTempFile,
    last_lines: &mut VecDeque<String>,
    progress: &dyn Progress,
) -> Result<(), ImageError> {
    let failed = || ImageError::file("write", raw.path());
    if let Some(mut stdin) = child.stdin.take() {
        // It may end before it reads; its message says more than a broken pipe.
        let _written = stdin
            .write_all(sources.unwrap_or_default().as_bytes())
            .await;
    }
    let (Some(mut stdout), Some(stderr)) = (child.stdout.take(), child.stderr.take()) else {
        return Err(failed()(io::ErrorKind::BrokenPipe.into()));
    };
    let mut lines = BufReader::new(stderr).split(b'\n');
    let file = raw.reopen().map_err(failed())?;
    let mut file = tokio::fs::File::from_std(file);
    let mut buffer = vec![0; 1 << 18];
    let (mut size, mut writing, mut talking) = (0, true, true);
    while writing || talking {
        tokio::select! {
            read = stdout.read(&mut buffer), if writing => {
                let read = read.map_err(failed())?;
                file.write_all(&buffer[..read]).await.map_err(failed())?;
                size += read as u64;
                progress.bytes(size, None);
                writing = read > 0;
            }
            line = lines.next_segment(), if talking => {
                let Some(line) = line.map_err(failed())? else {
                    talking = false;
                    continue;
                };
                let line = String::from_utf8_lossy(&line).trim().to_owned();
                if let Some(step) = line.strip_prefix("I: ") {
                    progress.note(step);
                    continue;
                }
                progress.note(&line);
                last_lines.push_back(line);
                if last_lines.len() > LINES_KEPT {
                    last_lines.pop_front();
                }
            }
            () = tokio::time::sleep(IDLE) => {
                return Err(ImageError::Mmdebstrap {
                    status: format!("it did nothing for {} minutes", IDLE.as_secs() / 60),
                    last_lines: Vec::from(std::mem::take(last_lines)).join("\n"),
                });
            }
        }
    }
    file.flush().await.map_err(failed())
}

/// Ends mmdebstrap gently when the build is dropped: it has mounts to remove.
struct Terminate(Option<Pid>);

impl Terminate {
    fn new(child: &Child) -> Self {
        let id = child.id().and_then(|id| i32::try_from(id).ok());
        Self(id.and_then(Pid::from_raw))
    }

    fn disarm(mut self) {
        self.0 = None;
    }
}

impl Drop for Terminate {
    fn drop(&mut self) {
        if let Some(pid) = self.0.take() {
            // It has not been waited for, so the number is still its own.
            let _ended = kill_process_group(pid, Signal::TERM);
        }
    }
}

/// A program of the host with the given environment only.
fn program(name: &str, environment: Environment<'_>) -> Command {
    let mut command = Command::new(name);
    command
        .env_clear()
        .env(
            "PATH",
            "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        )
        .env("LC_ALL", "C.UTF-8")
        .envs(environment.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// What a program of the host says, if it is there and succeeds.
pub(super) async fn output_of(
    name: &str,
    arguments: &[&str],
    environment: Environment<'_>,
) -> Option<String> {
    let mut command = program(name, environment);
    command.args(arguments).kill_on_drop(true);
    let output = tokio::time::timeout(ASK, command.output())
        .await
        .ok()?
        .ok()?;
    let text = output.status.success().then_some(output.stdout)?;
    String::from_utf8(text).ok()
}

/// The distribution's name of an architecture.
///
/// Source: Debian's list of ports, and Go's list of architectures, which engines use.
fn distribution_name(architecture: &str) -> &str {
    match architecture {
        "386" => "i386",
        "arm" => "armhf",
        "ppc64le" => "ppc64el",
        same => same,
    }
}
