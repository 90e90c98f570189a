//! What is found, in which order, and from an index that is always what the store holds.

use std::fs;
use std::os::unix::fs::MetadataExt as _;

use spec::wire::OutcomeJson;
use spec::{Digest, RunOutcome};
use store::{RunQuery, Store, StoreErrorKind, VersionContent};

use crate::fixtures::{Home, at, content, name, publication, record, run_id};

fn described(description: &str, source: &str) -> VersionContent {
    VersionContent {
        description: description.to_owned(),
        ..content(source)
    }
}

fn publish(store: &Store, named: &str, content: &VersionContent) -> Digest {
    let from = store.head(&name(named)).unwrap().map(|head| head.digest);
    let to = store.stage(content).unwrap().digest();
    store.publish(publication(&[(named, from, to)])).unwrap();
    to
}

fn found(store: &Store, query: &str) -> Vec<String> {
    let found = store.search(query, 5, &mut |_| {}).unwrap();
    found.iter().map(|one| one.name.to_string()).collect()
}

fn library() -> Home {
    let home = Home::new();
    for (named, description, source) in [
        (
            "readme-writer",
            "Writes a README for a project folder.",
            "import pathlib\n",
        ),
        (
            "csv-cleaner",
            "Removes duplicate rows from tables.",
            "class Deduplicator:\n    pass\n",
        ),
        (
            "euro-rates",
            "Looks up exchange rates of the euro.",
            "def main(query):\n    pass\n",
        ),
    ] {
        publish(&home.store, named, &described(description, source));
    }
    home
}

#[test]
fn names_descriptions_symbols_and_other_spellings_find() {
    let home = library();
    for (query, first) in [
        ("readme", "readme-writer"),
        ("remove duplicates from a table", "csv-cleaner"),
        ("deduplicator", "csv-cleaner"),
        ("exchange", "euro-rates"),
        ("exchnage ratse", "euro-rates"),
        ("REDME writter", "readme-writer"),
    ] {
        assert_eq!(
            found(&home.store, query).first().map(String::as_str),
            Some(first),
            "{query}"
        );
    }
    assert_eq!(found(&home.store, ""), [] as [&str; 0]);
}

#[test]
fn no_text_is_syntax() {
    let home = library();
    for query in [
        "\"",
        "a OR",
        "NOT",
        "name:readme*",
        "readme\" OR \"x",
        "NEAR(a b)",
        "(",
        "^",
        "'; DROP TABLE documents",
        "\0",
        "*",
    ] {
        home.store.search(query, 5, &mut |_| {}).unwrap();
    }
    assert_eq!(
        found(&home.store, "\"readme\") AND NOT (").first().unwrap(),
        "readme-writer"
    );
    home.store
        .search(&"wörter ".repeat(100_000), 5, &mut |_| {})
        .unwrap();
}

#[test]
fn the_index_follows_the_store() {
    let home = library();
    assert_eq!(found(&home.store, "readme")[0], "readme-writer");
    // Another process sees it too, and what the first one then changes.
    let other = home.again();
    publish(
        &home.store,
        "readme-writer",
        &described("Composes sonnets.", "x = 9\n"),
    );
    assert_eq!(found(&other, "sonnets")[0], "readme-writer");
    home.store
        .rename(&name("readme-writer"), &name("poet"), at(1))
        .unwrap();
    let all = other.search("sonnets", 5, &mut |_| {}).unwrap();
    assert_eq!(found(&other, "sonnets"), ["poet"], "{all:?}");
    home.store.remove(&name("poet"), at(2)).unwrap();
    assert!(!found(&other, "sonnets").contains(&"poet".to_owned()));
    home.store.undo(None, at(3)).unwrap();
    assert_eq!(found(&home.store, "sonnets"), ["poet"]);
    // Removed, damaged, made anew: it is only a view.
    let before = found(&home.store, "tables");
    fs::remove_file(home.path("search.db")).unwrap();
    assert_eq!(found(&home.store, "tables"), before);
    fs::write(home.path("search.db"), b"not a database").unwrap();
    assert_eq!(found(&home.again(), "tables"), before);
    let indexed = home.store.reindex_search(&mut |_| {}).unwrap();
    assert_eq!((indexed.subagents, indexed.unreadable), (3, 0));
    assert_eq!(found(&home.store, "tables"), before);
    assert_eq!(home.findings(), [] as [String; 0]);
}

