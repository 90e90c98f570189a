//! The recorded runs as a table, so that the few of a kind are found without reading all records.
//!
//! It follows the folder of runs, not the log: what is new there is read, what is gone is forgotten. Records are read
//! before the table is locked, so that nobody waits for that. Which runs there are is asked before the folder is
//! listed: so a run that another process has just written down is never taken for one that is gone.

use std::collections::BTreeMap;

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension as _, ToSql, TransactionBehavior, params};
use spec::{Digest, RunId, SubagentName};

use super::{Index, IndexSlot, Lock, Unusable, discard};
use crate::{RunQuery, RunSummary, Store, StoreError, parallel};

/// Runs by their ids, which sort by time. A record that cannot be read has neither time nor outcome.
pub(super) const SCHEMA: &str = "
CREATE TABLE runs (
    run TEXT PRIMARY KEY, at INTEGER, name TEXT, outcome TEXT, version TEXT
) WITHOUT ROWID;
CREATE INDEX runs_by_name ON runs (name, run);
CREATE INDEX runs_by_outcome ON runs (outcome, run);
CREATE INDEX runs_by_version ON runs (version, run);
-- What the folder was like when all of it was read, and could be: at most one row.
CREATE TABLE runs_reached (folder TEXT NOT NULL);
";

/// Records that are read and written down at a time.
const AT_ONCE: usize = 10_000;

/// What the table says of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RunRow {
    /// Microseconds since 1970; none when its record cannot be read, and then it has no outcome either.
    pub(crate) at: Option<i64>,
    pub(crate) name: Option<SubagentName>,
    pub(crate) outcome: Option<String>,
    pub(crate) version: Option<Digest>,
}

impl RunRow {
    pub(crate) fn new(summary: Option<&RunSummary>) -> Self {
        Self {
            at: summary.map(|one| one.at.as_microsecond()),
            name: summary.and_then(|one| one.name.clone()),
            outcome: summary.map(|one| one.outcome.kind().to_owned()),
            version: summary.and_then(|one| one.version),
        }
    }
}

impl IndexSlot {
    /// The runs that may be wanted, of subagents of these names where one is named, the newest first, at most so many: those whose rows say so, and those
    /// whose records could not be read.
    ///
    /// # Errors
    /// [`StoreError::Index`] when it cannot be used; then the records can be read instead.
    pub(crate) fn runs(
        &self,
        store: &Store,
        (query, names): (&RunQuery, &[SubagentName]),
        before: Option<RunId>,
        most: usize,
    ) -> Result<Vec<RunId>, StoreError> {
        let layout = &store.layout;
        match self.use_runs(store, |tables| wanted(tables, (query, names), before, most)) {
            Ok(answer) => Ok(answer),
            Err(Trouble::Store(error)) => Err(error),
            Err(Trouble::Index(unusable)) => {
                if unusable.is_damaged {
                    discard(layout, Lock::Free);
                }
                Err(StoreError::Index {
                    path: layout.index(),
                    why: unusable.why,
                })
            }
        }
    }

    /// The rows, in the order of their ids, after the folder was read on. What is damaged is left as it is.
    ///
    /// # Errors
    /// The store's, and inside why the index cannot be used.
    pub(crate) fn each_run(
        &self,
        store: &Store,
        mut look: impl FnMut(&str, RunRow),
    ) -> Result<Result<(), Unusable>, StoreError> {
        let looked = self.use_runs(store, |tables| {
            let mut all =
                tables.prepare("SELECT run, at, name, outcome, version FROM runs ORDER BY run")?;
            let mut rows = all.query([])?;
            while let Some(row) = rows.next()? {
                let (name, version): (Option<String>, Option<String>) = (row.get(2)?, row.get(4)?);
                let found = RunRow {
                    at: row.get(1)?,
                    name: name.and_then(|name| name.parse().ok()),
                    outcome: row.get(3)?,
                    version: version.and_then(|version| version.parse().ok()),
                };
                look(row.get_ref(0)?.as_str().unwrap_or_default(), found);
            }
            Ok(())
        });
        match looked {
            Ok(()) => Ok(Ok(())),
            Err(Trouble::Index(unusable)) => Ok(Err(unusable)),
            Err(Trouble::Store(error)) => Err(error),
        }
    }

