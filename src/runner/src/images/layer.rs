//! Layers: tar archives whose bytes depend on nothing but what is in them.
//!
//! ustar, sorted by path, at the beginning of time, with numeric owners; a layer is not compressed, so
//! its digest is its diff id and no compressor decides it.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fmt;
use std::fs::File;
use std::io::{self, Read, Seek as _, SeekFrom, Write};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use sha2::{Digest as _, Sha256};
use spec::Digest;
use tar::{EntryType, Header};

/// What is at one path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Node {
    pub(super) mode: u32,
    pub(super) uid: u64,
    pub(super) gid: u64,
    pub(super) kind: Kind,
}

/// The kinds of file that a layer of ours has: no devices, no sockets, no FIFOs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Directory,
    File(Content),
    Symlink(Vec<u8>),
    /// Another name of a file that is earlier in the layer.
    Hardlink(Vec<u8>),
}

/// Where the bytes of a file are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Content {
    Bytes(Vec<u8>),
    /// A part of the file that is given to [`Layer::write`].
    Range {
        offset: u64,
        size: u64,
    },
}

impl Content {
    fn size(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Range { size, .. } => *size,
        }
    }
}

/// A layer's entries by path: relative, without `.` and `..`, sorted by their bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Layer(pub(super) BTreeMap<Vec<u8>, Node>);

/// A layer that has been written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// The digest of the archive, which is the layer's diff id.
    pub digest: Digest,
    /// The archive's size in bytes.
    pub size: u64,
}

/// Writes a layer entry by entry, without keeping its content in memory.
///
/// Everything belongs to root. The folders above an entry are written with it, readable by everybody.
pub struct LayerWriter<W: Write> {
    builder: tar::Builder<Hashing<W>>,
    last: Vec<u8>,
    folders: BTreeSet<Vec<u8>>,
}

impl<W: Write> fmt::Debug for LayerWriter<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LayerWriter")
            .field("last", &self.last.escape_ascii().to_string())
            .finish_non_exhaustive()
    }
}

impl<W: Write> LayerWriter<W> {
    /// Begins a layer.
    pub fn new(out: W) -> Self {
        Self {
            builder: tar::Builder::new(Hashing::new(out)),
            last: Vec::new(),
            folders: BTreeSet::new(),
        }
    }

    /// Adds a regular file of `size` bytes, which `content` has to give. The path is relative to the
    /// image's root, and greater than the last one, byte by byte.
    ///
    /// # Errors
    /// The I/O error; one of kind `InvalidInput` for a path that is not plain or does not follow the
    /// last one, and `UnexpectedEof` when there are fewer bytes.
    pub fn file(
        &mut self,
        path: &[u8],
        mode: u32,
        size: u64,
        content: impl Read,
    ) -> io::Result<()> {
        self.follow(path)?;
        let header = header(
            &mut self.builder,
            path,
            None,
            EntryType::Regular,
            (mode, 0, 0, size),
        )?;
        let mut content = Counted(content.take(size), 0);
        self.builder.append(&header, &mut content)?;
        if content.1 < size {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(())
    }

    /// Adds a folder, which may be empty.
    ///
    /// # Errors
    /// As of [`Self::file`].
    pub fn directory(&mut self, path: &[u8]) -> io::Result<()> {
        self.follow(path)?;
        self.folder(path, 0)
    }

    /// Adds a folder in which the user and group of this number may write.
    ///
    /// # Errors
    /// As of [`Self::file`].
    pub fn owned_directory(&mut self, path: &[u8], owner: u64) -> io::Result<()> {
        self.follow(path)?;
        self.folder(path, owner)
    }

    /// Ends the layer.
    ///
    /// # Errors
    /// The I/O error.
    pub fn finish(self) -> io::Result<Written> {
        self.builder.into_inner()?.finish()
    }

    /// Checks the order, and writes the folders above that are not there yet.
    fn follow(&mut self, path: &[u8]) -> io::Result<()> {
        let mut names = path.split(|byte| *byte == b'/');
        if path <= self.last.as_slice() || names.any(|name| matches!(name, b"" | b"." | b"..")) {
            let (path, last) = (path.escape_ascii(), self.last.escape_ascii());
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("`{path}` cannot follow `{last}` in a layer"),
            ));
        }
        self.last = path.to_vec();
        let slashes = path.iter().enumerate().filter(|(_, byte)| **byte == b'/');
        for (slash, _) in slashes {
            self.folder(&path[..slash], 0)?;
        }
        Ok(())
    }

    fn folder(&mut self, path: &[u8], owner: u64) -> io::Result<()> {
        if !self.folders.insert(path.to_vec()) {
            return Ok(());
        }
        let kind = EntryType::Directory;
        let meta = (0o755, owner, owner, 0);
        let header = header(&mut self.builder, path, None, kind, meta)?;
        self.builder.append(&header, io::empty())
    }
}

