//! The store as source and target of a registry's blobs.

use std::io::{self, Read, Write};
use std::sync::Arc;

use registry::{Content, Sink};
use spec::Digest;
use store::{BlobWriter, Store};

/// Gives and takes blobs of a store.
#[derive(Clone, Debug)]
pub(super) struct StoreContent(pub(super) Arc<Store>);

impl Content for StoreContent {
    fn open(&self, digest: &Digest) -> io::Result<Box<dyn Read + Send>> {
        let reader = self.0.open(digest).map_err(io::Error::other)?;
        Ok(Box::new(reader))
    }

    fn contains(&self, digest: &Digest) -> io::Result<bool> {
        self.0.hold_blob(digest).map_err(io::Error::other)
    }

    fn create(&self) -> io::Result<Box<dyn Sink>> {
        let writer = self.0.writer().map_err(io::Error::other)?;
        Ok(Box::new(Kept(writer)))
    }
}

struct Kept(BlobWriter);

impl Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl Sink for Kept {
    fn finish(self: Box<Self>) -> io::Result<()> {
        self.0.finish().map(drop).map_err(io::Error::other)
    }
}
