//! The word of whoever holds a sandbox on whether it is still there.

use std::future::Future;
use std::task::{Context, Poll};
use std::time::Duration;

use bollard::Docker;
use bollard::errors::Error;
use bollard::query_parameters::WaitContainerOptions;
use futures::StreamExt as _;
use tokio::task::JoinSet;

/// What was said when the wait for a sandbox's removal ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gone {
    /// It is gone; the exit status of its PID 1, when that was still known.
    Removed(Option<i64>),
    /// Whoever holds it stopped answering.
    Unknown,
}

/// A wait for a sandbox's removal that began before the sandbox did.
#[derive(Debug)]
pub(crate) struct Watch {
    job: JoinSet<Gone>,
    gone: Option<Gone>,
}

impl Watch {
    /// Begins to wait.
    pub(crate) fn new(removal: impl Future<Output = Gone> + Send + 'static) -> Self {
        let mut job = JoinSet::new();
        job.spawn(removal);
        Self { job, gone: None }
    }

    /// Whether the wait is over; the caller is woken when it is.
    pub(crate) fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<Gone> {
        if let Some(gone) = self.gone {
            return Poll::Ready(gone);
        }
        let ended = std::task::ready!(self.job.poll_join_next(cx));
        let gone = ended.and_then(Result::ok).unwrap_or(Gone::Unknown);
        self.gone = Some(gone);
        Poll::Ready(gone)
    }

    /// Waits for the removal, at most this long. Cancel-safe.
    pub(crate) async fn gone_within(&mut self, limit: Duration) -> Gone {
        let gone = std::future::poll_fn(|cx| self.poll_gone(cx));
        let ended = tokio::time::timeout(limit, gone).await;
        ended.unwrap_or(Gone::Unknown)
    }
}

/// Waits until the engine says that a container has been removed.
pub(super) async fn removal(docker: Docker, name: String) -> Gone {
    let options = WaitContainerOptions {
        condition: "removed".to_owned(),
    };
    let mut answers = std::pin::pin!(docker.wait_container(&name, Some(options)));
    match answers.next().await {
        Some(Ok(answer)) => Gone::Removed(Some(answer.status_code)),
        // The client reports a status other than 0 as an error.
        Some(Err(Error::DockerContainerWaitError { code, .. })) => Gone::Removed(Some(code)),
        Some(Err(Error::DockerResponseServerError {
            status_code: 404, ..
        })) => Gone::Removed(None),
        Some(Err(_)) | None => Gone::Unknown,
    }
}
