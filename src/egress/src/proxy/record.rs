//! Bodies on their way to where they are kept.

use std::io;
use std::sync::Arc;

use spec::Digest;
use tokio::task::spawn_blocking;

use crate::{Bodies, Body, BodySink};

/// Bytes that are gathered before a blocking job writes them: bounds the memory of a connection.
const GATHERED: usize = 64 << 10;

/// Writes a body while it streams by. Dropping it discards what was written.
pub(super) struct Recorder {
    bodies: Arc<dyn Bodies>,
    gathered: Vec<u8>,
    sink: Option<Box<dyn BodySink>>,
    size: u64,
}

impl Recorder {
    pub(super) fn new(bodies: Arc<dyn Bodies>) -> Self {
        Self {
            bodies,
            gathered: Vec::new(),
            sink: None,
            size: 0,
        }
    }

    /// Bytes so far.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    pub(super) async fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        self.size += bytes.len() as u64;
        while !bytes.is_empty() {
            let room = GATHERED - self.gathered.len();
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            self.gathered.extend_from_slice(now);
            bytes = later;
            if self.gathered.len() == GATHERED {
                self.sink = Some(self.flush().await?);
            }
        }
        Ok(())
    }

    /// Keeps the body; an empty one needs no keeping.
    pub(super) async fn finish(mut self) -> io::Result<Body> {
        if self.size == 0 {
            return Ok(empty());
        }
        let size = self.size;
        let sink = self.flush().await?;
        let digest = spawn_blocking(move || sink.finish()).await??;
        Ok(Body { digest, size })
    }

    async fn flush(&mut self) -> io::Result<Box<dyn BodySink>> {
        let bodies = Arc::clone(&self.bodies);
        let sink = self.sink.take();
        let gathered = std::mem::take(&mut self.gathered);
        spawn_blocking(move || {
            let mut sink = match sink {
                Some(sink) => sink,
                None => bodies.create()?,
            };
            sink.write_all(&gathered)?;
            Ok(sink)
        })
        .await?
    }
}

/// The body of nothing.
pub(super) fn empty() -> Body {
    Body {
        digest: Digest::of(b""),
        size: 0,
    }
}
