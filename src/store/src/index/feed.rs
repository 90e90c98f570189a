//! Writing into the tables what an operation changes.

use rusqlite::{Connection, params};
use spec::Digest;

use super::signed;
use crate::log::{Place, Reached};
use crate::memory::is_undo;
use crate::operation::Operation;
use crate::rules::{Effect, What};

/// The tables of the history. Digests are their 32 bytes; numbers of operations count from 1.
pub(super) const SCHEMA: &str = "
-- How far the log was read: at most one row.
CREATE TABLE reached (
    device INTEGER NOT NULL, inode INTEGER NOT NULL, size INTEGER NOT NULL,
    seconds INTEGER NOT NULL, nanoseconds INTEGER NOT NULL,
    end INTEGER NOT NULL, last_line INTEGER NOT NULL, is_ended INTEGER NOT NULL,
    seq INTEGER, id BLOB
);
-- Where each operation stands in the log, which alone says what it is.
CREATE TABLE operations (
    seq INTEGER PRIMARY KEY, id BLOB NOT NULL, begin INTEGER NOT NULL, length INTEGER NOT NULL,
    is_undo INTEGER NOT NULL, is_undone INTEGER NOT NULL
);
CREATE INDEX operations_in_effect ON operations (seq) WHERE NOT is_undo AND NOT is_undone;
CREATE TABLE subagents (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE,
    head BLOB, head_seq INTEGER, head_at TEXT,
    versions INTEGER NOT NULL, last BLOB, is_pinned INTEGER NOT NULL, is_removed INTEGER NOT NULL,
    moves INTEGER NOT NULL
);
CREATE INDEX subagents_with_head ON subagents (name) WHERE head IS NOT NULL;
CREATE INDEX subagents_by_head ON subagents (head, name) WHERE head IS NOT NULL;
-- Every name, former ones included.
CREATE TABLE names (name TEXT PRIMARY KEY, subagent INTEGER NOT NULL) WITHOUT ROWID;
CREATE INDEX names_of ON names (subagent);
CREATE TABLE tags (
    subagent INTEGER NOT NULL, tag TEXT NOT NULL, digest BLOB NOT NULL,
    PRIMARY KEY (subagent, tag)
) WITHOUT ROWID;
CREATE TABLE versions (
    subagent INTEGER NOT NULL, digest BLOB NOT NULL, PRIMARY KEY (subagent, digest)
) WITHOUT ROWID;
CREATE INDEX versions_by_digest ON versions (digest);
-- Where a head was after each of its moves, from 1.
CREATE TABLE moves (
    subagent INTEGER NOT NULL, number INTEGER NOT NULL, seq INTEGER NOT NULL, digest BLOB,
    PRIMARY KEY (subagent, number)
) WITHOUT ROWID;
CREATE INDEX moves_by_digest ON moves (subagent, digest, seq);
-- What each operation but undos moved.
CREATE TABLE moved (
    subagent INTEGER NOT NULL, what TEXT NOT NULL, seq INTEGER NOT NULL,
    PRIMARY KEY (subagent, what, seq)
) WITHOUT ROWID;
-- The operations of each subagent.
CREATE TABLE touched (
    subagent INTEGER NOT NULL, seq INTEGER NOT NULL, PRIMARY KEY (subagent, seq)
) WITHOUT ROWID;
";

/// Every table of [`SCHEMA`].
const TABLES: [&str; 9] = [
    "reached",
    "operations",
    "subagents",
    "names",
    "tags",
    "versions",
    "moves",
    "moved",
    "touched",
];

/// Empties the tables.
pub(super) fn clear(tables: &Connection) -> rusqlite::Result<()> {
    for table in TABLES {
        tables.execute(&format!("DELETE FROM {table}"), [])?;
    }
    Ok(())
}

/// Notes how far the log was read.
pub(super) fn reached(tables: &Connection, reached: &Reached) -> rusqlite::Result<()> {
    tables.execute("DELETE FROM reached", [])?;
    let stamp = reached.stamp;
    tables.execute(
        "INSERT INTO reached VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        params![
            signed(stamp.device),
            signed(stamp.inode),
            signed(stamp.size),
            stamp.modified.0,
            stamp.modified.1,
            signed(reached.end),
            signed(reached.last_line),
            reached.is_ended,
            reached.last.map(|(seq, _)| signed(seq)),
            reached.last.map(|(_, id)| *id.as_bytes()),
        ],
    )?;
    Ok(())
}

