//! Ctrl-C: once asks gently, twice does not wait.

use std::future::Future;
use std::pin::pin;

use anyhow::Context as _;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::exit::Interrupted;
use crate::ui::Ui;

/// Does work that can be stopped. The first interrupt cancels its token; at the second one the work
/// is dropped, which closes the streams of its sandboxes: that ends them.
///
/// # Errors
/// Those of the work, and [`Interrupted`].
pub(crate) async fn interruptible<T, W>(
    ui: &Ui,
    work: impl FnOnce(CancellationToken) -> W,
) -> anyhow::Result<T>
where
    W: Future<Output = anyhow::Result<T>>,
{
    let cancel = CancellationToken::new();
    let mut signals = Signals::listen().context("listening for signals")?;
    let mut work = pin!(work(cancel.clone()));
    loop {
        tokio::select! {
            ended = &mut work => {
                // A failure after a stop is a consequence of it.
                return match ended {
                    Err(_) if cancel.is_cancelled() => Err(Interrupted.into()),
                    ended => ended,
                };
            }
            () = signals.next() => {
                if cancel.is_cancelled() {
                    return Err(Interrupted.into());
                }
                ui.note("stopping; once more to stop at once");
                cancel.cancel();
            }
        }
    }
}

/// What asks a program to stop.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hang_up: Signal,
}

impl Signals {
    fn listen() -> std::io::Result<Self> {
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
