//! The side of a pool that has sandboxes.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::StreamExt as _;
use spec::{Ahead, Digest, Imports, Limits, Start};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::place::{self, Place};
use super::protocol::{
    Answer, Given, GoneMessage, HELLO_TIME, PROTOCOL, ProtocolError, STALL, Want, Wanted,
    WantedLimits, kind, read_hello, write_message, write_piece,
};
use super::{PoolClass, PoolError, PoolStatus};
use crate::docker::hand_out::{Ending, Gone, Line, Ready, Said, StockCount, Unready};
use crate::{DockerSandboxes, ImageId, Sandboxes as _};

/// Connections at once: each sandbox has one, and a few more ask how things are.
const CONNECTIONS_MAX: usize = 600;
/// Sandboxes that are started for clients at once. More would only wait for each other on the
/// engine; those clients try themselves.
const STARTS_MAX: usize = 8;
/// How long a sandbox whose client has hung up may take to end by itself; it ends in milliseconds.
const GRACE: Duration = Duration::from_secs(2);
/// Bytes from a client that are passed on at once.
const CHUNK: usize = 64 << 10;
/// How often the pool makes sure that what it keeps is kept, whatever failed meanwhile.
const LOOK_AFTER: Duration = Duration::from_secs(20);
/// Runs that last longer than this start a sandbox of their own: a lease outlasts its run.
const WALL: Duration = Duration::from_hours(1);
/// How long the pool waits after the system refused it a connection.
const REFUSED_PAUSE: Duration = Duration::from_millis(100);

/// What a pool process keeps.
#[derive(Clone, Debug)]
pub struct PoolProcessOptions {
    /// The engine's address, which clients must want.
    pub engine: String,
    /// What the engine is, for run records.
    pub engine_version: String,
    /// The engine's runtime, which clients must want.
    pub runtime: Option<String>,
    /// The image that is kept.
    pub image: PoolImage,
    /// The limits of the sandboxes that are always kept. Those with others are kept for a while
    /// after one was wanted.
    pub limits: Limits,
    /// How many wait.
    pub keep: usize,
    /// The version of the program.
    pub version: String,
}

/// An image, and what clients know it by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolImage {
    /// From [`crate::images::key`].
    pub key: Digest,
    /// On the engine.
    pub image: ImageId,
}

/// A pool that other processes lease from.
#[derive(Debug)]
pub struct PoolProcess {
    sandboxes: DockerSandboxes,
    options: PoolProcessOptions,
    image: Mutex<PoolImage>,
    begun: Instant,
    starts: Semaphore,
    /// A client wanted another image.
    outdated: Notify,
    /// Somebody asked it to stop.
    stopping: CancellationToken,
    /// Nothing waits any more.
    emptied: CancellationToken,
    leased: AtomicU64,
    hits: AtomicU64,
    misses: AtomicU64,
    refused: AtomicU64,
}

impl PoolProcess {
    /// A pool of these sandboxes; their pool options say how many wait in all, and how long those of
    /// other limits do.
    pub fn new(sandboxes: DockerSandboxes, options: PoolProcessOptions) -> Self {
        Self {
            sandboxes,
            image: Mutex::new(options.image.clone()),
            options,
            begun: Instant::now(),
            starts: Semaphore::new(STARTS_MAX),
            outdated: Notify::new(),
            stopping: CancellationToken::new(),
            emptied: CancellationToken::new(),
            leased: AtomicU64::new(0),
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        }
    }

    /// Serves clients at this socket until it is stopped or cancelled; then removes what waits, and
    /// lets runs that are under way end. `listening` is called as soon as clients can come.
    ///
    /// # Errors
    /// [`PoolError::Running`] and [`PoolError::Socket`] when it cannot listen there.
    pub async fn serve(
        self: &Arc<Self>,
        socket: &Path,
        cancel: &CancellationToken,
        listening: impl FnOnce(),
    ) -> Result<(), PoolError> {
        let place = Place::take(socket)?;
        self.keep();
        listening();
        let mut connections = JoinSet::new();
        let mut look = tokio::time::interval(LOOK_AFTER);
        loop {
            tokio::select! {
                () = cancel.cancelled() => break,
                () = self.stopping.cancelled() => break,
                _ = look.tick() => self.keep(),
                Some(_) = connections.join_next(), if !connections.is_empty() => {}
                accepted = place.listener.accept(), if connections.len() < CONNECTIONS_MAX => {
                    match accepted {
                        Ok((stream, _)) if place::is_ours(&stream) => {
                            let this = Arc::clone(self);
                            connections.spawn(async move { this.connection(stream).await });
                        }
                        Ok(_) => tracing::warn!("a process of another user was turned away"),
                        Err(error) => {
                            tracing::warn!(%error, "a connection was not accepted");
                            tokio::time::sleep(REFUSED_PAUSE).await;
                        }
                    }
                }
            }
        }
        // From here on clients find no pool.
        drop(place);
        self.stopping.cancel();
        self.sandboxes.shutdown().await;
        self.emptied.cancel();
        while connections.join_next().await.is_some() {}
        Ok(())
    }

