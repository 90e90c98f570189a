//! Finding subagents by what they do.
//!
//! `search.db` is a view of the heads, of what their versions hold and of the runs that there were: it can be
//! removed at any time, and whoever searches next makes it anew. Before each search it reads on: the operations since
//! the last one say which names to read again, and the folder of runs tells when there are others.
//! Texts are ranked by SQLite's full-text index (bm25); how alike the parts of their words are is a second ranking, for
//! other spellings; both are fused by their ranks. What fits about as well is ordered by proven success, then by time.

mod feed;
mod text;

use rusqlite::{Connection, OpenFlags, OptionalExtension as _};
use spec::{Digest, SubagentName};

use crate::layout::Layout;
use crate::{Store, StoreError};

/// The tables that this program knows. Another number makes the index begin anew.
const VERSION: i64 = 1;
/// Words of a question that count.
const QUERY_WORDS: usize = 32;
/// Names that are ranked by both ways.
const CANDIDATES: usize = 200;
/// A word that more than one in so many has says nothing, where there are many.
const COMMON: i64 = 10;
/// From this many names on, common words are left out.
const MANY: i64 = 1_000;
/// What is less alike than this is not found by its spelling.
const ALIKE_MIN: f64 = 0.12;
/// How much a rank counts. Source: Cormack and others, Reciprocal Rank Fusion (2009).
const RANK: f64 = 60.0;

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
    /// [`StoreError::Index`] when the index can neither be used nor made, [`StoreError::Corrupt`]
    /// when the log is damaged, and the file system's errors.
    pub fn search(
        &self,
        query: &str,
        limit: usize,
        observe: &mut dyn FnMut(u64),
    ) -> Result<Vec<Found>, StoreError> {
        let mut index = Search::open(&self.layout)?;
        if index.read_on(self, observe).is_err() {
            // What cannot be read on is made anew; then an error is one.
            drop(index);
            Search::discard(&self.layout);
            index = Search::open(&self.layout)?;
            index.read_on(self, observe)?;
        }
        index
            .find(query, limit)
            .map_err(|error| unusable(&self.layout, &error))
    }

    /// Makes the index of the search anew, from the store alone.
    ///
    /// # Errors
    /// As [`Self::search`].
    pub fn reindex_search(
        &self,
        observe: &mut dyn FnMut(u64),
    ) -> Result<SearchIndexed, StoreError> {
        Search::discard(&self.layout);
        let mut index = Search::open(&self.layout)?;
        index.read_on(self, observe)
    }
}

fn unusable(layout: &Layout, error: &dyn std::error::Error) -> StoreError {
    StoreError::Index {
        path: layout.search_index(),
        why: error.to_string(),
    }
}

struct Search {
    db: Connection,
}

impl Search {
    fn open(layout: &Layout) -> Result<Self, StoreError> {
        let opened = Self::try_open(layout).or_else(|_| {
            Self::discard(layout);
            Self::try_open(layout)
        });
        opened.map_err(|error| unusable(layout, &error))
    }

