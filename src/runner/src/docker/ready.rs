//! A sandbox that waits for its run: started, its interpreter warm, its READY read.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::{Stream, StreamExt as _};
use spec::{Ahead, limits};
use tokio::io::{AsyncWrite, AsyncWriteExt as _};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use super::container::{Container, REMOVAL};
use super::events::{Event, Events};
use super::removals::Stragglers;
use super::watch::{Gone, Watch};
use crate::frames::{put, to_sandbox};
use crate::{RunnerError, Slot};

/// Bytes of the harness's own standard error that are kept for the message of a lost sandbox.
const DIAGNOSIS: usize = 2_000;
/// How long it may take to learn with which status a sandbox ended.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// The status of what ended by SIGKILL, as the engine says it.
const KILLED: i64 = 128 + 9;

/// A sandbox's standard input. Dropping it ends the sandbox.
pub(crate) type Input = Pin<Box<dyn AsyncWrite + Send>>;

/// What a sandbox says. Its end without DONE is the end of the sandbox.
pub(crate) type Output = Pin<Box<dyn Stream<Item = Result<Said, String>> + Send>>;

/// The two ways of a sandbox's one stream, wherever it comes from. Dropping it ends the sandbox.
pub(crate) struct Line {
    pub(crate) input: Input,
    pub(crate) output: Output,
}

/// Bytes of a sandbox: hostile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Said {
    /// A piece of its frames.
    Frames(Bytes),
    /// What the harness wrote to its own standard error.
    Diagnosis(Bytes),
}

/// Whether a sandbox ends by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// The harness has said its last word and exits.
    ByItself,
    /// It is to be killed.
    Kill,
}

/// Who removes a sandbox, and how.
#[derive(Debug)]
pub(crate) enum Removal {
    /// This process, by the container's name.
    Container(Container),
    /// The pool process that handed it out, as soon as its line is closed.
    PoolProcess,
}

/// What is left of a sandbox to be removed. Those that are dropped instead the reaper finds once this
/// process has ended.
#[derive(Debug)]
#[must_use = "call `remove`"]
pub(crate) struct Remains {
    pub(crate) removal: Removal,
    pub(crate) end: Watch,
    /// Is given back when it is gone; none where another process holds it.
    pub(crate) held: Option<Held>,
}

/// The slot of a sandbox, and who keeps it while the sandbox cannot be removed.
#[derive(Debug)]
pub(crate) struct Held {
    pub(super) slot: Slot,
    pub(super) stragglers: Stragglers,
}

impl Remains {
    /// Sees to it that the sandbox is gone, and says whether it is known to be. Its line is dropped
    /// before, so that a kill does not wait for a reader.
    ///
    /// The slot of one that may still be there is kept, so that no other has the same user.
    pub(crate) async fn remove(self, ending: Ending) -> bool {
        let Self {
            removal,
            mut end,
            held,
        } = self;
        let removed = match &removal {
            Removal::Container(container) => container.remove(&mut end, ending).await,
            Removal::PoolProcess => match ending {
                // It goes by itself, and the other process makes sure that it does.
                Ending::ByItself => true,
                Ending::Kill => matches!(end.gone_within(REMOVAL).await, Gone::Removed(_)),
            },
        };
        if !removed && let (Removal::Container(container), Some(held)) = (removal, held) {
            let stragglers = held.stragglers.clone();
            stragglers.add(container, end, held);
        }
        removed
    }

    /// What people find it by; none where another process has it.
    pub(crate) fn name(&self) -> Option<&str> {
        match &self.removal {
            Removal::Container(container) => Some(container.name()),
            Removal::PoolProcess => None,
        }
    }

    /// Whether the kernel ended PID 1 for want of memory: what a program takes of the kernel's own, such
    /// as page tables, is not free yet when the program is dead.
    pub(crate) async fn ran_out_of_memory(&mut self) -> bool {
        let Gone::Removed(Some(KILLED)) = self.end.gone_within(LAST_WORDS).await else {
            return false;
        };
        match &self.removal {
            Removal::Container(container) => container.ran_out_of_memory().await,
            // The pool process says so itself.
            Removal::PoolProcess => false,
        }
    }

    /// Adds what is known of the sandbox's end to why it counts as lost.
    pub(crate) async fn last_words(&mut self, why: String, diagnosis: &Diagnosis) -> String {
        let mut why = why;
        if let Gone::Removed(Some(status)) = self.end.gone_within(LAST_WORDS).await {
            why = format!("{why}; PID 1 ended with status {status}");
        }
        if !diagnosis.0.is_empty() {
            why = format!("{why}: {}", String::from_utf8_lossy(&diagnosis.0));
        }
        why
    }
}

/// The beginning of what the harness wrote to its own standard error.
#[derive(Debug, Default)]
pub(crate) struct Diagnosis(Vec<u8>);

