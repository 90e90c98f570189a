//! Ctrl-C: once asks gently, twice does not wait.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::exit::{ExitCode, Interrupted};
use crate::ui::Ui;

/// How long the program may take to end by itself after the second interrupt.
const LAST_GRACE: Duration = Duration::from_secs(2);

/// Whether somebody wants the program to stop, and how much.
#[derive(Clone, Debug, Default)]
pub(crate) struct Interrupts {
    gently: CancellationToken,
    at_once: CancellationToken,
}

impl Interrupts {
    /// Begins to listen; from then on a signal does not end the program by itself.
    ///
    /// The job that it gives is to run as long as the program.
    ///
    /// # Errors
    /// When the system refuses.
    pub(crate) fn listen(&self, ui: &Arc<Ui>) -> anyhow::Result<impl Future<Output = ()> + use<>> {
        let mut signals = Signals::new().context("listening for signals")?;
        let (this, ui) = (self.clone(), Arc::clone(ui));
        Ok(async move {
            signals.next().await;
            ui.note("stopping; once more to stop at once");
            this.gently.cancel();
            signals.next().await;
            this.at_once.cancel();
            // A blocked terminal or disk must not keep it from ending.
            tokio::time::sleep(LAST_GRACE).await;
            leave();
        })
    }

    /// Waits for the second interrupt.
    pub(crate) async fn twice(&self) {
        self.at_once.cancelled().await;
    }

    /// Does work that can be stopped. The first interrupt cancels its token; at the second one the
    /// work is dropped, which closes the streams of its sandboxes: that ends them.
    ///
    /// # Errors
    /// Those of the work, and [`Interrupted`].
    pub(crate) async fn guard<T, W>(
        &self,
        work: impl FnOnce(CancellationToken) -> W,
    ) -> anyhow::Result<T>
    where
        W: Future<Output = anyhow::Result<T>>,
    {
        let cancel = self.gently.child_token();
        let ended = tokio::select! {
            ended = work(cancel) => ended,
            () = self.at_once.cancelled() => Err(Interrupted.into()),
        };
        match ended {
            // A failure after a stop is a consequence of it.
            Err(error) if self.gently.is_cancelled() => {
                tracing::info!(%error, "stopped");
                Err(Interrupted.into())
            }
            ended => ended,
        }
    }
}

#[expect(
    clippy::exit,
    clippy::disallowed_methods,
    reason = "somebody asked twice, and something that cannot be cancelled is in the way"
)]
fn leave() {
    std::process::exit(ExitCode::Interrupted.number().into());
}

/// What asks a program to stop.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hang_up: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = self.hang_up.recv() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_first_interrupt_asks_and_the_second_does_not_wait() {
        let interrupts = Interrupts::default();
        let gently = interrupts.guard(async |cancel| {
            interrupts.gently.cancel();
            cancel.cancelled().await;
            Ok("ended by itself")
        });
        assert_eq!(gently.await.unwrap(), "ended by itself");
        let deaf = interrupts.guard(async |_| {
            interrupts.at_once.cancel();
            std::future::pending::<anyhow::Result<()>>().await
        });
        assert!(deaf.await.unwrap_err().is::<Interrupted>());
    }

    #[tokio::test]
    async fn a_failure_is_a_failure_unless_somebody_stopped_it() {
        let interrupts = Interrupts::default();
        let fail = async |_| Err::<(), _>(anyhow::anyhow!("it broke"));
        assert!(
            !interrupts
                .guard(fail)
                .await
                .unwrap_err()
                .is::<Interrupted>()
        );
        interrupts.gently.cancel();
        assert!(
            interrupts
                .guard(fail)
                .await
                .unwrap_err()
                .is::<Interrupted>()
        );
    }
}
