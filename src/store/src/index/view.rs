//! Asking the tables.

use std::cell::{Cell, RefCell};
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension as _, Row, ToSql, params};
use spec::{Digest, SubagentName};

use super::{Unusable, feed, reached, signed, unsigned};
use crate::StoreError;
use crate::log::{self, Place, Reached};
use crate::operation::Operation;
use crate::rules::{HeadNow, Subagent, View, What};

/// What a subagent is made from.
const SUBAGENT: &str = "subagents.id, subagents.name, subagents.head, subagents.head_seq, \
     subagents.head_at, subagents.versions, subagents.last, subagents.is_pinned, \
     subagents.is_removed, subagents.moves";

/// The tables inside one transaction, and the log that they follow.
///
/// When they cannot be asked the answer is an error that says nothing, and the reason waits in
/// [`Self::fault`].
#[derive(Debug)]
pub(crate) struct Tables<'a> {
    connection: &'a Connection,
    path: &'a Path,
    log: &'a File,
    last: Cell<Option<(u64, Digest)>>,
    reached: Option<Reached>,
    fault: RefCell<Option<Unusable>>,
}

impl<'a> Tables<'a> {
    pub(super) fn new(
        connection: &'a Connection,
        path: &'a Path,
        log: &'a File,
    ) -> Result<Self, Unusable> {
        let reached = reached(connection)?;
        Ok(Self {
            connection,
            path,
            log,
            last: Cell::new(reached.and_then(|reached| reached.last)),
            reached,
            fault: RefCell::default(),
        })
    }

    /// How far they follow the log.
    pub(crate) fn reached(&self) -> Option<Reached> {
        self.reached
    }

    /// Why they could not be asked.
    pub(super) fn fault(&self) -> Option<Unusable> {
        self.fault.borrow_mut().take()
    }

    /// Notes that an operation was written into the tables.
    pub(super) fn fed(&self, operation: &Operation) {
        self.last.set(Some((operation.seq, operation.id)));
    }

    pub(super) fn connection(&self) -> &Connection {
        self.connection
    }

    /// Keeps the reason of a failure.
    fn checked<T>(&self, result: Result<T, Unusable>) -> Result<T, StoreError> {
        result.map_err(|unusable| {
            let what = unusable.why.clone();
            *self.fault.borrow_mut() = Some(unusable);
            StoreError::refused(what)
        })
    }

