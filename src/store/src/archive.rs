//! Source layers: tar archives of which there is exactly one for the same files.

use std::io::Read;

use spec::{Tree, WorkspacePath, limits};
use tar::{EntryType, Header};

/// Files by path.
pub type SourceFiles = Vec<(WorkspacePath, Vec<u8>)>;

/// Why files or bytes are not a source layer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ArchiveError {
    /// More files than a subagent may have.
    #[error("there are more than {} files", limits::SOURCE_FILES)]
    TooManyFiles,
    /// More bytes than a subagent may have.
    #[error("the files are larger than {} together", limits::SOURCE)]
    TooLarge,
    /// The format has 100 bytes for the name and 155 for its folders.
    #[error("the path `{0}` is too long for a source layer")]
    PathTooLong(WorkspacePath),
    /// A path twice, or a file that is also a folder.
    #[error("the files contradict each other")]
    Conflict(#[source] spec::TreeError),
    /// A path that leads outside, or is no path.
    #[error("an entry has an impossible path")]
    Path(#[source] spec::PathError),
    /// A link, device, folder or extension.
    #[error("the entry `{path}` is not a regular file")]
    NotAFile {
        /// The entry.
        path: String,
    },
    /// Not a tar archive, or cut off.
    #[error("it is not a readable archive")]
    Unreadable(#[source] std::io::Error),
    /// The same files would be written in another way.
    #[error("it is not in the one form of a source layer")]
    NotCanonical,
}

/// Every record is padded to this. Source: POSIX.1-1988, ustar.
const BLOCK: u64 = 512;
/// The largest layer that can be within the limits: a header and padding for each file, and the end.
pub(crate) const LAYER_MAX: u64 =
    limits::SOURCE.get() + 2 * BLOCK * limits::SOURCE_FILES as u64 + 2 * BLOCK;

/// Writes files as a source layer: ustar, sorted by path, mode 0644, no owner, no time.
///
/// # Errors
/// [`ArchiveError`] when the files are beyond what a subagent may have.
pub(crate) fn write(files: &[(WorkspacePath, Vec<u8>)]) -> Result<Vec<u8>, ArchiveError> {
    check(files)?;
    let mut sorted: Vec<_> = files.iter().collect();
    sorted.sort_by(|a, b| a.0.cmp(&b.0));
    let mut archive = tar::Builder::new(Vec::new());
    for (path, content) in sorted {
        archive
            .append(&header(path, content.len() as u64)?, content.as_slice())
            .map_err(ArchiveError::Unreadable)?;
    }
    archive.into_inner().map_err(ArchiveError::Unreadable)
}

/// Reads a source layer; nothing but what [`write()`] gives is accepted.
///
/// # Errors
/// [`ArchiveError`].
pub(crate) fn read(bytes: &[u8]) -> Result<SourceFiles, ArchiveError> {
    if bytes.len() as u64 > LAYER_MAX {
        return Err(ArchiveError::TooLarge);
    }
    let mut files = SourceFiles::new();
    let mut left = limits::SOURCE.get();
    let mut archive = tar::Archive::new(bytes);
    // Raw: an extension record is an entry of its own here, and refused.
    for entry in archive
        .entries()
        .map_err(ArchiveError::Unreadable)?
        .raw(true)
    {
        let mut entry = entry.map_err(ArchiveError::Unreadable)?;
        let path = entry.path_bytes().into_owned();
        if entry.header().entry_type() != EntryType::Regular {
            return Err(ArchiveError::NotAFile {
                path: String::from_utf8_lossy(&path).escape_debug().to_string(),
            });
        }
        if files.len() == limits::SOURCE_FILES {
            return Err(ArchiveError::TooManyFiles);
        }
        let size = entry
            .header()
            .entry_size()
            .map_err(ArchiveError::Unreadable)?;
        left = left.checked_sub(size).ok_or(ArchiveError::TooLarge)?;
        let path = WorkspacePath::from_bytes(path).map_err(ArchiveError::Path)?;
        let mut content = Vec::new();
        entry
            .read_to_end(&mut content)
            .map_err(ArchiveError::Unreadable)?;
        files.push((path, content));
    }
    // Order, owners, modes, times, padding, what follows the end: one comparison covers them.
    if write(&files)? != bytes {
        return Err(ArchiveError::NotCanonical);
    }
    Ok(files)
}

fn check(files: &[(WorkspacePath, Vec<u8>)]) -> Result<(), ArchiveError> {
    if files.len() > limits::SOURCE_FILES {
        return Err(ArchiveError::TooManyFiles);
    }
    let total: u64 = files.iter().map(|(_, content)| content.len() as u64).sum();
    if total > limits::SOURCE.get() {
        return Err(ArchiveError::TooLarge);
    }
    let entries = files.iter().map(|(path, content)| spec::FileEntry {
        path: path.clone(),
        size: content.len() as u64,
        digest: spec::Digest::from_sha256([0; 32]),
        executable: false,
    });
    Tree::from_entries(entries.collect()).map_err(ArchiveError::Conflict)?;
    Ok(())
}

fn header(path: &WorkspacePath, size: u64) -> Result<Header, ArchiveError> {
    let (folders, name) =
        split(path.as_bytes()).ok_or_else(|| ArchiveError::PathTooLong(path.clone()))?;
    let mut header = Header::new_ustar();
    if let Some(ustar) = header.as_ustar_mut() {
        ustar.prefix[..folders.len()].copy_from_slice(folders);
        ustar.name[..name.len()].copy_from_slice(name);
    }
    header.set_entry_type(EntryType::Regular);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(size);
    header
        .set_device_major(0)
        .map_err(ArchiveError::Unreadable)?;
    header
        .set_device_minor(0)
        .map_err(ArchiveError::Unreadable)?;
    header.set_cksum();
    // As every tar writes it, six digits before the NUL: then `tar --format=ustar` gives these
    // bytes too.
    let sum = header.cksum().map_err(ArchiveError::Unreadable)?;
    let text = format!("{sum:06o}\0 ");
    header.as_old_mut().cksum.copy_from_slice(text.as_bytes());
    Ok(header)
}

/// Cuts a path into the two fields of a header, at the last slash that the first one holds.
fn split(path: &[u8]) -> Option<(&[u8], &[u8])> {
    const NAME: usize = 100;
    const PREFIX: usize = 155;
    if path.len() <= NAME {
        return Some((&[], path));
    }
    let reach = path.len().min(PREFIX + 1);
    let at = path[..reach].iter().rposition(|byte| *byte == b'/')?;
    let (folders, name) = (&path[..at], &path[at + 1..]);
    (name.len() <= NAME).then_some((folders, name))
}
