//! Bringing the search index up to what the store holds.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::{Connection, OptionalExtension as _, TransactionBehavior, params};
use spec::wire::OutcomeJson;
use spec::{Digest, RunId, SubagentName};

use super::{Search, SearchIndexed, text, unusable, vectors};
use crate::{RunProgram, Store, StoreError, parallel};

/// A text of a version, in the columns of the full-text index; how far operations and runs were read.
pub(super) const SCHEMA: &str = "
CREATE TABLE documents (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, digest BLOB NOT NULL,
    description TEXT NOT NULL,
    runs INTEGER NOT NULL, completed INTEGER NOT NULL, median_ms REAL
);
CREATE VIRTUAL TABLE texts USING fts5 (
    name, description, documentation, symbols, queries, content = '', contentless_delete = 1,
    tokenize = 'unicode61 remove_diacritics 0'
);
CREATE VIRTUAL TABLE vocabulary USING fts5vocab (texts, row);
CREATE TABLE runs (
    run TEXT PRIMARY KEY, name TEXT NOT NULL, completed INTEGER NOT NULL, wall_ms REAL NOT NULL,
    query TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX runs_by_name ON runs (name);
-- How many documents there are, and how many there were when the frequent words were counted.
CREATE TABLE counted (documents INTEGER NOT NULL, known INTEGER NOT NULL);
-- Words that many documents have.
CREATE TABLE frequent (word TEXT PRIMARY KEY, documents INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE reached (seq INTEGER NOT NULL, id BLOB NOT NULL, runs TEXT NOT NULL);
";

/// Operations that are followed one by one; after more of them all heads are looked at.
const OPERATIONS_MAX: u64 = 10_000;
/// A word that fewer than one of so many documents have is counted when it is asked for.
const FREQUENT: i64 = 50;
/// Bytes of one text that count.
const TEXT_MAX: usize = 256 * 1024;
/// Bytes of a question that is remembered, and how many of them a name has.
const QUERY_MAX: usize = 500;
const QUERIES_MAX: usize = 20;

/// What of a version can be found.
struct Texts {
    description: String,
    documentation: String,
    symbols: String,
}

impl Search {
    /// Reads on in operations and runs.
    pub(super) fn read_on(
        &mut self,
        store: &Store,
        observe: &mut dyn FnMut(u64),
    ) -> Result<SearchIndexed, StoreError> {
        let error = |why: rusqlite::Error| unusable(&store.layout, why);
        let mut indexed = SearchIndexed::default();
        let last = store.ask(|view| view.last())?;
        let (seq, id) = last.map_or((0, [0; 32]), |(seq, id)| (seq, *id.as_bytes()));
        let mut folder = store.runs_stamp()?;
        let is_current = |reached: &Reached| {
            (reached.0, reached.1) == (seq.cast_signed(), id) && Some(&reached.2) == folder.as_ref()
        };
        if reached(&self.db)
            .map_err(error)?
            .is_some_and(|known| is_current(&known))
        {
            return Ok(indexed);
        }
        let tables = self
            .db
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(error)?;
        let known = reached(&tables).map_err(error)?;
        let mut names = changed(&tables, store, known.as_ref(), seq)?;
        if folder.is_none() || known.map(|(_, _, runs)| runs) != folder {
            let (ran, is_whole) = runs(&tables, store, &mut indexed)?;
            names.extend(ran);
            folder = folder.filter(|_| is_whole);
        }
        // Runs go by the name that their subagent had then.
        let mut present = BTreeSet::new();
        for name in &names {
            present.extend(store.head(name)?.map(|head| head.name));
        }
        names.extend(present);
        let names: Vec<SubagentName> = names.into_iter().collect();
        let read = |name: &SubagentName| -> Result<_, StoreError> {
            // A former name means another one, which is looked at by itself.
            let head = store.head(name)?.filter(|head| head.name == *name);
            head.map(|head| {
                let names = store.names_of(name)?;
                Ok((head.digest, names, texts(store, &head.digest)))
            })
            .transpose()
        };
        let mut changes = vectors::Changes::new(&tables);
        parallel::each(&names, read, |name, head| {
            let id = forget(&tables, name, &mut changes).map_err(error)?;
            if let Some((digest, names, texts)) = head? {
                indexed.subagents += 1;
                indexed.unreadable += u64::from(texts.is_none());
                let written = write(&tables, id, (name, &names), &digest, texts.as_ref());
                let (id, vector) = written.map_err(error)?;
                changes.set(id, &vector).map_err(error)?;
            }
            observe(indexed.subagents);
            Ok(())
        })?;
        changes.write().map_err(error)?;
        drop(changes);
        count(&tables).map_err(error)?;
        tables.execute("DELETE FROM reached", []).map_err(error)?;
        let row = params![seq.cast_signed(), id, folder.unwrap_or_default()];
        tables
            .execute("INSERT INTO reached VALUES (?, ?, ?)", row)
            .map_err(error)?;
        tables.commit().map_err(error)?;
        Ok(indexed)
    }
}

type Reached = (i64, [u8; 32], String);

fn reached(db: &Connection) -> rusqlite::Result<Option<Reached>> {
    db.query_row("SELECT seq, id, runs FROM reached", [], |row| {
        Ok((row.get(0)?, row.get(1)?, row.get(2)?))
    })
    .optional()
}

/// The names that operations since then moved; all of them where that is not known.
fn changed(
    tables: &Connection,
    store: &Store,
    known: Option<&Reached>,
    last: u64,
) -> Result<BTreeSet<SubagentName>, StoreError> {
    let error = |why: rusqlite::Error| unusable(&store.layout, why);
    if let Some((seq, id, _)) = known {
        let seq = seq.cast_unsigned();
        let is_same = match store.ask(|view| view.operation(seq))? {
            Some(operation) => operation.id.as_bytes() == id,
            None => seq == 0,
        };
        if is_same && last.saturating_sub(seq) <= OPERATIONS_MAX {
            let most = usize::try_from(last.saturating_sub(seq)).unwrap_or(0);
            let operations = store.log_page(None, Some(last + 1), most)?;
            let mut names = BTreeSet::new();
            for operation in &operations {
                names.extend(operation.change.names());
                names.extend(
                    operation
                        .change
                        .renamings()
                        .iter()
                        .map(|one| one.from.clone()),
                );
            }
            return Ok(names);
        }
    }
    tables
        .execute_batch(
            "DELETE FROM documents; DELETE FROM texts; DELETE FROM vectors; DELETE FROM runs; \
             DELETE FROM reached; DELETE FROM counted; DELETE FROM frequent;",
        )
        .map_err(error)?;
    Ok(store.heads()?.into_iter().map(|head| head.name).collect())
}

/// Takes in the runs that are new, lets go of those that are gone, and gives the names that they ran, and whether
/// all of them could be read.
fn runs(
    tables: &Connection,
    store: &Store,
    indexed: &mut SearchIndexed,
) -> Result<(BTreeSet<SubagentName>, bool), StoreError> {
    let error = |why: rusqlite::Error| unusable(&store.layout, why);
    let mut known: BTreeMap<String, String> = BTreeMap::new();
    {
        let mut all = tables
            .prepare("SELECT run, name FROM runs")
            .map_err(error)?;
        let rows = all
            .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
            .map_err(error)?;
        for row in rows {
            let (run, name) = row.map_err(error)?;
            known.insert(run, name);
        }
    }
    let mut names = BTreeSet::new();
    let all = store.runs()?;
    let new: Vec<RunId> = all
        .into_iter()
        .filter(|run| known.remove(&run.to_string()).is_none())
        .collect();
    for (run, name) in known {
        tables
            .execute("DELETE FROM runs WHERE run = ?", [run])
            .map_err(error)?;
        names.extend(name.parse::<SubagentName>().ok());
    }
    let mut is_whole = true;
    let read = |run: &RunId| store.run_summary(run);
    parallel::each(&new, read, |run, summary| {
        // One that cannot be read is looked at again the next time.
        let Ok(summary) = summary else {
            is_whole = false;
            return Ok(());
        };
        let query = match &summary.program {
            RunProgram::Subagent { query, .. } => cut(query, QUERY_MAX),
            RunProgram::Shell { .. } => "",
        };
        let completed = matches!(summary.outcome, OutcomeJson::Completed { .. });
        // What has no name is remembered as nobody's.
        let name = summary.name;
        let text = name.as_ref().map_or("", SubagentName::as_str);
        let row = params![run.to_string(), text, completed, summary.wall_ms, query];
        tables
            .execute("INSERT INTO runs VALUES (?, ?, ?, ?, ?)", row)
            .map_err(error)?;
        indexed.runs += 1;
        names.extend(name);
        Ok(())
    })?;
    Ok((names, is_whole))
}

/// What of a version can be found; none when it cannot be read.
fn texts(store: &Store, digest: &Digest) -> Option<Texts> {
    let content = store.version(digest).ok()?.content;
    let mut symbols = BTreeSet::new();
    let mut documentation = String::new();
    for (path, bytes) in &content.files {
        let text = String::from_utf8_lossy(&bytes[..bytes.len().min(TEXT_MAX)]);
        if path.as_bytes().ends_with(b".py") {
            symbols.extend(text::symbols(&text));
        } else if path.as_bytes() == b"SKILL.md" {
            documentation = text.into_owned();
        }
    }
    Some(Texts {
        description: cut(&content.description, TEXT_MAX).to_owned(),
        documentation,
        symbols: symbols.into_iter().collect::<Vec<_>>().join(" "),
    })
}

/// Takes out what is there of a name, and gives the number that it had.
fn forget(
    tables: &Connection,
    name: &SubagentName,
    changes: &mut vectors::Changes<'_>,
) -> rusqlite::Result<Option<i64>> {
    let id: Option<i64> = tables
        .prepare_cached("SELECT id FROM documents WHERE name = ?")?
        .query_row([name.as_str()], |row| row.get(0))
        .optional()?;
    if let Some(id) = id {
        tables
            .prepare_cached("DELETE FROM texts WHERE rowid = ?")?
            .execute([id])?;
        tables
            .prepare_cached("DELETE FROM documents WHERE id = ?")?
            .execute([id])?;
        changes.clear(id)?;
    }
    Ok(id)
}

/// Counts documents, and, when there are much more or much fewer than there were, the words that many have.
fn count(tables: &Connection) -> rusqlite::Result<()> {
    let documents: i64 =
        tables.query_row("SELECT count(*) FROM documents", [], |row| row.get(0))?;
    let known: Option<i64> = tables
        .query_row("SELECT known FROM counted", [], |row| row.get(0))
        .optional()?;
    let mut known = known.unwrap_or_default();
    if (documents - known).abs() > known / 4 {
        tables.execute("DELETE FROM frequent", [])?;
        tables.execute(
            "INSERT INTO frequent SELECT term, doc FROM vocabulary WHERE doc > ?",
            [documents / FREQUENT],
        )?;
        known = documents;
    }
    tables.execute("DELETE FROM counted", [])?;
    tables.execute("INSERT INTO counted VALUES (?, ?)", [documents, known])?;
    Ok(())
}

/// Writes down a name, with all that its subagent had, under the number that it had, and gives its number and
/// direction.
fn write(
    tables: &Connection,
    id: Option<i64>,
    (name, names): (&SubagentName, &[SubagentName]),
    digest: &Digest,
    texts: Option<&Texts>,
) -> rusqlite::Result<(i64, Vec<i8>)> {
    let field = |of: fn(&Texts) -> &String| texts.map_or("", |texts| of(texts).as_str());
    let (description, documentation) = (
        field(|one| &one.description),
        field(|one| &one.documentation),
    );
    let symbols = field(|one| &one.symbols);
    let mut walls: Vec<f64> = Vec::new();
    let mut asked: Vec<(String, String)> = Vec::new();
    let mut all = 0_i64;
    for name in names {
        let mut of_name = tables.prepare_cached(
            "SELECT completed, wall_ms, query, run FROM runs WHERE name = ? ORDER BY run DESC",
        )?;
        let mut rows = of_name.query([name.as_str()])?;
        let mut of_this = 0;
        while let Some(row) = rows.next()? {
            all += 1;
            if row.get(0)? {
                walls.push(row.get(1)?);
                let query: String = row.get(2)?;
                let mut before = asked.iter().rev().take(of_this);
                if of_this < QUERIES_MAX && before.all(|(_, known)| *known != query) {
                    asked.push((row.get(3)?, query));
                    of_this += 1;
                }
            }
        }
    }
    asked.sort_unstable_by(|(one, _), (other, _)| other.cmp(one));
    let mut queries: Vec<String> = Vec::new();
    for (_, query) in asked {
        if queries.len() < QUERIES_MAX && !queries.contains(&query) {
            queries.push(query);
        }
    }
    walls.sort_by(f64::total_cmp);
    let median = walls.get(walls.len() / 2).copied();
    let completed = i64::try_from(walls.len()).unwrap_or(i64::MAX);
    let vector = direction(name.as_str(), description);
    tables
        .prepare_cached(
            "INSERT INTO documents (id, name, digest, description, runs, completed, median_ms) \
             VALUES (?, ?, ?, ?, ?, ?, ?)",
        )?
        .execute(params![
            id,
            name.as_str(),
            digest.as_bytes(),
            description,
            all,
            completed,
            median
        ])?;
    let id = tables.last_insert_rowid();
    tables
        .prepare_cached(
            "INSERT INTO texts (rowid, name, description, documentation, symbols, queries) \
             VALUES (?, ?, ?, ?, ?, ?)",
        )?
        .execute(params![
            id,
            name.as_str(),
            description,
            documentation,
            symbols,
            queries.join("\n")
        ])?;
    Ok((id, vector))
}

/// Where what a name does points to.
pub(super) fn direction(name: &str, description: &str) -> Vec<i8> {
    text::vector(&format!("{name} {description}"))
}

/// At most so many bytes of a text.
fn cut(text: &str, most: usize) -> &str {
    &text[..text.floor_char_boundary(most)]
}