    /// At most one row.
    fn one<T>(
        &self,
        sql: &str,
        parameters: &[&dyn ToSql],
        read: impl FnOnce(&Row<'_>) -> Result<T, rusqlite::Error>,
    ) -> Result<Option<T>, StoreError> {
        let found = || {
            let mut statement = self.connection.prepare_cached(sql)?;
            statement.query_row(parameters, read).optional()
        };
        self.checked(found().map_err(Unusable::from))
    }

    fn all<T>(
        &self,
        sql: &str,
        parameters: &[&dyn ToSql],
        read: impl FnMut(&Row<'_>) -> Result<T, rusqlite::Error>,
    ) -> Result<Vec<T>, StoreError> {
        let found = || {
            let mut statement = self.connection.prepare_cached(sql)?;
            statement.query_map(parameters, read)?.collect()
        };
        self.checked(Result::<_, rusqlite::Error>::map_err(
            found(),
            Unusable::from,
        ))
    }

    fn numbers(&self, sql: &str, parameters: &[&dyn ToSql]) -> Result<Vec<u64>, StoreError> {
        self.all(sql, parameters, |row| Ok(unsigned(row.get(0)?)))
    }
}

/// SQLite's limit, of as many rows as somebody wants.
fn limit(most: usize) -> i64 {
    i64::try_from(most).unwrap_or(i64::MAX)
}

pub(super) fn digest(row: &Row<'_>, at: usize) -> Result<Option<Digest>, rusqlite::Error> {
    let bytes: Option<[u8; 32]> = row.get(at)?;
    Ok(bytes.map(Digest::from_sha256))
}

/// A text of ours that is not what we wrote.
fn unreadable(at: usize, error: impl std::error::Error + Send + Sync + 'static) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(at, rusqlite::types::Type::Text, Box::new(error))
}

pub(super) fn name(row: &Row<'_>, at: usize) -> Result<SubagentName, rusqlite::Error> {
    let text: String = row.get(at)?;
    text.parse()
        .map_err(|error: spec::NameError| unreadable(at, error))
}

pub(super) fn subagent(row: &Row<'_>) -> Result<Subagent, rusqlite::Error> {
    let head = match digest(row, 2)? {
        Some(digest) => {
            let at: String = row.get(4)?;
            Some(HeadNow {
                digest,
                seq: unsigned(row.get(3)?),
                at: at
                    .parse()
                    .map_err(|error: jiff::Error| unreadable(4, error))?,
            })
        }
        None => None,
    };
    Ok(Subagent {
        id: unsigned(row.get(0)?),
        name: name(row, 1)?,
        head,
        versions: unsigned(row.get(5)?),
        last: digest(row, 6)?,
        is_pinned: row.get(7)?,
        is_removed: row.get(8)?,
        moves: unsigned(row.get(9)?),
    })
}

pub(super) fn subagents() -> String {
    format!("SELECT {SUBAGENT} FROM subagents ORDER BY id")
}

impl View for Tables<'_> {
    fn last(&self) -> Result<Option<(u64, Digest)>, StoreError> {
        Ok(self.last.get())
    }

    fn operation(&self, seq: u64) -> Result<Option<Arc<Operation>>, StoreError> {
        let found = self.one(
            "SELECT id, begin, length FROM operations WHERE seq = ?",
            &[&signed(seq)],
            |row| {
                let place = Place {
                    begin: unsigned(row.get(1)?),
                    length: unsigned(row.get(2)?),
                };
                Ok((digest(row, 0)?, place))
            },
        )?;
        let Some((id, place)) = found else {
            return Ok(None);
        };
        let operation = log::read_at(self.path, self.log, place)?;
        let same = operation.filter(|one| one.seq == seq && Some(one.id) == id);
        let why = || Unusable::wrong(format!("operation {seq} is not where it should be"));
        self.checked(same.map(|one| Some(Arc::new(one))).ok_or_else(why))
    }

    fn is_undone(&self, seq: u64) -> Result<bool, StoreError> {
        let sql = "SELECT is_undone FROM operations WHERE seq = ?";
        let undone = self.one(sql, &[&signed(seq)], |row| row.get(0))?;
        Ok(undone.unwrap_or(false))
    }

    fn subagents(&self) -> Result<u64, StoreError> {
        // Numbers are given without gaps.
        let last = self.one("SELECT max(id) FROM subagents", &[], |row| {
            row.get::<_, Option<i64>>(0)
        })?;
        Ok(last.flatten().map_or(0, |last| unsigned(last) + 1))
    }

    fn subagent(&self, name: &SubagentName) -> Result<Option<Subagent>, StoreError> {
        self.one(
            &format!(
                "SELECT {SUBAGENT} FROM names JOIN subagents ON subagents.id = names.subagent
                 WHERE names.name = ?"
            ),
            &[&name.as_str()],
            subagent,
        )
    }

    fn names(&self, id: u64) -> Result<Vec<SubagentName>, StoreError> {
        let sql = "SELECT name FROM names WHERE subagent = ? ORDER BY name";
        self.all(sql, &[&signed(id)], |row| name(row, 0))
    }

    fn tag(&self, id: u64, tag: &str) -> Result<Option<Digest>, StoreError> {
        let sql = "SELECT digest FROM tags WHERE subagent = ? AND tag = ?";
        let found = self.one(sql, &[&signed(id), &tag], |row| digest(row, 0))?;
        Ok(found.flatten())
    }

    fn tags(&self, id: u64) -> Result<Vec<(String, Digest)>, StoreError> {
        let sql = "SELECT tag, digest FROM tags WHERE subagent = ? ORDER BY tag";
        self.all(sql, &[&signed(id)], |row| {
            let bytes: [u8; 32] = row.get(1)?;
            Ok((row.get(0)?, Digest::from_sha256(bytes)))
        })
    }

    fn had(&self, id: u64, digest: &Digest) -> Result<bool, StoreError> {
        let sql = "SELECT 1 FROM versions WHERE subagent = ? AND digest = ?";
        let found = self.one(sql, &[&signed(id), digest.as_bytes()], |_| Ok(()))?;
        Ok(found.is_some())
    }

    fn versions(&self, id: Option<u64>, hex: &str, most: usize) -> Result<Vec<Digest>, StoreError> {
        let bound = |hex: String| -> Option<[u8; 32]> {
            let digest: Digest = format!("sha256:{hex}").parse().ok()?;
            Some(*digest.as_bytes())
        };
        let from = bound(format!("{hex:0<64}"));
        let to = bound(format!("{hex:f<64}"));
        let (Some(from), Some(to)) = (from, to) else {
            return Ok(Vec::new());
        };
        let read = |row: &Row<'_>| {
            let bytes: [u8; 32] = row.get(0)?;
            Ok(Digest::from_sha256(bytes))
        };
        match id {
            Some(id) => self.all(
                "SELECT digest FROM versions WHERE subagent = ? AND digest BETWEEN ? AND ?
                 ORDER BY digest LIMIT ?",
                &[&signed(id), &from, &to, &limit(most)],
                read,
            ),
            None => self.all(
                "SELECT DISTINCT digest FROM versions WHERE digest BETWEEN ? AND ?
                 ORDER BY digest LIMIT ?",
                &[&from, &to, &limit(most)],
                read,
            ),
        }
    }

