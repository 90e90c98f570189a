//! One run's conversation with its sandbox, from the first frame to the last.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::{BoxFuture, OptionFuture};
use futures::{FutureExt as _, StreamExt as _};
use spec::{
    Captured, Clock, FileEntry, Imports, OutputStream, PhaseTimings, Place, RunOutcome, RunReport,
    RunUsage, limits,
};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::collect::{self, Checks, Piece};
use super::events::{Ended, Event, Events, Traffic};
use super::outcome::{bad_channel, judge, lost};
use super::ready::{Diagnosis, Ending, Input, Line, Output, Ready, Remains, Said};
use super::requests::{Refused, Requests};
use super::restore;
use super::streams::Streams;
use super::write::{Replies, replies, write};
use crate::frames::TOKEN_BYTES;
use crate::{RunHost, RunnerError, SandboxSpec};

/// Batches of frames on their way in, and pieces of files on their way out: at most 256 KiB each.
const QUEUED: usize = 64;

/// Why the host ended a run.
#[derive(Debug)]
enum Stop {
    TimedOut,
    Cancelled,
    /// The child's channel carried something else than requests.
    Garbage(String),
}

/// How far the run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Restoring,
    Running,
    /// CANCEL has been sent.
    Stopping,
    Collecting,
}

/// Why the conversation is over.
enum Over {
    Done,
    /// A stopped run did not end in time, or need not be waited for.
    Stopped,
    /// The kernel ended PID 1 too.
    OutOfMemory,
    Lost(String),
    Failed(RunnerError),
}

/// What the session's blocking jobs return.
enum Job {
    Restored(io::Result<()>),
    Stored(io::Result<Vec<FileEntry>>),
}

/// What a run leaves to its caller.
pub(super) struct Ran {
    pub(super) report: Result<RunReport, RunnerError>,
    /// Whether anything of the program can have run.
    pub(super) began: bool,
    /// The sandbox, which may still be there.
    pub(super) remains: Remains,
    pub(super) ending: Ending,
}

/// Sees a run to its end, in a sandbox that is ready. `timings` are those of the phases before.
pub(super) async fn run(
    spec: &SandboxSpec,
    host: &RunHost,
    ready: Ready,
    timings: PhaseTimings,
    cancel: &CancellationToken,
) -> Ran {
    let Ready {
        line,
        mut events,
        diagnosis,
        mut remains,
        python,
        imports,
        ..
    } = ready;
    let Line { input, output } = line;
    // A random UUID has 122 random bits from the system's generator.
    let token = *uuid::Uuid::new_v4().as_bytes();
    events.begin(token);
    let mut jobs = JoinSet::new();
    let batches = start_restore(spec, host, token, &mut jobs);
    let mut session = Session::new(spec, host, events, input, batches);
    session.diagnosis = diagnosis;
    session.timings = PhaseTimings { imports, ..timings };
    session.python = python;
    let over = session.converse(output, &mut jobs, cancel).await;
    // This closes the stream in both directions, so that a kill does not wait for its reader.
    session.writer = None;
    session.requests.shutdown().await;
    session.streams.finish().await;
    session.pieces = None;
    let (mut over, ending) = match over {
        Over::Done => (over, Ending::ByItself),
        Over::Lost(_) if session.started.is_some() && remains.ran_out_of_memory().await => {
            (Over::OutOfMemory, Ending::Kill)
        }
        Over::Lost(why) => (
            Over::Lost(remains.last_words(why, &session.diagnosis).await),
            Ending::Kill,
        ),
        Over::Stopped | Over::OutOfMemory | Over::Failed(_) => (over, Ending::Kill),
    };
    while let Some(job) = jobs.join_next().await {
        match job {
            Ok(Job::Stored(stored)) => session.stored = Some(stored),
            Ok(Job::Restored(_)) => {}
            Err(panic) => over = Over::Lost(format!("a job of its own failed: {panic}")),
        }
    }
    Ran {
        began: session.started.is_some(),
        report: session.report(over),
        remains,
        ending,
    }
}

