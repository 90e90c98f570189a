//! One run of an image that is no sandbox image: as an operator would run it, behind a sandbox's wall.

use std::collections::HashMap;
use std::time::Duration;

use bollard::container::LogOutput;
use bollard::errors::Error;
use bollard::query_parameters::{
    AttachContainerOptionsBuilder, CreateContainerOptions, RemoveContainerOptionsBuilder,
    StartContainerOptions, WaitContainerOptionsBuilder,
};
use futures::{FutureExt as _, StreamExt as _};
use jiff::Timestamp;
use spec::{Imports, Limits};
use tokio::io::AsyncWriteExt as _;
use tokio_util::sync::CancellationToken;

use super::calls::{call, refusal};
use super::create;
use super::pool::Warm;
use crate::mount::Granted;
use crate::reap::{self, Owner};
use crate::{Engine, ImageId, RunnerError};

/// Who runs in it.
const USER: u32 = 65_532;
/// What starting and removing may take besides the run itself.
const AROUND: Duration = Duration::from_mins(2);
/// How long output may take to arrive after the end of what wrote it.
const LAST_OUTPUT: Duration = Duration::from_secs(10);
/// Bytes of its messages that are kept.
const ERRORS_MAX: usize = 64 << 10;

/// What is run.
#[derive(Debug)]
pub struct Trial<'a> {
    /// The image.
    pub image: &'a ImageId,
    /// Replaces the image's own program, where there is one.
    pub entrypoint: Option<Vec<String>>,
    /// What the program is given.
    pub arguments: Vec<String>,
    /// What it reads from standard input.
    pub input: Vec<u8>,
    /// The engine's runtime that it runs under; none is the engine's default one.
    pub runtime: Option<&'a str>,
    /// What it may use. It gets no network, no capabilities, a read-only root, and a workspace and a
    /// `/tmp` of its own.
    pub limits: &'a Limits,
}

/// How it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrialEnd {
    /// The exit status; none when it was stopped at its time limit.
    pub status: Option<i64>,
    /// What it wrote to standard output, up to the limits of output and result together.
    pub stdout: Vec<u8>,
    /// The first of what it wrote to standard error.
    pub stderr: Vec<u8>,
}

impl Engine {
    /// Runs an image once, to its end or its time limit, and removes the container. `None` when it was
    /// cancelled.
    ///
    /// # Errors
    /// [`RunnerError`] when it could not be run.
    pub async fn try_image(
        &self,
        trial: &Trial<'_>,
        cancel: &CancellationToken,
    ) -> Result<Option<TrialEnd>, RunnerError> {
        let granted = Granted {
            uid: USER,
            gid: USER,
            mounts: Vec::new(),
        };
        let labels = self.trial_labels(trial.limits.wall).await?;
        let (image, limits) = (trial.image, trial.limits);
        let (warm, imports) = (Warm::Interpreter, &Imports::NONE);
        let mut body = create::body(
            image,
            warm,
            imports,
            limits,
            &granted,
            trial.runtime,
            labels,
        );
        body.env = None;
        body.working_dir = Some("/workspace".to_owned());
        body.entrypoint.clone_from(&trial.entrypoint);
        body.cmd = Some(trial.arguments.clone());
        let create = self
            .docker
            .create_container(None::<CreateContainerOptions>, body);
        let id = call("create a container", create).await?.id;
        let ended = tokio::select! {
            ended = self.converse(trial, &id) => ended.map(Some),
            () = cancel.cancelled() => Ok(None),
        };
        let options = RemoveContainerOptionsBuilder::default().force(true).build();
        let remove = self.docker.remove_container(&id, Some(options));
        match call("remove a container", remove).await {
            // The engine removes it by itself when it ends.
            Err(error) if !matches!(refusal(&error), Some(404 | 409)) => {
                tracing::warn!(%id, %error, "a container of a trial was not removed");
            }
            _ => {}
        }
        ended
    }

    /// The labels by which it is removed if we cannot.
    async fn trial_labels(&self, wall: Duration) -> Result<HashMap<String, String>, RunnerError> {
        let info = call("describe itself", self.docker.info()).await?;
        let now = info.system_time.and_then(|time| time.parse().ok());
        let lease = wall.saturating_add(AROUND);
        let expires_at = now
            .and_then(|now: Timestamp| now.checked_add(lease).ok())
            .unwrap_or(Timestamp::MAX);
        let owner = Owner::of_this_process().unwrap_or_else(|_| Owner::named("trial"));
        Ok(reap::lease(&owner, expires_at))
    }

    async fn converse(&self, trial: &Trial<'_>, id: &str) -> Result<TrialEnd, RunnerError> {
        let options = AttachContainerOptionsBuilder::default()
            .stdin(true)
            .stdout(true)
            .stderr(true)
            .stream(true)
            .build();
        let attach = self.docker.attach_container(id, Some(options));
        let mut attached = call("attach to a container", attach).await?;
        let options = WaitContainerOptionsBuilder::default()
            .condition("next-exit")
            .build();
        let mut ended = self.docker.wait_container(id, Some(options));
        let start = self
            .docker
            .start_container(id, None::<StartContainerOptions>);
        call("start a container", start).await?;
        let mut input = attached.input;
        // A program that ends early has said why; a broken pipe says nothing.
        let send = async {
            let _sent = input.write_all(&trial.input).await;
            let _closed = input.shutdown().await;
        };
        let room = trial
            .limits
            .output
            .get()
            .saturating_add(trial.limits.result.get());
        let room = usize::try_from(room).unwrap_or(usize::MAX);
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let answer = {
            // What is beyond the limits is read and dropped, so that it does not stand still.
            let receive = async {
                while let Some(Ok(chunk)) = attached.output.next().await {
                    let (kept, room, message) = match chunk {
                        LogOutput::StdErr { message } => (&mut stderr, ERRORS_MAX, message),
                        LogOutput::StdOut { message } => (&mut stdout, room, message),
                        _ => continue,
                    };
                    let room = room.saturating_sub(kept.len());
                    kept.extend_from_slice(&message[..message.len().min(room)]);
                }
            };
            let mut receive = std::pin::pin!(receive.fuse());
            // Waited for from the start: an end that came before is not the next one.
            let mut wait = std::pin::pin!(async { tokio::join!(send, ended.next()).1 });
            let both = async {
                tokio::select! {
                    biased;
                    answer = &mut wait => {
                        drop(tokio::time::timeout(LAST_OUTPUT, receive).await);
                        answer
                    }
                    () = &mut receive => wait.await,
                }
            };
            tokio::time::timeout(trial.limits.wall, both).await.ok()
        };
        let status = match answer {
            None => None,
            Some(Some(Ok(answer))) => Some(answer.status_code),
            Some(Some(Err(Error::DockerContainerWaitError { code, .. }))) => Some(code),
            Some(Some(Err(source))) => {
                return Err(RunnerError::Engine {
                    action: "wait for a container",
                    source: source.into(),
                });
            }
            Some(None) => Some(-1),
        };
        Ok(TrialEnd {
            status,
            stdout,
            stderr,
        })
    }
}