    /// Returns when a client wanted another image than the one that is kept.
    pub async fn outdated(&self) {
        self.outdated.notified().await;
    }

    /// Keeps sandboxes of another image from now on.
    pub fn use_image(&self, image: PoolImage) {
        let mut current = self.image.lock().unwrap_or_else(PoisonError::into_inner);
        if *current == image {
            return;
        }
        let old = std::mem::replace(&mut *current, image);
        drop(current);
        for stock in self.sandboxes.stocks() {
            if stock.image == old.image {
                let StockCount { image, imports, .. } = &stock;
                self.sandboxes.prewarm(image, imports, &stock.limits, 0);
            }
        }
        self.keep();
    }

    /// Why sandboxes that are to wait do not start; none when they do.
    pub fn failure(&self) -> Option<String> {
        let mut stocks = self.sandboxes.stocks().into_iter();
        stocks.find_map(|stock| stock.failure)
    }

    fn image(&self) -> PoolImage {
        let image = self.image.lock().unwrap_or_else(PoisonError::into_inner);
        image.clone()
    }

    /// Asks for the sandboxes that are always kept.
    fn keep(&self) {
        let image = self.image().image;
        let limits = with_lease(&self.options.limits);
        self.sandboxes.keep(&image, &limits, self.options.keep);
    }

    /// Asks for sandboxes with an image, imports or limits that nobody has wanted before.
    fn keep_also(&self, image: &ImageId, imports: &Imports, limits: &Limits) {
        let wanted = WantedLimits::of(&with_lease(limits));
        let is_kept = |stock: &StockCount| {
            stock.image == *image
                && stock.imports == *imports
                && WantedLimits::of(&with_lease(&stock.limits)) == wanted
                && stock.wanted >= self.options.keep
        };
        if !self.sandboxes.stocks().iter().any(is_kept) {
            self.sandboxes
                .prewarm(image, imports, &with_lease(limits), self.options.keep);
        }
    }

    /// Serves one client to its end.
    async fn connection(&self, stream: UnixStream) {
        let (mut reader, mut writer) = stream.into_split();
        let served = async {
            let hello = tokio::time::timeout(HELLO_TIME, read_hello(&mut reader)).await;
            let hello = hello.map_err(|_| ProtocolError::Timeout)??;
            if hello.protocol != PROTOCOL {
                let answer = Answer::Protocol { protocol: PROTOCOL };
                return write_message(&mut writer, kind::ANSWER, &answer).await;
            }
            match hello.want {
                Want::Status => {
                    let status = Answer::Status(Box::new(self.status()));
                    write_message(&mut writer, kind::ANSWER, &status).await
                }
                Want::Stop => {
                    write_message(&mut writer, kind::ANSWER, &Answer::Stopping).await?;
                    self.stopping.cancel();
                    self.emptied.cancelled().await;
                    Ok(())
                }
                Want::Sandbox(wanted) => self.sandbox(&wanted, reader, writer).await,
                Want::Keep(wanted) => {
                    let answer = match self.accept(&wanted, &self.image()) {
                        Ok(_) => Answer::Kept,
                        Err(why) => Answer::None { why },
                    };
                    write_message(&mut writer, kind::ANSWER, &answer).await
                }
            }
        };
        if let Err(error) = served.await {
            tracing::debug!(%error, "a client went away");
        }
    }

