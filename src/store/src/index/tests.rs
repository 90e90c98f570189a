//! Random operations: the tables answer what the history in memory answers.

use std::fs;

use jiff::Timestamp;
use proptest::prelude::*;
use spec::{Digest, SubagentName};

use super::Lock;
use crate::change::{Change, Move};
use crate::memory::Memory;
use crate::operation::Act;
use crate::rules::{View, What};
use crate::{Publication, Store, StoreError, StoreErrorKind, VersionContent};

const NAMES: [&str; 4] = ["ant", "bee", "cat", "dog"];

/// What somebody tries, by index into names and versions.
#[derive(Clone, Debug)]
enum Attempt {
    Publish(usize, usize, bool),
    Tag(usize, usize),
    Untag(usize),
    Undo(Option<usize>, bool),
    Pin(usize),
    Unpin(usize),
    Rename(usize, usize),
    Remove(usize, bool),
    Restore(usize, usize, bool),
    /// The index goes, whole or in part, or is not what it was.
    Lose(usize),
}

fn attempts() -> impl Strategy<Value = Vec<(bool, Attempt)>> {
    let (name, version) = (0..NAMES.len(), 0..4_usize);
    let attempt = prop_oneof![
        6 => (name.clone(), version.clone(), any::<bool>())
            .prop_map(|(name, version, force)| Attempt::Publish(name, version, force)),
        2 => (name.clone(), version.clone()).prop_map(|(name, version)| Attempt::Tag(name, version)),
        1 => name.clone().prop_map(Attempt::Untag),
        4 => (prop::option::of(name.clone()), any::<bool>())
            .prop_map(|(name, force)| Attempt::Undo(name, force)),
        1 => name.clone().prop_map(Attempt::Pin),
        1 => name.clone().prop_map(Attempt::Unpin),
        2 => (name.clone(), name.clone()).prop_map(|(from, to)| Attempt::Rename(from, to)),
        1 => (name.clone(), any::<bool>()).prop_map(|(name, force)| Attempt::Remove(name, force)),
        2 => (name, version, any::<bool>())
            .prop_map(|(name, version, force)| Attempt::Restore(name, version, force)),
        1 => (0..5_usize).prop_map(Attempt::Lose),
    ];
    prop::collection::vec((any::<bool>(), attempt), 1..30)
}

fn name(index: usize) -> SubagentName {
    NAMES[index].parse().unwrap()
}

fn act(force: bool) -> Act {
    Act {
        by: Some("ada".to_owned()),
        over_pins: force,
        ..Timestamp::UNIX_EPOCH.into()
    }
}

fn version(store: &Store, number: usize) -> Digest {
    let main = spec::WorkspacePath::from_text("main.py").unwrap();
    let content = VersionContent {
        entry: main.clone(),
        description: number.to_string(),
        files: vec![(main, b"x = 1\n".to_vec())],
        skills: [].into(),
        depends: [].into(),
        egress: [].into(),
        limits: None,
        python: "3.13".to_owned(),
        requirements: Vec::new(),
    };
    store.stage(&content).unwrap().digest()
}

/// Tries it; an error is a rule, never damage.
fn attempt(store: &Store, versions: &[Digest], attempt: &Attempt) {
    let done = match attempt {
        Attempt::Publish(of, to, force) => {
            let from = store.head(&name(*of)).unwrap().map(|head| head.digest);
            let publication = Publication {
                moves: vec![Move {
                    name: name(*of),
                    from,
                    to: versions[*to],
                }],
                at: Timestamp::UNIX_EPOCH,
                task: None,
                evidence: Vec::new(),
                note: String::new(),
            };
            store.publish_by(publication, &act(*force))
        }
        Attempt::Tag(of, to) => store.tag(&name(*of), "red", &versions[*to], act(false)),
        Attempt::Untag(of) => store.untag(&name(*of), "red", act(false)),
        Attempt::Undo(of, force) => store.undo(of.map(name).as_ref(), act(*force)),
        Attempt::Pin(of) => store.pin(&name(*of), act(false)),
        Attempt::Unpin(of) => store.unpin(&name(*of), act(false)),
        Attempt::Rename(from, to) => store.rename(&name(*from), &name(*to), act(false)),
        Attempt::Remove(of, force) => store.remove(&name(*of), act(*force)),
        Attempt::Restore(of, to, force) => store.restore(&name(*of), &versions[*to], act(*force)),
        Attempt::Lose(how) => {
            lose(store, *how);
            return;
        }
    };
    if let Err(error) = done {
        let kind = error.kind();
        let is_rule = matches!(
            kind,
            StoreErrorKind::NotFound | StoreErrorKind::Refused | StoreErrorKind::Conflict
        );
        assert!(is_rule, "{error}");
    }
}

fn lose(store: &Store, how: usize) {
    let [index, wal, shm, _] = store.layout.index_files();
    match how {
        0 => drop(fs::remove_file(index)),
        1 => [index, wal, shm]
            .iter()
            .for_each(|path| drop(fs::remove_file(path))),
        2 => fs::write(index, b"this is no database, and was never one").unwrap(),
        3 => {
            // The same log under another inode.
            let (log, copy) = (&store.layout.log, store.layout.tmp.join("log"));
            fs::copy(log, &copy).unwrap();
            fs::rename(copy, log).unwrap();
        }
        _ => {
            drop(fs::remove_file(&index));
            fs::create_dir(&index).unwrap();
        }
    }
}

