//! Whatever happens to the files, it is noticed, and no more than that is lost.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt};
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use spec::{Digest, VersionRef};
use store::{FindingKind, GcOptions, Store, StoreError, StoreErrorKind};

use crate::fixtures::{Home, at, name, publication, record, run_id};

/// A store with something of every kind in it.
fn filled() -> Home {
    filled_and_end_before().0
}

/// The same, and what `operations.head` said before the last operation.
fn filled_and_end_before() -> (Home, Vec<u8>) {
    let home = Home::new();
    let [one, two] = ["1", "2"].map(|source| home.stage(source));
    for number in 1..3 {
        let record = record(&home.store, run_id(number), Some(one));
        home.store.record_run(&record).unwrap();
    }
    let mut first = publication(&[("a", None, one), ("b", None, two)]);
    first.evidence = vec![run_id(1)];
    home.store.publish(first).unwrap();
    home.store.tag(&name("a"), "stable", &one, at(1)).unwrap();
    home.store
        .publish(publication(&[("a", Some(one), two)]))
        .unwrap();
    home.store.undo(Some(&name("a")), at(2)).unwrap();
    let end = fs::read(home.path("operations.head")).unwrap();
    home.store
        .publish(publication(&[("a", Some(one), two)]))
        .unwrap();
    (home, end)
}

/// Every file whose bytes mean something: not the index, which is made anew from the others.
fn files(root: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(root).unwrap() {
        let path = entry.unwrap().path();
        let of_index = path
            .to_str()
            .is_some_and(|path| path.contains("/index.db") || path.contains("/search.db"));
        let is_lock = ["lock", "lease.lock", "gc.lock"]
            .iter()
            .any(|name| path.ends_with(name));
        if is_lock || path.ends_with("tmp") || path.ends_with("leases") || of_index {
            continue;
        }
        if path.is_dir() {
            files.extend(self::files(&path));
        } else {
            files.push(path);
        }
    }
    files.sort();
    files
}

fn overwrite(path: &Path, bytes: &[u8]) {
    fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
    fs::write(path, bytes).unwrap();
}

/// Whether a change of one byte is noticed, by a fresh store and by one that was open before.
fn is_noticed(home: &Home, path: &Path, at: usize, flip: u8) -> bool {
    let good = fs::read(path).unwrap();
    let mut bad = good.clone();
    bad[at] ^= flip;
    overwrite(path, &bad);
    let notices = |store: &Store| {
        let report = store.fsck(&mut |_| {}).unwrap();
        report
            .findings
            .iter()
            .any(|finding| finding.path == *path && !finding.hint().is_empty())
    };
    let fresh = match Store::ensure(home.store.root()) {
        Ok(fresh) => notices(&fresh),
        Err(error) => matches!(
            error.kind(),
            StoreErrorKind::Corrupt | StoreErrorKind::Unsupported
        ),
    };
    let both = fresh && notices(&home.store);
    overwrite(path, &good);
    both
}

#[test]
fn a_filled_store_is_clean_and_counted() {
    let home = filled();
    let mut last = None;
    let report = home
        .store
        .fsck(&mut |progress| last = Some(progress))
        .unwrap();
    assert_eq!(report.findings, []);
    assert_eq!((report.operations, report.versions, report.runs), (5, 2, 2));
    let last = last.unwrap();
    assert_eq!((last.blobs, last.blobs_total), (report.blobs, report.blobs));
    assert_eq!(last.bytes, report.bytes);
}

#[test]
fn each_changed_byte_of_a_small_file_is_noticed() {
    let home = filled();
    let small =
        |path: &PathBuf| !path.starts_with(home.path("blobs")) && !path.ends_with("operations.log");
    for path in files(home.store.root()).iter().filter(|path| small(path)) {
        for at in 0..fs::read(path).unwrap().len() {
            for flip in [1, 32, 128] {
                assert!(
                    is_noticed(&home, path, at, flip),
                    "{} {at} {flip}",
                    path.display()
                );
            }
        }
    }
}