    fn owner(&self, digest: &Digest) -> Result<Option<SubagentName>, StoreError> {
        let head = self.one(
            "SELECT name FROM subagents WHERE head = ? ORDER BY name LIMIT 1",
            &[digest.as_bytes()],
            |row| name(row, 0),
        )?;
        if head.is_some() {
            return Ok(head);
        }
        self.one(
            "SELECT min(subagents.name) FROM versions
             JOIN subagents ON subagents.id = versions.subagent WHERE versions.digest = ?
             HAVING count(*) > 0",
            &[digest.as_bytes()],
            |row| name(row, 0),
        )
    }

    fn last_in_effect(&self, id: Option<u64>) -> Result<Option<u64>, StoreError> {
        let found = match id {
            Some(id) => self.numbers(
                "SELECT touched.seq FROM touched JOIN operations USING (seq)
                 WHERE touched.subagent = ? AND NOT is_undo AND NOT is_undone
                 ORDER BY touched.seq DESC LIMIT 1",
                &[&signed(id)],
            ),
            None => self.numbers(
                "SELECT seq FROM operations WHERE NOT is_undo AND NOT is_undone
                 ORDER BY seq DESC LIMIT 1",
                &[],
            ),
        };
        Ok(found?.pop())
    }

    fn moved_after(&self, id: u64, what: &What, seq: u64) -> Result<Option<u64>, StoreError> {
        let found = self.numbers(
            "SELECT moved.seq FROM moved JOIN operations USING (seq)
             WHERE moved.subagent = ? AND moved.what = ? AND moved.seq > ?
             AND NOT is_undo AND NOT is_undone ORDER BY moved.seq LIMIT 1",
            params![signed(id), feed::key(what), signed(seq)],
        );
        Ok(found?.pop())
    }

    fn heads(
        &self,
        after: Option<&SubagentName>,
        most: usize,
    ) -> Result<Vec<Subagent>, StoreError> {
        // No name is empty.
        let after = after.map_or("", SubagentName::as_str);
        self.all(
            &format!(
                "SELECT {SUBAGENT} FROM subagents WHERE head IS NOT NULL AND name > ?
                 ORDER BY name LIMIT ?"
            ),
            &[&after, &limit(most)],
            subagent,
        )
    }

    fn heads_total(&self) -> Result<u64, StoreError> {
        let sql = "SELECT count(*) FROM subagents WHERE head IS NOT NULL";
        let count = self.one(sql, &[], |row| Ok(unsigned(row.get(0)?)))?;
        Ok(count.unwrap_or(0))
    }

    fn head_after(&self, id: u64, number: u64) -> Result<Option<Digest>, StoreError> {
        let sql = "SELECT digest FROM moves WHERE subagent = ? AND number = ?";
        let found = self.one(sql, &[&signed(id), &signed(number)], |row| digest(row, 0))?;
        Ok(found.flatten())
    }

    fn log(
        &self,
        id: Option<u64>,
        before: Option<u64>,
        most: usize,
    ) -> Result<Vec<u64>, StoreError> {
        let before = before.map_or(i64::MAX, |before| i64::try_from(before).unwrap_or(i64::MAX));
        match id {
            Some(id) => self.numbers(
                "SELECT seq FROM touched WHERE subagent = ? AND seq < ? ORDER BY seq DESC LIMIT ?",
                &[&signed(id), &before, &limit(most)],
            ),
            None => self.numbers(
                "SELECT seq FROM operations WHERE seq < ? ORDER BY seq DESC LIMIT ?",
                &[&before, &limit(most)],
            ),
        }
    }

    fn moves_to(&self, id: u64, digest: Option<&Digest>) -> Result<Vec<u64>, StoreError> {
        match digest {
            Some(digest) => self.numbers(
                "SELECT seq FROM moves WHERE subagent = ? AND digest = ? ORDER BY seq DESC",
                &[&signed(id), digest.as_bytes()],
            ),
            None => self.numbers(
                "SELECT seq FROM moves WHERE subagent = ? ORDER BY number DESC",
                &[&signed(id)],
            ),
        }
    }
}