struct Session<'a> {
    spec: &'a SandboxSpec,
    host: &'a RunHost,
    events: Events,
    stage: Stage,
    deadline: Instant,
    /// When the collection must be over.
    collected_by: Instant,
    stop: Option<Stop>,
    /// Lets CANCEL pass the replies.
    cancel_frame: CancellationToken,
    /// What goes in is written in between, without a job of its own: that would cost time.
    writer: Option<BoxFuture<'static, ()>>,
    replies: Replies,
    requests: Requests,
    streams: Streams,
    output: [Captured; 2],
    end: Option<(Ended, Option<Bytes>)>,
    checks: Checks,
    pieces: Option<mpsc::Sender<Piece>>,
    stored: Option<io::Result<Vec<FileEntry>>>,
    diagnosis: Diagnosis,
    timings: PhaseTimings,
    /// The version of the sandbox's Python.
    python: String,
    /// When the current phase of the timings began.
    since: Instant,
    started: Option<Instant>,
}

impl<'a> Session<'a> {
    /// Takes over the way into the sandbox.
    fn new(
        spec: &'a SandboxSpec,
        host: &'a RunHost,
        events: Events,
        input: Input,
        batches: mpsc::Receiver<Bytes>,
    ) -> Self {
        let (replies, replies_out) = replies();
        let cancel_frame = CancellationToken::new();
        let cancelled = cancel_frame.clone();
        // A failed write means that the sandbox is gone, which the reader finds out too.
        let writer = write(input, batches, replies_out, cancelled)
            .map(drop)
            .boxed();
        let since = Instant::now();
        let proxy = spec.proxy.as_ref().map(|_| Arc::clone(&host.broker));
        let streams = Streams::new(proxy, replies.clone());
        Self {
            spec,
            host,
            events,
            stage: Stage::Restoring,
            deadline: since + limits::COLLECT,
            collected_by: since + limits::COLLECT,
            stop: None,
            cancel_frame,
            writer: Some(writer),
            requests: Requests::new(Arc::clone(&host.broker), replies.clone(), &spec.limits),
            replies,
            streams,
            output: [Captured::default(), Captured::default()],
            end: None,
            checks: Checks::new(&spec.limits),
            pieces: None,
            stored: None,
            diagnosis: Diagnosis::default(),
            timings: PhaseTimings::default(),
            python: String::new(),
            since,
            started: None,
        }
    }

    async fn converse(
        &mut self,
        mut output: Output,
        jobs: &mut JoinSet<Job>,
        cancel: &CancellationToken,
    ) -> Over {
        loop {
            let step = tokio::select! {
                biased;
                () = cancel.cancelled(), if self.stop.is_none() => self.stop(Stop::Cancelled),
                () = tokio::time::sleep_until(self.deadline) => self.out_of_time(),
                Some(job) = jobs.join_next(), if !jobs.is_empty() => self.job_ended(job),
                () = self.requests.answer(), if !self.requests.is_empty() => None,
                () = self.streams.job_ended() => None,
                () = OptionFuture::from(self.writer.as_mut()).map(drop), if self.writer.is_some() => {
                    self.writer = None;
                    None
                }
                said = output.next() => match said {
                    Some(Ok(said)) => self.take(said, jobs, cancel).await,
                    Some(Err(error)) => Some(Over::Lost(format!("its stream broke: {error}"))),
                    None => Some(Over::Lost("it ended without a report".to_owned())),
                },
            };
            if let Some(over) = step {
                return over;
            }
            if self.replies.are_too_many() {
                return Over::Lost("it does not take what it asked for".to_owned());
            }
        }
    }

    /// Takes what the sandbox said.
    async fn take(
        &mut self,
        said: Said,
        jobs: &mut JoinSet<Job>,
        cancel: &CancellationToken,
    ) -> Option<Over> {
        let bytes = match said {
            Said::Frames(bytes) => bytes,
            Said::Diagnosis(message) => {
                self.diagnosis.push(&message);
                return None;
            }
        };
        self.events.feed(&bytes);
        self.has_spoken();
        loop {
            let over = match self.events.next() {
                Ok(Some(event)) => self.on(event, jobs, cancel).await,
                Ok(None) => return None,
                Err(error) => Some(Over::Lost(error.to_string())),
            };
            if over.is_some() {
                return over;
            }
            self.has_spoken();
        }
    }