#[test]
fn any_other_byte_in_place_of_a_line_feed_is_noticed() {
    let home = filled();
    let path = home.path("operations.log");
    let log = fs::read(&path).unwrap();
    let ends: Vec<usize> = (0..log.len()).filter(|at| log[*at] == b'\n').collect();
    assert_eq!(ends.len(), 5);
    for at in [ends[2], ends[4]] {
        for flip in 1..=255 {
            assert!(is_noticed(&home, &path, at, flip), "{at} {flip}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, max_shrink_iters: 0, ..ProptestConfig::default() })]

    #[test]
    fn any_changed_byte_is_noticed(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), 1..=255_u8), 60)
    ) {
        let home = filled();
        let files = files(home.store.root());
        for (file, at, flip) in changes {
            let path = file.get(&files);
            let at = at.index(fs::read(path).unwrap().len());
            prop_assert!(is_noticed(&home, path, at, flip), "{} {at} {flip}", path.display());
        }
        prop_assert_eq!(home.findings(), Vec::<String>::new());
    }
}

#[test]
fn a_torn_last_line_is_ignored_and_then_replaced() {
    let (home, end_before) = filled_and_end_before();
    let path = home.path("operations.log");
    let end_path = home.path("operations.head");
    let end_after = fs::read(&end_path).unwrap();
    let whole = fs::read(&path).unwrap();
    let begin = whole[..whole.len() - 1]
        .iter()
        .rposition(|byte| *byte == b'\n')
        .unwrap()
        + 1;
    let operations = home.store.log(None).unwrap();
    for end in begin..whole.len() - 1 {
        for padding in [0, 700] {
            let mut torn = whole[..end].to_vec();
            torn.extend(vec![0; padding]);
            overwrite(&path, &torn);
            // It was never acknowledged, or else it is damage.
            overwrite(&end_path, &end_after);
            let error = home.again().heads().unwrap_err();
            assert_eq!(error.kind(), StoreErrorKind::Corrupt, "{end}");
            overwrite(&end_path, &end_before);
            let store = home.again();
            assert_eq!(store.log(None).unwrap(), operations[..4], "{end}");
            assert_eq!(home.store.log(None).unwrap(), operations[..4], "{end}");
            if end % 97 == 0 {
                assert_eq!(home.findings(), Vec::<String>::new());
                let one = home.stage("1");
                let two = home.stage("2");
                let again = store
                    .publish(publication(&[("a", Some(one), two)]))
                    .unwrap();
                assert_eq!(again, operations[4]);
                assert_eq!(fs::read(&path).unwrap(), whole);
                assert_eq!(fs::read(&end_path).unwrap(), end_after);
                assert_eq!(home.store.log(None).unwrap(), operations);
            }
        }
    }
}

#[test]
fn a_last_line_without_its_line_feed_counts() {
    let home = filled();
    let path = home.path("operations.log");
    let whole = fs::read(&path).unwrap();
    overwrite(&path, &whole[..whole.len() - 1]);
    let reader = home.again();
    assert_eq!(reader.log(None).unwrap().len(), 5);
    assert_eq!(home.findings(), Vec::<String>::new());
    home.again().undo(None, at(7)).unwrap();
    assert!(fs::read(&path).unwrap().starts_with(&whole));
    // One who saw the line before its line feed reads on.
    assert_eq!(reader.log(None).unwrap().len(), 6);
    assert_eq!(home.findings(), Vec::<String>::new());
}

#[test]
fn nothing_is_written_after_damage() {
    let home = filled();
    let path = home.path("operations.log");
    let whole = fs::read(&path).unwrap();
    let mut bad = whole.clone();
    bad[whole.len() / 2] ^= 1;
    overwrite(&path, &bad);
    let store = home.again();
    for error in [
        store.heads().unwrap_err(),
        store.undo(None, at(1)).unwrap_err(),
        store.resolve(&VersionRef::Head(name("a"))).unwrap_err(),
    ] {
        assert_eq!(error.kind(), StoreErrorKind::Corrupt);
        assert!(error.to_string().contains("operations.log"), "{error}");
        assert!(error.hint().unwrap().contains("fsck"));
    }
    assert_eq!(fs::read(&path).unwrap(), bad);
}

#[test]
fn a_log_that_lost_or_swapped_lines_is_damaged() {
    let home = filled();
    let path = home.path("operations.log");
    let text = fs::read_to_string(&path).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let check = |lines: &[&str]| {
        overwrite(&path, format!("{}\n", lines.join("\n")).as_bytes());
        let error = home.again().heads().unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Corrupt);
        assert!(!home.findings().is_empty());
    };
    check(&lines[1..]);
    check(&[lines[0], lines[2]]);
    check(&[lines[0], lines[0]]);
    check(&[lines[1], lines[0]]);
    check(&[lines[0], "", lines[1]]);
    check(&[""]);
    fs::remove_file(&path).unwrap();
    let error = home.again().heads().unwrap_err();
    assert!(matches!(error, StoreError::Corrupt { .. }), "{error}");
    let error = home.again().undo(None, at(1)).unwrap_err();
    assert!(matches!(error, StoreError::Corrupt { .. }), "{error}");
    assert!(!path.exists());
}

