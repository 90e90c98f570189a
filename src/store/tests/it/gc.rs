//! What nothing names goes, and nothing else.

use std::collections::BTreeSet;
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use proptest::prelude::*;
use spec::{ByteSize, Digest};
use store::{Amount, GcOptions, GcReport, Store, StoreError};

use crate::fixtures::{Home, at, content, name, publication, record, run_id};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Everything that may go, goes.
fn all() -> GcOptions {
    GcOptions {
        now: jiff::Timestamp::now(),
        grace: Duration::ZERO,
        runs_older_than: None,
        dry_run: false,
    }
}

fn gc(store: &Store, options: GcOptions) -> GcReport {
    store.gc(&options, &mut |_| {}).unwrap()
}

/// A home whose writer has ended, so that it holds nothing any more.
fn settled(write: impl FnOnce(&Home)) -> Home {
    let mut home = Home::new();
    write(&home);
    home.store = home.again();
    home
}

fn blobs(home: &Home) -> BTreeSet<String> {
    fs::read_dir(home.path("blobs/sha256"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

#[test]
fn what_is_named_stays_and_the_rest_goes() {
    let mut rest = Vec::new();
    let home = settled(|home| {
        let first = home.stage("x = 1\n");
        let second = home.stage("x = 2\n");
        let store = &home.store;
        store.publish(publication(&[("ant", None, first)])).unwrap();
        store
            .publish(publication(&[("ant", Some(first), second)]))
            .unwrap();
        store.undo(None, at(2)).unwrap();
        let mut needs = content("import bee\n");
        needs.depends = [(name("bee"), home.stage("x = 3\n"))].into();
        let needs = store.stage(&needs).unwrap().digest();
        store.tag(&name("cat"), "v1", &needs, at(3)).unwrap();
        let ran = home.stage("x = 4\n");
        store
            .record_run(&record(store, run_id(1), Some(ran)))
            .unwrap();
        rest.push(home.stage("x = 5\n"));
        rest.push(store.put(b"left over").unwrap());
    });
    let before = blobs(&home);
    let report = gc(&home.store, all());
    // A manifest, a config and a source layer, and the other; the config is every version's.
    assert_eq!(report.removed.blobs, 3);
    assert_eq!(report.before.blobs, before.len() as u64);
    assert_eq!((report.versions, report.runs), (0, 0));
    let after = blobs(&home);
    assert_eq!(report.after().blobs, after.len() as u64);
    for digest in rest {
        assert!(!home.store.contains(&digest).unwrap());
    }
    assert_eq!(home.findings(), [] as [String; 0]);
    // Nothing is left to do.
    assert_eq!(gc(&home.store, all()).removed, Amount::default());
}

#[test]
fn a_dry_run_says_the_same_and_changes_nothing() {
    let home = settled(|home| {
        home.store.put(b"left over").unwrap();
        home.store.put(b"and this").unwrap();
    });
    let before = blobs(&home);
    let dry = gc(
        &home.store,
        GcOptions {
            dry_run: true,
            ..all()
        },
    );
    assert_eq!(blobs(&home), before);
    assert_eq!(
        dry.removed,
        Amount {
            blobs: 2,
            size: ByteSize::bytes(17)
        }
    );
    assert_eq!(gc(&home.store, all()), dry);
    assert_eq!(blobs(&home), BTreeSet::new());
}

#[test]
fn what_was_never_named_stays_for_a_while() {
    let home = settled(|home| {
        home.store.put(b"left over").unwrap();
    });
    let hour = GcOptions {
        grace: Duration::from_secs(3600),
        ..all()
    };
    let report = gc(&home.store, hour);
    assert_eq!((report.young.blobs, report.removed.blobs), (1, 0));
    let later = GcOptions {
        now: hour.now + DAY,
        ..hour
    };
    assert_eq!(gc(&home.store, later).removed.blobs, 1);
    // A clock that was set back does not make it old.
    let home = settled(|home| {
        home.store.put(b"left over").unwrap();
    });
    let earlier = GcOptions {
        now: hour.now - DAY,
        ..hour
    };
    assert_eq!(gc(&home.store, earlier).removed.blobs, 0);
}

#[test]
fn old_runs_go_but_for_evidence() {
    let mut evidence = Vec::new();
    let home = settled(|home| {
        let store = &home.store;
        let version = home.stage("x = 1\n");
        for number in 1..=3 {
            let mut run = record(store, run_id(number), Some(version));
            run.engine = format!("engine {number}");
            if number == 3 {
                run.at += DAY;
            }
            store.record_run(&run).unwrap();
        }
        let mut first = publication(&[("ant", None, version)]);
        first.evidence = vec![run_id(1)];
        store.publish(first).unwrap();
        evidence.extend([run_id(1), run_id(3)]);
    });
    let old = |now, age| GcOptions {
        now,
        runs_older_than: Some(age),
        ..all()
    };
    // The third began just so long ago.
    let now = at(1) + DAY + DAY;
    let report = gc(&home.store, old(now, DAY));
    assert_eq!((report.runs, report.evidence), (1, 1));
    // Its record; what it shares with the others stays.
    assert_eq!(report.removed.blobs, 1);
    let mut left = home.store.runs().unwrap();
    left.sort_unstable();
    assert_eq!(left, evidence);
    assert_eq!(home.findings(), [] as [String; 0]);
    home.store.run(&run_id(1)).unwrap();
    assert!(matches!(
        home.store.run(&run_id(2)),
        Err(StoreError::UnknownRun { .. })
    ));
}

#[test]
fn an_old_run_takes_what_only_it_named_at_once() {
    let home = settled(|home| {
        home.store
            .record_run(&record(&home.store, run_id(1), None))
            .unwrap();
    });
    let report = gc(
        &home.store,
        GcOptions {
            grace: DAY,
            runs_older_than: Some(Duration::ZERO),
            ..all()
        },
    );
    assert_eq!((report.runs, report.young.blobs), (1, 0));
    assert_eq!(blobs(&home), BTreeSet::new());
}

#[test]
fn what_a_living_writer_put_stays_until_it_ends() {
    let home = settled(|_| {});
    let writer = home.again();
    let staged = writer.stage(&content("x = 1\n")).unwrap().digest();
    let report = gc(&home.store, all());
    assert_eq!((report.leased.blobs, report.removed.blobs), (3, 0));
    // Content that was there before and is put again is leased too.
    drop(writer);
    let writer = home.again();
    assert_eq!(writer.stage(&content("x = 1\n")).unwrap().digest(), staged);
    assert_eq!(gc(&home.store, all()).removed.blobs, 0);
    writer
        .publish(publication(&[("ant", None, staged)]))
        .unwrap();
    drop(writer);
    assert_eq!(gc(&home.store, all()).removed.blobs, 0);
    assert_eq!(fs::read_dir(home.path("leases")).unwrap().count(), 0);
}

#[test]
fn a_run_in_progress_keeps_its_version() {
    let mut version = None;
    let home = settled(|home| version = Some(home.stage("x = 1\n")));
    let version = version.unwrap();
    let running = home.again();
    running.hold_version(&version).unwrap();
    assert_eq!(gc(&home.store, all()).removed.blobs, 0);
    let run = record(&running, run_id(1), Some(version));
    running.record_run(&run).unwrap();
    drop(running);
    gc(&home.store, all());
    home.store.version(&version).unwrap();
    let gone = Digest::of(b"gone");
    let unknown = home.again().hold_version(&gone);
    assert!(matches!(unknown, Err(StoreError::UnknownVersion { .. })));
}

#[test]
fn what_a_removed_name_had_goes_but_for_what_is_tagged() {
    let mut versions = Vec::new();
    let home = settled(|home| {
        let store = &home.store;
        versions.extend((1..=3).map(|number| home.stage(&format!("x = {number}\n"))));
        let [first, second, third] = versions[..] else {
            unreachable!("three were staged")
        };
        store.record_run(&record(store, run_id(1), None)).unwrap();
        let mut ant = publication(&[("ant", None, first)]);
        ant.evidence = vec![run_id(1)];
        store.publish(ant).unwrap();
        store
            .publish(publication(&[("ant", Some(first), second)]))
            .unwrap();
        store.tag(&name("ant"), "v1", &first, at(0)).unwrap();
        store.publish(publication(&[("bee", None, third)])).unwrap();
        store.remove(&name("ant"), at(1)).unwrap();
    });
    let there = |at: usize| home.store.contains(&versions[at]).unwrap();
    // Undone in time, nothing is lost.
    home.again().undo(None, at(2)).unwrap();
    assert_eq!(gc(&home.store, all()).removed.blobs, 0);
    home.again().remove(&name("ant"), at(3)).unwrap();
    // At once: somebody let go of it.
    let soon = GcOptions {
        grace: DAY,
        runs_older_than: Some(Duration::ZERO),
        ..all()
    };
    let report = gc(&home.store, soon);
    assert_eq!((report.versions, report.runs, report.evidence), (1, 1, 0));
    assert_eq!([there(0), there(1), there(2)], [true, false, true]);
    assert_eq!(home.findings(), [] as [String; 0]);
    // What is gone does not come back, and what is published anew is clean.
    let refused = home.again().undo(None, at(4));
    assert!(
        matches!(refused, Err(StoreError::UnknownVersion { .. })),
        "{refused:?}"
    );
    let writer = home.again();
    let fourth = writer.stage(&content("x = 4\n")).unwrap().digest();
    writer
        .publish(publication(&[("ant", None, fourth)]))
        .unwrap();
    assert_eq!(home.findings(), [] as [String; 0]);
    drop(writer);
    assert_eq!(gc(&home.store, all()).removed.blobs, 0);
    assert_eq!(home.store.stats(9, &mut |_| {}).unwrap().versions, 3);
}

/// A sandbox can write any bytes: a file of a run may be the tree or the manifest of another.
#[test]
fn a_file_that_looks_like_a_version_does_not_hide_it() {
    let mut version = None;
    let home = settled(|home| {
        let store = &home.store;
        let of_tag = home.stage("x = 1\n");
        version = Some(of_tag);
        let mut run = record(store, run_id(1), None);
        // Its output holds the version's manifest and its own input tree, as files.
        let manifest = store.get(&of_tag).unwrap();
        let input = run.report.input_tree.parse::<Digest>().unwrap();
        let other = record(store, run_id(2), None);
        let output = other
            .report
            .output_tree
            .clone()
            .unwrap()
            .parse::<Digest>()
            .unwrap();
        let files = [
            ("m", of_tag, manifest.len()),
            ("i", input, 0),
            ("o", output, 0),
        ];
        let tree = spec::Tree::from_entries(
            files
                .iter()
                .map(|(path, digest, size)| spec::FileEntry {
                    path: crate::fixtures::path(path),
                    size: *size as u64,
                    digest: *digest,
                    executable: false,
                })
                .collect(),
        )
        .unwrap();
        run.report.output_tree = Some(store.put(&tree.to_bytes()).unwrap().to_string());
        store.record_run(&run).unwrap();
        store.record_run(&other).unwrap();
        store.tag(&name("ant"), "v1", &of_tag, at(0)).unwrap();
    });
    gc(&home.store, all());
    home.store.version(&version.unwrap()).unwrap();
    assert_eq!(home.findings(), [] as [String; 0]);
}

#[test]
fn nothing_goes_while_it_is_not_known_what_is_named() {
    let mut version = None;
    let home = settled(|home| {
        let staged = home.stage("x = 1\n");
        home.store
            .publish(publication(&[("ant", None, staged)]))
            .unwrap();
        home.store.put(b"left over").unwrap();
        version = Some(staged);
    });
    fs::remove_file(home.blob(&version.unwrap())).unwrap();
    let before = blobs(&home);
    assert!(home.store.gc(&all(), &mut |_| {}).is_err());
    assert_eq!(blobs(&home), before);
}

/// Recorders, publishers of evidence and readers against one that collects all that it may: four
/// stores, as four processes would have them.
#[test]
fn collecting_beside_writers_loses_nothing_that_was_acknowledged() {
    let home = settled(|_| {});
    let root = home.store.root();
    let done = AtomicBool::new(false);
    let published = thread::scope(|scope| {
        let write = |thread: u128| {
            let done = &done;
            move || {
                let mut published = Vec::new();
                for number in 0..60 {
                    // The same content again and again: most of it is there, unnamed, and about to go.
                    let store = Store::ensure(root).unwrap();
                    let version = store
                        .stage(&content(&format!("x = {}\n", number % 3)))
                        .unwrap();
                    let run = run_id(thread * 1_000 + number);
                    let mut what = record(&store, run, Some(version.digest()));
                    what.engine = format!("{thread} {number}");
                    store.record_run(&what).unwrap();
                    let named = format!("ant-{thread}-{number}");
                    let mut wanted = publication(&[(&named, None, version.digest())]);
                    wanted.evidence = vec![run];
                    match store.publish(wanted) {
                        Ok(_) => published.push((named, run)),
                        // It was old enough to go before it was evidence.
                        Err(StoreError::UnknownRun { .. }) => {}
                        Err(error) => panic!("{error}"),
                    }
                    if number % 2 == 0 {
                        store
                            .undo(Some(&name(&format!("ant-{thread}-{number}"))), at(2))
                            .ok();
                    }
                }
                if thread == 0 {
                    done.store(true, Ordering::Relaxed);
                }
                published
            }
        };
        let writers: Vec<_> = (0..3).map(|thread| scope.spawn(write(thread))).collect();
        let collector = scope.spawn(|| {
            let mut rounds = 0;
            while !done.load(Ordering::Relaxed) {
                let store = Store::ensure(root).unwrap();
                gc(
                    &store,
                    GcOptions {
                        runs_older_than: Some(Duration::ZERO),
                        ..all()
                    },
                );
                rounds += 1;
            }
            rounds
        });
        let published: Vec<_> = writers
            .into_iter()
            .flat_map(|one| one.join().unwrap())
            .collect();
        assert!(collector.join().unwrap() > 1);
        published
    });
    assert_eq!(home.findings(), [] as [String; 0]);
    assert!(!published.is_empty());
    for (_, run) in &published {
        home.store.run(run).unwrap();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Any history, and a collection after any of its steps, by which nothing named is lost.
    #[test]
    fn no_history_loses_anything(steps in proptest::collection::vec((0..8_u8, 0..4_u8, 0..4_u8), 1..24)) {
        let mut home = Home::new();
        let mut runs = 0;
        for (step, of, which) in steps {
            let store = home.store.clone();
            let named = ["ant", "bee", "cat", "dog"][usize::from(of)];
            let version = home.stage(&format!("x = {which}\n"));
            match step {
                0 | 1 => {
                    let heads = store.heads().unwrap();
                    let from = heads.iter().find(|head| head.name == name(named)).map(|head| head.digest);
                    drop(store.publish(publication(&[(named, from, version)])));
                }
                2 => drop(store.tag(&name(named), &format!("v{which}"), &version, at(0))),
                3 => drop(store.undo(None, at(0))),
                4 => {
                    runs += 1;
                    store.record_run(&record(&store, run_id(runs), Some(version))).unwrap();
                }
                5 => drop(store.remove(&name(named), at(0))),
                6 => drop(store.restore(&name(named), &version, at(0))),
                _ => {
                    drop(store);
                    home.store = home.again();
                    gc(&home.store, all());
                }
            }
        }
        home.store = home.again();
        gc(&home.store, all());
        prop_assert_eq!(home.findings(), Vec::<String>::new());
        prop_assert_eq!(gc(&home.store, all()).removed, Amount::default());
        for run in home.store.runs().unwrap() {
            home.store.run(&run).unwrap();
        }
    }
}

/// What only a tag of a removed name held may go when the tag goes, and is not missed when the name comes back.
#[test]
fn what_a_tag_of_a_removed_name_let_go_is_not_missed() {
    let home = Home::new();
    let stage = |source: &str| home.again().stage(&content(source)).unwrap().digest();
    let (first, second) = (stage("x = 1\n"), stage("x = 2\n"));
    let ant = name("ant");
    let store = home.again();
    store.publish(publication(&[("ant", None, first)])).unwrap();
    store.remove(&ant, at(1)).unwrap();
    store.tag(&ant, "red", &second, at(2)).unwrap();
    gc(&home.again(), all());
    store.version(&second).unwrap();
    store.untag(&ant, "red", at(3)).unwrap();
    drop(store);
    gc(&home.again(), all());
    assert!(home.again().version(&second).is_err());
    let third = stage("x = 3\n");
    home.again()
        .publish(publication(&[("ant", None, third)]))
        .unwrap();
    assert_eq!(home.findings(), Vec::<String>::new());
    gc(&home.again(), all());
    home.again().version(&third).unwrap();
}

/// What a collection that was killed left of a version is not taken for it.
#[test]
fn a_version_without_what_it_depends_on_does_not_come_back() {
    let home = Home::new();
    let store = home.again();
    let needed = store.stage(&content("x = 1\n")).unwrap().digest();
    let mut needs = content("import bee\n");
    needs.depends = [(name("bee"), needed)].into();
    let needs = store.stage(&needs).unwrap().digest();
    store.publish(publication(&[("ant", None, needs)])).unwrap();
    store.remove(&name("ant"), at(1)).unwrap();
    drop(store);
    let source = home.store.version(&needed).unwrap().source;
    for part in [needed, source] {
        let kept = fs::read(home.blob(&part)).unwrap();
        fs::remove_file(home.blob(&part)).unwrap();
        let refused = home.again().undo(None, at(2));
        assert!(
            matches!(refused, Err(StoreError::UnknownVersion { .. })),
            "{refused:?}"
        );
        fs::write(home.blob(&part), kept).unwrap();
    }
    // Nor does it keep others from coming back, and from being collected.
    fs::remove_file(home.blob(&needed)).unwrap();
    let store = home.again();
    let other = store.stage(&content("x = 2\n")).unwrap().digest();
    store.publish(publication(&[("ant", None, other)])).unwrap();
    drop(store);
    gc(&home.store, all());
    home.store.version(&other).unwrap();
}
