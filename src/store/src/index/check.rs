//! Whether the tables say what the log says.

use std::borrow::Cow;

use rusqlite::{Connection, Row};

use super::view::{self, digest};
use super::{Tables, Unusable, feed, signed};
use crate::StoreError;
use crate::memory::{Memory, is_undo};
use crate::rules::View as _;

impl Tables<'_> {
    /// [`Self::compare`], after the operations that came since the history was read.
    pub(super) fn compare_up_to_now(
        &self,
        memory: &Memory,
    ) -> Result<Result<(), Unusable>, StoreError> {
        let read = memory.operations.len() as u64;
        let now = self.last()?.map_or(0, |(seq, _)| seq);
        if now < read {
            // It follows another log than the one that was read.
            return Ok(Ok(()));
        }
        let mut memory = Cow::Borrowed(memory);
        for seq in read + 1..=now {
            let Some(operation) = self.operation(seq)? else {
                break;
            };
            let applied = memory.to_mut().apply(operation.as_ref().clone());
            applied.map_err(StoreError::refused)?;
        }
        Ok(self.compare(&memory))
    }

    /// Compares every row with the history up to the same operation.
    ///
    /// # Errors
    /// What is different.
    fn compare(&self, memory: &Memory) -> Result<(), Unusable> {
        let tables = self.connection();
        let verdict: String = tables.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
        if verdict != "ok" {
            return Err(Unusable::wrong(verdict));
        }
        let operations = memory.operations.iter().zip(&memory.undone);
        same(
            tables,
            "operations",
            "SELECT seq, id, is_undo, is_undone FROM operations ORDER BY seq",
            |row| {
                Ok((
                    row.get::<_, i64>(0)?,
                    digest(row, 1)?,
                    row.get(2)?,
                    row.get(3)?,
                ))
            },
            operations.map(|(one, undone)| (signed(one.seq), Some(one.id), is_undo(one), *undone)),
        )?;
        same(
            tables,
            "subagents",
            &view::subagents(),
            view::subagent,
            memory.subagents.iter().cloned(),
        )?;
        same(
            tables,
            "names",
            "SELECT name, subagent FROM names ORDER BY name",
            |row| Ok((view::name(row, 0)?, row.get::<_, i64>(1)?)),
            memory
                .names
                .iter()
                .map(|(name, id)| (name.clone(), signed(*id))),
        )?;
        same(
            tables,
            "tags",
            "SELECT subagent, tag, digest FROM tags ORDER BY subagent, tag",
            |row| Ok((row.get::<_, i64>(0)?, row.get(1)?, digest(row, 2)?)),
            memory
                .tags
                .iter()
                .map(|((id, tag), digest)| (signed(*id), tag.clone(), Some(*digest))),
        )?;
        same(
            tables,
            "versions",
            "SELECT subagent, digest FROM versions ORDER BY subagent, digest",
            |row| Ok((row.get::<_, i64>(0)?, digest(row, 1)?)),
            memory
                .versions
                .iter()
                .map(|(id, digest)| (signed(*id), Some(*digest))),
        )?;
        let moves = memory.moves.iter().flat_map(|(id, moves)| {
            let numbered = (1_i64..).zip(moves);
            numbered.map(|(number, (seq, to))| (signed(*id), number, signed(*seq), *to))
        });
        same(
            tables,
            "moves",
            "SELECT subagent, number, seq, digest FROM moves ORDER BY subagent, number",
            |row| {
                Ok((
                    row.get::<_, i64>(0)?,
                    row.get(1)?,
                    row.get::<_, i64>(2)?,
                    digest(row, 3)?,
                ))
            },
            moves,
        )?;
        self.compare_moved(memory)
    }

    fn compare_moved(&self, memory: &Memory) -> Result<(), Unusable> {
        let mut moved: Vec<_> = memory
            .moved
            .iter()
            .flat_map(|((id, what), all)| {
                let key = feed::key(what);
                all.iter()
                    .map(move |seq| (signed(*id), key.clone(), signed(*seq)))
            })
            .collect();
        moved.sort_unstable();
        same(
            self.connection(),
            "moved",
            "SELECT subagent, what, seq FROM moved ORDER BY subagent, what, seq",
            |row| Ok((row.get::<_, i64>(0)?, row.get(1)?, row.get::<_, i64>(2)?)),
            moved.into_iter(),
        )?;
        let touched = memory.touched.iter();
        same(
            self.connection(),
            "touched",
            "SELECT subagent, seq FROM touched ORDER BY subagent, seq",
            |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?)),
            touched.flat_map(|(id, all)| all.iter().map(|seq| (signed(*id), signed(*seq)))),
        )
    }
}

/// Compares the rows of a table with what they should be.
fn same<T: PartialEq>(
    tables: &Connection,
    table: &str,
    sql: &str,
    read: impl Fn(&Row<'_>) -> rusqlite::Result<T>,
    mut expected: impl Iterator<Item = T>,
) -> Result<(), Unusable> {
    let mut statement = tables.prepare(sql)?;
    let mut rows = statement.query([])?;
    let mut number = 0_u64;
    loop {
        number += 1;
        let found = rows.next()?.map(&read).transpose()?;
        match (found, expected.next()) {
            (None, None) => return Ok(()),
            (found, expected) if found == expected => {}
            _ => {
                return Err(Unusable::wrong(format!(
                    "its table `{table}` does not say what the log says, from row {number} on"
                )));
            }
        }
    }
}