#[test]
fn a_damaged_log_is_no_reason_to_remove_the_index() {
    let home = library();
    found(&home.store, "readme");
    let index = fs::metadata(home.path("search.db")).unwrap();
    let log = fs::read(home.path("operations.log")).unwrap();
    fs::write(home.path("operations.log"), &log[1..]).unwrap();
    let error = home.again().search("readme", 5, &mut |_| {}).unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Corrupt, "{error}");
    let after = fs::metadata(home.path("search.db")).unwrap();
    assert_eq!(after.ino(), index.ino());
}

#[test]
fn what_is_proven_comes_first_among_equals() {
    let home = Home::new();
    let store = &home.store;
    for named in ["a-counter", "b-counter", "c-counter"] {
        publish(
            store,
            named,
            &described("Counts words.", &format!("# {named}\n")),
        );
    }
    let mut number = 0;
    for (named, completed) in [
        ("b-counter", true),
        ("b-counter", true),
        ("a-counter", false),
    ] {
        number += 1;
        let mut run = record(store, run_id(number), None);
        run.name = Some(name(named));
        if !completed {
            run.report.outcome = OutcomeJson::from(&RunOutcome::Cancelled);
        }
        store.record_run(&run).unwrap();
    }
    let all = store.search("counts words", 3, &mut |_| {}).unwrap();
    assert_eq!(all[0].name, name("b-counter"), "{all:?}");
    assert_eq!((all[0].runs, all[0].completed), (2, 2));
    assert!(all[0].proven > 0.3 && all[0].median_ms.is_some());
    // What somebody once asked finds what answered.
    assert_eq!(found(store, "write it")[0], "b-counter");

    // Another name takes nothing from what was proven, nor does it when all is read anew.
    let other = name("word-counter");
    store.rename(&name("b-counter"), &other, at(1)).unwrap();
    let mut last = record(store, run_id(4), None);
    last.name = Some(other.clone());
    store.record_run(&last).unwrap();
    let ran = |named: &str| {
        let query = RunQuery {
            name: Some(name(named)),
            limit: 10,
            ..RunQuery::default()
        };
        store.run_page(&query).unwrap().runs.len()
    };
    for _ in 0..2 {
        let all = store.search("counts words", 3, &mut |_| {}).unwrap();
        assert_eq!(all[0].name, other, "{all:?}");
        assert_eq!((all[0].runs, all[0].completed), (3, 3));
        assert_eq!(found(store, "write it")[0], "word-counter");
        assert_eq!(
            ["word-counter", "b-counter", "a-counter", "nobody"].map(ran),
            [3, 3, 1, 0]
        );
        assert_eq!(home.findings(), [] as [String; 0]);
        store.reindex_search(&mut |_| {}).unwrap();
    }
}