/// Writes down an operation and what it changes.
pub(super) fn operation(
    tables: &Connection,
    operation: &Operation,
    place: Place,
    effects: &[Effect],
) -> rusqlite::Result<()> {
    let seq = signed(operation.seq);
    let is_undo = is_undo(operation);
    tables
        .prepare_cached("INSERT INTO operations VALUES (?, ?, ?, ?, ?, 0)")?
        .execute(params![
            seq,
            operation.id.as_bytes(),
            signed(place.begin),
            signed(place.length),
            is_undo
        ])?;
    for effect in effects {
        if let Some((id, what)) = effect.moved() {
            tables
                .prepare_cached("INSERT OR IGNORE INTO touched VALUES (?, ?)")?
                .execute(params![signed(id), seq])?;
            if !is_undo {
                tables
                    .prepare_cached("INSERT OR IGNORE INTO moved VALUES (?, ?, ?)")?
                    .execute(params![signed(id), key(&what), seq])?;
            }
        }
        write(tables, operation, effect)?;
    }
    Ok(())
}

fn write(tables: &Connection, operation: &Operation, effect: &Effect) -> rusqlite::Result<()> {
    let bytes = |digest: &Option<Digest>| digest.map(|digest| *digest.as_bytes());
    match effect {
        Effect::Subagent { id, name } => {
            tables
                .prepare_cached(
                    "INSERT INTO subagents VALUES (?, ?, NULL, NULL, NULL, 0, NULL, 0, 0, 0)",
                )?
                .execute(params![signed(*id), name.as_str()])?;
            named(tables, *id, name.as_str())?;
        }
        Effect::Head { id, to, is_removal } => {
            let seq = signed(operation.seq);
            tables
                .prepare_cached(
                    "UPDATE subagents SET head = ?2, head_seq = ?3, head_at = ?4,
                     is_removed = ?5, moves = moves + 1 WHERE id = ?1",
                )?
                .execute(params![
                    signed(*id),
                    bytes(to),
                    to.map(|_| seq),
                    to.map(|_| operation.at.to_string()),
                    is_removal
                ])?;
            tables
                .prepare_cached(
                    "INSERT INTO moves SELECT id, moves, ?2, ?3 FROM subagents WHERE id = ?1",
                )?
                .execute(params![signed(*id), seq, bytes(to)])?;
        }
        Effect::Tag { id, tag, to: None } => {
            tables
                .prepare_cached("DELETE FROM tags WHERE subagent = ? AND tag = ?")?
                .execute(params![signed(*id), tag])?;
        }
        Effect::Tag { id, tag, to } => {
            tables
                .prepare_cached("INSERT OR REPLACE INTO tags VALUES (?, ?, ?)")?
                .execute(params![signed(*id), tag, bytes(to)])?;
        }
        Effect::Version { id, digest } => {
            let new = tables
                .prepare_cached("INSERT OR IGNORE INTO versions VALUES (?, ?)")?
                .execute(params![signed(*id), digest.as_bytes()])?;
            tables
                .prepare_cached("UPDATE subagents SET versions = versions + ? WHERE id = ?")?
                .execute([i64::from(new > 0), signed(*id)])?;
        }
        Effect::Last { id, digest } => {
            tables
                .prepare_cached("UPDATE subagents SET last = ? WHERE id = ?")?
                .execute(params![digest.as_bytes(), signed(*id)])?;
        }
        Effect::Pin { id, pinned } => {
            tables
                .prepare_cached("UPDATE subagents SET is_pinned = ? WHERE id = ?")?
                .execute(params![pinned, signed(*id)])?;
        }
        Effect::Name { id, name } => {
            tables
                .prepare_cached("UPDATE subagents SET name = ? WHERE id = ?")?
                .execute(params![name.as_str(), signed(*id)])?;
            named(tables, *id, name.as_str())?;
        }
        Effect::Undone { seq } => {
            tables
                .prepare_cached("UPDATE operations SET is_undone = 1 WHERE seq = ?")?
                .execute([signed(*seq)])?;
        }
    }
    Ok(())
}

fn named(tables: &Connection, id: u64, name: &str) -> rusqlite::Result<()> {
    tables
        .prepare_cached("INSERT OR REPLACE INTO names VALUES (?, ?)")?
        .execute(params![name, signed(id)])?;
    Ok(())
}

/// How what was moved is written: a tag has a colon, which no other has.
pub(super) fn key(what: &What) -> String {
    match what {
        What::Head => "head".to_owned(),
        What::Pin => "pin".to_owned(),
        What::Name => "name".to_owned(),
        What::Tag(tag) => format!(":{tag}"),
    }
}
