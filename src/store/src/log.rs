//! The operation log as a file: cutting it into lines, knowing whether it changed, appending.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use spec::{ByteSize, Digest};

use crate::StoreError;
use crate::operation::Operation;

/// The longest line: a thousand moves, a thousand runs and the texts, each character escaped.
pub(crate) const LINE_MAX: ByteSize = ByteSize::mib(4);

/// Tells whether a file changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(crate) device: u64,
    pub(crate) inode: u64,
    pub(crate) size: u64,
    pub(crate) modified: (i64, i64),
}

impl Stamp {
    pub(crate) fn of(file: &File) -> io::Result<Self> {
        let metadata = file.metadata()?;
        Ok(Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
        })
    }
}

/// How far the log was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reached {
    /// The file, when it was looked at before it was read.
    pub(crate) stamp: Stamp,
    /// Bytes of the whole lines.
    pub(crate) end: u64,
    /// Where the last whole line begins.
    pub(crate) last_line: u64,
    /// Whether its line feed is there.
    pub(crate) is_ended: bool,
    /// The number and digest of the last operation.
    pub(crate) last: Option<(u64, Digest)>,
}

/// Where a line stands in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) begin: u64,
    /// Bytes without the line feed.
    pub(crate) length: u64,
}

impl Reached {
    pub(crate) fn nothing(stamp: Stamp) -> Self {
        Self {
            stamp,
            end: 0,
            last_line: 0,
            is_ended: true,
            last: None,
        }
    }

    /// Whether the file is as it was, with nothing after what was read.
    pub(crate) fn is_current(&self, stamp: Stamp) -> bool {
        self.stamp == stamp && self.end == stamp.size
    }

    /// Whether what was read is still there, and there is more.
    pub(crate) fn is_before(
        &self,
        stamp: Stamp,
        path: &Path,
        file: &File,
    ) -> Result<bool, StoreError> {
        let same_file = (self.stamp.device, self.stamp.inode) == (stamp.device, stamp.inode);
        if !same_file || self.end == 0 || self.end >= stamp.size {
            return Ok(false);
        }
        let length = self.end - self.last_line - u64::from(self.is_ended);
        let begin = self.last_line;
        let operation = read_at(path, file, Place { begin, length })?;
        Ok(operation.map(|one| (one.seq, one.id)) == self.last)
    }

    /// Reads every line after what was read, and gives each operation to `apply`.
    pub(crate) fn read_on(
        &mut self,
        path: &Path,
        mut file: &File,
        apply: &mut dyn FnMut(Operation, Place) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let error = |source: io::Error| match source.kind() {
            io::ErrorKind::InvalidData => StoreError::corrupt(path, source.to_string()),
            _ => StoreError::read("read", path, source),
        };
        file.seek(SeekFrom::Start(self.end)).map_err(error)?;
        let mut lines = Lines::after(self.end, self.last.map_or(0, |(seq, _)| seq), file);
        while let Some(line) = lines.next().map_err(error)? {
            let corrupt =
                |why: String| StoreError::corrupt(path, format!("line {}: {why}", line.number));
            // The line feed that was owed to the last line stands alone.
            if line.bytes.is_empty() && !self.is_ended {
                self.end += 1;
                self.is_ended = true;
                lines.number -= 1;
                continue;
            }
            let operation = Operation::from_line(line.bytes).map_err(corrupt)?;
            let last = Some((operation.seq, operation.id));
            let place = Place {
                begin: line.begin,
                length: line.bytes.len() as u64,
            };
            let number = line.number;
            let is_ended = line.is_ended;
            apply(operation, place).map_err(|error| match error {
                StoreError::Refused { what } => {
                    StoreError::corrupt(path, format!("line {number}: {what}"))
                }
                other => other,
            })?;
            self.last = last;
            self.last_line = place.begin;
            self.end = place.begin + place.length + u64::from(is_ended);
            self.is_ended = is_ended;
        }
        Ok(())
    }
}

/// The operation at a place; none when there is no whole one.
pub(crate) fn read_at(
    path: &Path,
    file: &File,
    place: Place,
) -> Result<Option<Operation>, StoreError> {
    if place.length > LINE_MAX.get() {
        return Ok(None);
    }
    let mut line = vec![0; usize::try_from(place.length).unwrap_or(0)];
    match file.read_exact_at(&mut line, place.begin) {
        Ok(()) => Ok(Operation::from_line(&line).ok()),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        Err(source) => Err(StoreError::read("read", path, source)),
    }
}

/// One line of the log that is whole.
#[derive(Debug)]
pub(crate) struct Line<'a> {
    /// Its number in the file, from 1.
    pub(crate) number: u64,
    /// Where it begins in the file.
    pub(crate) begin: u64,
    /// Its bytes without the line feed.
    pub(crate) bytes: &'a [u8],
    /// Whether the line feed is there.
    pub(crate) is_ended: bool,
}

/// Cuts a log into lines, one in memory at a time; a torn end is left out.
#[derive(Debug)]
pub(crate) struct Lines<R> {
    reader: BufReader<R>,
    begin: u64,
    number: u64,
    line: Vec<u8>,
}

impl<R: Read> Lines<R> {
    /// Reads on behind so many bytes and lines.
    pub(crate) fn after(begin: u64, number: u64, reader: R) -> Self {
        Self {
            reader: BufReader::with_capacity(256 * 1024, reader),
            begin,
            number,
            line: Vec::new(),
        }
    }

    /// The next line that is whole.
    pub(crate) fn next(&mut self) -> io::Result<Option<Line<'_>>> {
        self.begin += self.line.len() as u64;
        self.line.clear();
        let most = LINE_MAX.get() + 1;
        let read = (&mut self.reader)
            .take(most)
            .read_until(b'\n', &mut self.line)?;
        if read as u64 == most && !self.line.ends_with(b"\n") {
            // What a crash leaves is never that long, but for space that was never filled.
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "a line is too long",
            ));
        }
        let is_ended = self.line.ends_with(b"\n");
        if read == 0 || (!is_ended && Operation::is_torn(&self.line)) {
            return Ok(None);
        }
        self.number += 1;
        Ok(Some(Line {
            number: self.number,
            begin: self.begin,
            bytes: self.line.strip_suffix(b"\n").unwrap_or(&self.line),
            is_ended,
        }))
    }
}

/// Puts a line in the place of whatever a dead writer left after the last whole one.
pub(crate) fn write_line(file: &mut File, reached: &Reached, line: &str) -> io::Result<()> {
    file.set_len(reached.end)?;
    // A writer that died between a line and its line feed leaves that to us.
    let owed = if reached.is_ended { "" } else { "\n" };
    let written = file
        .write_all(format!("{owed}{line}\n").as_bytes())
        .and_then(|()| file.sync_all());
    if written.is_err() {
        // The caller is told that nothing changed, so nothing may stay.
        file.set_len(reached.end)?;
        file.sync_all()?;
    }
    written
}
