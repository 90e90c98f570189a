//! The program's connections to its proxy, carried over the sandbox's one stream.
//!
//! Either end of a connection may send [`WINDOW`] bytes ahead of what the other has passed on, so
//! what is held of it is bounded in both directions. Each end says once that it has ended; then the
//! harness's OVER is the last word on that connection, and its number never comes again.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::BytesMut;
use futures::FutureExt as _;
use spec::limits;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, ReadHalf, WriteHalf};
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::write::Replies;
use crate::Broker;
use crate::frames::{put, to_sandbox};

/// Bytes of one connection and direction that may be on their way.
pub(super) const WINDOW: u32 = 256 << 10;
/// Connections of a run at once; more wait in the sandbox's kernel.
pub(super) const OPEN: usize = limits::CONNECTIONS as usize;
/// Connections of a run in all: each costs the host a job.
pub(super) const IN_ALL: u32 = 10_000;
/// Bytes that are handed over at once.
const CHUNK: usize = 64 << 10;
/// How long what still answers a connection may take after the program's end.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// All connections of one run.
#[derive(Debug)]
pub(super) struct Streams {
    /// None where the sandbox has no proxy.
    broker: Option<Arc<dyn Broker>>,
    frames: Replies,
    open: HashMap<u32, Arc<Connection>>,
    last: u32,
    /// Connections that are being answered; one that is over may still be.
    answered: Arc<Semaphore>,
    jobs: JoinSet<()>,
}

/// One connection, between the session and the job that answers it.
#[derive(Debug)]
struct Connection {
    number: u32,
    state: Mutex<State>,
    /// Something came from the program.
    arrived: Notify,
    /// The program takes more.
    widened: Notify,
    /// The program takes nothing any more.
    aborted: CancellationToken,
    frames: Replies,
}

#[derive(Debug)]
struct State {
    /// From the program, not yet passed on; copied, because a short frame keeps a long buffer alive.
    inbox: BytesMut,
    /// Bytes that the program may still send.
    may_send: u32,
    /// Bytes that we may still send.
    credit: u32,
    has_closed: bool,
    /// Whether we have said that we ended.
    host_ended: bool,
}

impl Streams {
    pub(super) fn new(broker: Option<Arc<dyn Broker>>, frames: Replies) -> Self {
        Self {
            broker,
            frames,
            open: HashMap::new(),
            last: 0,
            answered: Arc::new(Semaphore::new(OPEN)),
            jobs: JoinSet::new(),
        }
    }

    /// Takes in jobs that have ended. Pends while there is none.
    pub(super) async fn job_ended(&mut self) {
        if self.jobs.join_next().await.is_none() {
            std::future::pending::<()>().await;
        }
    }

    /// A new connection.
    ///
    /// # Errors
    /// What rule was broken, as of the other events.
    pub(super) fn opened(&mut self, number: u32) -> Result<(), String> {
        let Some(broker) = &self.broker else {
            return Err("it opened a connection without a proxy".to_owned());
        };
        if number != self.last + 1 || number > IN_ALL || self.open.len() >= OPEN {
            return Err("it opened connections against the rules".to_owned());
        }
        self.last = number;
        let connection = Arc::new(Connection {
            number,
            state: Mutex::new(State {
                inbox: BytesMut::new(),
                may_send: WINDOW,
                credit: WINDOW,
                has_closed: false,
                host_ended: false,
            }),
            arrived: Notify::new(),
            widened: Notify::new(),
            aborted: CancellationToken::new(),
            frames: self.frames.clone(),
        });
        self.open.insert(number, Arc::clone(&connection));
        let (broker, answered) = (Arc::clone(broker), Arc::clone(&self.answered));
        self.jobs.spawn(async move {
            // The semaphore is never closed.
            let permit = answered.acquire_owned().await;
            connection.serve(&*broker).await;
            drop(permit);
        });
        Ok(())
    }

    /// Bytes of the program.
    pub(super) fn arrived(&self, number: u32, bytes: &[u8]) -> Result<(), String> {
        let connection = self.find(number)?;
        let has_ended = connection.has_ended();
        let mut state = connection.state();
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        if length == 0 || length > state.may_send || has_ended {
            return Err("it sent more on a connection than it may".to_owned());
        }
        state.may_send -= length;
        state.inbox.extend_from_slice(bytes);
        connection.arrived.notify_one();
        Ok(())
    }

    /// The program sends nothing more.
    pub(super) fn closed(&self, number: u32) -> Result<(), String> {
        let connection = self.find(number)?;
        if connection.has_ended() {
            return Err("it closed a connection twice".to_owned());
        }
        connection.state().has_closed = true;
        connection.arrived.notify_one();
        Ok(())
    }

    /// The program takes nothing more either.
    pub(super) fn aborted(&self, number: u32) -> Result<(), String> {
        let connection = self.find(number)?;
        if connection.aborted.is_cancelled() {
            return Err("it aborted a connection twice".to_owned());
        }
        connection.aborted.cancel();
        Ok(())
    }

