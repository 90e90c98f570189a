//! Ranking what fits a question.

use std::collections::HashSet;

use rusqlite::{Connection, OptionalExtension as _};

use super::{Found, Search, text, vectors};

/// Words of a question that count.
const QUERY_WORDS: usize = 32;
/// Names that are ranked by both ways.
const CANDIDATES: usize = 200;
/// A word that more than one in so many has says nothing, where there are many.
const COMMON: u64 = 10;
/// From this many names on, common words are left out.
const MANY: u64 = 1_000;
/// Texts that are ranked by their words, however many there are: ranking one takes about a microsecond.
const RANKED_MAX: u64 = 10_000;
/// What is less alike than this is not found by its spelling.
const ALIKE_MIN: i32 = text::SAME * 12 / 100;
/// How much a rank counts. Source: Cormack and others, Reciprocal Rank Fusion (2009).
const RANK: f64 = 60.0;

impl Search {
    pub(super) fn find(&self, query: &str, limit: usize) -> rusqlite::Result<Vec<Found>> {
        let asked = text::vector(query);
        let words = Words::of(&self.db, query)?;
        let mut candidates = self.by_words(&words.telling)?;
        let by_words = candidates.len();
        if by_words < limit {
            candidates.extend(self.by_spelling(&asked, &candidates)?);
        }
        if candidates.len() < limit {
            candidates.extend(self.by_any_word(&words.common, &candidates)?);
        }
        let mut found = Vec::with_capacity(candidates.len());
        for (rank, id) in candidates.iter().enumerate() {
            if let Some(one) = self.document(*id)? {
                let rank = (rank < by_words).then_some(rank);
                let alike = text::alike(&asked, &vectors::of(&self.db, *id)?);
                found.push((rank, alike, one));
            }
        }
        Ok(fused(found, limit))
    }

    /// By the words that the texts share with the question, the best first.
    fn by_words(&self, words: &[String]) -> rusqlite::Result<Vec<i64>> {
        self.matching(
            words,
            "SELECT rowid FROM texts WHERE texts MATCH ? \
             ORDER BY bm25(texts, 8.0, 4.0, 2.0, 2.0, 2.0), rowid LIMIT ?",
        )
    }

    /// Some that have a word which so many have that it ranks nothing; without those that were found already.
    fn by_any_word(&self, words: &[String], known: &[i64]) -> rusqlite::Result<Vec<i64>> {
        let known: HashSet<&i64> = known.iter().collect();
        let sql = "SELECT rowid FROM texts WHERE texts MATCH ? ORDER BY rowid LIMIT ?";
        let mut found = self.matching(words, sql)?;
        found.retain(|id| !known.contains(id));
        Ok(found)
    }

    fn matching(&self, words: &[String], sql: &str) -> rusqlite::Result<Vec<i64>> {
        if words.is_empty() {
            return Ok(Vec::new());
        }
        // Letters and digits alone, and quoted: nothing in it is syntax.
        let quoted: Vec<String> = words.iter().map(|word| format!("\"{word}\"")).collect();
        let mut ranked = self.db.prepare_cached(sql)?;
        let limit = i64::try_from(CANDIDATES).unwrap_or(i64::MAX);
        let rows = ranked.query_map((quoted.join(" OR "), limit), |row| row.get(0))?;
        rows.collect()
    }

    /// By how alike the parts of words are, the best first; without those that were found already.
    fn by_spelling(&self, asked: &[i8], known: &[i64]) -> rusqlite::Result<Vec<i64>> {
        let known: HashSet<&i64> = known.iter().collect();
        let mut found: Vec<(i32, i64)> = Vec::new();
        vectors::alike(&self.db, asked, ALIKE_MIN, |id, alike| {
            if !known.contains(&id) {
                found.push((-alike, id));
            }
        })?;
        if found.len() > CANDIDATES {
            found.select_nth_unstable(CANDIDATES);
            found.truncate(CANDIDATES);
        }
        found.sort_unstable();
        Ok(found.into_iter().map(|(_, id)| id).collect())
    }

    fn document(&self, id: i64) -> rusqlite::Result<Option<Found>> {
        let mut one = self.db.prepare_cached(
            "SELECT name, digest, description, runs, completed, median_ms \
             FROM documents WHERE id = ?",
        )?;
        let found = one.query_row([id], |row| {
            let name: String = row.get(0)?;
            let [runs, completed] = [row.get::<_, i64>(3)?, row.get(4)?].map(i64::cast_unsigned);
            // A name that is none was not written by us.
            Ok(name.parse().ok().map(|name| Found {
                name,
                version: text::digest(row.get(1).unwrap_or_default()),
                description: row.get(2).unwrap_or_default(),
                fit: 0.0,
                runs,
                completed,
                proven: text::wilson(completed, runs),
                median_ms: row.get(5).unwrap_or_default(),
            }))
        });
        Ok(found.optional()?.flatten())
    }
}

/// The words of a question.
#[derive(Debug, Default)]
struct Words {
    /// Those that tell texts apart, the rarest first.
    telling: Vec<String>,
    /// Those that too many texts have.
    common: Vec<String>,
}

impl Words {
    fn of(db: &Connection, query: &str) -> rusqlite::Result<Self> {
        let mut all: Vec<String> = Vec::new();
        for word in text::words(query) {
            if all.len() < QUERY_WORDS && !all.contains(&word) {
                all.push(word);
            }
        }
        let documents: i64 = db
            .prepare_cached("SELECT documents FROM counted")?
            .query_row([], |row| row.get(0))
            .optional()?
            .unwrap_or_default();
        let documents = documents.cast_unsigned();
        if documents < MANY {
            return Ok(Self {
                telling: all,
                common: Vec::new(),
            });
        }
        let mut counted = Vec::new();
        for word in all {
            match Self::count(db, &word)? {
                0 => {}
                count => counted.push((count, word)),
            }
        }
        counted.sort();
        let most = (documents / COMMON).min(RANKED_MAX);
        let mut words = Self::default();
        let mut ranked = 0;
        for (count, word) in counted {
            ranked += count;
            if ranked <= most {
                words.telling.push(word);
            } else {
                words.common.push(word);
            }
        }
        Ok(words)
    }

    /// How many texts have a word. To count one takes a look at each of them, so frequent ones were counted before.
    fn count(db: &Connection, word: &str) -> rusqlite::Result<u64> {
        for sql in [
            "SELECT documents FROM frequent WHERE word = ?",
            "SELECT doc FROM vocabulary WHERE term = ?",
        ] {
            let found: Option<i64> = db
                .prepare_cached(sql)?
                .query_row([word], |row| row.get(0))
                .optional()?;
            if let Some(count) = found {
                return Ok(count.cast_unsigned());
            }
        }
        Ok(0)
    }
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
