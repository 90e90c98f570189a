//! Blobs on their way.

use std::io::{self, Read, Write as _};
use std::path::Path;

use cap_std::fs::Dir;
use spec::Digest;
use store::{BlobRef, Store, StoreError};

use super::error::LibraryError;
use crate::FactoryError;

/// Bytes of one blob that is brought in: the largest file that a workspace can hold fits.
const BLOB_MAX: u64 = 4 << 30;

/// Copies a blob to another store, unless it is there and whole. Gives the bytes that were written.
///
/// What is copied is hashed on both sides; what was copied before an interruption is not copied again.
pub(super) fn copy(from: &Store, to: &Store, blob: &BlobRef) -> Result<u64, FactoryError> {
    if to.hold_intact(&blob.digest)? {
        return Ok(0);
    }
    let reader = from.open(&blob.digest)?;
    let most = blob.size.get().min(BLOB_MAX);
    put(to, &blob.digest, reader, most)
}

/// Takes a blob of an exported folder into a store, unless it is there and whole.
pub(super) fn take(dir: &Dir, digest: &Digest, to: &Store) -> Result<(), FactoryError> {
    if to.hold_intact(digest)? {
        return Ok(());
    }
    let hex = digest.hex();
    let path = Path::new(&hex);
    let missing = |source| LibraryError::Io {
        path: path.to_owned(),
        action: "read",
        source,
    };
    let found = dir.symlink_metadata(path).map_err(missing)?;
    if !found.is_file() {
        return Err(
            LibraryError::refused(format!("the blob {digest} is not a regular file")).into(),
        );
    }
    let file = dir.open(path).map_err(missing)?;
    put(to, digest, file, BLOB_MAX).map(drop)
}

fn put(to: &Store, digest: &Digest, reader: impl Read, most: u64) -> Result<u64, FactoryError> {
    let mut writer = to.writer()?;
    let copied = io::copy(&mut reader.take(most + 1), &mut writer).map_err(of_store)?;
    writer.flush().map_err(of_store)?;
    if copied > most {
        return Err(LibraryError::refused(format!(
            "the blob {digest} is larger than {most} bytes"
        ))
        .into());
    }
    let found = writer.finish()?;
    if found != *digest {
        return Err(LibraryError::refused(format!(
            "the blob {digest} has the digest {found}: it is damaged"
        ))
        .into());
    }
    Ok(copied)
}

/// The store's own error, where one is what failed below.
fn of_store(error: io::Error) -> FactoryError {
    match error.downcast::<StoreError>() {
        Ok(error) => error.into(),
        Err(source) => LibraryError::Io {
            path: "a blob".into(),
            action: "read",
            source,
        }
        .into(),
    }
}