/// A reader that counts.
struct Counted<R>(R, u64);

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.0.read(buffer)?;
        self.1 += read as u64;
        Ok(read)
    }
}

impl Layer {
    /// Adds a directory of root's.
    pub(super) fn directory(&mut self, path: &str, mode: u32) {
        self.root(path, mode, Kind::Directory);
    }

    /// Adds a file of root's that everybody may read.
    pub(super) fn file(&mut self, path: &str, bytes: impl Into<Vec<u8>>) {
        self.root(path, 0o644, Kind::File(Content::Bytes(bytes.into())));
    }

    /// Adds the folders above every entry: an engine makes one that is missing in a layer with
    /// whatever mode it likes.
    pub(super) fn add_parents(&mut self) {
        let paths: Vec<Vec<u8>> = self.0.keys().cloned().collect();
        for path in paths {
            let slashes = path.iter().enumerate().filter(|(_, byte)| **byte == b'/');
            for (slash, _) in slashes {
                self.0.entry(path[..slash].to_vec()).or_insert(Node {
                    mode: 0o755,
                    uid: 0,
                    gid: 0,
                    kind: Kind::Directory,
                });
            }
        }
    }

    fn root(&mut self, path: &str, mode: u32, kind: Kind) {
        let node = Node {
            mode,
            uid: 0,
            gid: 0,
            kind,
        };
        self.0.insert(path.as_bytes().to_vec(), node);
    }

    /// Writes the archive: ustar, sorted, at the beginning of time, with numeric owners.
    pub(super) fn write(&self, source: Option<&File>, out: impl Write) -> io::Result<Written> {
        let mut builder = tar::Builder::new(Hashing::new(out));
        for (path, node) in &self.0 {
            append(&mut builder, path, node, source)?;
        }
        builder.into_inner()?.finish()
    }
}

fn append<W: Write>(
    builder: &mut tar::Builder<W>,
    path: &[u8],
    node: &Node,
    source: Option<&File>,
) -> io::Result<()> {
    let (kind, target, size) = match &node.kind {
        Kind::Directory => (EntryType::Directory, None, 0),
        Kind::File(content) => (EntryType::Regular, None, content.size()),
        Kind::Symlink(target) => (EntryType::Symlink, Some(target.as_slice()), 0),
        Kind::Hardlink(target) => (EntryType::Link, Some(target.as_slice()), 0),
    };
    let header = header(
        builder,
        path,
        target,
        kind,
        (node.mode, node.uid, node.gid, size),
    )?;
    match &node.kind {
        Kind::File(Content::Bytes(bytes)) => builder.append(&header, bytes.as_slice()),
        Kind::File(Content::Range { offset, size }) => {
            let mut source = source.ok_or_else(|| io::Error::other("the layer has no source"))?;
            source.seek(SeekFrom::Start(*offset))?;
            builder.append(&header, source.take(*size))
        }
        Kind::Directory | Kind::Symlink(_) | Kind::Hardlink(_) => {
            builder.append(&header, io::empty())
        }
    }
}