    fn try_open(layout: &Layout) -> rusqlite::Result<Self> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_CREATE
            | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut db = Connection::open_with_flags(layout.search_index(), flags)?;
        db.busy_timeout(std::time::Duration::from_secs(30))?;
        db.pragma_update_and_check(None, "journal_mode", "wal", |_| Ok(()))?;
        db.pragma_update(None, "synchronous", "normal")?;
        db.pragma_update(None, "cache_size", -32 * 1024)?;
        let version = |db: &Connection| -> rusqlite::Result<i64> {
            db.pragma_query_value(None, "user_version", |row| row.get(0))
        };
        match version(&db)? {
            VERSION => {}
            0 => {
                let tables =
                    db.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
                if version(&tables)? == 0 {
                    tables.execute_batch(feed::SCHEMA)?;
                    tables.pragma_update(None, "user_version", VERSION)?;
                }
                tables.commit()?;
            }
            _ => return Err(rusqlite::Error::InvalidQuery),
        }
        Ok(Self { db })
    }

    /// Removes the files; whoever has them open goes on with what is in them.
    fn discard(layout: &Layout) {
        for path in layout.search_files() {
            drop(std::fs::remove_file(path));
        }
    }

    fn find(&self, query: &str, limit: usize) -> rusqlite::Result<Vec<Found>> {
        let asked = text::vector(query);
        let mut candidates = self.by_words(query)?;
        let by_words = candidates.len();
        if by_words < limit {
            candidates.extend(self.by_spelling(&asked, &candidates)?);
        }
        let mut found = Vec::with_capacity(candidates.len());
        for (rank, id) in candidates.iter().enumerate() {
            if let Some((one, vector)) = self.document(*id)? {
                let rank = (rank < by_words).then_some(rank);
                found.push((rank, text::alike(&asked, &vector), one));
            }
        }
        Ok(fused(found, limit))
    }

    /// By the words that the texts share with the question, the best first.
    fn by_words(&self, query: &str) -> rusqlite::Result<Vec<i64>> {
        let mut words: Vec<String> = Vec::new();
        for word in text::words(query) {
            if words.len() < QUERY_WORDS && !words.contains(&word) {
                words.push(word);
            }
        }
        let all: i64 = self
            .db
            .query_row("SELECT count(*) FROM documents", [], |row| row.get(0))?;
        if all >= MANY {
            let mut count = self
                .db
                .prepare_cached("SELECT doc FROM vocabulary WHERE term = ?")?;
            let mut rare = Vec::new();
            for word in &words {
                let documents: Option<i64> =
                    count.query_row([word], |row| row.get(0)).optional()?;
                if documents.is_some_and(|documents| documents < all / COMMON) {
                    rare.push(word.clone());
                }
            }
            if !rare.is_empty() {
                words = rare;
            }
        }
        if words.is_empty() {
            return Ok(Vec::new());
        }
        // Letters and digits alone, and quoted: nothing in it is syntax.
        let quoted: Vec<String> = words.iter().map(|word| format!("\"{word}\"")).collect();
        let mut ranked = self.db.prepare_cached(
            "SELECT rowid FROM texts WHERE texts MATCH ? \
             ORDER BY bm25(texts, 8.0, 4.0, 2.0, 2.0, 2.0), rowid LIMIT ?",
        )?;
        let limit = i64::try_from(CANDIDATES).unwrap_or(i64::MAX);
        let rows = ranked.query_map((quoted.join(" OR "), limit), |row| row.get(0))?;
        rows.collect()
    }

    /// By how alike the parts of words are, the best first; without those that were found already.
    fn by_spelling(&self, asked: &[i8], known: &[i64]) -> rusqlite::Result<Vec<i64>> {
        let mut all = self.db.prepare_cached("SELECT id, vector FROM documents")?;
        let mut rows = all.query([])?;
        let mut found = Vec::new();
        while let Some(row) = rows.next()? {
            let id: i64 = row.get(0)?;
            let alike = text::alike(asked, &vector(row.get_ref(1)?.as_blob()?));
            if alike >= ALIKE_MIN && !known.contains(&id) {
                found.push((alike, id));
            }
        }
        found.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        found.truncate(CANDIDATES);
        Ok(found.into_iter().map(|(_, id)| id).collect())
    }

    fn document(&self, id: i64) -> rusqlite::Result<Option<(Found, Vec<i8>)>> {
        let mut one = self.db.prepare_cached(
            "SELECT name, digest, description, vector, runs, completed, median_ms \
             FROM documents WHERE id = ?",
        )?;
        let found = one.query_row([id], |row| {
            let name: String = row.get(0)?;
            let [runs, completed] = [row.get::<_, i64>(4)?, row.get(5)?].map(i64::cast_unsigned);
            // A name that is none was not written by us.
            let found = name.parse().ok().map(|name| Found {
                name,
                version: text::digest(row.get(1).unwrap_or_default()),
                description: row.get(2).unwrap_or_default(),
                fit: 0.0,
                runs,
                completed,
                proven: text::wilson(completed, runs),
                median_ms: row.get(6).unwrap_or_default(),
            });
            Ok(found.zip(Some(vector(row.get_ref(3)?.as_blob()?))))
        });
        Ok(found.optional()?.flatten())
    }
}

fn vector(bytes: &[u8]) -> Vec<i8> {
    bytes.iter().map(|byte| byte.cast_signed()).collect()
}

/// Fuses the two rankings, and orders what fits about as well by what is proven.
fn fused(mut found: Vec<(Option<usize>, f64, Found)>, limit: usize) -> Vec<Found> {
    found.sort_by(|a, b| b.1.total_cmp(&a.1));
    #[expect(clippy::cast_precision_loss, reason = "ranks are small")]
    let of = |rank: usize| RANK / (RANK + rank as f64) / 2.0;
    let mut all: Vec<Found> = found
        .into_iter()
        .enumerate()
        .map(|(at, (rank, _, one))| Found {
            fit: rank.map_or(0.0, of) + of(at),
            ..one
        })
        .collect();
    // Steps of a tenth: less than that says nothing.
    let step = |one: &Found| (one.fit * 10.0).round();
    let time = |one: &Found| one.median_ms.unwrap_or(f64::INFINITY);
    all.sort_by(|a, b| {
        step(b)
            .total_cmp(&step(a))
            .then(b.proven.total_cmp(&a.proven))
            .then(time(a).total_cmp(&time(b)))
            .then(b.fit.total_cmp(&a.fit))
            .then(a.name.cmp(&b.name))
    });
    all.truncate(limit);
    all
}
