//! The directions of texts, side by side, so that all of them are looked at in a few milliseconds.
//!
//! A row holds those of [`IN_BLOCK`] documents in the order of their numbers: it fits a page of the file, and nothing
//! but directions is read to compare all of them. A direction of zeros is like nothing: nobody has that number.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension as _};

use super::text::DIMENSIONS;

pub(super) const SCHEMA: &str =
    "CREATE TABLE vectors (block INTEGER PRIMARY KEY, vectors BLOB NOT NULL);";

/// Bytes of a page of the file. Source: SQLite, database file format, page size.
pub(super) const PAGE: usize = 16 * 1024;
/// Directions of a row: the largest that needs no page beside that of its table.
const IN_BLOCK: usize = (PAGE - 128) / DIMENSIONS;
/// Rows that are held before they are written: a rebuild changes each of them many times.
const HELD_MAX: usize = 64;

/// Where the direction of a document is: the row, and the first byte in it.
fn place(id: i64) -> (i64, usize) {
    let blocks = i64::try_from(IN_BLOCK).unwrap_or(i64::MAX);
    let at = usize::try_from(id.rem_euclid(blocks)).unwrap_or_default();
    (id.div_euclid(blocks), at * DIMENSIONS)
}

/// Directions that are being changed.
pub(super) struct Changes<'a> {
    tables: &'a Connection,
    held: BTreeMap<i64, Vec<u8>>,
}

impl<'a> Changes<'a> {
    pub(super) fn new(tables: &'a Connection) -> Self {
        Self {
            tables,
            held: BTreeMap::new(),
        }
    }

    /// Gives a document its direction.
    pub(super) fn set(&mut self, id: i64, vector: &[i8]) -> rusqlite::Result<()> {
        let (block, at) = place(id);
        if !self.held.contains_key(&block) {
            if self.held.len() >= HELD_MAX {
                self.write()?;
            }
            let known = read(self.tables, block)?;
            self.held.insert(block, known);
        }
        let slots = self.held.get_mut(&block);
        let slot = slots.and_then(|block| block.get_mut(at..at + DIMENSIONS));
        for (to, from) in slot.into_iter().flatten().zip(vector) {
            *to = from.cast_unsigned();
        }
        Ok(())
    }

    /// Takes it away.
    pub(super) fn clear(&mut self, id: i64) -> rusqlite::Result<()> {
        self.set(id, &[0; DIMENSIONS])
    }

    /// Writes down what was changed.
    pub(super) fn write(&mut self) -> rusqlite::Result<()> {
        let mut insert = self
            .tables
            .prepare_cached("INSERT OR REPLACE INTO vectors VALUES (?, ?)")?;
        for (block, bytes) in std::mem::take(&mut self.held) {
            insert.execute((block, bytes))?;
        }
        Ok(())
    }
}

/// A row, of its full length whatever was in the file.
fn read(tables: &Connection, block: i64) -> rusqlite::Result<Vec<u8>> {
    let known: Option<Vec<u8>> = tables
        .prepare_cached("SELECT vectors FROM vectors WHERE block = ?")?
        .query_row([block], |row| row.get(0))
        .optional()?;
    let mut bytes = known.unwrap_or_default();
    bytes.resize(IN_BLOCK * DIMENSIONS, 0);
    Ok(bytes)
}

/// The direction of a document.
pub(super) fn of(tables: &Connection, id: i64) -> rusqlite::Result<Vec<i8>> {
    let (block, at) = place(id);
    let bytes = read(tables, block)?;
    let own = bytes.get(at..at + DIMENSIONS).unwrap_or_default();
    Ok(own.iter().map(|byte| byte.cast_signed()).collect())
}

/// Gives each place, in the order of the numbers, and the direction in it.
pub(super) fn each(
    tables: &Connection,
    mut look: impl FnMut(i64, &[u8]) -> rusqlite::Result<()>,
) -> rusqlite::Result<()> {
    let mut all = tables.prepare_cached("SELECT block, vectors FROM vectors ORDER BY block")?;
    let mut rows = all.query([])?;
    while let Some(row) = rows.next()? {
        let block: i64 = row.get(0)?;
        let bytes = row.get_ref(1)?.as_blob()?;
        let first = block.saturating_mul(i64::try_from(IN_BLOCK).unwrap_or(i64::MAX));
        for (id, vector) in (first..).zip(bytes.chunks_exact(DIMENSIONS)) {
            look(id, vector)?;
        }
    }
    Ok(())
}

/// Gives each document and how alike it is to a direction, if it is at least so alike.
pub(super) fn alike(
    tables: &Connection,
    asked: &[i8],
    least: i32,
    mut found: impl FnMut(i64, i32),
) -> rusqlite::Result<()> {
    each(tables, |id, vector| {
        let product = product(asked, vector);
        if product >= least {
            found(id, product);
        }
        Ok(())
    })
}

/// The inner product of two directions, one of them as bytes. Numbers of 16 bits multiply many at a time.
fn product(a: &[i8], b: &[u8]) -> i32 {
    let products = a.iter().zip(b).map(|(a, b)| {
        let (a, b) = (i16::from(*a), i16::from(b.cast_signed()));
        i32::from(a) * i32::from(b)
    });
    products.sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directions_are_found_where_they_were_put() {
        let tables = Connection::open_in_memory().unwrap();
        tables.execute_batch(SCHEMA).unwrap();
        let mut changes = Changes::new(&tables);
        let ids: Vec<i64> = (1..=300).step_by(7).collect();
        let vector = |id: i64| {
            let mut vector = vec![0_i8; DIMENSIONS];
            vector[usize::try_from(id).unwrap() % DIMENSIONS] = 127;
            vector
        };
        for id in &ids {
            changes.set(*id, &vector(*id)).unwrap();
        }
        changes.write().unwrap();
        changes.clear(ids[3]).unwrap();
        changes.write().unwrap();
        for id in &ids {
            let mut found = Vec::new();
            let least = 127 * 127;
            alike(&tables, &vector(*id), least, |id, _| found.push(id)).unwrap();
            let expected = if *id == ids[3] { vec![] } else { vec![*id] };
            assert_eq!(found, expected, "{id}");
        }
        assert_eq!(of(&tables, ids[1]).unwrap(), vector(ids[1]));
        assert_eq!(of(&tables, 9_999).unwrap(), vec![0; DIMENSIONS]);
    }
}