/// Makes the header of an entry. Names that have no place in it are written in front of it.
fn header<W: Write>(
    builder: &mut tar::Builder<W>,
    path: &[u8],
    target: Option<&[u8]>,
    kind: EntryType,
    (mode, uid, gid, size): (u32, u64, u64, u64),
) -> io::Result<Header> {
    let mut name = path.to_vec();
    if kind == EntryType::Directory {
        name.push(b'/');
    }
    let mut header = Header::new_ustar();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(uid);
    header.set_gid(gid);
    header.set_mtime(0);
    header.set_size(size);
    let mut long: Vec<(&str, &[u8])> = Vec::new();
    if header
        .set_path(Path::new(OsStr::from_bytes(&name)))
        .is_err()
    {
        long.push(("path", &name));
        header.set_path("long-name")?;
    }
    if let Some(target) = target
        && header.set_link_name_literal(target).is_err()
    {
        long.push(("linkpath", target));
    }
    if !long.is_empty() {
        builder.append_pax_extensions(long)?;
    }
    header.set_cksum();
    Ok(header)
}

/// A writer that hashes and counts what goes through it.
struct Hashing<W: Write> {
    inner: io::BufWriter<W>,
    hash: Sha256,
    size: u64,
}

impl<W: Write> Hashing<W> {
    fn new(inner: W) -> Self {
        Self {
            inner: io::BufWriter::with_capacity(1 << 18, inner),
            hash: Sha256::new(),
            size: 0,
        }
    }

    fn finish(mut self) -> io::Result<Written> {
        self.inner.flush()?;
        Ok(Written {
            digest: Digest::from_sha256(self.hash.finalize().into()),
            size: self.size,
        })
    }
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.hash.update(&bytes[..written]);
        self.size += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Layer {
        let mut layer = Layer::default();
        layer.directory("usr", 0o755);
        layer.directory("usr/lib", 0o755);
        layer.file("usr/lib/a", "content");
        layer.directory("tmp", 0o1777);
        let link = |kind| Node {
            mode: 0o777,
            uid: 0,
            gid: 0,
            kind,
        };
        let target = Kind::Symlink(b"usr/lib".to_vec());
        layer.0.insert(b"lib".to_vec(), link(target));
        let target = Kind::Hardlink(b"usr/lib/a".to_vec());
        layer.0.insert(b"usr/lib/b".to_vec(), link(target));
        layer
    }

    #[test]
    fn equal_content_has_an_equal_digest() {
        let mut bytes = Vec::new();
        let written = sample().write(None, &mut bytes).unwrap();
        assert_eq!(written.digest, Digest::of(&bytes));
        assert_eq!(written.size, bytes.len() as u64);
        assert_eq!(
            written.digest.to_string(),
            "sha256:90d34027af1438c3b82517c9b3bfea9bfcbe339aae6525667e27a1a8603c03be"
        );
    }

    #[test]
    fn an_archive_reads_back_as_it_was_written() {
        let mut bytes = Vec::new();
        sample().write(None, &mut bytes).unwrap();
        let listed: Vec<String> = tar::Archive::new(bytes.as_slice())
            .entries()
            .unwrap()
            .map(|entry| {
                let entry = entry.unwrap();
                let header = entry.header();
                let target = entry.link_name_bytes().unwrap_or_default();
                format!(
                    "{:?} {:o} {} {} {}",
                    header.entry_type(),
                    header.mode().unwrap(),
                    header.mtime().unwrap(),
                    String::from_utf8_lossy(&entry.path_bytes()),
                    String::from_utf8_lossy(&target),
                )
            })
            .collect();
        assert_eq!(
            listed,
            [
                "Symlink 777 0 lib usr/lib",
                "Directory 1777 0 tmp/ ",
                "Directory 755 0 usr/ ",
                "Directory 755 0 usr/lib/ ",
                "Regular 644 0 usr/lib/a ",
                "Link 777 0 usr/lib/b usr/lib/a",
            ]
        );
    }

