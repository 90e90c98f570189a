//! Finding subagents by what they do.
//!
//! `search.db` is a view of the heads, of what their versions hold and of the runs that there were: it can be
//! removed at any time, and whoever searches next makes it anew; where it cannot be written, one in memory does.
//! Before each search it reads on: the operations since the last one say which names to read again, and the folder of
//! runs tells when there are others.
//! Texts are ranked by SQLite's full-text index (bm25); how alike the parts of their words are is a second ranking, for
//! other spellings; both are fused by their ranks. What fits about as well is ordered by proven success, then by time.

mod check;
mod feed;
mod find;
#[cfg(test)]
mod tests;
mod text;
mod vectors;

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use rusqlite::{Connection, ErrorCode, OpenFlags};
use spec::{Digest, SubagentName};

use crate::index::Unusable;
use crate::layout::Layout;
use crate::{Store, StoreError, persist};

/// The tables that this program knows. Another number makes the index begin anew.
const VERSION: i64 = 3;
/// How long another process may be filling it, in seconds.
const BUSY_WAIT: u64 = 30;
/// KiB of pages that one process keeps in memory: the directions of a hundred thousand texts, and as much again.
const CACHE_KIB: i64 = 48 * 1024;

/// A subagent that was found.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// Its name.
    pub name: SubagentName,
    /// Its head.
    pub version: Digest,
    /// What it does.
    pub description: String,
    /// How well it fits, of 1.
    pub fit: f64,
    /// Its recorded runs.
    pub runs: u64,
    /// Those of them that completed.
    pub completed: u64,
    /// The share of runs that complete, as far as that is proven: the Wilson lower bound at 95 %.
    pub proven: f64,
    /// The median wall time of those that completed, in milliseconds.
    pub median_ms: Option<f64>,
}

/// What the search index was made from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SearchIndexed {
    /// Subagents that can be found.
    pub subagents: u64,
    /// Subagents whose version cannot be read; they are found by name.
    pub unreadable: u64,
    /// Runs that were counted.
    pub runs: u64,
}

impl Store {
    /// The subagents that fit a question best, at most so many.
    ///
    /// Any text can be asked. `observe` is told how many versions were read, where the index has to read on.
    ///
    /// # Errors
    /// [`StoreError::Index`] when the index can neither be used nor made, [`StoreError::Busy`] when another process
    /// is filling it for too long, [`StoreError::Corrupt`] when the log is damaged, and the file system's errors.
    pub fn search(
        &self,
        query: &str,
        limit: usize,
        observe: &mut dyn FnMut(u64),
    ) -> Result<Vec<Found>, StoreError> {
        let mut slot = self.search.lock();
        let mut found = self.find(&mut slot, query, limit, observe);
        if let Err(StoreError::Index { .. }) = found {
            // What is damaged is made anew; then an error is one. Whatever else is wrong, others may be using it.
            Search::discard(&self.layout);
            found = self.find(&mut slot, query, limit, observe);
        }
        if let Err(StoreError::ReadOnly { .. }) = found {
            let mut index = Search::in_memory().map_err(|why| unusable(&self.layout, why))?;
            index.read_on(self, observe)?;
            found = index
                .find(query, limit)
                .map_err(|why| unusable(&self.layout, why));
        }
        found
    }

    /// Asks the index that is on disk, after it has read on.
    fn find(
        &self,
        slot: &mut Option<Search>,
        query: &str,
        limit: usize,
        observe: &mut dyn FnMut(u64),
    ) -> Result<Vec<Found>, StoreError> {
        let index = Search::ready(slot, &self.layout)?;
        let read = index.read_on(self, observe);
        let find = |_| {
            index
                .find(query, limit)
                .map_err(|why| unusable(&self.layout, why))
        };
        let found = read.and_then(find);
        if found.is_err() {
            *slot = None;
        }
        found
    }

    /// Makes the index of the search anew, from the store alone.
    ///
    /// # Errors
    /// As [`Self::search`].
    pub fn reindex_search(
        &self,
        observe: &mut dyn FnMut(u64),
    ) -> Result<SearchIndexed, StoreError> {
        let mut slot = self.search.lock();
        *slot = None;
        Search::discard(&self.layout);
        Search::ready(&mut slot, &self.layout)?.read_on(self, observe)
    }
}

