//! The history as tables in a file, so that a question about it costs the same however long it is.
//!
//! `index.db` (with SQLite's `-wal` and `-shm` beside it) is a view of the operation log and holds
//! nothing else: it can be removed at any time, and whoever needs it next makes it anew. It
//! remembers how far it has read the log ([`Reached`]); before each use it reads on from there,
//! under the rules that a reader of the whole log follows ([`crate::rules`]), in one transaction.
//! Where the log is not what it was (shorter, replaced, changed without having grown), it begins
//! again. Where it cannot be used at all (no permission, a full disk, a newer program's), the
//! caller reads the log ([`crate::memory`]).
//!
//! **Another table** that follows the log is a module here: its `SCHEMA` becomes part of
//! [`SCHEMAS`], its function is called by [`feed::operation`] with each operation and its effects,
//! in the same transaction, and [`VERSION`] is raised, which makes existing indexes begin anew.
//! What is fed must come from the operation alone and must be quick: a table that needs blobs
//! keeps the digests that it has not read yet, and whoever asks it reads those first. One table follows the
//! folder of runs instead ([`runs`]).

mod check;
mod feed;
mod runs;
#[cfg(test)]
mod tests;
mod view;

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, OptionalExtension as _, TransactionBehavior};

use crate::layout::Layout;
use crate::log::{Reached, Stamp};
use crate::memory::Memory;
use crate::rules::{self, Fault};
use crate::{StoreError, persist};
pub(crate) use runs::RunRow;
pub(crate) use view::Tables;

/// The tables that this program knows. Another number makes the index begin anew.
const VERSION: i64 = 4;
/// What every table is made by.
const SCHEMAS: &[&str] = &[feed::SCHEMA, runs::SCHEMA];
/// How long another process may be writing to the index; a rebuild takes seconds.
const BUSY_WAIT: Duration = Duration::from_secs(30);
/// KiB of pages that one process keeps in memory.
const CACHE_KIB: i64 = 8 * 1024;

/// The index of a store, opened when it is needed.
#[derive(Debug, Default)]
pub(crate) struct IndexSlot {
    open: Mutex<Option<Index>>,
    /// Whether it was found damaged by one who only looks: then it is neither used nor removed.
    is_aside: AtomicBool,
}

/// Whether the caller holds the store's lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lock {
    /// It does.
    Held,
    /// It does not.
    Free,
}

#[derive(Debug)]
struct Index {
    connection: Connection,
    /// The file that was opened, to tell when another one took its place.
    file: (u64, u64),
}

/// An index that cannot be used, and whether it is to be thrown away.
#[derive(Debug)]
pub(crate) struct Unusable {
    pub(crate) why: String,
    pub(crate) is_damaged: bool,
}

impl From<rusqlite::Error> for Unusable {
    fn from(error: rusqlite::Error) -> Self {
        Self {
            why: error.to_string(),
            is_damaged: Self::is_of_content(&error),
        }
    }
}

impl Unusable {
    /// Whether an error is about what a file holds, and not about how it can be used now.
    pub(crate) fn is_of_content(error: &rusqlite::Error) -> bool {
        use rusqlite::ErrorCode::{ConstraintViolation, DatabaseCorrupt, NotADatabase, Unknown};
        // A statement that does not fit the tables is as bad as a page that cannot be read.
        matches!(
            error.sqlite_error_code(),
            None | Some(ConstraintViolation | DatabaseCorrupt | NotADatabase | Unknown)
        ) || matches!(error, rusqlite::Error::SqlInputError { .. })
    }

    /// It holds something that the log does not say.
    pub(crate) fn wrong(why: impl Into<String>) -> Self {
        Self {
            why: why.into(),
            is_damaged: true,
        }
    }

    fn absent(why: impl Into<String>) -> Self {
        Self {
            why: why.into(),
            is_damaged: false,
        }
    }
}

impl IndexSlot {
    fn lock(&self) -> MutexGuard<'_, Option<Index>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has everybody read the log instead, until it is not aside any more.
    pub(crate) fn set_aside(&self, is_aside: bool) {
        self.is_aside.store(is_aside, Ordering::Relaxed);
    }

    fn check_aside(&self) -> Result<(), Unusable> {
        if self.is_aside.load(Ordering::Relaxed) {
            return Err(Unusable::absent("it is damaged"));
        }
        Ok(())
    }

