//! The engine's word on whether a container is still there.

use std::time::Duration;

use bollard::Docker;
use bollard::errors::Error;
use bollard::query_parameters::WaitContainerOptions;
use futures::StreamExt as _;
use tokio::task::JoinSet;

/// What the engine said when the wait for a container's removal ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gone {
    /// The container is gone; the exit status of its PID 1, when the engine still knew it.
    Removed(Option<i64>),
    /// The engine stopped answering.
    Unknown,
}

/// A wait for a container's removal that began before the container did.
#[derive(Debug)]
pub(super) struct Watch {
    job: JoinSet<Gone>,
    gone: Option<Gone>,
}

impl Watch {
    pub(super) fn new(docker: Docker, name: String) -> Self {
        let mut job = JoinSet::new();
        job.spawn(async move {
            let options = WaitContainerOptions {
                condition: "removed".to_owned(),
            };
            let mut answers = std::pin::pin!(docker.wait_container(&name, Some(options)));
            match answers.next().await {
                Some(Ok(answer)) => Gone::Removed(Some(answer.status_code)),
                // The client reports a status other than 0 as an error.
                Some(Err(Error::DockerContainerWaitError { code, .. })) => {
                    Gone::Removed(Some(code))
                }
                Some(Err(Error::DockerResponseServerError {
                    status_code: 404, ..
                })) => Gone::Removed(None),
                Some(Err(_)) | None => Gone::Unknown,
            }
        });
        Self { job, gone: None }
    }

    /// Waits for the removal, at most this long. Cancel-safe.
    pub(super) async fn gone_within(&mut self, limit: Duration) -> Gone {
        if self.gone.is_none() {
            match tokio::time::timeout(limit, self.job.join_next()).await {
                Ok(Some(Ok(gone))) => self.gone = Some(gone),
                Ok(Some(Err(_)) | None) => self.gone = Some(Gone::Unknown),
                Err(_) => return Gone::Unknown,
            }
        }
        self.gone.unwrap_or(Gone::Unknown)
    }
}
