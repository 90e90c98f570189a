//! One run's conversation with its sandbox, from the first frame to the last.

use std::collections::BTreeMap;
use std::collections::HashSet;
use std::io;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bollard::container::{AttachContainerResults, LogOutput};
use bytes::{Bytes, BytesMut};
use futures::{FutureExt as _, Stream, StreamExt as _};
use serde::{Deserialize, Serialize};
use spec::{
    Captured, FileEntry, OutputStream, PhaseTimings, RunOutcome, RunReport, RunUsage, limits,
};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::collect::{self, Checks, Piece};
use super::events::{Ended, Event, Events};
use super::outcome::{bad_channel, judge, lost};
use super::restore::{self, REQUESTS_OPEN};
use super::watch::{Gone, Watch};
use super::write::{Input, write};
use crate::frames::{TOKEN_BYTES, put_message, split_frames, to_sandbox};
use crate::{RunHost, RunnerError, SandboxSpec, ToolRequest};

/// Batches of frames on their way in, and pieces of files on their way out: at most 256 KiB each.
const QUEUED: usize = 64;
/// Bytes of the harness's own standard error that are kept for the message of a lost sandbox.
const DIAGNOSIS: usize = 2_000;
/// How long the engine may take to say with which status a sandbox ended.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// Whether the sandbox ends by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// The harness has said its last word and exits.
    ByItself,
    /// It is to be killed.
    Kill,
}

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
    Starting,
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
    Lost(String),
    Failed(RunnerError),
}

/// What the session's blocking jobs return.
enum Job {
    Restored(io::Result<()>),
    Stored(io::Result<Vec<FileEntry>>),
}

type Output = Pin<Box<dyn Stream<Item = Result<LogOutput, bollard::errors::Error>> + Send>>;

/// Sees a run to its end, in a container that is attached to and about to be started.
pub(super) async fn run(
    spec: &SandboxSpec,
    host: &RunHost,
    begun: Instant,
    attached: AttachContainerResults,
    start: impl Future<Output = Result<(), RunnerError>>,
    watch: &mut Watch,
    cancel: &CancellationToken,
) -> (Result<RunReport, RunnerError>, Ending) {
    let mut jobs = JoinSet::new();
    let mut session = Session::new(spec, host, begun, attached.input, &mut jobs);
    let over = session
        .converse(attached.output, start, &mut jobs, cancel)
        .await;
    // This closes the stream in both directions, so that a kill does not wait for its reader.
    session.writer.shutdown().await;
    session.answers.shutdown().await;
    session.pieces = None;
    let (over, ending) = match over {
        Over::Done => (over, Ending::ByItself),
        Over::Lost(why) => (
            Over::Lost(session.last_words(why, watch).await),
            Ending::Kill,
        ),
        Over::Stopped | Over::Failed(_) => (over, Ending::Kill),
    };
    while let Some(job) = jobs.join_next().await {
        if let Ok(Job::Stored(stored)) = job {
            session.stored = Some(stored);
        }
    }
    (session.report(over), ending)
}

struct Session<'a> {
    spec: &'a SandboxSpec,
    host: &'a RunHost,
    events: Events,
    stage: Stage,
    deadline: Instant,
    stop: Option<Stop>,
    /// Replies to the running sandbox; few, because requests that are open are few.
    replies: mpsc::UnboundedSender<Bytes>,
    /// Lets CANCEL pass the replies.
    cancel_frame: CancellationToken,
    writer: JoinSet<()>,
    answers: JoinSet<(u32, Bytes)>,
    open: HashSet<u32>,
    calls: u32,
    output: [Captured; 2],
    end: Option<(Ended, Option<Bytes>)>,
    checks: Checks,
    pieces: Option<mpsc::Sender<Piece>>,
    stored: Option<io::Result<Vec<FileEntry>>>,
    diagnosis: Vec<u8>,
    timings: PhaseTimings,
    /// When the current phase of the timings began.
    since: Instant,
    started: Option<Instant>,
}