impl Diagnosis {
    pub(crate) fn push(&mut self, message: &[u8]) {
        let room = DIAGNOSIS.saturating_sub(self.0.len());
        self.0
            .extend_from_slice(&message[..message.len().min(room)]);
    }
}

/// A sandbox that has said READY and nothing else: one run can begin in it.
pub(crate) struct Ready {
    pub(crate) line: Line,
    /// The decoder, which has read READY and has no token yet.
    pub(crate) events: Events,
    pub(crate) diagnosis: Diagnosis,
    /// The version of its Python, as the harness says it.
    pub(crate) python: String,
    /// What it has imported.
    pub(crate) imports: Ahead,
    /// As whom it runs.
    pub(crate) uid: u32,
    pub(crate) remains: Remains,
}

impl std::fmt::Debug for Ready {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ready")
            .field("python", &self.python)
            .field("uid", &self.uid)
            .field("removal", &self.remains.removal)
            .finish_non_exhaustive()
    }
}

/// Why a sandbox did not get ready.
#[derive(Debug)]
pub(crate) enum Unready {
    /// It could not be started.
    Failed(RunnerError),
    /// It started, and then something was wrong with it.
    Lost(String),
    /// Somebody does not want it any more.
    Cancelled,
}

/// Starts a sandbox and waits until it is ready. Its line is closed when it is not.
pub(crate) async fn wait(
    mut line: Line,
    mut remains: Remains,
    uid: u32,
    start: impl Future<Output = Result<(), RunnerError>>,
    cancel: &CancellationToken,
) -> Result<Ready, (Unready, Remains)> {
    let (mut events, mut diagnosis) = (Events::default(), Diagnosis::default());
    let until_ready = until_ready(&mut line, &mut events, &mut diagnosis, start);
    let unready = tokio::select! {
        biased;
        () = cancel.cancelled() => Unready::Cancelled,
        ended = until_ready => match ended {
            Ok(python) => {
                return Ok(Ready {
                    line,
                    events,
                    diagnosis,
                    python,
                    imports: Ahead::Nothing,
                    uid,
                    remains,
                });
            }
            Err(unready) => unready,
        },
    };
    drop(line);
    if let Unready::Lost(why) = unready {
        let why = remains.last_words(why, &diagnosis).await;
        return Err((Unready::Lost(why), remains));
    }
    Err((unready, remains))
}

async fn until_ready(
    line: &mut Line,
    events: &mut Events,
    diagnosis: &mut Diagnosis,
    start: impl Future<Output = Result<(), RunnerError>>,
) -> Result<String, Unready> {
    let mut start = std::pin::pin!(start);
    let (mut starting, mut ready) = (true, None);
    // The engine's call has a deadline of its own, which is shorter.
    let mut deadline = Instant::now() + 2 * limits::START;
    loop {
        let said = tokio::select! {
            biased;
            () = tokio::time::sleep_until(deadline) => {
                let limit = limits::START.as_secs();
                return Err(Unready::Lost(format!("it was not ready within {limit} s")));
            }
            started = &mut start, if starting => {
                started.map_err(Unready::Failed)?;
                starting = false;
                deadline = Instant::now() + limits::START;
                match ready.take() {
                    Some(python) => return Ok(python),
                    None => continue,
                }
            }
            said = line.output.next() => said,
        };
        match said {
            Some(Ok(Said::Frames(bytes))) => events.feed(&bytes),
            Some(Ok(Said::Diagnosis(message))) => {
                diagnosis.push(&message);
                continue;
            }
            Some(Err(error)) => return Err(Unready::Lost(format!("its stream broke: {error}"))),
            None => return Err(Unready::Lost("it ended without a report".to_owned())),
        }
        match events.next() {
            // A call that is still open is not dropped: it may be what keeps the sandbox.
            Ok(Some(Event::Ready { python })) if events.is_drained() => {
                if !starting {
                    return Ok(python);
                }
                ready = Some(python);
            }
            Ok(Some(Event::Echo(payload))) => {
                let mut frame = BytesMut::new();
                put(&mut frame, to_sandbox::ECHOED, &[&payload]);
                // There is room for it: nothing else is written before the sandbox is ready.
                let written = async {
                    line.input.write_all(&frame).await?;
                    line.input.flush().await
                };
                match timeout_at(deadline, written).await {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => {
                        return Err(Unready::Lost(format!("its stream broke: {error}")));
                    }
                    Err(_) => return Err(Unready::Lost("it takes nothing".to_owned())),
                }
            }
            Ok(Some(Event::Failed(why))) => return Err(Unready::Lost(why)),
            Ok(Some(_)) => return Err(Unready::Lost("it spoke before its run".to_owned())),
            Ok(None) => {}
            Err(error) => return Err(Unready::Lost(error.to_string())),
        }
    }
}
