//! Our layer: the harness, its bytecode and that of the standard library, made by the base's Python.
//!
//! The container runs our own code only, and still gets no network, no capabilities, nothing to write
//! to but a small `/tmp`; what it sends back is checked like everything that comes out of one.

use std::collections::HashMap;
use std::io::{self, Read as _};
use std::path::Path;
use std::time::Duration;

use bollard::container::LogOutput;
use bollard::models::{ContainerCreateBody, HostConfig, HostConfigLogConfig, ResourcesUlimits};
use bollard::query_parameters::{
    AttachContainerOptionsBuilder, CreateContainerOptions, RemoveContainerOptionsBuilder,
    StartContainerOptions, WaitContainerOptionsBuilder,
};
use futures::{FutureExt as _, StreamExt as _};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tar::EntryType;
use tokio::io::AsyncWriteExt as _;

use super::ImageError;
use super::base::Base;
use super::config::LABEL_IMAGE;
use super::files::{Cache, Cached};
use super::layer::{Kind, Layer, Node};
use super::recipe::{HARNESS, Recipe};
use crate::docker::calls::{call, refusal};
use crate::reap::{self, Owner};
use crate::{Engine, RunnerError};

/// Where our files are in an image.
const ROOT: &str = "/opt/agentfactory";
/// What runs in the container.
const SCRIPT: &str = include_str!("compile.py");
/// The oldest Python that can run the harness.
const OLDEST_PYTHON: (u32, u32) = (3, 11);
/// How long compiling may take; two seconds are usual.
const DEADLINE: Duration = Duration::from_mins(5);
/// How long nobody else removes the container; the clocks of the engine and of others differ.
const LEASE: Duration = Duration::from_hours(1);
/// How long output may take to arrive after the end of what wrote it.
const LAST_OUTPUT: Duration = Duration::from_secs(10);
/// What the container may send: the bytecode of a standard library has 11 MB.
const OUTPUT_MAX: usize = 256 << 20;
/// What it may say when something is wrong.
const ERRORS_MAX: usize = 8 << 10;
const MEMORY_BYTES: i64 = 1 << 30;
const OPEN_FILES_MAX: i64 = 1_024;
const PIDS_MAX: i64 = 64;
/// Directories that sandboxes mount something on, or that programs expect.
const MOUNT_POINTS: [(&str, u32); 5] = [
    ("code", 0o755),
    ("mnt", 0o755),
    ("opt", 0o755),
    ("tmp", 0o1777),
    ("workspace", 0o755),
];
/// Without a network the engine brings no hosts file.
const HOSTS: &str = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n";

/// What is known about our layer.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Facts {
    /// The interpreter's path in the image.
    pub(super) executable: String,
    /// Its version, as in 3.13.5.
    pub(super) version: String,
}

impl Facts {
    /// What an image starts: the harness's bytecode, without the site's and the user's modules.
    pub(super) fn entrypoint(&self) -> Vec<String> {
        let entry = format!("{ROOT}/{HARNESS}c");
        ["-P", "-s", &entry]
            .into_iter()
            .fold(vec![self.executable.clone()], |mut all, next| {
                all.push(next.to_owned());
                all
            })
    }
}

/// The variables of an image of ours.
pub(super) fn environment(base: &Base) -> Vec<String> {
    vec![
        format!("PATH={}", base.path),
        "LANG=C.UTF-8".to_owned(),
        "PYTHONDONTWRITEBYTECODE=1".to_owned(),
        "PYTHONHASHSEED=0".to_owned(),
        "TZ=UTC".to_owned(),
    ]
}

/// Makes our layer for this base and caches it.
pub(super) async fn run(
    engine: &Engine,
    base: &Base,
    recipe: &Recipe,
    cache: &Cache,
    name: &str,
) -> Result<Cached<Facts>, ImageError> {
    let output = output(engine, base, recipe).await?;
    let wrong = |why: String| ImageError::Compile {
        image: base.name.clone(),
        why,
    };
    let (layer, facts) = assemble(&output, recipe).map_err(|error| wrong(error.to_string()))?;
    let version = facts.version.map(|part| part.to_string()).join(".");
    if (facts.version[0], facts.version[1]) < OLDEST_PYTHON {
        return Err(ImageError::OldPython {
            image: base.name.clone(),
            version,
        });
    }
    let file = cache.temporary()?;
    let written = layer
        .write(None, file.as_file())
        .map_err(ImageError::file("write", file.path()))?;
    let facts = Facts {
        executable: facts.executable,
        version,
    };
    cache.put(name, file, written, facts)
}