impl<'a> Session<'a> {
    /// Takes over the way into the sandbox.
    fn new(
        spec: &'a SandboxSpec,
        host: &'a RunHost,
        begun: Instant,
        input: Input,
        jobs: &mut JoinSet<Job>,
    ) -> Self {
        // A random UUID has 122 random bits from the system's generator.
        let token = *uuid::Uuid::new_v4().as_bytes();
        let (replies, replies_out) = mpsc::unbounded_channel();
        let cancel_frame = CancellationToken::new();
        let cancelled = cancel_frame.clone();
        let mut writer = JoinSet::new();
        let batches = start_restore(spec, host, token, jobs);
        writer.spawn(async move {
            // A failed write means that the sandbox is gone, which the reader finds out too.
            drop(write(input, batches, replies_out, cancelled).await);
        });
        Self {
            spec,
            host,
            events: Events::new(token),
            stage: Stage::Starting,
            deadline: Instant::now() + 2 * limits::START,
            stop: None,
            replies,
            cancel_frame,
            writer,
            answers: JoinSet::new(),
            open: HashSet::new(),
            calls: 0,
            output: [Captured::default(), Captured::default()],
            end: None,
            checks: Checks::new(spec.limits.workspace),
            pieces: None,
            stored: None,
            diagnosis: Vec::new(),
            timings: PhaseTimings::default(),
            since: begun,
            started: None,
        }
    }

    async fn converse(
        &mut self,
        mut output: Output,
        start: impl Future<Output = Result<(), RunnerError>>,
        jobs: &mut JoinSet<Job>,
        cancel: &CancellationToken,
    ) -> Over {
        let mut start = std::pin::pin!(start.fuse());
        loop {
            let step = tokio::select! {
                biased;
                () = cancel.cancelled(), if self.stop.is_none() => self.stop(Stop::Cancelled),
                () = tokio::time::sleep_until(self.deadline) => self.out_of_time(),
                started = &mut start => match started {
                    Ok(()) => {
                        self.deadline = Instant::now() + limits::START;
                        None
                    }
                    Err(error) => Some(Over::Failed(error)),
                },
                Some(job) = jobs.join_next(), if !jobs.is_empty() => self.job_ended(job),
                Some(answer) = self.answers.join_next(), if !self.answers.is_empty() => {
                    if let Ok((id, answer)) = answer {
                        self.reply(id, &answer);
                    }
                    None
                }
                item = output.next() => match item {
                    Some(Ok(item)) => self.take(item, jobs).await,
                    Some(Err(error)) => Some(Over::Lost(format!("its stream broke: {error}"))),
                    None => Some(Over::Lost("it ended without a report".to_owned())),
                },
            };
            if let Some(over) = step {
                return over;
            }
        }
    }

    /// Takes what the sandbox said.
    async fn take(&mut self, item: LogOutput, jobs: &mut JoinSet<Job>) -> Option<Over> {
        let bytes = match item {
            LogOutput::StdOut { message } => message,
            LogOutput::StdErr { message } => {
                let room = DIAGNOSIS.saturating_sub(self.diagnosis.len());
                self.diagnosis
                    .extend_from_slice(&message[..message.len().min(room)]);
                return None;
            }
            LogOutput::StdIn { .. } | LogOutput::Console { .. } => {
                return Some(Over::Lost("its stream is not the engine's".to_owned()));
            }
        };
        self.events.feed(&bytes);
        loop {
            let over = match self.events.next() {
                Ok(Some(event)) => self.on(event, jobs).await,
                Ok(None) => return None,
                Err(error) => Some(Over::Lost(error.to_string())),
            };
            if over.is_some() {
                return over;
            }
        }
    }