    /// The program has taken so many bytes.
    pub(super) fn widened(&self, number: u32, bytes: u32) -> Result<(), String> {
        let connection = self.find(number)?;
        let mut state = connection.state();
        if bytes == 0 || bytes > WINDOW - state.credit {
            return Err("it took more from a connection than there was".to_owned());
        }
        state.credit += bytes;
        connection.widened.notify_one();
        Ok(())
    }

    /// Both ends have ended.
    pub(super) fn over(&mut self, number: u32) -> Result<(), String> {
        let connection = self.find(number)?;
        if !(connection.has_ended() && connection.state().host_ended) {
            return Err("it forgot a connection".to_owned());
        }
        self.open.remove(&number);
        Ok(())
    }

    /// The program is gone, and nothing more comes from it or goes to it.
    pub(super) fn end(&mut self) {
        for (_, connection) in self.open.drain() {
            connection.aborted.cancel();
        }
    }

    /// Lets what answers come to its end, for a moment, so that what was exchanged is written down.
    pub(super) async fn finish(&mut self) {
        self.end();
        let all = async { while self.jobs.join_next().await.is_some() {} };
        if tokio::time::timeout(LAST_WORDS, all).await.is_err() {
            self.jobs.shutdown().await;
        }
    }

    fn find(&self, number: u32) -> Result<&Connection, String> {
        let connection = self.open.get(&number).map(|connection| &**connection);
        connection.ok_or_else(|| "it named a connection that is not open".to_owned())
    }
}

impl Connection {
    /// Whether the program sends nothing more.
    fn has_ended(&self) -> bool {
        self.state().has_closed || self.aborted.is_cancelled()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers it to its end, and says that it has ended.
    async fn serve(&self, broker: &dyn Broker) {
        let (theirs, ours) = tokio::io::duplex(CHUNK);
        let (reader, writer) = tokio::io::split(ours);
        let mut answer = std::pin::pin!(AssertUnwindSafe(broker.connect(theirs)).catch_unwind());
        let mut upward = std::pin::pin!(self.upward(writer));
        let mut downward = std::pin::pin!(self.downward(reader));
        let (mut is_answered, mut is_up, mut is_down) = (false, false, false);
        while !(is_answered && is_down) {
            tokio::select! {
                answered = &mut answer, if !is_answered => {
                    is_answered = true;
                    if answered.is_err() {
                        tracing::error!("a connection to the proxy failed in the host");
                    }
                }
                // What still comes for one who has left matters to nobody.
                () = &mut upward, if !is_up && !is_answered => is_up = true,
                () = &mut downward, if !is_down => is_down = true,
            }
        }
        // Nobody takes anything any more, so that the harness need not wait for the program.
        self.state().host_ended = true;
        self.send(to_sandbox::ABORT, &[]);
    }

    /// From the program to what answers it.
    async fn upward(&self, mut writer: WriteHalf<DuplexStream>) {
        loop {
            let (chunk, has_closed) = {
                let mut state = self.state();
                let length = state.inbox.len().min(CHUNK);
                (state.inbox.split_to(length), state.has_closed)
            };
            let pass_on = async {
                if !chunk.is_empty() {
                    return writer.write_all(&chunk).await.is_ok();
                }
                if has_closed {
                    // An error means that nobody reads any more.
                    drop(writer.shutdown().await);
                    return false;
                }
                self.arrived.notified().await;
                true
            };
            let goes_on = tokio::select! {
                goes_on = pass_on => goes_on,
                () = self.aborted.cancelled() => false,
            };
            if !goes_on {
                return;
            }
            if !chunk.is_empty() && !self.has_ended() {
                let length = u32::try_from(chunk.len()).expect("a chunk is short");
                self.state().may_send += length;
                self.send(to_sandbox::WIDEN, &length.to_le_bytes());
            }
        }
    }

    /// From what answers it to the program.
    async fn downward(&self, mut reader: ReadHalf<DuplexStream>) {
        let mut buffer = vec![0; CHUNK];
        loop {
            let room = (self.state().credit as usize).min(CHUNK);
            let read = tokio::select! {
                read = reader.read(&mut buffer[..room]), if room > 0 => read,
                () = self.widened.notified() => continue,
                () = self.aborted.cancelled() => return,
            };
            match read {
                Ok(0) | Err(_) => break,
                Ok(length) => {
                    self.state().credit -= u32::try_from(length).expect("a chunk is short");
                    self.send(to_sandbox::STREAM, &buffer[..length]);
                }
            }
        }
        self.state().host_ended = true;
        self.send(to_sandbox::CLOSE, &[]);
    }

    fn send(&self, kind: u8, payload: &[u8]) {
        let mut frame = BytesMut::new();
        put(&mut frame, kind, &[&self.number.to_le_bytes(), payload]);
        self.frames.send(frame.freeze());
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use futures::future::BoxFuture;
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;
    use crate::ToolRequest;

    /// Gives back what it gets.
    #[derive(Debug)]
    struct Mirror;

    impl Broker for Mirror {
        fn answer(&self, _: ToolRequest) -> BoxFuture<'_, Value> {
            Box::pin(async { Value::Null })
        }

        fn connect(&self, connection: DuplexStream) -> BoxFuture<'_, ()> {
            Box::pin(async move {
                let (mut reader, mut writer) = tokio::io::split(connection);
                drop(tokio::io::copy(&mut reader, &mut writer).await);
                drop(writer.shutdown().await);
            })
        }
    }