    /// Gives a sandbox that collects more time: it goes on.
    fn has_spoken(&mut self) {
        if self.stage == Stage::Collecting {
            let silence = Instant::now() + limits::COLLECT_SILENCE;
            self.deadline = silence.min(self.collected_by);
        }
    }

    async fn on(
        &mut self,
        event: Event,
        jobs: &mut JoinSet<Job>,
        cancel: &CancellationToken,
    ) -> Option<Over> {
        let broken = |result: Result<(), String>| result.err().map(Over::Lost);
        match event {
            // The events come in this order or not at all: READY was before.
            Event::Ready { .. } => Some(Over::Lost("it is ready twice".to_owned())),
            Event::Echo(_) => Some(Over::Lost("it wants an echo while it runs".to_owned())),
            Event::Started => {
                self.timings.restore = self.phase_ends();
                self.stage = Stage::Running;
                self.started = Some(self.since);
                self.deadline = self.since + self.spec.limits.wall;
                None
            }
            Event::Output(stream, bytes) => broken(self.captured(stream, &bytes)),
            Event::Request { id, body } => self.request(id, &body),
            Event::Connection { number, what } => broken(self.traffic(number, what)),
            Event::Ended { end, claim } => {
                self.streams.end();
                self.timings.run = self.phase_ends();
                if self.stop.is_none() {
                    self.stage = Stage::Collecting;
                    self.collected_by = Instant::now() + limits::COLLECT;
                    self.has_spoken();
                }
                self.end = Some((end, claim));
                None
            }
            Event::FileBegin {
                path,
                size,
                executable,
                first,
            } => match self.checks.file(path, size) {
                Ok(path) if first.len() as u64 == size => {
                    let whole = Piece::Whole {
                        path,
                        executable,
                        content: first,
                    };
                    self.store(whole, jobs, cancel).await
                }
                Ok(path) => {
                    let begin = Piece::Begin {
                        path,
                        size,
                        executable,
                    };
                    match self.store(begin, jobs, cancel).await {
                        None => self.store(Piece::Data(first), jobs, cancel).await,
                        over => over,
                    }
                }
                Err(why) => Some(Over::Lost(why)),
            },
            Event::FileData(bytes) => self.store(Piece::Data(bytes), jobs, cancel).await,
            Event::FileEnd => self.store(Piece::End, jobs, cancel).await,
            Event::Removed(path) => broken(self.checks.removed(path, &self.spec.tree)),
            Event::Left { path, why } => broken(self.checks.left(&path, &why)),
            Event::Done => {
                self.timings.collect = self.phase_ends();
                Some(Over::Done)
            }
            Event::Failed(why) => Some(Over::Lost(why)),
        }
    }

    fn phase_ends(&mut self) -> Duration {
        let now = Instant::now();
        let took = now - self.since;
        self.since = now;
        took
    }

    fn first_byte(&mut self) {
        if self.timings.first_byte.is_zero() {
            self.timings.first_byte = self.since.elapsed();
        }
    }

    fn captured(&mut self, stream: OutputStream, bytes: &[u8]) -> Result<(), String> {
        self.first_byte();
        let captured = &mut self.output[index(stream)];
        captured.content.extend_from_slice(bytes);
        captured.bytes = captured.content.len() as u64;
        if captured.bytes > self.spec.limits.output.get() {
            return Err("it sent more output than allowed".to_owned());
        }
        self.host.observer.output(stream, bytes);
        Ok(())
    }

    // Requests and connections.

    fn traffic(&mut self, number: u32, what: Traffic) -> Result<(), String> {
        match what {
            Traffic::Opened => {
                self.first_byte();
                self.streams.opened(number)
            }
            Traffic::Bytes(bytes) => self.streams.arrived(number, &bytes),
            Traffic::Closed => self.streams.closed(number),
            Traffic::Aborted => self.streams.aborted(number),
            Traffic::Widened(bytes) => self.streams.widened(number, bytes),
            Traffic::Over => self.streams.over(number),
        }
    }