    /// Brings the index up to the log and asks it.
    ///
    /// # Errors
    /// [`StoreError::Index`] when it cannot be used; then the log can be read instead. The log's
    /// own errors, and those of `question`.
    pub(crate) fn ask<T>(
        &self,
        layout: &Layout,
        log: &File,
        lock: Lock,
        question: &mut dyn FnMut(&Tables<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut slot = self.lock();
        let asked = self
            .check_aside()
            .and_then(|()| Index::ready(&mut slot, layout, lock))
            .and_then(|index| index.ask(layout, log, question));
        match asked {
            Ok(answer) => answer,
            Err(unusable) => {
                *slot = None;
                if unusable.is_damaged {
                    discard(layout, lock);
                }
                Err(StoreError::Index {
                    path: layout.index(),
                    why: unusable.why,
                })
            }
        }
    }

    /// Compares the index, if there is one, with what the log says.
    ///
    /// # Errors
    /// How it differs. It is left as it is.
    pub(crate) fn compare(
        &self,
        layout: &Layout,
        log: &File,
        memory: &Memory,
    ) -> Result<(), String> {
        if persist::identity(&layout.index()).is_none() {
            return Ok(());
        }
        let mut slot = self.lock();
        let compared = Index::ready(&mut slot, layout, Lock::Free).and_then(|index| {
            let mut difference = None;
            let asked = index.ask(layout, log, &mut |tables| {
                difference = tables.compare_up_to_now(memory)?.err();
                Ok(())
            })?;
            // What is wrong with the log was found by reading it.
            drop(asked);
            difference.map_or(Ok(()), Err)
        });
        match compared {
            Err(unusable) if unusable.is_damaged => Err(unusable.why),
            _ => Ok(()),
        }
    }

    /// Throws the index away, so that the next use makes it anew. The store's lock is held.
    pub(crate) fn discard(&self, layout: &Layout) {
        let mut slot = self.lock();
        *slot = None;
        discard(layout, Lock::Held);
    }
}

/// Removes the files of the index. Whoever has them open goes on with what is in them, and notices.
fn discard(layout: &Layout, lock: Lock) {
    let held = match lock {
        Lock::Held => None,
        Lock::Free => match persist::try_lock(&layout.lock) {
            Some(held) => Some(held),
            None => return,
        },
    };
    remove(layout);
    drop(held);
}

fn remove(layout: &Layout) {
    // The database goes first: without it the others mean nothing.
    for path in layout.index_files() {
        drop(fs::remove_file(path));
    }
}

impl Index {
    /// The open index, opened again when another file took its place.
    fn ready<'a>(
        slot: &'a mut Option<Self>,
        layout: &Layout,
        lock: Lock,
    ) -> Result<&'a mut Self, Unusable> {
        let path = layout.index();
        let on_disk = persist::identity(&path);
        if slot.as_ref().map(|index| index.file) != on_disk || on_disk.is_none() {
            *slot = None;
            *slot = Some(Self::open(&path, layout, lock)?);
        }
        slot.as_mut()
            .ok_or_else(|| Unusable::absent("it was just opened"))
    }

    fn open(path: &Path, layout: &Layout, lock: Lock) -> Result<Self, Unusable> {
        if persist::identity(path).is_none() {
            Self::create(path, layout, lock)?;
        }
        let file = persist::identity(path).ok_or_else(|| Unusable::absent("it is not a file"))?;
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut connection = Connection::open_with_flags(path, flags)?;
        connection.busy_timeout(BUSY_WAIT)?;
        // It is a view of what is on disk already: losing its last changes costs reading them again.
        connection.pragma_update_and_check(None, "journal_mode", "wal", |_| Ok(()))?;
        connection.pragma_update(None, "synchronous", "normal")?;
        connection.pragma_update(None, "cache_size", -CACHE_KIB)?;
        connection.set_prepared_statement_cache_capacity(64);
        match version(&connection)? {
            VERSION => {}
            0 => {
                let tables =
                    connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
                if version(&tables)? == 0 {
                    for schema in SCHEMAS {
                        tables.execute_batch(schema)?;
                    }
                    tables.pragma_update(None, "user_version", VERSION)?;
                }
                tables.commit()?;
            }
            newer if newer > VERSION => {
                return Err(Unusable::absent("a newer program made it"));
            }
            _ => return Err(Unusable::wrong("an older program made it")),
        }
        Ok(Self { connection, file })
    }

    /// Makes the file, under the store's lock: what an index that was removed left beside it must
    /// not be taken for its own.
    fn create(path: &Path, layout: &Layout, lock: Lock) -> Result<(), Unusable> {
        let _held = match lock {
            Lock::Held => None,
            Lock::Free => Some(
                persist::try_lock(&layout.lock)
                    .ok_or_else(|| Unusable::absent("the store is locked"))?,
            ),
        };
        if persist::identity(path).is_some() {
            return Ok(());
        }
        remove(layout);
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)
            .map(drop)
            .map_err(|error| Unusable::absent(error.to_string()))
    }

    fn ask<T>(
        &mut self,
        layout: &Layout,
        log: &File,
        question: &mut dyn FnMut(&Tables<'_>) -> Result<T, StoreError>,
    ) -> Result<Result<T, StoreError>, Unusable> {
        match self.catch_up(&layout.log, log) {
            Ok(()) => {}
            Err(CaughtUp::Log(error)) => return Ok(Err(error)),
            Err(CaughtUp::Index(error)) => return Err(error),
        }
        let snapshot = self.connection.unchecked_transaction()?;
        let tables = Tables::new(&snapshot, &layout.log, log)?;
        let answer = question(&tables);
        let fault = tables.fault();
        drop(tables);
        snapshot.finish()?;
        fault.map_or(Ok(answer), Err)
    }

    /// Reads on in the log from where it stopped.
    fn catch_up(&mut self, path: &Path, log: &File) -> Result<(), CaughtUp> {
        let stamp = || Stamp::of(log).map_err(|source| StoreError::read("read", path, source));
        let now = stamp()?;
        if reached(&self.connection)?.is_some_and(|reached| reached.is_current(now)) {
            return Ok(());
        }
        let tables = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        // Somebody else may have done it meanwhile.
        let now = stamp()?;
        let mut reached = match reached(&tables)? {
            Some(reached) if reached.is_current(now) => return Ok(()),
            Some(reached) if reached.is_before(now, path, log)? => Reached {
                stamp: now,
                ..reached
            },
            _ => {
                feed::clear(&tables)?;
                Reached::nothing(now)
            }
        };
        let mut unusable = None;
        let read = {
            let view = Tables::new(&tables, path, log)?;
            let read = reached.read_on(path, log, &mut |operation, place| {
                let effects = match rules::effects(&view, &operation) {
                    Ok(effects) => effects,
                    Err(Fault::Broken(what)) => return Err(StoreError::Refused { what }),
                    Err(Fault::View(error)) => return Err(error),
                };
                let fed = feed::operation(&tables, &operation, place, &effects);
                fed.map_err(|error| {
                    unusable = Some(Unusable::from(error));
                    StoreError::refused("the index cannot be written")
                })?;
                view.fed(&operation);
                Ok(())
            });
            unusable = unusable.or_else(|| view.fault());
            read
        };
        if let Some(unusable) = unusable {
            return Err(unusable.into());
        }
        read?;
        feed::reached(&tables, &reached)?;
        tables.commit()?;
        Ok(())
    }
}

