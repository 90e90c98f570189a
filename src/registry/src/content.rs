//! Where bytes come from and go to.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use spec::Digest;

/// Blobs on this side. Its methods block.
pub trait Content: Send + Sync + fmt::Debug {
    /// Opens a blob for reading. What it gives is hashed on the way.
    ///
    /// # Errors
    /// The source's.
    fn open(&self, digest: &Digest) -> io::Result<Box<dyn Read + Send>>;

    /// Whether a blob is here already. Its bytes need not be looked at.
    ///
    /// # Errors
    /// The source's.
    fn contains(&self, digest: &Digest) -> io::Result<bool>;

    /// Begins to keep a blob. Nothing is visible before [`Sink::finish`].
    ///
    /// # Errors
    /// The target's; one that cannot be written says [`io::ErrorKind::Unsupported`].
    fn create(&self) -> io::Result<Box<dyn Sink>>;
}

/// A blob that is being kept. Dropping it discards it.
pub trait Sink: Send + io::Write {
    /// Keeps it. It is called only after all bytes had the right digest.
    ///
    /// # Errors
    /// The target's.
    fn finish(self: Box<Self>) -> io::Result<()>;
}

/// Watches a transfer. Its methods are called often and must not block.
pub trait Progress: Send + Sync + fmt::Debug {
    /// A step begins.
    fn phase(&self, text: &str);
    /// How many bytes of the step are done, of how many; those that were there already count.
    fn bytes(&self, done: u64, total: u64);
}

/// Nobody watches.
impl Progress for () {
    fn phase(&self, _text: &str) {}
    fn bytes(&self, _done: u64, _total: u64) {}
}

/// An OCI image layout in a folder, to be read.
#[derive(Clone, Debug)]
pub struct LayoutDir(PathBuf);

impl LayoutDir {
    /// The layout in this folder.
    pub fn new(folder: &Path) -> Self {
        Self(folder.join("blobs/sha256"))
    }
}

impl Content for LayoutDir {
    fn open(&self, digest: &Digest) -> io::Result<Box<dyn Read + Send>> {
        File::open(self.0.join(digest.hex())).map(|file| Box::new(file) as _)
    }

    fn contains(&self, digest: &Digest) -> io::Result<bool> {
        self.0.join(digest.hex()).try_exists()
    }

    fn create(&self) -> io::Result<Box<dyn Sink>> {
        Err(io::ErrorKind::Unsupported.into())
    }
}