#[test]
fn common_words_do_not_hide_rare_ones() {
    let home = Home::new();
    let store = &home.store;
    let versions: Vec<Digest> = ["one", "two", "three"]
        .map(|number| {
            let content = described(&format!("Answers a question, way {number}."), number);
            store.stage(&content).unwrap().digest()
        })
        .into();
    let names: Vec<String> = (0..1_200).map(|number| format!("agent-{number}")).collect();
    for some in names.chunks(400) {
        let moves: Vec<_> = some
            .iter()
            .zip(versions.iter().cycle())
            .map(|(name, version)| (name.as_str(), None, *version))
            .collect();
        store.publish(publication(&moves)).unwrap();
    }
    publish(store, "lutist", &described("Plays the lute.", "x = 1\n"));
    publish(
        store,
        "translator",
        &described("Überträgt Wörter.", "x = 2\n"),
    );
    for (query, first) in [
        ("answers a question with a lute", "lutist"),
        ("the agent that answers: lutist", "lutist"),
        ("wörter", "translator"),
        ("worter ubertragen", "translator"),
        ("lutte playes", "lutist"),
        ("agent-777", "agent-777"),
    ] {
        assert_eq!(found(store, query)[0], first, "{query}");
    }
    // Where every word is in nearly every text, some are found all the same.
    for query in [
        "agent",
        "answers question",
        "agent agent question answers way",
    ] {
        assert_eq!(found(store, query).len(), 5, "{query}");
    }
    assert_eq!(home.findings(), [] as [String; 0]);
}

/// What is wrong in the index is found, told where, and mended by making it anew.
#[test]
fn an_index_that_says_something_else_is_found() {
    let home = library();
    let mut run = record(&home.store, run_id(1), None);
    run.name = Some(name("csv-cleaner"));
    home.store.record_run(&run).unwrap();
    let before = home.store.search("tables", 5, &mut |_| {}).unwrap();
    for (sql, says) in [
        ("DELETE FROM documents WHERE name = 'euro-rates'", "missing"),
        (
            "UPDATE documents SET name = 'euro-rated' WHERE name = 'euro-rates'",
            "no subagent",
        ),
        (
            "UPDATE documents SET digest = zeroblob(32) WHERE name = 'csv-cleaner'",
            "another version",
        ),
        (
            "UPDATE documents SET description = 'Plays the lute.' WHERE name = 'csv-cleaner'",
            "does not point",
        ),
        (
            "UPDATE vectors SET vectors = zeroblob(16128)",
            "does not point",
        ),
        ("DELETE FROM vectors", "points nowhere"),
        ("DELETE FROM texts WHERE rowid = 1", "no words"),
        (
            "INSERT INTO texts (rowid, name) VALUES (77, 'nobody')",
            "has words",
        ),
        ("UPDATE runs SET completed = 0", "the record of run"),
        ("DELETE FROM runs", "0 of 1 runs"),
        (
            "INSERT INTO runs VALUES ('nothing', 'x', 1, 1, 'x')",
            "the record of run nothing",
        ),
        ("UPDATE documents SET runs = 7", "another number of runs"),
    ] {
        let tables = rusqlite::Connection::open(home.path("search.db")).unwrap();
        assert!(tables.execute(sql, []).unwrap() > 0, "{sql}");
        drop(tables);
        // Once the folder of runs is old enough the index is taken for up to date.
        let report = home.store.fsck(&mut |_| {}).unwrap();
        let is_about_runs = sql.contains("runs ") || sql.ends_with("runs");
        if report.findings.is_empty() && is_about_runs {
            // It was read on, and mended by that.
            continue;
        }
        let finding = &report.findings[0];
        assert_eq!(finding.path, home.path("search.db"), "{sql}");
        assert!(finding.why.contains(says), "{sql}: {}", finding.why);
        assert!(finding.hint().contains("reindex"), "{sql}");
        home.store.reindex_search(&mut |_| {}).unwrap();
        assert_eq!(home.findings(), [] as [String; 0], "{sql}");
        assert_eq!(home.store.search("tables", 5, &mut |_| {}).unwrap(), before);
    }
    for beside in ["search.db-wal", "search.db-shm"] {
        fs::remove_file(home.path(beside)).unwrap();
    }
    fs::write(home.path("search.db"), [7; 8_000]).unwrap();
    let report = home.again().fsck(&mut |_| {}).unwrap();
    assert_eq!(report.findings.len(), 1, "{:?}", report.findings);
    assert!(report.findings[0].hint().contains("reindex"));
    home.store.reindex_search(&mut |_| {}).unwrap();
    assert_eq!(home.findings(), [] as [String; 0]);
}
