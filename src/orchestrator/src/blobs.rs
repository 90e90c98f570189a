//! The store as source and sink of file content for the runner, and of bodies for the proxy.

use std::io::{self, Read, Write};
use std::sync::Arc;

use egress::{Bodies, BodySink};
use runner::{BlobSink, Blobs};
use spec::Digest;
use store::{BlobWriter, Store};

/// Gives and takes blobs of a store.
#[derive(Debug)]
pub(crate) struct StoreBlobs(pub(crate) Arc<Store>);

impl Blobs for StoreBlobs {
    fn open(&self, digest: &Digest) -> io::Result<Box<dyn Read + Send>> {
        self.0
            .open(digest)
            .map(|reader| Box::new(reader) as _)
            .map_err(io::Error::other)
    }

    fn create(&self) -> io::Result<Box<dyn BlobSink>> {
        self.0
            .writer()
            .map(|writer| Box::new(Sink(writer)) as _)
            .map_err(io::Error::other)
    }
}

impl Bodies for StoreBlobs {
    fn open(&self, digest: &Digest) -> io::Result<Box<dyn Read + Send>> {
        Blobs::open(self, digest)
    }

    fn create(&self) -> io::Result<Box<dyn BodySink>> {
        self.0
            .writer()
            .map(|writer| Box::new(Sink(writer)) as _)
            .map_err(io::Error::other)
    }
}

impl BodySink for Sink {
    fn finish(self: Box<Self>) -> io::Result<Digest> {
        self.0.finish().map_err(io::Error::other)
    }
}

struct Sink(BlobWriter);

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl BlobSink for Sink {
    fn finish(self: Box<Self>) -> io::Result<Digest> {
        self.0.finish().map_err(io::Error::other)
    }
}