    type Frames = crate::docker::write::Waiting;

    fn open() -> (Streams, Frames) {
        let (frames, out) = crate::docker::write::replies();
        (Streams::new(Some(Arc::new(Mirror)), frames), out)
    }

    /// Kind, number and what follows.
    fn parts(frame: &Bytes) -> (u8, u32, Bytes) {
        let number = frame[5..9].try_into().unwrap();
        (frame[0], u32::from_le_bytes(number), frame.slice(9..))
    }

    #[tokio::test]
    async fn what_is_sent_comes_back_and_the_window_with_it() {
        let (mut streams, mut out) = open();
        streams.opened(1).unwrap();
        let sent = vec![7; WINDOW as usize];
        streams.arrived(1, &sent).unwrap();
        assert!(streams.arrived(1, b"x").is_err(), "the window is used up");
        streams.closed(1).unwrap();
        let (mut back, mut is_closed) = (Vec::new(), false);
        while !is_closed {
            let frame = out.recv().await.unwrap();
            match parts(&frame) {
                (to_sandbox::STREAM, 1, bytes) => {
                    back.extend_from_slice(&bytes);
                    streams
                        .widened(1, u32::try_from(bytes.len()).unwrap())
                        .unwrap();
                }
                (to_sandbox::CLOSE, 1, _) => is_closed = true,
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(back, sent);
        streams.over(1).unwrap();
        assert!(streams.open.is_empty());
    }

    #[tokio::test]
    async fn nobody_is_sent_more_than_its_window() {
        let (mut streams, mut out) = open();
        streams.opened(1).unwrap();
        let (mut sent, mut got) = (0_u64, 0_u64);
        // Four windows go in as they are given back, and one comes out: nobody takes any.
        while got < u64::from(WINDOW) {
            let room = streams.open[&1].state().may_send;
            if room > 0 {
                streams.arrived(1, &vec![1; room as usize]).unwrap();
                sent += u64::from(room);
            }
            if let (to_sandbox::STREAM, _, bytes) = parts(&out.recv().await.unwrap()) {
                got += bytes.len() as u64;
            }
        }
        assert_eq!(got, u64::from(WINDOW));
        // What is held is a window in each direction, and what is on its way between.
        assert!(sent <= 4 * u64::from(WINDOW), "{sent}");
        assert!(streams.widened(1, WINDOW + 1).is_err());
        assert!(streams.widened(1, 0).is_err());
        streams.widened(1, WINDOW).unwrap();
    }

    #[tokio::test]
    async fn rules_are_kept_or_the_sandbox_is_lost() {
        let (mut streams, _out) = open();
        assert!(streams.opened(2).is_err(), "numbers come in their order");
        for number in 1..=u32::try_from(OPEN).unwrap() {
            streams.opened(number).unwrap();
        }
        assert!(streams.opened(33).is_err(), "that many are open");
        assert!(streams.opened(1).is_err(), "a number comes once");
        assert!(streams.over(1).is_err(), "nobody has ended");
        streams.closed(1).unwrap();
        assert!(streams.closed(1).is_err() && streams.arrived(1, b"x").is_err());
        streams.aborted(1).unwrap();
        assert!(streams.aborted(1).is_err());
        assert!(streams.arrived(2, b"").is_err(), "nothing is no frame");
        assert!(streams.arrived(99, b"x").is_err());
        assert!(streams.closed(0).is_err());
        let (frames, _out) = crate::docker::write::replies();
        let mut without = Streams::new(None, frames);
        assert!(without.opened(1).is_err());
        streams.finish().await;
        assert!(streams.arrived(2, b"x").is_err(), "the program is gone");
    }

    proptest! {
        #[test]
        fn any_events_are_taken_or_refused(events in prop::collection::vec((0_u8..6, 0_u32..6, 0_u32..400_000), 0..60)) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let (mut streams, _out) = open();
                for (what, number, size) in events {
                    let number = if what == 0 { streams.last + 1 - number.min(1) } else { number };
                    drop(match what {
                        0 => streams.opened(number),
                        1 => streams.arrived(number, &vec![0; size as usize]),
                        2 => streams.closed(number),
                        3 => streams.aborted(number),
                        4 => streams.widened(number, size),
                        _ => streams.over(number),
                    });
                    tokio::task::yield_now().await;
                    assert!(streams.open.len() <= OPEN);
                    for connection in streams.open.values() {
                        let state = connection.state();
                        assert!(state.inbox.len() <= WINDOW as usize && state.credit <= WINDOW);
                    }
                    // Nobody takes anything: only so much is held before the sandbox is lost.
                    if streams.frames.are_too_many() {
                        break;
                    }
                }
                streams.finish().await;
                assert!(streams.jobs.is_empty());
            });
        }
    }
}