    fn request(&mut self, id: u32, body: &[u8]) -> Option<Over> {
        self.first_byte();
        if self.stop.is_some() {
            return None;
        }
        match self.requests.take(id, body) {
            Ok(()) => None,
            Err(Refused::Rules) => Some(Over::Lost("it broke the rules of requests".to_owned())),
            Err(Refused::Garbage(why)) => self.stop(Stop::Garbage(why)),
        }
    }

    // Stopping.

    /// Ends the run: gently where it runs, at once where nothing would be lost.
    fn stop(&mut self, why: Stop) -> Option<Over> {
        self.stop = Some(why);
        match self.stage {
            Stage::Running => {
                self.cancel_frame.cancel();
                self.stage = Stage::Stopping;
                self.deadline = Instant::now() + limits::STOP_GRACE;
                None
            }
            Stage::Restoring | Stage::Stopping | Stage::Collecting => Some(Over::Stopped),
        }
    }

    fn out_of_time(&mut self) -> Option<Over> {
        match self.stage {
            Stage::Restoring => Some(Over::Lost("its files were not written in time".to_owned())),
            Stage::Running => self.stop(Stop::TimedOut),
            Stage::Stopping => Some(Over::Stopped),
            Stage::Collecting if Instant::now() < self.collected_by => Some(Over::Lost(format!(
                "it said nothing for {} s while its files were collected",
                limits::COLLECT_SILENCE.as_secs()
            ))),
            Stage::Collecting => Some(Over::Lost(format!(
                "its files were not collected within {} s",
                limits::COLLECT.as_secs()
            ))),
        }
    }

    fn job_ended(&mut self, job: Result<Job, tokio::task::JoinError>) -> Option<Over> {
        match job {
            Ok(Job::Restored(Err(error))) if error.kind() != io::ErrorKind::BrokenPipe => {
                Some(Over::Failed(RunnerError::Blobs(error)))
            }
            Ok(Job::Stored(stored)) => {
                self.stored = Some(stored);
                None
            }
            Ok(Job::Restored(_)) => None,
            Err(panic) => Some(Over::Lost(format!("a job of its own failed: {panic}"))),
        }
    }

    // Collecting.

    async fn store(
        &mut self,
        piece: Piece,
        jobs: &mut JoinSet<Job>,
        cancel: &CancellationToken,
    ) -> Option<Over> {
        let pieces = self.pieces.get_or_insert_with(|| {
            let (pieces, pieces_out) = mpsc::channel(QUEUED);
            let blobs = Arc::clone(&self.host.blobs);
            jobs.spawn_blocking(move || Job::Stored(collect::store(&blobs, pieces_out)));
            pieces
        });
        let piece = match pieces.try_send(piece) {
            Ok(()) => return None,
            Err(TrySendError::Closed(_)) => return Some(Over::Done),
            Err(TrySendError::Full(piece)) => piece,
        };
        // It is our disk that is slow, and not the sandbox that is silent.
        let until = match self.stage {
            Stage::Collecting => self.collected_by,
            Stage::Restoring | Stage::Running | Stage::Stopping => self.deadline,
        };
        tokio::select! {
            biased;
            () = cancel.cancelled(), if self.stop.is_none() => self.stop(Stop::Cancelled),
            sent = tokio::time::timeout_at(until, pieces.send(piece)) => match sent {
                Ok(Ok(())) => None,
                // The job ended early, and will say why.
                Ok(Err(_)) => Some(Over::Done),
                Err(_) => self.out_of_time(),
            },
        }
    }

    // The end.

