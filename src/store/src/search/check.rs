//! Whether the index of the search says what the store says.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension as _};
use spec::{Digest, RunId, SubagentName};

use super::{Search, feed, unusable, vectors};
use crate::index::RunRow;
use crate::rules::View;
use crate::{Store, StoreError, persist};

/// How often it is looked again when somebody moves heads meanwhile.
const ATTEMPTS: usize = 3;

/// How an outcome that is a success is called.
const COMPLETED: &str = "completed";

impl Store {
    /// Compares the index of the search, if there is one, with heads, versions and these records, after it has
    /// read on. What it says in error is left as it is.
    ///
    /// # Errors
    /// How it differs.
    pub(crate) fn compare_search(&self, records: &BTreeMap<RunId, RunRow>) -> Result<(), String> {
        let path = self.layout.search_index();
        if persist::identity(&path).is_none() {
            return Ok(());
        }
        let mut slot = self.search.lock();
        *slot = None;
        let opened = Search::connect(&path, OpenFlags::empty());
        let opened = opened.and_then(|db| Ok((super::version(&db)?, db)));
        let mut index = match opened {
            Ok((super::VERSION, db)) => Search { db, file: None },
            // It was never filled, or is another program's: the next search makes it anew.
            Ok(_) => return Ok(()),
            Err(error) => return verdict(&error),
        };
        if let Err(error) = sound(&index.db) {
            return verdict(&error);
        }
        for _ in 0..ATTEMPTS {
            match index.read_on(self, &mut |_| {}) {
                Ok(_) => {}
                Err(StoreError::Index { why, .. }) => return Err(why),
                // What is wrong with the store was found by reading it.
                Err(_) => return Ok(()),
            }
            match index.compare(self, records) {
                Ok(None) => {}
                Err(StoreError::Index { why, .. }) => return Err(why),
                Ok(Some(())) | Err(_) => return Ok(()),
            }
        }
        Ok(())
    }
}

/// Whether it is the file that is wrong, or only that it cannot be used now, or is another program's.
fn verdict(error: &rusqlite::Error) -> Result<(), String> {
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Err(error.to_string()),
        _ if matches!(error, rusqlite::Error::SqlInputError { .. }) => Err(error.to_string()),
        _ => Ok(()),
    }
}

/// What SQLite itself can say of its pages and of the full-text index.
fn sound(db: &Connection) -> rusqlite::Result<()> {
    let said: String = db.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    if said != "ok" {
        let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT);
        return Err(rusqlite::Error::SqliteFailure(code, Some(said)));
    }
    db.execute("INSERT INTO texts (texts) VALUES ('integrity-check')", [])?;
    Ok(())
}

impl Search {
    /// Compares each row: none when heads have moved since it has read on.
    fn compare(
        &mut self,
        store: &Store,
        records: &BTreeMap<RunId, RunRow>,
    ) -> Result<Option<()>, StoreError> {
        let error = |why: rusqlite::Error| unusable(&store.layout, why);
        let tables = self.db.transaction().map_err(error)?;
        let reached: Option<i64> = tables
            .query_row("SELECT seq FROM reached", [], |row| row.get(0))
            .optional()
            .map_err(error)?;
        let heads = store.ask(|view: &dyn View| {
            let last = view.last()?.map_or(0, |(seq, _)| seq);
            if reached != Some(last.cast_signed()) {
                return Ok(None);
            }
            let heads = view.heads(None, usize::MAX)?.into_iter();
            let heads = heads.filter_map(|one| Some((one.name, one.head?.digest)));
            Ok(Some(heads.collect::<Vec<_>>()))
        })?;
        let Some(heads) = heads else {
            return Ok(None);
        };
        let compared = documents(&tables, heads)
            .and_then(|()| directions(&tables))
            .and_then(|()| texts(&tables))
            .and_then(|()| runs(&tables, store, records));
        match compared {
            Ok(()) => Ok(Some(())),
            Err(Difference::Sql(why)) => Err(error(why)),
            Err(Difference::Found(why)) => Err(StoreError::Index {
                path: store.layout.search_index(),
                why,
            }),
        }
    }
}

/// How the index differs.
enum Difference {
    Sql(rusqlite::Error),
    Found(String),
}

impl From<rusqlite::Error> for Difference {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sql(error)
    }
}

fn found(why: String) -> Result<(), Difference> {
    Err(Difference::Found(why))
}

/// Each head, and nothing else, with the version that it has.
fn documents(tables: &Connection, heads: Vec<(SubagentName, Digest)>) -> Result<(), Difference> {
    let mut all = tables.prepare("SELECT name, digest FROM documents ORDER BY name")?;
    let mut rows = all.query([])?;
    let mut heads = heads.into_iter().peekable();
    loop {
        let row = rows.next()?;
        let row: Option<(String, Vec<u8>)> = match row {
            Some(row) => Some((row.get(0)?, row.get(1)?)),
            None => None,
        };
        let order = match (&row, heads.peek()) {
            (None, None) => return Ok(()),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some((name, _)), Some((head, _))) => name.as_str().cmp(head.as_str()),
        };
        match (order, row, heads.next_if(|_| order != Ordering::Less)) {
            (Ordering::Equal, Some((_, digest)), Some((head, expected))) => {
                if digest != expected.as_bytes() {
                    return found(format!("it has another version of `{head}`"));
                }
            }
            (Ordering::Greater, _, Some((head, _))) => {
                return found(format!("`{head}` is missing in it"));
            }
            (_, row, _) => {
                let name = row.map(|(name, _)| spec::printable(&name, 80));
                let name = name.unwrap_or_default();
                return found(format!("it has `{name}`, which is no subagent"));
            }
        }
    }
}

