//! The side of a pool that wants a sandbox.

use std::fmt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use futures::stream::{self, StreamExt as _};
use spec::{Imports, PhaseTimings, RunOutcome, RunReport, Start};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{OnceCell, mpsc};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::protocol::{
    Answer, FrameReader, Given, GoneMessage, Hello, PROTOCOL, ProtocolError, Want, Wanted,
    WantedLimits, kind, parse, write_message,
};
use super::{PoolError, PoolStatus, place};
use crate::docker::hand_out::{Gone, Line, Ready, Remains, Removal, Said, Watch, run_there};
use crate::{
    DockerSandboxes, ImageId, Permit, RunHost, RunnerError, SandboxSpec, Sandboxes, Slots, watchdog,
};

/// How long a pool may take to answer; it may have to start a sandbox first.
const ANSWER: Duration = Duration::from_secs(8);
/// How long it may take to answer what needs no sandbox.
const ANSWER_AT_ONCE: Duration = Duration::from_secs(2);
/// How long a pool may say nothing before it is asked whether it lives.
const SILENCE: Duration = Duration::from_millis(250);
/// How long it may take to answer that.
const SIGN_OF_LIFE: Duration = Duration::from_millis(300);
/// Pieces of a sandbox's output that are held: each at most 1 MiB, and few are larger than 32 KiB.
const QUEUED: usize = 4;

/// A sandbox that a pool has handed out.
#[derive(Debug)]
pub struct PoolLease {
    /// The image it was made from.
    pub image: ImageId,
    /// What the engine is, for the run's record.
    pub engine: String,
    limits: WantedLimits,
    imports: Imports,
    ready: Ready,
    /// Whether the pool ended it because it took more memory than it may.
    exceeded: Arc<AtomicBool>,
    /// The runtime that it runs under, where that is known.
    runtime: Option<String>,
    was_waiting: bool,
    permit: Permit,
    /// How long it took to get it.
    took: Duration,
}

/// What came of asking a pool.
#[derive(Debug)]
pub enum Asked {
    /// A sandbox.
    Lease(Box<PoolLease>),
    /// There is none to be had; the permit that was waited for, for a sandbox of one's own.
    None(Option<Permit>),
}

/// Asks the pool at this socket for a sandbox, when there is a pool, and waits for the permit to run
/// a program in it. [`Asked::None`], with the reason in the log, when there is none to be had.
///
/// # Errors
/// [`RunnerError::Busy`] and [`RunnerError::Slots`] as of [`Slots::permit`].
pub async fn lease(
    socket: &Path,
    wanted: Wanted,
    slots: &Slots,
    cancel: &CancellationToken,
) -> Result<Asked, RunnerError> {
    if !socket.exists() {
        return Ok(Asked::None(None));
    }
    let Some(permit) = slots.permit(cancel).await? else {
        return Ok(Asked::None(None));
    };
    let begun = Instant::now();
    let (limits, imports) = (wanted.limits, wanted.imports.clone());
    let asked = tokio::select! {
        asked = ask_for_sandbox(socket, wanted) => asked,
        () = cancel.cancelled() => return Ok(Asked::None(Some(permit))),
    };
    match asked {
        Ok(Some((given, there))) => Ok(Asked::Lease(Box::new(PoolLease {
            image: ImageId(given.image),
            engine: given.engine,
            limits,
            imports,
            ready: there.ready,
            exceeded: there.exceeded,
            runtime: given.runtime,
            was_waiting: given.was_waiting,
            permit,
            took: begun.elapsed(),
        }))),
        Ok(None) => Ok(Asked::None(Some(permit))),
        Err(error) => {
            tracing::warn!("{}; starting a sandbox of its own", chain(&error));
            Ok(Asked::None(Some(permit)))
        }
    }
}

/// Asks the pool at this socket, when there is a pool, to keep such sandboxes for those who come later.
/// Why it does not, if it does not, is in the log.
pub async fn keep(socket: &Path, wanted: Wanted) {
    match ask(socket, Want::Keep(wanted), ANSWER_AT_ONCE).await {
        Ok((Answer::Kept, _, _)) | Err(PoolError::NotRunning { .. }) => {}
        Ok((Answer::None { why }, _, _)) => {
            tracing::info!(why, "the pool keeps no sandboxes for runs like this");
        }
        Ok((other, _, _)) => tracing::info!("{}", unexpected(socket, &other)),
        Err(error) => tracing::info!("{}", chain(&error)),
    }
}