/// What the container says of its Python.
#[derive(Deserialize)]
struct Said {
    executable: String,
    version: [u32; 3],
}

/// Puts our files and the bytecode together.
fn assemble(output: &[u8], recipe: &Recipe) -> io::Result<(Layer, Said)> {
    let mut layer = Layer::default();
    let (mut said, mut complete) = (None, false);
    for entry in tar::Archive::new(output).entries()? {
        let mut entry = entry?;
        let path = String::from_utf8(entry.path_bytes().into_owned()).map_err(io::Error::other)?;
        let path = path.trim_end_matches('/').to_owned();
        if path.split('/').any(|name| matches!(name, "" | "." | "..")) {
            return Err(io::Error::other(format!("it sent a file named `{path}`")));
        }
        let header = entry.header().clone();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes)?;
        match header.entry_type() {
            EntryType::Regular if path == "facts.json" => {
                said = Some(serde_json::from_slice(&bytes)?);
            }
            EntryType::Regular if path == "complete" => complete = true,
            EntryType::Regular if is_bytecode(&path) => layer.file(&path, bytes),
            EntryType::Directory => {
                let node = Node {
                    mode: header.mode()? & 0o7777,
                    uid: header.uid()?,
                    gid: header.gid()?,
                    kind: Kind::Directory,
                };
                layer.0.insert(path.into_bytes(), node);
            }
            other => return Err(io::Error::other(format!("it sent `{path}`, a {other:?}"))),
        }
    }
    if !complete {
        return Err(io::Error::other("it ended too early"));
    }
    let said = said.ok_or_else(|| io::Error::other("it did not say which Python it is"))?;
    for (path, mode) in MOUNT_POINTS {
        layer.directory(path, mode);
    }
    for (path, source) in &recipe.sources {
        layer.file(&format!("{}/{path}", &ROOT[1..]), source.as_str());
    }
    layer.file("etc/hosts", HOSTS);
    layer.add_parents();
    Ok((layer, said))
}

/// Whether it is a name under which Python looks for bytecode.
fn is_bytecode(path: &str) -> bool {
    let extension = Path::new(path).extension();
    extension.is_some_and(|extension| extension == "pyc")
        && (path.contains("/__pycache__/") || path.starts_with(&ROOT[1..]))
}

/// Runs the container and returns what it wrote.
async fn output(engine: &Engine, base: &Base, recipe: &Recipe) -> Result<Vec<u8>, ImageError> {
    let body = body(base, labels(engine).await?);
    let create = engine
        .docker
        .create_container(None::<CreateContainerOptions>, body);
    let id = call("create a container", create).await?.id;
    let result = tokio::time::timeout(DEADLINE, converse(engine, base, recipe, &id)).await;
    let options = RemoveContainerOptionsBuilder::default().force(true).build();
    let remove = engine.docker.remove_container(&id, Some(options));
    match call("remove a container", remove).await {
        // The engine removes it by itself when it ends.
        Err(error) if !matches!(refusal(&error), Some(404 | 409)) => {
            tracing::warn!(%id, %error, "a container of an image build was not removed");
        }
        _ => {}
    }
    result.unwrap_or_else(|_| {
        Err(ImageError::Compile {
            image: base.name.clone(),
            why: format!("it did not end within {} s", DEADLINE.as_secs()),
        })
    })
}

/// The labels by which the container is removed if we cannot: one that never started stays.
async fn labels(engine: &Engine) -> Result<HashMap<String, String>, RunnerError> {
    let info = call("describe itself", engine.docker.info()).await?;
    let now = info.system_time.and_then(|time| time.parse().ok());
    let expires_at = now
        .and_then(|now: Timestamp| now.checked_add(LEASE).ok())
        .unwrap_or(Timestamp::MAX);
    let owner = Owner::of_this_process().unwrap_or_else(|_| Owner::named("image build"));
    let mut labels = reap::lease(&owner, expires_at);
    labels.insert(LABEL_IMAGE.to_owned(), "build".to_owned());
    Ok(labels)
}

