//! Where the content of files comes from and goes to.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Read, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use spec::Digest;

/// Content by digest; methods block and are called from blocking jobs.
pub trait Blobs: Send + Sync + fmt::Debug {
    /// Opens what has this digest.
    ///
    /// # Errors
    /// The I/O error; not found included.
    fn open(&self, digest: &Digest) -> io::Result<Box<dyn Read + Send>>;

    /// Begins to write new content.
    ///
    /// # Errors
    /// The I/O error.
    fn create(&self) -> io::Result<Box<dyn BlobSink>>;
}

/// Content that is being written. Dropping it discards what was written.
pub trait BlobSink: Write + Send {
    /// Keeps what was written, under the digest of all its bytes.
    ///
    /// # Errors
    /// The I/O error.
    fn finish(self: Box<Self>) -> io::Result<Digest>;
}

/// Blobs in memory.
#[derive(Clone, Debug, Default)]
pub struct MemoryBlobs {
    blobs: Arc<Mutex<BTreeMap<Digest, Vec<u8>>>>,
}

impl MemoryBlobs {
    /// Keeps content and names it.
    pub fn put(&self, content: &[u8]) -> Digest {
        let digest = Digest::of(content);
        self.lock().insert(digest, content.to_vec());
        digest
    }

    /// The content with this digest.
    pub fn get(&self, digest: &Digest) -> Option<Vec<u8>> {
        self.lock().get(digest).cloned()
    }

    /// A panic elsewhere leaves plain values as they are.
    fn lock(&self) -> MutexGuard<'_, BTreeMap<Digest, Vec<u8>>> {
        self.blobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Blobs for MemoryBlobs {
    fn open(&self, digest: &Digest) -> io::Result<Box<dyn Read + Send>> {
        let content = self.get(digest).ok_or(io::ErrorKind::NotFound)?;
        Ok(Box::new(io::Cursor::new(content)))
    }

    fn create(&self) -> io::Result<Box<dyn BlobSink>> {
        Ok(Box::new(MemorySink {
            blobs: self.clone(),
            content: Vec::new(),
        }))
    }
}

struct MemorySink {
    blobs: MemoryBlobs,
    content: Vec<u8>,
}

impl Write for MemorySink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.content.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl BlobSink for MemorySink {
    fn finish(self: Box<Self>) -> io::Result<Digest> {
        Ok(self.blobs.put(&self.content))
    }
}