    fn report(mut self, over: Over) -> Result<RunReport, RunnerError> {
        if self.stage == Stage::Collecting && self.timings.collect.is_zero() {
            self.timings.collect = self.phase_ends();
        }
        let changed = match self.stored.take() {
            None => Vec::new(),
            Some(stored) => stored.map_err(RunnerError::Blobs)?,
        };
        let limits = &self.spec.limits;
        let elapsed = self
            .started
            .map_or(Duration::ZERO, |started| started.elapsed());
        let mut usage = RunUsage {
            wall: elapsed,
            skills: BTreeMap::new(),
            ..RunUsage::default()
        };
        let (mut natural, mut imports) = (None, Imports::NONE);
        if let Some((end, claim)) = &self.end {
            usage.wall = Duration::from_nanos(end.wall_ns).min(elapsed);
            usage.cpu = Duration::from_nanos(end.cpu_ns);
            usage.memory_peak_bytes = end.memory_peak;
            usage.oom_kills = end.oom_kills;
            usage.full = super::outcome::full(end);
            for (captured, bytes) in self
                .output
                .iter_mut()
                .zip([end.stdout_bytes, end.stderr_bytes])
            {
                captured.bytes = captured.bytes.max(bytes);
            }
            if end.stopped.as_deref() != Some("cancel") {
                let program = &self.spec.program;
                natural = Some(judge(end, claim.as_deref(), program, limits, &mut imports));
            }
        }
        let in_time = usage.wall <= limits.wall;
        let (outcome, complete) = match (over, self.stop, natural) {
            (Over::Failed(error), ..) => return Err(error),
            (Over::Lost(why), ..) => (lost(&why), false),
            (Over::OutOfMemory, ..) => {
                usage.oom_kills = usage.oom_kills.max(1);
                let limit = limits.memory;
                (RunOutcome::OutOfMemory { limit }, false)
            }
            // Stopped or not, it ended by itself before.
            (Over::Done, None | Some(Stop::Cancelled), Some(outcome)) => (outcome, true),
            (Over::Done, Some(Stop::TimedOut), Some(outcome)) if in_time => (outcome, true),
            (_, Some(Stop::TimedOut), _) => {
                let (clock, limit) = (Clock::Wall, limits.wall);
                (RunOutcome::TimedOut { clock, limit }, false)
            }
            (_, Some(Stop::Cancelled), _) => (RunOutcome::Cancelled, false),
            (_, Some(Stop::Garbage(why)), _) => (bad_channel(&why), false),
            (Over::Done | Over::Stopped, None, _) => (lost("its report is incomplete"), false),
        };
        let [stdout, stderr] = self.output;
        let mut report = RunReport {
            outcome,
            stdout,
            stderr,
            changed: Vec::new(),
            removed: Vec::new(),
            left_behind: Vec::new(),
            usage,
            timings: self.timings,
            place: Place {
                runtime: None,
                python: Some(self.python),
            },
            imports,
        };
        if complete {
            report.changed = collect::changed(changed, &self.spec.tree);
            report.removed = self.checks.removed;
            report.left_behind = self.checks.left_behind;
            report.removed.sort();
            if self
                .spec
                .tree
                .apply(&report.changed, &report.removed)
                .is_err()
            {
                report.outcome = lost("the files it sent back cannot exist together");
                report.changed.clear();
                report.removed.clear();
            }
        }
        Ok(report)
    }
}

/// Starts the job that encodes what goes in before the program begins.
fn start_restore(
    spec: &SandboxSpec,
    host: &RunHost,
    token: [u8; TOKEN_BYTES],
    jobs: &mut JoinSet<Job>,
) -> mpsc::Receiver<Bytes> {
    let (batches, batches_out) = mpsc::channel(QUEUED);
    let (program, tree) = (spec.program.clone(), Arc::clone(&spec.tree));
    let (limits, blobs) = (spec.limits.clone(), Arc::clone(&host.blobs));
    let (proxy, determinism) = (spec.proxy.clone(), spec.determinism);
    let send = move |out: &mut dyn FnMut(Bytes) -> io::Result<()>| {
        let run = restore::Beginning {
            program: &program,
            limits: &limits,
            proxy: proxy.as_ref(),
            determinism,
            token,
        };
        restore::send_all(&run, &tree, &blobs, out)
    };
    let closed = || io::Error::from(io::ErrorKind::BrokenPipe);
    if restore::is_small(spec) {
        // Without a job: that would cost more time than the encoding. There is room for it.
        drop(send(&mut |batch| {
            batches.try_send(batch).map_err(|_| closed())
        }));
    } else {
        jobs.spawn_blocking(move || {
            let mut out = |batch| batches.blocking_send(batch).map_err(|_| closed());
            Job::Restored(send(&mut out))
        });
    }
    batches_out
}

fn index(stream: OutputStream) -> usize {
    match stream {
        OutputStream::Stdout => 0,
        OutputStream::Stderr => 1,
    }
}
