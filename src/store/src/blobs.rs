//! Content by digest.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::sync::{Arc, PoisonError};

use sha2::{Digest as _, Sha256};
use spec::{ByteSize, Digest};

use crate::layout::Layout;
use crate::persist::{self, Temporary};
use crate::{Store, StoreError};

/// The most that [`Store::get`] reads into memory; larger content is streamed with [`Store::open`].
pub const GET_MAX: ByteSize = ByteSize::mib(64);

/// Bytes that are hashed at a time.
const CHUNK: usize = 128 * 1024;

/// Names of blobs that are remembered as synced.
const KNOWN_MAX: usize = 4_096;

impl Store {
    /// Keeps these bytes. When this returns they are on disk under their digest.
    ///
    /// Content that is there already is compared, and written again if it was damaged.
    ///
    /// # Errors
    /// The file system's.
    pub fn put(&self, bytes: &[u8]) -> Result<Digest, StoreError> {
        let digest = Digest::of(bytes);
        self.layout.hold([digest])?;
        if self.layout.holds(&digest, Some(bytes.len() as u64))? {
            return Ok(digest);
        }
        let mut file = Temporary::create(&self.layout.tmp)?;
        file.write(bytes)?;
        file.persist(&self.layout.blob(&digest))?;
        Ok(digest)
    }

    /// Begins to write content whose digest is not known yet.
    ///
    /// # Errors
    /// The file system's.
    pub fn writer(&self) -> Result<BlobWriter, StoreError> {
        Ok(BlobWriter {
            layout: Arc::clone(&self.layout),
            file: Temporary::create(&self.layout.tmp)?,
            hash: Sha256::new(),
            bytes: 0,
        })
    }

    /// Reads content of at most [`GET_MAX`].
    ///
    /// # Errors
    /// As [`Self::get_at_most`].
    pub fn get(&self, digest: &Digest) -> Result<Vec<u8>, StoreError> {
        self.get_at_most(digest, GET_MAX)
    }

    /// Reads content of a limited size.
    ///
    /// # Errors
    /// [`StoreError::BlobMissing`], [`StoreError::TooLarge`], [`StoreError::Corrupt`] when the
    /// bytes have another digest, and the file system's errors.
    pub fn get_at_most(&self, digest: &Digest, limit: ByteSize) -> Result<Vec<u8>, StoreError> {
        let mut reader = self.open(digest)?;
        let too_large = |size| StoreError::TooLarge {
            what: format!("the blob {digest}"),
            size,
            limit: limit.get(),
        };
        if reader.size > limit.get() {
            return Err(too_large(reader.size));
        }
        let mut bytes = Vec::with_capacity(usize::try_from(reader.size).unwrap_or(0));
        let mut chunk = room(reader.size);
        loop {
            match reader.read_chunk(&mut chunk)? {
                0 => return Ok(bytes),
                read => bytes.extend_from_slice(&chunk[..read]),
            }
            if bytes.len() as u64 > limit.get() {
                return Err(too_large(bytes.len() as u64));
            }
        }
    }

    /// Opens content for streaming.
    ///
    /// # Errors
    /// [`StoreError::BlobMissing`], and the file system's errors.
    pub fn open(&self, digest: &Digest) -> Result<BlobReader, StoreError> {
        let path = self.layout.blob(digest);
        let file = persist::open_regular(&path).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => StoreError::BlobMissing { digest: *digest },
            _ => StoreError::read("open", &path, source),
        })?;
        let size = file
            .metadata()
            .map_err(|source| StoreError::read("read", &path, source))?
            .len();
        Ok(BlobReader {
            path,
            file,
            size,
            expected: *digest,
            state: Reading::Hashing(Sha256::new()),
        })
    }

    /// Whether there is a blob of this digest. Its bytes are not looked at.
    ///
    /// # Errors
    /// The file system's.
    pub fn contains(&self, digest: &Digest) -> Result<bool, StoreError> {
        let path = self.layout.blob(digest);
        path.try_exists()
            .map_err(|source| StoreError::read("look for", &path, source))
    }
}