async fn converse(
    engine: &Engine,
    base: &Base,
    recipe: &Recipe,
    id: &str,
) -> Result<Vec<u8>, ImageError> {
    let action = "attach to a container";
    let options = AttachContainerOptionsBuilder::default()
        .stdin(true)
        .stdout(true)
        .stderr(true)
        .stream(true)
        .build();
    let mut attached = call(action, engine.docker.attach_container(id, Some(options))).await?;
    let options = WaitContainerOptionsBuilder::default()
        .condition("next-exit")
        .build();
    let mut ended = engine.docker.wait_container(id, Some(options));
    let start = engine
        .docker
        .start_container(id, None::<StartContainerOptions>);
    call("start a container", start)
        .await
        .map_err(|error| match refusal(&error) {
            // The engine created it, so what it cannot start is the program.
            Some(400 | 404) => ImageError::NoPython(base.name.clone()),
            _ => error.into(),
        })?;
    let request = serde_json::json!({
        "sources": recipe.sources,
        "skip": recipe.settings.bytecode_skip,
        "root": ROOT,
        "entry": HARNESS,
    })
    .to_string();
    let mut input = attached.input;
    // A program that ends early has said why; a broken pipe says nothing.
    let send = async {
        let _sent = input.write_all(request.as_bytes()).await;
        let _closed = input.shutdown().await;
    };
    let (mut out, mut errors) = (Vec::new(), Vec::new());
    let answer = {
        let receive = async {
            while let Some(Ok(chunk)) = attached.output.next().await {
                match chunk {
                    LogOutput::StdErr { message } => {
                        let room = ERRORS_MAX.saturating_sub(errors.len());
                        errors.extend_from_slice(&message[..message.len().min(room)]);
                    }
                    LogOutput::StdOut { message } if out.len() + message.len() <= OUTPUT_MAX => {
                        out.extend_from_slice(&message);
                    }
                    _ => errors.extend_from_slice(b"it sent too much"),
                }
            }
        };
        let mut receive = std::pin::pin!(receive.fuse());
        // The client sends the request of a wait when it is first waited for, and an end that came
        // before is not the next one: so both are waited for from the start.
        let mut wait = std::pin::pin!(async { tokio::join!(send, ended.next()).1 });
        tokio::select! {
            biased;
            answer = &mut wait => {
                // Some connections do not end properly; whether all has come is seen in what has.
                drop(tokio::time::timeout(LAST_OUTPUT, receive).await);
                answer
            }
            () = &mut receive => wait.await,
        }
    };
    let errors = String::from_utf8_lossy(&errors).trim().to_owned();
    let status = match answer {
        Some(Ok(answer)) => answer.status_code,
        Some(Err(bollard::errors::Error::DockerContainerWaitError { code, .. })) => code,
        Some(Err(source)) => {
            let action = "wait for a container";
            return Err(RunnerError::Engine {
                action,
                source: source.into(),
            }
            .into());
        }
        None => -1,
    };
    if status == 0 && errors.is_empty() {
        return Ok(out);
    }
    let last = errors.lines().last().unwrap_or_default();
    Err(ImageError::Compile {
        image: base.name.clone(),
        why: format!("exit status {status}: {last}"),
    })
}

fn ulimit((name, most): (&str, i64)) -> ResourcesUlimits {
    ResourcesUlimits {
        name: Some(name.to_owned()),
        soft: Some(most),
        hard: Some(most),
    }
}

