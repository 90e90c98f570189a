//! Where the bodies of requests and answers are kept.

use std::collections::HashMap;
use std::fmt;
use std::io::{self, Cursor, Read, Write};
use std::sync::{Arc, Mutex, PoisonError};

use spec::Digest;

/// Content by digest; methods block and are called from blocking jobs.
pub trait Bodies: Send + Sync + fmt::Debug {
    /// Opens what has this digest.
    ///
    /// # Errors
    /// The I/O error; not found included.
    fn open(&self, digest: &Digest) -> io::Result<Box<dyn Read + Send>>;

    /// Begins to write new content.
    ///
    /// # Errors
    /// The I/O error.
    fn create(&self) -> io::Result<Box<dyn BodySink>>;
}

/// A body that is being written. Dropping it discards what was written.
pub trait BodySink: Write + Send {
    /// Keeps what was written, under the digest of all its bytes.
    ///
    /// # Errors
    /// The I/O error.
    fn finish(self: Box<Self>) -> io::Result<Digest>;
}

/// Bodies in memory, for those who embed a proxy without a store.
#[derive(Clone, Debug, Default)]
pub struct MemoryBodies(Arc<Mutex<HashMap<Digest, Arc<[u8]>>>>);

impl MemoryBodies {
    /// The whole body with this digest, if it is here.
    pub fn find(&self, digest: &Digest) -> Option<Arc<[u8]>> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(digest)
            .cloned()
    }
}

impl Bodies for MemoryBodies {
    fn open(&self, digest: &Digest) -> io::Result<Box<dyn Read + Send>> {
        let body = self.find(digest).ok_or(io::ErrorKind::NotFound)?;
        Ok(Box::new(Cursor::new(body)))
    }

    fn create(&self) -> io::Result<Box<dyn BodySink>> {
        Ok(Box::new(MemorySink {
            bodies: self.clone(),
            written: Vec::new(),
        }))
    }
}

struct MemorySink {
    bodies: MemoryBodies,
    written: Vec<u8>,
}

impl Write for MemorySink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.written.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl BodySink for MemorySink {
    fn finish(self: Box<Self>) -> io::Result<Digest> {
        let digest = Digest::of(&self.written);
        self.bodies
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(digest, self.written.into());
        Ok(digest)
    }
}
