//! What comes out of a sandbox after its program ended: files, checked and stored.

use std::collections::HashSet;
use std::io::{self, Write as _};
use std::sync::Arc;

use bytes::Bytes;
use spec::{FileEntry, LeftBehind, Limits, Tree, WorkspacePath, limits};
use tokio::sync::mpsc;

use crate::{BlobSink, Blobs};

/// Left-behind entries that are named one by one.
pub(super) const LEFT_NAMED: usize = 1_000;
/// Names of a path that is left behind, of which more may be reported than a path can have.
const NAMES_SHOWN: usize = 2 * limits::PATH_DEPTH;

/// Pieces of files on their way to the job that stores them.
pub(super) enum Piece {
    /// A file that came in one frame.
    Whole {
        path: WorkspacePath,
        executable: bool,
        content: Bytes,
    },
    Begin {
        path: WorkspacePath,
        size: u64,
        executable: bool,
    },
    Data(Bytes),
    End,
}

/// Stores files as their pieces arrive. Blocks.
pub(super) fn store(
    blobs: &Arc<dyn Blobs>,
    mut pieces: mpsc::Receiver<Piece>,
) -> io::Result<Vec<FileEntry>> {
    let mut entries = Vec::new();
    let mut open: Option<(WorkspacePath, u64, bool, Box<dyn BlobSink>)> = None;
    while let Some(piece) = pieces.blocking_recv() {
        match (piece, &mut open) {
            (
                Piece::Begin {
                    path,
                    size,
                    executable,
                },
                None,
            ) => open = Some((path, size, executable, blobs.create()?)),
            (Piece::Data(bytes), Some((.., sink))) => sink.write_all(&bytes)?,
            (Piece::End, Some(_)) => {
                if let Some((path, size, executable, sink)) = open.take() {
                    entries.push(FileEntry {
                        path,
                        size,
                        digest: sink.finish()?,
                        executable,
                    });
                }
            }
            (
                Piece::Whole {
                    path,
                    executable,
                    content,
                },
                None,
            ) => {
                let mut sink = blobs.create()?;
                sink.write_all(&content)?;
                entries.push(FileEntry {
                    path,
                    size: content.len() as u64,
                    digest: sink.finish()?,
                    executable,
                });
            }
            // The events come in this order or not at all.
            (Piece::Whole { .. } | Piece::Begin { .. }, Some(_))
            | (Piece::Data(_) | Piece::End, None) => {}
        }
    }
    Ok(entries)
}

/// The host's own bounds on what a sandbox sends back.
#[derive(Debug)]
pub(super) struct Checks {
    bytes_left: u64,
    files_left: u32,
    depth: usize,
    left_left: usize,
    names_left: u64,
    seen: HashSet<WorkspacePath>,
    pub(super) removed: Vec<WorkspacePath>,
    pub(super) left_behind: Vec<LeftBehind>,
}

impl Checks {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            bytes_left: limits.workspace.get(),
            files_left: limits.collect_files,
            depth: limits.collect_depth as usize,
            // One more says how many are not named.
            left_left: LEFT_NAMED + 1,
            // And that one has a name too.
            names_left: limits::NAMES.get() + limits::PATH_BYTES as u64,
            seen: HashSet::new(),
            removed: Vec::new(),
            left_behind: Vec::new(),
        }
    }

    /// Takes a file's announcement.
    pub(super) fn file(&mut self, path: Vec<u8>, size: u64) -> Result<WorkspacePath, String> {
        let path = self.path(path)?;
        if path.as_bytes().split(|byte| *byte == b'/').count() > self.depth {
            return Err(format!("`{path}` is deeper than allowed"));
        }
        self.names(path.as_bytes().len())?;
        self.files_left = self
            .files_left
            .checked_sub(1)
            .ok_or("more files than allowed")?;
        self.bytes_left = self
            .bytes_left
            .checked_sub(size)
            .ok_or("more bytes than the workspace holds")?;
        Ok(path)
    }

    /// Takes the name of a file that is gone.
    pub(super) fn removed(&mut self, path: Vec<u8>, input: &Tree) -> Result<(), String> {
        let path = self.path(path)?;
        if input.find(&path).is_none() {
            return Err(format!("`{path}` was removed without having been there"));
        }
        self.removed.push(path);
        Ok(())
    }

    /// Takes the name of something that was not collected.
    pub(super) fn left(&mut self, path: &[u8], why: &str) -> Result<(), String> {
        self.left_left = self
            .left_left
            .checked_sub(1)
            .ok_or("more left behind than allowed")?;
        self.names(path.len())?;
        // What is left behind may have no valid path, but each of its names is one.
        let names = path.split(|byte| *byte == b'/').take(NAMES_SHOWN);
        let names = names.map(|name| match WorkspacePath::from_bytes(name.to_vec()) {
            Ok(name) => name.to_string(),
            Err(_) => "...".to_owned(),
        });
        let path = names.collect::<Vec<_>>().join("/");
        let why = spec::printable(why, 200);
        self.left_behind.push(LeftBehind { path, why });
        Ok(())
    }

    /// Paths that are gone do not count: they are those of the input.
    fn names(&mut self, bytes: usize) -> Result<(), String> {
        let left = self.names_left.checked_sub(bytes as u64);
        self.names_left = left.ok_or("longer paths than allowed, together")?;
        Ok(())
    }

    fn path(&mut self, path: Vec<u8>) -> Result<WorkspacePath, String> {
        let path = WorkspacePath::from_bytes(path).map_err(|error| error.to_string())?;
        if !self.seen.insert(path.clone()) {
            return Err(format!("`{path}` came twice"));
        }
        Ok(path)
    }
}

/// What differs from the input; a file that was touched but holds the same is not changed.
pub(super) fn changed(mut entries: Vec<FileEntry>, input: &Tree) -> Vec<FileEntry> {
    entries.retain(|entry| input.find(&entry.path) != Some(entry));
    entries.sort_by(|a, b| a.path.cmp(&b.path));
    entries
}