/// Everything that a view can be asked.
fn answers(view: &dyn View, versions: &[Digest]) -> Result<Vec<String>, StoreError> {
    let mut all = vec![
        format!("{:?} {:?}", view.last()?, view.subagents()?),
        format!("{:?} {:?}", view.last_in_effect(None)?, view.heads_total()?),
        format!("{:?}", view.heads(None, 10)?),
        format!("{:?}", view.heads(Some(&name(1)), 1)?),
        format!("{:?}", view.log(None, Some(5), 3)?),
        format!("{:?}", view.versions(None, "", 10)?),
    ];
    for seq in view.log(None, None, usize::MAX)? {
        all.push(format!(
            "{:?} {}",
            view.operation(seq)?,
            view.is_undone(seq)?
        ));
    }
    for version in versions {
        let hex = version.hex();
        all.push(format!("{:?}", view.owner(version)?));
        all.push(format!("{:?}", view.versions(None, &hex[..9], 10)?));
    }
    for of in 0..NAMES.len() {
        let Some(found) = view.subagent(&name(of))? else {
            all.push(format!("no {of}"));
            continue;
        };
        let id = found.id;
        all.push(format!("{found:?} {:?}", view.tags(id)?));
        all.push(format!(
            "{:?} {:?}",
            view.tag(id, "red")?,
            view.last_in_effect(Some(id))?
        ));
        all.push(format!("{:?}", view.log(Some(id), Some(9), 4)?));
        all.push(format!("{:?}", view.versions(Some(id), "", 10)?));
        all.push(format!("{:?}", view.moves_to(id, None)?));
        for number in 0..=found.moves + 1 {
            all.push(format!("{:?}", view.head_after(id, number)?));
        }
        for what in [
            What::Head,
            What::Pin,
            What::Name,
            What::Tag("red".to_owned()),
        ] {
            all.push(format!("{:?}", view.moved_after(id, &what, 2)?));
        }
        for version in versions {
            all.push(format!(
                "{} {:?}",
                view.had(id, version)?,
                view.moves_to(id, Some(version))?
            ));
        }
    }
    Ok(all)
}

/// The history in memory, from the file alone.
fn memory(store: &Store) -> Memory {
    let mut memory = Memory::default();
    for line in fs::read_to_string(&store.layout.log).unwrap().lines() {
        let operation = crate::Operation::from_line(line.as_bytes()).unwrap();
        memory.apply(operation).unwrap();
    }
    memory
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn the_index_answers_what_the_log_says(attempts in attempts()) {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("store");
        let stores = [Store::ensure(&root).unwrap(), Store::ensure(&root).unwrap()];
        let versions: Vec<Digest> = (0..4).map(|number| version(&stores[0], number)).collect();
        for (second, one) in &attempts {
            attempt(&stores[usize::from(*second)], &versions, one);
            let expected = answers(&memory(&stores[0]), &versions).unwrap();
            for store in &stores {
                let found = store.ask(|view| answers(view, &versions)).unwrap();
                prop_assert_eq!(&found, &expected);
            }
            if stores[0].layout.index().is_dir() {
                fs::remove_dir(stores[0].layout.index()).unwrap();
            }
            // It was the index that answered, or will be from now on.
            let file = stores[1].open_log().unwrap();
            let mut last = |tables: &super::Tables<'_>| tables.last();
            let asked = stores[1].index.ask(&stores[1].layout, &file, Lock::Free, &mut last);
            prop_assert!(asked.is_ok(), "{asked:?}");
        }
        let report = stores[1].fsck(&mut |_| {}).unwrap();
        prop_assert_eq!(report.findings, []);
    }
}

#[test]
fn a_changed_table_is_found_and_made_anew() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::ensure(&directory.path().join("store")).unwrap();
    let versions = [version(&store, 0), version(&store, 1)];
    attempt(&store, &versions, &Attempt::Publish(0, 0, false));
    attempt(&store, &versions, &Attempt::Publish(0, 1, false));
    for sql in [
        "UPDATE subagents SET is_pinned = 1",
        "UPDATE subagents SET head = NULL",
        "DELETE FROM versions",
        "DELETE FROM moves WHERE number = 1",
        "UPDATE operations SET is_undone = 1 WHERE seq = 1",
        "INSERT INTO tags SELECT subagent, 'red', digest FROM versions LIMIT 1",
        "INSERT INTO names VALUES ('cat', 0)",
        "DELETE FROM touched",
        "DELETE FROM moved",
    ] {
        let tables = rusqlite::Connection::open(store.layout.index()).unwrap();
        let before = answers(&memory(&store), &versions).unwrap();
        let changed = tables.execute(sql, []).unwrap();
        drop(tables);
        assert!(changed > 0, "{sql}");
        let report = store.fsck(&mut |_| {}).unwrap();
        let finding = &report.findings[0];
        assert_eq!(finding.path, store.layout.index(), "{sql}");
        assert!(finding.hint().contains("reindex"), "{sql}");
        let made = store.reindex().unwrap();
        assert_eq!((made.operations, made.subagents), (2, 1));
        assert_eq!(store.fsck(&mut |_| {}).unwrap().findings, [], "{sql}");
        assert_eq!(
            store.ask(|view| answers(view, &versions)).unwrap(),
            before,
            "{sql}"
        );
    }
}

#[test]
fn an_operation_that_no_reader_would_take_is_never_written() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::ensure(&directory.path().join("store")).unwrap();
    let log = fs::read(&store.layout.log).unwrap();
    let refused = store.append(&act(false), |_| Ok(Change::Pin { name: name(0) }));
    assert!(
        matches!(refused, Err(StoreError::Refused { .. })),
        "{refused:?}"
    );
    assert_eq!(fs::read(&store.layout.log).unwrap(), log);
    let file = store.open_log().unwrap();
    let mut nothing = |tables: &super::Tables<'_>| tables.last();
    let asked = store
        .index
        .ask(&store.layout, &file, Lock::Free, &mut nothing);
    assert_eq!(asked.unwrap(), None);
}