/// Each document's direction, which follows from its name and its description.
fn directions(tables: &Connection) -> Result<(), Difference> {
    let mut expected: BTreeMap<i64, Vec<i8>> = BTreeMap::new();
    let mut wrong = None;
    let mut all = tables.prepare("SELECT id, name, description FROM documents ORDER BY id")?;
    let mut rows = all.query([])?;
    let mut read_to = i64::MIN;
    // Both are in the order of the numbers: what is held is a few rows.
    vectors::each(tables, |id, vector| {
        while read_to < id {
            match rows.next()? {
                Some(row) => {
                    read_to = row.get(0)?;
                    let (name, description): (String, String) = (row.get(1)?, row.get(2)?);
                    expected.insert(read_to, feed::direction(&name, &description));
                }
                None => read_to = i64::MAX,
            }
        }
        let known = expected.remove(&id).unwrap_or_default();
        let is_same = if known.is_empty() {
            vector.iter().all(|byte| *byte == 0)
        } else {
            known
                .iter()
                .zip(vector)
                .all(|(a, b)| a.cast_unsigned() == *b)
        };
        if !is_same {
            wrong.get_or_insert(id);
        }
        Ok(())
    })?;
    if let Some(id) = wrong.or_else(|| expected.keys().next().copied()) {
        return found(format!("document {id} does not point where its text does"));
    }
    match rows.next()? {
        Some(row) => {
            let id: i64 = row.get(0)?;
            found(format!("document {id} points nowhere"))
        }
        None => Ok(()),
    }
}

/// Each document has its words, and no other has any.
fn texts(tables: &Connection) -> Result<(), Difference> {
    for (sql, what) in [
        (
            "SELECT id FROM documents EXCEPT SELECT id FROM texts_docsize LIMIT 1",
            "has no words",
        ),
        (
            "SELECT id FROM texts_docsize EXCEPT SELECT id FROM documents LIMIT 1",
            "has words and is not there",
        ),
    ] {
        let id: Option<i64> = tables.query_row(sql, [], |row| row.get(0)).optional()?;
        if let Some(id) = id {
            return found(format!("document {id} {what}"));
        }
    }
    Ok(())
}

/// The runs, and how many of each subagent there are.
fn runs(
    tables: &Connection,
    store: &Store,
    records: &BTreeMap<RunId, RunRow>,
) -> Result<(), Difference> {
    let mut all = tables.prepare("SELECT run, name, completed FROM runs")?;
    let mut rows = all.query([])?;
    let mut known = 0_usize;
    while let Some(row) = rows.next()? {
        let (run, name, completed): (String, String, bool) =
            (row.get(0)?, row.get(1)?, row.get(2)?);
        let id = run.parse::<RunId>().ok();
        let is_right = match id.and_then(|id| records.get(&id)) {
            Some(record) => {
                known += 1;
                record.name.as_ref().map_or("", SubagentName::as_str) == name
                    && (record.outcome.as_deref() == Some(COMPLETED)) == completed
            }
            // One that is not among them was recorded meanwhile, or cannot be read.
            None => id.is_some_and(|id| store.has_run(&id).unwrap_or(true)),
        };
        if !is_right {
            return found(format!(
                "it does not say what the record of run {} says",
                spec::printable(&run, 80)
            ));
        }
    }
    if known < records.len() {
        return found(format!("it has {known} of {} runs", records.len()));
    }
    // Most have no runs under another name.
    let mut suspected = tables.prepare(
        "SELECT name, runs, completed FROM documents WHERE (runs, completed) <> (
             SELECT count(*), coalesce(sum(completed), 0) FROM runs
             WHERE runs.name = documents.name
         )",
    )?;
    let mut counted =
        tables.prepare("SELECT count(*), coalesce(sum(completed), 0) FROM runs WHERE name = ?")?;
    let mut rows = suspected.query([])?;
    while let Some(row) = rows.next()? {
        let (name, said): (String, (i64, i64)) = (row.get(0)?, (row.get(1)?, row.get(2)?));
        let names = name
            .parse()
            .ok()
            .and_then(|name| store.names_of(&name).ok());
        let mut there = (0, 0);
        for name in names.unwrap_or_default() {
            let own: (i64, i64) =
                counted.query_row([name.as_str()], |row| Ok((row.get(0)?, row.get(1)?)))?;
            there = (there.0 + own.0, there.1 + own.1);
        }
        if there != said {
            return found(format!(
                "it has another number of runs of `{}`",
                spec::printable(&name, 80)
            ));
        }
    }
    Ok(())
}