    #[test]
    fn a_layer_can_be_written_entry_by_entry() {
        let mut bytes = Vec::new();
        let mut layer = LayerWriter::new(&mut bytes);
        layer.directory(b"a").unwrap();
        layer.file(b"a-b", 0o644, 1, &b"1"[..]).unwrap();
        layer.file(b"a/b/c", 0o755, 2, &b"12 and more"[..]).unwrap();
        layer.file(b"a/d", 0o644, 0, io::empty()).unwrap();
        let refused = |error: io::Error| error.kind();
        for path in [&b"a/d"[..], b"a/c", b"", b"/x", b"x/../y", b"x//y", b"x/."] {
            let error = layer.file(path, 0o644, 0, io::empty()).unwrap_err();
            assert_eq!(refused(error), io::ErrorKind::InvalidInput);
        }
        let error = layer.file(b"b", 0o644, 3, &b"12"[..]).unwrap_err();
        assert_eq!(refused(error), io::ErrorKind::UnexpectedEof);
        drop(layer);

        let mut expected = Layer::default();
        expected.directory("a", 0o755);
        expected.file("a-b", "1");
        expected.directory("a/b", 0o755);
        expected.root("a/b/c", 0o755, Kind::File(Content::Bytes(b"12".to_vec())));
        expected.file("a/d", "");
        let mut whole = Vec::new();
        let written = expected.write(None, &mut whole).unwrap();
        let mut bytes = Vec::new();
        let mut layer = LayerWriter::new(&mut bytes);
        layer.directory(b"a").unwrap();
        layer.file(b"a-b", 0o644, 1, &b"1"[..]).unwrap();
        layer.file(b"a/b/c", 0o755, 2, &b"12 and more"[..]).unwrap();
        layer.file(b"a/d", 0o644, 0, io::empty()).unwrap();
        assert_eq!(layer.finish().unwrap(), written);
        assert_eq!(bytes, whole);
    }

    #[test]
    fn content_can_come_from_a_part_of_a_file() {
        let mut source = tempfile::tempfile().unwrap();
        source.write_all(b"before, inside, after").unwrap();
        let mut layer = Layer::default();
        let content = Content::Range { offset: 8, size: 6 };
        layer.root("part", 0o600, Kind::File(content));
        let mut bytes = Vec::new();
        layer.write(Some(&source), &mut bytes).unwrap();
        let mut archive = tar::Archive::new(bytes.as_slice());
        let mut text = String::new();
        let mut entry = archive.entries().unwrap().next().unwrap().unwrap();
        entry.read_to_string(&mut text).unwrap();
        assert_eq!(text, "inside");
    }

    #[test]
    fn names_of_any_length_survive() {
        for length in [99, 100, 101, 155, 156, 255, 256, 300, 3000] {
            for separator in ["", "/"] {
                let name = format!("{}{separator}x", "y".repeat(length - 1));
                let mut layer = Layer::default();
                layer.file(&name, "");
                let target = Kind::Symlink(name.clone().into_bytes());
                layer.root("link", 0o777, target);
                let mut bytes = Vec::new();
                layer.write(None, &mut bytes).unwrap();
                let mut found = Vec::new();
                for entry in tar::Archive::new(bytes.as_slice()).entries().unwrap() {
                    let entry = entry.unwrap();
                    let target = entry.link_name_bytes().map(std::borrow::Cow::into_owned);
                    found.push((entry.path_bytes().into_owned(), target));
                }
                let name = name.into_bytes();
                let expected = [(b"link".to_vec(), Some(name.clone())), (name, None)];
                assert_eq!(found, expected);
            }
        }
    }
}