    /// Hands out a sandbox, passes on its bytes, and removes it.
    async fn sandbox(
        &self,
        wanted: &Wanted,
        mut reader: OwnedReadHalf,
        mut writer: OwnedWriteHalf,
    ) -> Result<(), ProtocolError> {
        let image = self.image();
        let (ready, start) = match self.find(wanted, &image).await {
            Ok(found) => found,
            Err(why) => {
                self.refused.fetch_add(1, Ordering::Relaxed);
                let answer = Answer::None { why };
                return write_message(&mut writer, kind::ANSWER, &answer).await;
            }
        };
        let counter = match start {
            Start::Leased => &self.hits,
            Start::Cold => &self.misses,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        self.leased.fetch_add(1, Ordering::Relaxed);
        let given = Answer::Sandbox(Given {
            image: wanted.environment.unwrap_or(image.image.0),
            engine: self.options.engine_version.clone(),
            user: ready.uid,
            python: ready.python.clone(),
            runtime: self.sandboxes.name_of(wanted.runtime.as_deref()).await,
            was_waiting: start == Start::Leased,
            has_imported: match ready.imports {
                Ahead::Nothing => None,
                Ahead::Imported => Some(true),
                Ahead::Failed => Some(false),
            },
        });
        let removal = &ready.remains.removal;
        let watchdog = self.sandboxes.watch(removal, &wanted.limits.limits()).await;
        let passed = match write_message(&mut writer, kind::ANSWER, &given).await {
            Ok(()) => relay(&mut reader, &mut writer, ready.line).await,
            error => {
                drop(ready.line);
                error
            }
        };
        // The line is closed: it ends by itself, and if not, it is killed.
        let mut remains = ready.remains;
        let mut gone = remains.end.gone_within(GRACE).await;
        // One that is still there is killed first, and not waited for once more.
        let ended_by_kernel = gone != Gone::Unknown && remains.ran_out_of_memory().await;
        if gone == Gone::Unknown {
            let is_gone = remains.remove(Ending::Kill).await;
            gone = if is_gone { Gone::Removed(None) } else { gone };
        } else {
            drop(remains);
        }
        self.leased.fetch_sub(1, Ordering::Relaxed);
        passed?;
        let (is_known, status) = match gone {
            Gone::Removed(status) => (true, status),
            Gone::Unknown => (false, None),
        };
        let message = GoneMessage {
            is_known,
            status,
            exceeded_memory: ended_by_kernel
                || watchdog.is_some_and(|watchdog| watchdog.has_ended_it()),
        };
        write_message(&mut writer, kind::GONE, &message).await
    }

    /// Keeps such sandboxes from now on, and says what they are made from; or why it does not.
    fn accept(&self, wanted: &Wanted, image: &PoolImage) -> Result<(ImageId, Limits), String> {
        let options = &self.options;
        if self.stopping.is_cancelled() {
            return Err("it is stopping".to_owned());
        }
        if wanted.engine != options.engine {
            return Err(format!("its engine is at `{}`", options.engine));
        }
        if wanted.runtime != options.runtime {
            let runtime = options.runtime.as_deref().unwrap_or("the default");
            return Err(format!("its runtime is `{runtime}`"));
        }
        if wanted.image != image.key {
            self.outdated.notify_one();
            return Err("its image is another".to_owned());
        }
        let limits = wanted.limits.limits();
        limits.check().map_err(|error| error.to_string())?;
        // A client of the same user could have the engine make it just as well.
        let image = wanted.environment.map_or(image.image.clone(), ImageId);
        self.keep_also(&image, &wanted.imports, &limits);
        Ok((image, limits))
    }

    /// A sandbox for a client, or why there is none.
    async fn find(&self, wanted: &Wanted, image: &PoolImage) -> Result<(Ready, Start), String> {
        let (image, limits) = self.accept(wanted, image)?;
        let started = self
            .sandboxes
            .hand_out(
                &image,
                wanted.warm,
                &wanted.imports,
                &limits,
                &self.starts,
                &self.stopping,
            )
            .await;
        match started {
            Ok(Some(found)) => Ok(found),
            Ok(None) => Err("it has no place for another sandbox".to_owned()),
            Err(Unready::Failed(error)) => Err(error.to_string()),
            Err(Unready::Lost(why)) => Err(why),
            Err(Unready::Cancelled) => Err("it is stopping".to_owned()),
        }
    }

    fn status(&self) -> PoolStatus {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let options = &self.options;
        PoolStatus {
            pid: std::process::id(),
            version: options.version.clone(),
            uptime_s: self.begun.elapsed().as_secs(),
            engine: options.engine.clone(),
            engine_version: options.engine_version.clone(),
            runtime: options.runtime.clone(),
            image: self.image().image.0,
            classes: self.sandboxes.stocks().iter().map(class).collect(),
            leased: count(&self.leased),
            hits: count(&self.hits),
            misses: count(&self.misses),
            refused: count(&self.refused),
        }
    }
}

fn class(stock: &StockCount) -> PoolClass {
    let limits = &stock.limits;
    PoolClass {
        image: stock.image.0,
        imports: stock.imports.clone(),
        memory_bytes: limits.memory.get(),
        cpu_millis: limits.cpu_millis,
        pids: limits.pids,
        workspace_bytes: limits.workspace.get(),
        wanted: stock.wanted,
        waiting: stock.waiting,
        starting: stock.starting,
        failure: stock.failure.clone(),
    }
}

/// Limits of sandboxes that wait, whose leases cover the same time.
fn with_lease(limits: &Limits) -> Limits {
    Limits {
        wall: WALL,
        ..limits.clone()
    }
}

/// Passes bytes on in both directions until one side ends, and closes the sandbox's line.
async fn relay(
    reader: &mut OwnedReadHalf,
    writer: &mut OwnedWriteHalf,
    line: Line,
) -> Result<(), ProtocolError> {
    let Line {
        mut input,
        mut output,
    } = line;
    let up = async {
        let mut buffer = vec![0; CHUNK];
        loop {
            let count = reader.read(&mut buffer).await?;
            if count == 0 {
                return Ok(());
            }
            let passed = async {
                input.write_all(&buffer[..count]).await?;
                input.flush().await
            };
            match tokio::time::timeout(STALL, passed).await {
                Ok(Ok(())) => {}
                // It has ended, which its output says too: what it said last is still on its way.
                Ok(Err(_)) => std::future::pending().await,
                Err(_) => return Err(ProtocolError::Timeout),
            }
        }
    };
    let down = async {
        while let Some(said) = output.next().await {
            match said {
                Ok(Said::Frames(bytes)) => write_piece(writer, kind::OUT, &bytes).await?,
                Ok(Said::Diagnosis(bytes)) => write_piece(writer, kind::ERR, &bytes).await?,
                Err(_) => break,
            }
        }
        Ok(())
    };
    tokio::select! {
        ended = up => ended,
        ended = down => ended,
    }
}