/// The index of the search of a store, opened when it is needed.
#[derive(Debug, Default)]
pub(crate) struct SearchSlot(Mutex<Option<Search>>);

impl SearchSlot {
    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Search>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Says what can be done about an error of SQLite. [`StoreError::Index`] is one that is of the file's content.
fn unusable(layout: &Layout, error: rusqlite::Error) -> StoreError {
    let path = layout.search_index();
    let unusable = match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            let seconds = BUSY_WAIT;
            return StoreError::Busy { path, seconds };
        }
        code if !Unusable::is_of_content(&error) => (code, std::io::Error::other(error)),
        _ => {
            let why = error.to_string();
            return StoreError::Index { path, why };
        }
    };
    match unusable {
        (
            Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen | ErrorCode::PermissionDenied),
            source,
        ) => StoreError::ReadOnly { path, source },
        (Some(ErrorCode::DiskFull), source) => StoreError::DiskFull { path, source },
        (_, source) => StoreError::read("use", &path, source),
    }
}

#[derive(Debug)]
pub(crate) struct Search {
    db: Connection,
    /// The file that was opened, to tell when another one took its place.
    file: Option<(u64, u64)>,
}

impl Search {
    /// The open index, opened again when another file took its place.
    fn ready<'a>(slot: &'a mut Option<Self>, layout: &Layout) -> Result<&'a mut Self, StoreError> {
        let on_disk = persist::identity(&layout.search_index());
        let known = slot.take();
        let is_same = |open: &Self| open.file.is_some() && open.file == on_disk;
        let open = match known.filter(is_same) {
            Some(open) => open,
            None => Self::open(layout)?,
        };
        Ok(slot.insert(open))
    }

    fn open(layout: &Layout) -> Result<Self, StoreError> {
        let path = layout.search_index();
        Self::try_open(&path).map_err(|error| unusable(layout, error))
    }

    /// An empty one that goes away.
    fn in_memory() -> rusqlite::Result<Self> {
        let db = Connection::open_in_memory()?;
        make_tables(&db)?;
        Ok(Self { db, file: None })
    }

    fn try_open(path: &Path) -> rusqlite::Result<Self> {
        let mut db = Self::connect(path, OpenFlags::SQLITE_OPEN_CREATE)?;
        match version(&db)? {
            VERSION => {}
            0 => {
                let tables =
                    db.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
                if version(&tables)? == 0 {
                    make_tables(&tables)?;
                }
                tables.commit()?;
            }
            _ => return Err(rusqlite::Error::InvalidQuery),
        }
        let file = persist::identity(path);
        Ok(Self { db, file })
    }

    fn connect(path: &Path, also: OpenFlags) -> rusqlite::Result<Connection> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let db = Connection::open_with_flags(path, flags | also)?;
        db.busy_timeout(std::time::Duration::from_secs(BUSY_WAIT))?;
        // Says something only to a file that has no page yet.
        db.pragma_update(None, "page_size", i64::try_from(vectors::PAGE).unwrap_or(0))?;
        db.pragma_update_and_check(None, "journal_mode", "wal", |_| Ok(()))?;
        db.pragma_update(None, "synchronous", "normal")?;
        db.pragma_update(None, "cache_size", -CACHE_KIB)?;
        db.set_prepared_statement_cache_capacity(64);
        Ok(db)
    }

    /// Removes the files; whoever has them open goes on with what is in them.
    fn discard(layout: &Layout) {
        for path in layout.search_files() {
            drop(std::fs::remove_file(path));
        }
    }
}

fn make_tables(db: &Connection) -> rusqlite::Result<()> {
    db.execute_batch(feed::SCHEMA)?;
    db.execute_batch(vectors::SCHEMA)?;
    db.pragma_update(None, "user_version", VERSION)
}

fn version(db: &Connection) -> rusqlite::Result<i64> {
    db.pragma_query_value(None, "user_version", |row| row.get(0))
}