fn body(base: &Base, labels: HashMap<String, String>) -> ContainerCreateBody {
    let command = ["python3", "-S", "-s", "-B", "-c", SCRIPT];
    ContainerCreateBody {
        image: Some(base.id.clone()),
        entrypoint: Some(command.map(str::to_owned).to_vec()),
        cmd: Some(Vec::new()),
        env: Some(environment(base)),
        user: Some("65534:65534".to_owned()),
        working_dir: Some("/".to_owned()),
        labels: Some(labels),
        attach_stdin: Some(true),
        attach_stdout: Some(true),
        attach_stderr: Some(true),
        open_stdin: Some(true),
        stdin_once: Some(true),
        tty: Some(false),
        network_disabled: Some(true),
        host_config: Some(HostConfig {
            auto_remove: Some(true),
            readonly_rootfs: Some(true),
            cap_drop: Some(vec!["ALL".to_owned()]),
            security_opt: Some(vec!["no-new-privileges".to_owned()]),
            memory: Some(MEMORY_BYTES),
            memory_swap: Some(MEMORY_BYTES),
            pids_limit: Some(PIDS_MAX),
            ipc_mode: Some("none".to_owned()),
            // An engine's own default may be more than it is allowed to set.
            ulimits: Some([("core", 0), ("nofile", OPEN_FILES_MAX)].map(ulimit).into()),
            log_config: Some(HostConfigLogConfig {
                typ: Some("none".to_owned()),
                config: None,
            }),
            tmpfs: Some(HashMap::from([(
                "/tmp".to_owned(),
                "rw,noexec,nosuid,nodev,size=16m,mode=1777".to_owned(),
            )])),
            ..HostConfig::default()
        }),
        ..ContainerCreateBody::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recipe() -> Recipe {
        let mut recipe = Recipe::load(None).unwrap();
        recipe.sources = [("harness.py".to_owned(), "pass\n".to_owned())].into();
        recipe
    }

    fn sent(files: &[(&str, EntryType, &str)]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (path, kind, content) in files {
            let mut header = tar::Header::new_ustar();
            header.set_entry_type(*kind);
            header.set_mode(0o2775);
            header.set_uid(0);
            header.set_gid(0);
            header.set_size(content.len() as u64);
            // The library refuses to write what a hostile container would send.
            let name = header.as_old_mut().name.as_mut_slice();
            name[..path.len()].copy_from_slice(path.as_bytes());
            header.set_cksum();
            builder.append(&header, content.as_bytes()).unwrap();
        }
        builder.into_inner().unwrap()
    }

    const FACTS: (&str, EntryType, &str) = (
        "facts.json",
        EntryType::Regular,
        r#"{"executable":"/usr/bin/python3","version":[3,13,5]}"#,
    );

    const COMPLETE: (&str, EntryType, &str) = ("complete", EntryType::Regular, "");

    #[test]
    fn the_layer_has_our_files_and_keeps_folders_of_the_base() {
        let bytecode = "usr/lib/python3/__pycache__/a.pyc";
        let output = sent(&[
            FACTS,
            ("usr/lib", EntryType::Directory, ""),
            (bytecode, EntryType::Regular, "bytes"),
            COMPLETE,
        ]);
        let (layer, said) = assemble(&output, &recipe()).unwrap();
        assert_eq!(said.version, [3, 13, 5]);
        let listed: Vec<String> = layer
            .0
            .iter()
            .map(|(path, node)| format!("{} {:o}", String::from_utf8_lossy(path), node.mode))
            .collect();
        assert_eq!(
            listed,
            [
                "code 755",
                "etc 755",
                "etc/hosts 644",
                "mnt 755",
                "opt 755",
                "opt/agentfactory 755",
                "opt/agentfactory/harness.py 644",
                "tmp 1777",
                "usr 755",
                "usr/lib 2775",
                "usr/lib/python3 755",
                "usr/lib/python3/__pycache__ 755",
                "usr/lib/python3/__pycache__/a.pyc 644",
                "workspace 755",
            ]
        );
    }

    #[test]
    fn nothing_but_bytecode_is_taken() {
        let check = |file: (&str, EntryType, &str)| {
            let output = sent(&[FACTS, file, COMPLETE]);
            assert!(assemble(&output, &recipe()).is_err(), "{file:?}");
        };
        check(("etc/passwd", EntryType::Regular, "root::0:0"));
        check(("usr/__pycache__/../../etc/x.pyc", EntryType::Regular, ""));
        check(("/usr/__pycache__/x.pyc", EntryType::Regular, ""));
        check(("usr/__pycache__/x.pyc", EntryType::Symlink, ""));
        check(("opt/agentfactory/x.sh", EntryType::Regular, ""));
        assert!(assemble(&sent(&[FACTS, COMPLETE]), &recipe()).is_ok());
        assert!(assemble(&sent(&[FACTS]), &recipe()).is_err());
        assert!(assemble(&sent(&[COMPLETE]), &recipe()).is_err());
        assert!(assemble(b"not an archive at all", &recipe()).is_err());
    }
}