/// How the pool at this socket is.
///
/// # Errors
/// [`PoolError`] when there is none, or it cannot be talked to.
pub async fn status(socket: &Path) -> Result<PoolStatus, PoolError> {
    let (answer, _, _) = ask(socket, Want::Status, ANSWER_AT_ONCE).await?;
    match answer {
        Answer::Status(status) => Ok(*status),
        other => Err(unexpected(socket, &other)),
    }
}

/// Ends the pool at this socket, and says whether those that wait are gone. Runs in sandboxes that it has
/// handed out go on.
///
/// # Errors
/// As of [`status`].
pub async fn stop(socket: &Path) -> Result<bool, PoolError> {
    let (answer, mut reader, _writer) = ask(socket, Want::Stop, ANSWER_AT_ONCE).await?;
    if answer != Answer::Stopping {
        return Err(unexpected(socket, &answer));
    }
    // It closes the connection when they are gone; if it dies, others remove them.
    let closed = tokio::time::timeout(2 * ANSWER, reader.next()).await;
    Ok(closed.is_ok())
}

/// A sandbox at the other end of a connection.
struct There {
    ready: Ready,
    exceeded: Arc<AtomicBool>,
}

type Answered = (Answer, FrameReader<OwnedReadHalf>, OwnedWriteHalf);

async fn ask(socket: &Path, want: Want, patience: Duration) -> Result<Answered, PoolError> {
    let stream = place::connect(socket)
        .await?
        .ok_or_else(|| PoolError::NotRunning {
            path: socket.to_owned(),
        })?;
    let pid = stream.peer_cred().ok().and_then(|peer| peer.pid());
    let answered = tokio::time::timeout(patience, talk(stream, want)).await;
    match answered {
        Ok(Ok(answered)) => Ok(answered),
        Err(_) => Err(PoolError::Silent { pid }),
        Ok(Err(error)) => Err(PoolError::Talk {
            path: socket.to_owned(),
            why: chain(&error),
        }),
    }
}

async fn talk(stream: UnixStream, want: Want) -> Result<Answered, ProtocolError> {
    let (reader, mut writer) = stream.into_split();
    let mut reader = FrameReader::new(reader);
    let hello = Hello {
        protocol: PROTOCOL,
        want,
    };
    write_message(&mut writer, kind::HELLO, &hello).await?;
    let answer = reader.message::<Answer>(kind::ANSWER).await?;
    Ok((answer, reader, writer))
}