impl Layout {
    /// Whether a blob is there with the right bytes, so many where that is known, and will be after a
    /// loss of power.
    pub(crate) fn holds(&self, digest: &Digest, size: Option<u64>) -> Result<bool, StoreError> {
        let path = self.blob(digest);
        let Ok(file) = persist::open_regular(&path) else {
            return Ok(false);
        };
        // An unreadable or different blob is written anew.
        let found = file.metadata().map_or(0, |data| data.len());
        let same = size.is_none_or(|size| size == found)
            && hash(file, found).is_ok_and(|found| found == *digest);
        if same {
            self.sync_name(digest)?;
        }
        Ok(same)
    }

    /// Makes the name of a blob that is there survive a loss of power, once: whoever renamed it
    /// there may not have synced the directory yet.
    fn sync_name(&self, digest: &Digest) -> Result<(), StoreError> {
        let known = || self.on_disk.lock().unwrap_or_else(PoisonError::into_inner);
        if known().contains(digest) {
            return Ok(());
        }
        persist::sync_directory(&self.blobs)?;
        let mut known = known();
        if known.len() >= KNOWN_MAX {
            known.clear();
        }
        known.insert(*digest);
        Ok(())
    }
}

/// Room for the next bytes of a stream that is expected to have so many: most blobs are small.
fn room(size: u64) -> Vec<u8> {
    // One more finds the end with the first read, and what is longer than expected with the next.
    let size = usize::try_from(size).unwrap_or(CHUNK).saturating_add(1);
    vec![0; size.min(CHUNK)]
}

/// Hashes what is left of a stream, which is expected to have so many bytes.
pub(crate) fn hash(mut reader: impl Read, size: u64) -> io::Result<Digest> {
    let mut hash = Sha256::new();
    let mut chunk = room(size);
    loop {
        match reader.read(&mut chunk) {
            Ok(0) => return Ok(Digest::from_sha256(hash.finalize().into())),
            Ok(read) => hash.update(&chunk[..read]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Content that is being written. Dropping it discards what was written.
#[derive(Debug)]
#[must_use = "nothing is kept before `finish`"]
pub struct BlobWriter {
    layout: Arc<Layout>,
    file: Temporary,
    hash: Sha256,
    bytes: u64,
}

impl BlobWriter {
    /// Keeps what was written. When this returns it is on disk under its digest.
    ///
    /// # Errors
    /// The file system's.
    pub fn finish(self) -> Result<Digest, StoreError> {
        let digest = Digest::from_sha256(self.hash.finalize().into());
        self.layout.hold([digest])?;
        if !self.layout.holds(&digest, Some(self.bytes))? {
            self.file.persist(&self.layout.blob(&digest))?;
        }
        Ok(digest)
    }

    /// How many bytes were written so far.
    pub fn size(&self) -> u64 {
        self.bytes
    }
}

impl Write for BlobWriter {
    /// Errors carry the [`StoreError`], so that a full disk is told as such.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes).map_err(io::Error::other)?;
        self.hash.update(bytes);
        self.bytes += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Content that is being read. The end is an error when the bytes before it were not the right ones.
///
/// Whoever stops before the end has read unverified bytes.
#[derive(Debug)]
pub struct BlobReader {
    path: PathBuf,
    file: File,
    size: u64,
    expected: Digest,
    state: Reading,
}

#[derive(Debug)]
enum Reading {
    Hashing(Sha256),
    Verified,
    Mismatch(Digest),
}

impl BlobReader {
    /// The size of the file when it was opened, in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    fn read_chunk(&mut self, buffer: &mut [u8]) -> Result<usize, StoreError> {
        if buffer.is_empty() {
            return Ok(0);
        }
        if let Reading::Hashing(hash) = &mut self.state {
            let read = loop {
                match self.file.read(buffer) {
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    other => break other,
                }
            };
            let read = read.map_err(|source| StoreError::read("read", &self.path, source))?;
            if read > 0 {
                hash.update(&buffer[..read]);
                return Ok(read);
            }
            let found = Digest::from_sha256(hash.clone().finalize().into());
            self.state = if found == self.expected {
                Reading::Verified
            } else {
                Reading::Mismatch(found)
            };
        }
        match &self.state {
            Reading::Mismatch(found) => Err(StoreError::corrupt(
                &self.path,
                format!("its content has the digest {found}"),
            )),
            Reading::Verified | Reading::Hashing(_) => Ok(0),
        }
    }
}

impl Read for BlobReader {
    /// Errors carry the [`StoreError`].
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.read_chunk(buffer)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
    }
}