    fn use_runs<T>(
        &self,
        store: &Store,
        ask: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, Trouble> {
        let mut slot = self.lock();
        let asked = self
            .check_aside()
            .and_then(|()| Index::ready(&mut slot, &store.layout, Lock::Free))
            .map_err(Trouble::from)
            .and_then(|index| {
                read_on(&mut index.connection, store)?;
                Ok(ask(&index.connection)?)
            });
        if let Err(Trouble::Index(_)) = asked {
            *slot = None;
        }
        asked
    }
}

/// Why the table was not used.
enum Trouble {
    Store(StoreError),
    Index(Unusable),
}

impl From<StoreError> for Trouble {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<Unusable> for Trouble {
    fn from(error: Unusable) -> Self {
        Self::Index(error)
    }
}

impl From<rusqlite::Error> for Trouble {
    fn from(error: rusqlite::Error) -> Self {
        Self::Index(error.into())
    }
}

/// Takes in the runs that are new, and lets go of those that are gone.
fn read_on(connection: &mut Connection, store: &Store) -> Result<(), Trouble> {
    let folder = store.runs_stamp()?;
    let reached: Option<String> = connection
        .prepare_cached("SELECT folder FROM runs_reached")?
        .query_row([], |row| row.get(0))
        .optional()?;
    if folder.is_some() && reached == folder {
        return Ok(());
    }
    // Each with whether its record could be read: one that could not may have been restored.
    let mut gone: BTreeMap<String, bool> = BTreeMap::new();
    {
        let mut known = connection.prepare_cached("SELECT run, outcome IS NOT NULL FROM runs")?;
        for row in known.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))? {
            gone.extend([row?]);
        }
    }
    let mut new = store.runs()?;
    new.retain(|run| gone.remove(&run.to_string()) != Some(true));
    let mut is_whole = true;
    for some in new.chunks(AT_ONCE) {
        let mut read = Vec::with_capacity(some.len());
        parallel::each(
            some,
            |run| match store.run_summary(run) {
                // It was collected meanwhile.
                Err(StoreError::UnknownRun { .. }) => None,
                summary => Some(RunRow::new(summary.ok().as_ref())),
            },
            |run, row| {
                read.extend(row.map(|row| (*run, row)));
                Ok(())
            },
        )?;
        let tables = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        for (run, row) in read {
            is_whole &= row.outcome.is_some();
            let name = row.name.as_ref().map(SubagentName::as_str);
            let version = row.version.map(|version| version.to_string());
            tables
                .prepare_cached("INSERT OR REPLACE INTO runs VALUES (?, ?, ?, ?, ?)")?
                .execute(params![run.to_string(), row.at, name, row.outcome, version])?;
        }
        tables.commit()?;
    }
    let folder = folder.filter(|_| is_whole);
    if gone.is_empty() && folder.is_none() {
        return Ok(());
    }
    let tables = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for run in gone.into_keys() {
        tables
            .prepare_cached("DELETE FROM runs WHERE run = ?")?
            .execute([run])?;
    }
    tables.execute("DELETE FROM runs_reached", [])?;
    if let Some(folder) = folder {
        tables.execute("INSERT INTO runs_reached VALUES (?)", [folder])?;
    }
    tables.commit()?;
    Ok(())
}

fn wanted(
    tables: &Connection,
    (query, names): (&RunQuery, &[SubagentName]),
    before: Option<RunId>,
    most: usize,
) -> rusqlite::Result<Vec<RunId>> {
    // After every id.
    let before = before.map_or_else(|| "g".to_owned(), |run| run.to_string());
    let most = i64::try_from(most).unwrap_or(i64::MAX);
    let since = query.since.map(Timestamp::as_microsecond);
    let names: Vec<&str> = names.iter().map(SubagentName::as_str).collect();
    let version = query.version.map(|version| version.to_string());
    let mut filters = String::new();
    let mut values: Vec<&dyn ToSql> = vec![&before];
    if query.name.is_some() {
        let places = vec!["?"; names.len()].join(", ");
        filters = format!(" AND name IN ({places})");
        values.extend(names.iter().map(|one| one as &dyn ToSql));
    }
    for (filter, value) in [
        (
            " AND outcome = ?",
            query.outcome.as_ref().map(|one| one as &dyn ToSql),
        ),
        (" AND at >= ?", since.as_ref().map(|one| one as &dyn ToSql)),
        (
            " AND version = ?",
            version.as_ref().map(|one| one as &dyn ToSql),
        ),
    ] {
        if let Some(value) = value {
            filters.push_str(filter);
            values.push(value);
        }
    }
    let sql = if filters.is_empty() {
        "SELECT run FROM runs WHERE run < ? ORDER BY run DESC LIMIT ?".to_owned()
    } else {
        values.push(&before);
        format!(
            "SELECT run FROM runs WHERE run < ?{filters} AND outcome IS NOT NULL
             UNION ALL SELECT run FROM runs WHERE outcome IS NULL AND run < ?
             ORDER BY run DESC LIMIT ?"
        )
    };
    values.push(&most);
    let mut statement = tables.prepare_cached(&sql)?;
    let found = statement.query_map(values.as_slice(), |row| row.get::<_, String>(0))?;
    let mut runs = Vec::new();
    for run in found {
        // What is no id was not written by us.
        runs.extend(run?.parse::<RunId>());
    }
    Ok(runs)
}