    async fn on(&mut self, event: Event, jobs: &mut JoinSet<Job>) -> Option<Over> {
        let broken = |result: Result<(), String>| result.err().map(Over::Lost);
        match event {
            Event::Ready => {
                self.timings.lease = self.phase_ends();
                self.stage = Stage::Restoring;
                self.deadline = Instant::now() + limits::COLLECT;
                None
            }
            Event::Started => {
                self.timings.restore = self.phase_ends();
                self.stage = Stage::Running;
                self.started = Some(self.since);
                self.deadline = self.since + self.spec.limits.wall;
                None
            }
            Event::Output(stream, bytes) => broken(self.captured(stream, &bytes)),
            Event::Request { id, body } => self.request(id, &body),
            Event::Ended { end, claim } => {
                self.timings.run = self.phase_ends();
                if self.stop.is_none() {
                    self.stage = Stage::Collecting;
                    self.deadline = Instant::now() + limits::COLLECT;
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
                    self.store(whole, jobs).await
                }
                Ok(path) => {
                    let begin = Piece::Begin {
                        path,
                        size,
                        executable,
                    };
                    match self.store(begin, jobs).await {
                        None => self.store(Piece::Data(first), jobs).await,
                        over => over,
                    }
                }
                Err(why) => Some(Over::Lost(why)),
            },
            Event::FileData(bytes) => self.store(Piece::Data(bytes), jobs).await,
            Event::FileEnd => self.store(Piece::End, jobs).await,
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

    // Requests.

    fn request(&mut self, id: u32, body: &[u8]) -> Option<Over> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Wire {
            tool: String,
            arguments: serde_json::Value,
        }
        self.first_byte();
        if self.stop.is_some() {
            return None;
        }
        if self.open.len() >= REQUESTS_OPEN || !self.open.insert(id) {
            return Some(Over::Lost("it broke the rules of requests".to_owned()));
        }
        if values_of(body) > REQUEST_VALUES {
            let text = format!("a request may hold {REQUEST_VALUES} values");
            self.reply(id, &refusal(&text));
            return None;
        }
        let Wire { tool, arguments } = match serde_json::from_slice(body) {
            Ok(wire) => wire,
            // JSON that Python writes and we do not read: the program means well.
            Err(error) if is_beyond_us(&error) => {
                self.reply(
                    id,
                    &refusal(&format!("the arguments cannot be read: {error}")),
                );
                return None;
            }
            Err(error) => return self.stop(Stop::Garbage(format!("a request: {error}"))),
        };
        self.calls = self.calls.saturating_add(1);
        if self.calls > limits::TOOL_CALLS {
            let text = format!("a run may ask for tools {} times", limits::TOOL_CALLS);
            self.reply(id, &refusal(&text));
            return None;
        }
        let broker = Arc::clone(&self.host.broker);
        self.answers.spawn(async move {
            let answer = AssertUnwindSafe(broker.answer(ToolRequest { tool, arguments }));
            let answer = match answer.catch_unwind().await {
                Ok(answer) => serde_json::to_vec(&answer).ok().map(Bytes::from),
                Err(_) => None,
            };
            let answer = answer.unwrap_or_else(|| refusal("the tool failed"));
            if answer.len() as u64 > limits::TOOL_CALL.get() {
                return (id, refusal("the answer is too long for a sandbox"));
            }
            (id, answer)
        });
        None
    }

    fn reply(&mut self, id: u32, answer: &[u8]) {
        #[derive(Serialize)]
        struct Header {
            id: u32,
            size: usize,
        }
        self.open.remove(&id);
        let mut out = BytesMut::new();
        let size = answer.len();
        put_message(&mut out, to_sandbox::REPLY, &Header { id, size }, answer);
        // In pieces, so that CANCEL never waits for a whole reply. A writer that is gone means a
        // sandbox that is gone, which the reader finds out.
        for frame in split_frames(out.freeze()) {
            drop(self.replies.send(frame));
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
            Stage::Starting | Stage::Restoring | Stage::Stopping | Stage::Collecting => {
                Some(Over::Stopped)
            }
        }
    }

    fn out_of_time(&mut self) -> Option<Over> {
        match self.stage {
            Stage::Starting => Some(Over::Lost(format!(
                "it was not ready within {} s",
                limits::START.as_secs()
            ))),
            Stage::Restoring => Some(Over::Lost("its files were not written in time".to_owned())),
            Stage::Running => self.stop(Stop::TimedOut),
            Stage::Stopping => Some(Over::Stopped),
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

    async fn store(&mut self, piece: Piece, jobs: &mut JoinSet<Job>) -> Option<Over> {
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
        match tokio::time::timeout_at(self.deadline, pieces.send(piece)).await {
            Ok(Ok(())) => None,
            // The job ended early, and will say why.
            Ok(Err(_)) => Some(Over::Done),
            Err(_) => self.out_of_time(),
        }
    }

    // The end.

    async fn last_words(&self, why: String, watch: &mut Watch) -> String {
        let mut why = why;
        if let Gone::Removed(Some(status)) = watch.gone_within(LAST_WORDS).await {
            why = format!("{why}; PID 1 ended with status {status}");
        }
        if !self.diagnosis.is_empty() {
            why = format!("{why}: {}", String::from_utf8_lossy(&self.diagnosis));
        }
        why
    }

    fn report(mut self, over: Over) -> Result<RunReport, RunnerError> {
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
        let mut natural = None;
        if let Some((end, claim)) = &self.end {
            usage.wall = Duration::from_nanos(end.wall_ns).min(elapsed);
            usage.cpu = Duration::from_nanos(end.cpu_ns);
            usage.memory_peak_bytes = end.memory_peak;
            for (captured, bytes) in self
                .output
                .iter_mut()
                .zip([end.stdout_bytes, end.stderr_bytes])
            {
                captured.bytes = captured.bytes.max(bytes);
            }
            if end.stopped.as_deref() != Some("cancel") {
                natural = Some(judge(end, claim.as_deref(), &self.spec.program, limits));
            }
        }
        let in_time = usage.wall <= limits.wall;
        let (outcome, complete) = match (over, self.stop, natural) {
            (Over::Failed(error), ..) => return Err(error),
            (Over::Lost(why), ..) => (lost(&why), false),
            // Stopped or not, it ended by itself before.
            (Over::Done, None | Some(Stop::Cancelled), Some(outcome)) => (outcome, true),
            (Over::Done, Some(Stop::TimedOut), Some(outcome)) if in_time => (outcome, true),
            (_, Some(Stop::TimedOut), _) => (RunOutcome::TimedOut { limit: limits.wall }, false),
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
    jobs.spawn_blocking(move || {
        let sent = restore::send_all(&program, &tree, &limits, token, &blobs, &batches);
        Job::Restored(sent)
    });
    batches_out
}

fn refusal(text: &str) -> Bytes {
    serde_json::json!({ "error": text }).to_string().into()
}

fn index(stream: OutputStream) -> usize {
    match stream {
        OutputStream::Stdout => 0,
        OutputStream::Stderr => 1,
    }
}

/// Values in a request: each takes many times its bytes when it is read.
const REQUEST_VALUES: usize = 20_000;

/// At least as many as there are values in a JSON text; what a string holds does not count.
fn values_of(json: &[u8]) -> usize {
    let (mut count, mut in_string, mut is_escaped) = (1, false, false);
    for byte in json {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if in_string => is_escaped = true,
            b'"' => in_string = !in_string,
            b',' | b':' | b'[' | b'{' if !in_string => count += 1,
            _ => {}
        }
    }
    count
}

/// Whether an error means a number too large or nesting too deep.
fn is_beyond_us(error: &serde_json::Error) -> bool {
    let text = error.to_string();
    text.starts_with("number out of range") || text.starts_with("recursion limit exceeded")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_counted_outside_of_strings() {
        let check =
            |json: &str, expected| assert_eq!(values_of(json.as_bytes()), expected, "{json}");
        check("1", 1);
        check(r#"{"a": "b,c:[{\",", "d": [1, 2]}"#, 7);
        check("[[],[]]", 5);
    }
}