fn unexpected(socket: &Path, answer: &Answer) -> PoolError {
    let why = match answer {
        Answer::Protocol { protocol } => {
            format!("it speaks version {protocol} of the protocol, this program {PROTOCOL}")
        }
        other => format!("it answered {other:?}"),
    };
    PoolError::Talk {
        path: socket.to_owned(),
        why,
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(": ")
}

async fn ask_for_sandbox(
    socket: &Path,
    wanted: Wanted,
) -> Result<Option<(Given, There)>, PoolError> {
    let asked = ask(socket, Want::Sandbox(wanted), ANSWER);
    // One that takes long may be starting a sandbox, or hang.
    let hangs = async {
        tokio::time::sleep(SILENCE).await;
        no_sign_of_life(socket).await
    };
    let asked = tokio::select! {
        biased;
        asked = asked => asked,
        error = hangs => Err(error),
    };
    let (answer, reader, writer) = match asked {
        Err(PoolError::NotRunning { .. }) => return Ok(None),
        asked => asked?,
    };
    match answer {
        Answer::Sandbox(given) => {
            let there = there(&given, reader, writer);
            Ok(Some((given, there)))
        }
        Answer::None { why } => {
            tracing::info!(why, "the pool has no sandbox for this run");
            Ok(None)
        }
        other => Err(unexpected(socket, &other)),
    }
}

/// Returns when the pool does not even say how it is.
async fn no_sign_of_life(socket: &Path) -> PoolError {
    match ask(socket, Want::Status, SIGN_OF_LIFE).await {
        Err(error @ PoolError::Silent { .. }) => error,
        // Whatever else is wrong, the first connection tells.
        _ => std::future::pending().await,
    }
}

/// The sandbox at the other end of a connection.
fn there(given: &Given, reader: FrameReader<OwnedReadHalf>, writer: OwnedWriteHalf) -> There {
    let exceeded = Arc::new(AtomicBool::new(false));
    let (said, output) = mpsc::channel(QUEUED);
    let output = stream::unfold(output, async |mut output| {
        let item = output.recv().await?;
        Some((item, output))
    });
    let ready = Ready::at_other_end(
        Line {
            input: Box::pin(writer),
            output: output.boxed(),
        },
        Remains {
            removal: Removal::PoolProcess,
            end: Watch::new(listen(reader, said, Arc::clone(&exceeded))),
            held: None,
        },
        given.python.clone(),
        given.imports(),
        given.user,
    );
    There { ready, exceeded }
}

/// Passes on what the sandbox says until it is gone.
async fn listen(
    mut reader: FrameReader<OwnedReadHalf>,
    said: mpsc::Sender<Result<Said, String>>,
    exceeded: Arc<AtomicBool>,
) -> Gone {
    let broken = loop {
        let frame = match reader.next().await {
            Ok(Some(frame)) => frame,
            Ok(None) => break "the pool process ended".to_owned(),
            Err(error) => break chain(&error),
        };
        let piece = |bytes: Bytes| match frame.kind {
            kind::OUT => Said::Frames(bytes),
            _ => Said::Diagnosis(bytes),
        };
        match frame.kind {
            kind::OUT | kind::ERR => {
                // Whoever has heard enough does not listen any more.
                drop(said.send(Ok(piece(frame.payload))).await);
            }
            kind::GONE => {
                return match parse::<GoneMessage>(&frame.payload) {
                    Ok(gone) => {
                        exceeded.store(gone.exceeded_memory, Ordering::Release);
                        if gone.is_known {
                            Gone::Removed(gone.status)
                        } else {
                            Gone::Unknown
                        }
                    }
                    Err(_) => Gone::Unknown,
                };
            }
            other => break format!("a frame of kind {other}"),
        }
    };
    drop(said.send(Err(broken)).await);
    Gone::Unknown
}

/// Makes sandboxes of its own for a process whose pool has none, or lost one before the run began.
pub trait OwnSandboxes: Send + Sync + fmt::Debug {
    /// Connects to the engine.
    fn connect(&self) -> BoxFuture<'_, Result<DockerSandboxes, RunnerError>>;
}

/// Sandboxes of a process that has leased one from a pool. The first run that fits it is in that
/// one; further runs are in sandboxes of the process's own.
#[derive(Debug)]
pub struct PooledSandboxes {
    lease: Mutex<Option<Box<PoolLease>>>,
    own: Arc<dyn OwnSandboxes>,
    connected: OnceCell<DockerSandboxes>,
}

impl PooledSandboxes {
    /// Takes over a lease.
    pub fn new(lease: Box<PoolLease>, own: Arc<dyn OwnSandboxes>) -> Self {
        Self {
            lease: Mutex::new(Some(lease)),
            own,
            connected: OnceCell::new(),
        }
    }

    /// The lease, if it fits this run; one that does not is given back.
    fn take(&self, spec: &SandboxSpec) -> Option<Box<PoolLease>> {
        let mut lease = self.lease.lock().unwrap_or_else(PoisonError::into_inner);
        lease.take().filter(|lease| {
            lease.image == spec.image
                && lease.limits == WantedLimits::of(&spec.limits)
                && lease.imports == spec.imports
                && spec.mounts.is_empty()
                && (spec.runtime.is_none() || spec.runtime == lease.runtime)
        })
    }

    async fn run_one(
        &self,
        spec: SandboxSpec,
        host: RunHost,
        cancel: CancellationToken,
    ) -> Result<RunReport, RunnerError> {
        let (mut before, mut permit) = (PhaseTimings::default(), None);
        if let Some(lease) = self.take(&spec) {
            let lease = *lease;
            let timings = PhaseTimings {
                queue: lease.permit.queued,
                lease: lease.took,
                start: if lease.was_waiting {
                    Start::Leased
                } else {
                    Start::Cold
                },
                ..PhaseTimings::default()
            };
            let (mut report, began) = run_there(&spec, &host, lease.ready, timings, &cancel).await;
            if lease.exceeded.load(Ordering::Acquire) {
                watchdog::judge(&mut report, &spec.limits);
            }
            let mut report = report?;
            report.place.runtime = lease.runtime;
            match &report.outcome {
                RunOutcome::SandboxLost { why } if !began => {
                    tracing::warn!(why, "the pool lost a sandbox before its run began");
                }
                _ => return Ok(report),
            }
            (before, permit) = (report.timings, Some(lease.permit));
        }
        let own = self.connected.get_or_try_init(|| self.own.connect());
        let own = own.await?;
        // With what has been waited for.
        if let Some(permit) = permit {
            own.lend(permit);
        }
        let mut report = own.run(spec, host, cancel).await?;
        report.timings.lease += before.lease;
        Ok(report)
    }
}

impl Sandboxes for PooledSandboxes {
    fn run(
        &self,
        spec: SandboxSpec,
        host: RunHost,
        cancel: CancellationToken,
    ) -> BoxFuture<'_, Result<RunReport, RunnerError>> {
        self.run_one(spec, host, cancel).boxed()
    }

    fn shutdown(&self) -> BoxFuture<'_, ()> {
        async {
            // The pool process removes those that it has handed out.
            if let Some(own) = self.connected.get() {
                own.shutdown().await;
            }
        }
        .boxed()
    }

    fn remove_all(&self) -> BoxFuture<'_, ()> {
        async {
            if let Some(own) = self.connected.get() {
                own.remove_all().await;
            }
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::super::protocol::read_hello;
    use super::*;
    use crate::SlotOptions;

    #[tokio::test]
    async fn a_sandbox_that_took_too_much_memory_says_so() {
        for exceeded_memory in [false, true] {
            let (ours, theirs) = UnixStream::pair().unwrap();
            let (reader, _writer) = ours.into_split();
            let (_reader, mut writer) = theirs.into_split();
            let message = GoneMessage {
                is_known: true,
                status: Some(137),
                exceeded_memory,
            };
            write_message(&mut writer, kind::GONE, &message)
                .await
                .unwrap();
            let exceeded = Arc::new(AtomicBool::new(false));
            let (said, _output) = mpsc::channel(QUEUED);
            let gone = listen(FrameReader::new(reader), said, Arc::clone(&exceeded)).await;
            assert_eq!(gone, Gone::Removed(Some(137)));
            assert_eq!(exceeded.load(Ordering::Acquire), exceeded_memory);
        }
    }

    #[tokio::test]
    async fn a_permit_that_was_waited_for_is_kept_when_the_pool_has_none() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("pool.sock");
        let listener = tokio::net::UnixListener::bind(&socket).unwrap();
        let slots = Slots::open(SlotOptions {
            directory: folder.path().join("slots"),
            runs_max: 1,
            sandboxes_max: 2,
            queue_timeout: Duration::ZERO,
        })
        .unwrap();
        let wanted = Wanted {
            engine: "unix:///x".to_owned(),
            runtime: None,
            image: spec::Digest::of(b"image"),
            environment: None,
            imports: Imports::NONE,
            warm: crate::Warm::Interpreter,
            limits: WantedLimits::of(&spec::Limits::default()),
        };
        let cancel = CancellationToken::new();
        let serve = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            read_hello(&mut stream).await.unwrap();
            let none = Answer::None { why: String::new() };
            write_message(&mut stream, kind::ANSWER, &none)
                .await
                .unwrap();
        };
        let (asked, ()) = tokio::join!(lease(&socket, wanted, &slots, &cancel), serve);
        let Ok(Asked::None(Some(permit))) = asked else {
            panic!("{asked:?}");
        };
        assert!(slots.permit(&cancel).await.is_err(), "it is held");
        drop(permit);
        assert!(slots.permit(&cancel).await.unwrap().is_some());
    }
}