/// Why an index is not up to the log.
enum CaughtUp {
    /// The log is damaged or cannot be read.
    Log(StoreError),
    /// The index cannot be used.
    Index(Unusable),
}

impl From<StoreError> for CaughtUp {
    fn from(error: StoreError) -> Self {
        Self::Log(error)
    }
}

impl From<Unusable> for CaughtUp {
    fn from(error: Unusable) -> Self {
        Self::Index(error)
    }
}

impl From<rusqlite::Error> for CaughtUp {
    fn from(error: rusqlite::Error) -> Self {
        Self::Index(error.into())
    }
}

fn version(connection: &Connection) -> Result<i64, rusqlite::Error> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}

/// How far the tables follow the log.
fn reached(connection: &Connection) -> Result<Option<Reached>, rusqlite::Error> {
    connection
        .prepare_cached(
            "SELECT device, inode, size, seconds, nanoseconds, end, last_line, is_ended, seq, id
             FROM reached",
        )?
        .query_row([], |row| {
            let seq: Option<i64> = row.get(8)?;
            let id: Option<[u8; 32]> = row.get(9)?;
            Ok(Reached {
                stamp: Stamp {
                    device: unsigned(row.get(0)?),
                    inode: unsigned(row.get(1)?),
                    size: unsigned(row.get(2)?),
                    modified: (row.get(3)?, row.get(4)?),
                },
                end: unsigned(row.get(5)?),
                last_line: unsigned(row.get(6)?),
                is_ended: row.get(7)?,
                last: seq.map(unsigned).zip(id.map(spec::Digest::from_sha256)),
            })
        })
        .optional()
}

/// SQLite's integers are signed; the bits are kept.
fn signed(number: u64) -> i64 {
    number.cast_signed()
}

fn unsigned(number: i64) -> u64 {
    number.cast_unsigned()
}

impl Layout {
    /// The index: a view of the log.
    pub(crate) fn index(&self) -> PathBuf {
        self.root.join(crate::layout::INDEX)
    }

    /// The files of the index, itself first.
    pub(crate) fn index_files(&self) -> [PathBuf; 4] {
        crate::layout::INDEX_FILES.map(|name| self.root.join(name))
    }
}