/// That a log misses operations is noticed by all who read or write, and nothing is written.
fn check_lost(home: &Home, says: &str) {
    let path = home.path("operations.log");
    let bad = fs::read(&path).unwrap();
    for store in [&home.store, &home.again()] {
        let one = home.stage("1");
        for error in [
            store.heads().unwrap_err(),
            store.undo(None, at(1)).unwrap_err(),
            store
                .publish(publication(&[("new", None, one)]))
                .unwrap_err(),
        ] {
            assert_eq!(error.kind(), StoreErrorKind::Corrupt, "{error}");
            assert!(error.to_string().contains(says), "{error}");
        }
        let report = store.fsck(&mut |_| {}).unwrap();
        let of_log: Vec<_> = report
            .findings
            .iter()
            .filter(|one| one.path == path)
            .collect();
        assert_eq!(of_log.len(), 1, "{:?}", report.findings);
        let found = (of_log[0].kind, of_log[0].why.as_str());
        assert_eq!(found, (FindingKind::Damaged, says));
        assert!(of_log[0].hint().contains("operations.head"));
    }
    assert_eq!(fs::read(&path).unwrap(), bad);
}

#[test]
fn a_log_that_was_emptied_or_cut_at_a_line_end_is_damaged() {
    let home = filled();
    let path = home.path("operations.log");
    let whole = fs::read(&path).unwrap();
    let mut begin = 0;
    for says in [
        "operations 1..5 are missing",
        "operations 2..5 are missing",
        "operations 3..5 are missing",
        "operations 4..5 are missing",
        "operation 5 is missing",
    ] {
        overwrite(&path, &whole[..begin]);
        check_lost(&home, says);
        overwrite(&path, &whole);
        assert_eq!(home.findings(), Vec::<String>::new(), "{says}");
        assert_eq!(home.store.log(None).unwrap().len(), 5);
        let line = whole[begin..].iter().position(|byte| *byte == b'\n');
        begin += line.unwrap() + 1;
    }
    assert_eq!(begin, whole.len());
}

#[test]
fn another_history_of_the_same_length_is_damage() {
    let (home, other) = (filled(), Home::new());
    let one = other.stage("1");
    for second in 0..5 {
        let tag = format!("t{second}");
        other.store.tag(&name("a"), &tag, &one, at(second)).unwrap();
    }
    let log = fs::read(other.path("operations.log")).unwrap();
    overwrite(&home.path("operations.log"), &log);
    let error = home.store.log(None).unwrap_err().to_string();
    assert!(error.contains("operation 5 is not the one"), "{error}");
    assert!(!home.findings().is_empty());
}

#[test]
fn a_log_that_reaches_further_than_was_acknowledged_is_whole() {
    let (home, end_before) = filled_and_end_before();
    let path = home.path("operations.head");
    // The writer died after its line; or the store is older than the file.
    for end in [Some(&end_before), None] {
        match end {
            Some(end) => overwrite(&path, end),
            None => fs::remove_file(&path).unwrap(),
        }
        let log = home.again().log(None).unwrap();
        assert_eq!(home.findings(), Vec::<String>::new());
        let last = home.again().undo(None, at(7)).unwrap();
        assert_eq!(last.previous, Some(log.last().unwrap().id));
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.starts_with(&format!("{} {} ", last.seq, last.id)));
    }
    overwrite(&home.path("operations.log"), b"");
    check_lost(&home, "operations 1..7 are missing");
}

#[test]
fn missing_and_stray_files_are_reported() {
    let home = filled();
    for path in files(home.store.root()) {
        let bytes = fs::read(&path).unwrap();
        if path.ends_with("format") {
            continue;
        }
        fs::remove_file(&path).unwrap();
        // The pointer of the second run: nothing names it.
        // Without `operations.head` it is an older store.
        let unnamed = path == home.path(&format!("runs/{}", run_id(2)))
            || path == home.path("operations.head");
        // A layer that only a version names, a tree that only a run names, ...: all are named.
        assert_eq!(home.findings().is_empty(), unnamed, "{}", path.display());
        fs::write(&path, bytes).unwrap();
    }
    assert_eq!(home.findings(), Vec::<String>::new());

    for stray in [
        "index.json",
        "blobs/sha512",
        "blobs/sha256/README",
        &format!("blobs/sha256/{}", "A".repeat(64)),
        "runs/notes",
    ] {
        fs::write(home.path(stray), b"x").unwrap();
        let report = home.store.fsck(&mut |_| {}).unwrap();
        let kinds: Vec<_> = report.findings.iter().map(|finding| finding.kind).collect();
        assert_eq!(kinds, [FindingKind::Stray], "{stray}");
        fs::remove_file(home.path(stray)).unwrap();
    }
    // Something that is not a file.
    let digest = Digest::of(b"directory");
    fs::create_dir(home.blob(&digest)).unwrap();
    let report = home.store.fsck(&mut |_| {}).unwrap();
    assert_eq!(report.findings[0].kind, FindingKind::Unreadable);
}

#[test]
fn a_pointer_to_the_record_of_another_run_is_noticed() {
    let home = filled();
    let [one, two] = [1, 2].map(|number| home.path(&format!("runs/{}", run_id(number))));
    overwrite(&one, &fs::read(two).unwrap());
    assert_eq!(
        home.store.run(&run_id(1)).unwrap_err().kind(),
        StoreErrorKind::Corrupt
    );
    assert!(!home.findings().is_empty());
}

/// Whoever only looks removes nothing; whoever uses it next makes it anew.
#[test]
fn a_damaged_index_is_reported_once_and_left() {
    let home = filled();
    let path = home.path("index.db");
    let intact = fs::metadata(&path).unwrap().ino();
    let spoil: [&dyn Fn(); 2] = [
        &|| {
            let tables = rusqlite::Connection::open(&path).unwrap();
            tables
                .execute_batch("UPDATE runs SET name = 'other'; DROP TABLE subagents")
                .unwrap();
        },
        &|| {
            for beside in ["index.db-wal", "index.db-shm"] {
                drop(fs::remove_file(home.path(beside)));
            }
            fs::write(&path, [7; 8_000]).unwrap();
        },
    ];
    for spoil in spoil {
        home.store.search("anything", 5, &mut |_| {}).unwrap();
        spoil();
        let before = fs::metadata(&path).unwrap().ino();
        for _ in 0..2 {
            let report = home.again().fsck(&mut |_| {}).unwrap();
            assert_eq!(report.findings.len(), 1, "{:?}", report.findings);
            assert_eq!(report.findings[0].path, path);
            assert_eq!(fs::metadata(&path).unwrap().ino(), before);
        }
        let store = home.again();
        store.fsck(&mut |_| {}).unwrap();
        store.heads().unwrap();
        assert_eq!(home.findings(), Vec::<String>::new());
    }
    assert_ne!(fs::metadata(&path).unwrap().ino(), intact);
}

#[test]
fn a_blob_that_many_name_is_missing_once() {
    let home = Home::new();
    for number in 1..4 {
        let run = record(&home.store, run_id(number), None);
        home.store.record_run(&run).unwrap();
    }
    let missing = home.blob(&Digest::of(&spec::Tree::default().to_bytes()));
    fs::remove_file(&missing).unwrap();
    let findings = home.findings();
    assert_eq!(findings.len(), 1, "{findings:?}");
    assert!(findings[0].contains(missing.to_str().unwrap()));
    assert!(findings[0].contains(&run_id(1).to_string()), "{findings:?}");
    assert!(findings[0].ends_with("and 2 others"), "{findings:?}");
}

#[test]
fn a_version_that_is_gone_is_one_for_fsck_where_the_log_names_it() {
    let home = filled();
    let version = home.store.head(&name("a")).unwrap().unwrap().digest;
    fs::remove_file(home.blob(&version)).unwrap();
    let store = home.again();
    let options = GcOptions {
        now: at(9),
        grace: std::time::Duration::ZERO,
        runs_older_than: None,
        dry_run: true,
    };
    let unknown = Digest::of(b"nothing");
    for (error, says) in [
        (store.version(&version).map(drop), "fsck"),
        (store.gc(&options, &mut |_| {}).map(drop), "fsck"),
        (store.version(&unknown).map(drop), "lists its versions"),
    ] {
        let error = error.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::NotFound);
        assert!(error.hint().unwrap().contains(says), "{error}");
    }
}
