//! A disk that is full, and a clock that jumps: told plainly, and nothing is lost.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use jiff::Timestamp;
use spec::RunId;
use store::{GcOptions, RunQuery, Store, StoreError, StoreErrorKind};

use crate::fixtures::{Home, at, content, name, publication, record, run_id};

/// A file system of one megabyte, until it is dropped.
struct Disk {
    folder: tempfile::TempDir,
}

impl Disk {
    /// None, visibly, where this may not be mounted.
    fn mount() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=1m,mode=700", "agentfactory-test"])
            .arg(folder.path())
            .output();
        if mounted.is_ok_and(|done| done.status.success()) {
            return Some(Self { folder });
        }
        eprintln!("SKIPPED: only root can mount a small disk");
        None
    }

    /// Has nobody write to it any more.
    fn make_read_only(&self) {
        let mut mount = Command::new("mount");
        mount.args(["-o", "remount,ro"]).arg(self.folder.path());
        assert!(mount.status().unwrap().success());
    }

    fn root(&self) -> PathBuf {
        self.folder.path().join("store")
    }

    /// Leaves no byte, and gives the file that has them.
    fn fill(&self) -> PathBuf {
        let ballast = self.folder.path().join("ballast");
        let mut some = vec![1; 4096];
        let mut file = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&ballast)
            .unwrap();
        while !some.is_empty() {
            match std::io::Write::write_all(&mut file, &some) {
                Ok(()) => {}
                Err(_) => some.truncate(some.len() / 2),
            }
        }
        ballast
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let path = self.folder.path();
        drop(Command::new("umount").arg("-l").arg(path).output());
    }
}

fn is_told(error: &StoreError, root: &Path) {
    assert_eq!(error.kind(), StoreErrorKind::DiskFull, "{error}");
    let root = root.to_str().unwrap();
    assert!(error.to_string().contains(root), "{error}");
    assert!(
        error.hint().is_some_and(|hint| hint.contains("space")),
        "{error}"
    );
}

#[test]
fn a_full_disk_is_told_and_loses_nothing() {
    let Some(disk) = Disk::mount() else {
        return;
    };
    let root = disk.root();
    let store = Store::ensure(&root).unwrap();
    let first = store.stage(&content("x = 1\n")).unwrap().digest();
    store
        .record_run(&record(&store, run_id(1), Some(first)))
        .unwrap();
    store.publish(publication(&[("ant", None, first)])).unwrap();
    // What nothing names: a collection has something to remove.
    Store::ensure(&root).unwrap().put(&vec![7; 50_000]).unwrap();
    let second = store.stage(&content("x = 2\n")).unwrap().digest();
    let third = record(&store, run_id(2), Some(first));
    let log = fs::read(root.join("operations.log")).unwrap();

    let ballast = disk.fill();
    for _ in 0..3 {
        is_told(&store.put(&[8; 5_000]).unwrap_err(), &root);
        is_told(
            &store.stage(&content("x = 3\n")).map(drop).unwrap_err(),
            &root,
        );
        is_told(&store.record_run(&third).unwrap_err(), &root);
        let moved = publication(&[("ant", Some(first), second)]);
        is_told(&store.publish(moved).unwrap_err(), &root);
        is_told(
            &store.tag(&name("ant"), "red", &first, at(1)).unwrap_err(),
            &root,
        );
        // What can be read can be read, by those who come new to it too.
        for reader in [&store, &Store::ensure(&root).unwrap()] {
            let head = reader.head(&name("ant")).unwrap().unwrap();
            assert_eq!(head.digest, first);
            reader.version(&first).unwrap();
            assert_eq!(reader.runs().unwrap(), [run_id(1)]);
            assert_eq!(reader.fsck(&mut |_| {}).unwrap().findings, []);
        }
    }
    assert_eq!(fs::read(root.join("operations.log")).unwrap(), log);

    // A collection needs no room, and makes some.
    let collected = Store::ensure(&root).unwrap().gc(
        &GcOptions {
            now: Timestamp::now(),
            grace: Duration::ZERO,
            runs_older_than: None,
            dry_run: false,
        },
        &mut |_| {},
    );
    assert!(collected.unwrap().removed.size.get() >= 50_000);
    fs::remove_file(ballast).unwrap();
    store.record_run(&third).unwrap();
    let moved = publication(&[("ant", Some(first), second)]);
    store.publish(moved).unwrap();
    let found = store.search("readme", 5, &mut |_| {}).unwrap();
    assert_eq!(found[0].version, second);
    let report = Store::ensure(&root).unwrap().fsck(&mut |_| {}).unwrap();
    assert_eq!((report.findings, report.temporary), (Vec::new(), 0));
}

/// With an index that is up to date, with one that is not, and with none.
#[test]
fn what_cannot_be_written_can_be_searched() {
    for (is_indexed, is_behind) in [(true, false), (true, true), (false, false)] {
        let Some(disk) = Disk::mount() else {
            return;
        };
        let store = Store::ensure(&disk.root()).unwrap();
        let first = store.stage(&content("x = 1\n")).unwrap().digest();
        let second = store.stage(&content("x = 2\n")).unwrap().digest();
        store.publish(publication(&[("ant", None, first)])).unwrap();
        if is_indexed {
            store.search("readme", 5, &mut |_| {}).unwrap();
        }
        if is_behind {
            let moved = publication(&[("ant", Some(first), second)]);
            store.publish(moved).unwrap();
        }
        drop(store);
        disk.make_read_only();
        let store = Store::ensure(&disk.root()).unwrap();
        for _ in 0..2 {
            let found = store.search("readme", 5, &mut |_| {}).unwrap();
            let expected = if is_behind { second } else { first };
            assert_eq!(found[0].version, expected, "{is_indexed} {is_behind}");
        }
        let error = store.reindex_search(&mut |_| {}).unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::ReadOnly, "{error}");
    }
}

/// Times are what somebody's clock said: nothing is ordered by them but lists of runs, by the times in their ids.
#[test]
fn a_clock_that_jumps_loses_nothing() {
    let home = Home::new();
    let store = &home.store;
    let times = [500, -400_000, 9_000_000, 0, 500, -400_001];
    let mut from = None;
    for (number, seconds) in (1..).zip(times) {
        let to = home.stage(&format!("x = {number}\n"));
        let milliseconds = u128::try_from(at(seconds).as_millisecond()).unwrap();
        let uuid = milliseconds << 80 | 0x7000 << 64 | 0x8000 << 48 | number;
        let run = RunId::from_uuid(uuid::Uuid::from_u128(uuid));
        let mut record = record(store, run, Some(to));
        record.at = at(seconds);
        store.record_run(&record).unwrap();
        let mut moved = publication(&[("ant", from, to)]);
        moved.at = at(seconds);
        moved.evidence = vec![run];
        let operation = store.publish(moved).unwrap();
        assert_eq!(u128::from(operation.seq), number);
        from = Some(to);
    }
    assert_eq!(
        store.head(&name("ant")).unwrap().unwrap().digest,
        from.unwrap()
    );
    store.undo(None, at(-1)).unwrap();
    let listed = |since: i64| {
        let query = RunQuery {
            since: Some(at(since)),
            limit: 10,
            ..RunQuery::default()
        };
        home.again().run_page(&query).unwrap().runs.len()
    };
    assert_eq!((listed(-500_000), listed(0), listed(501)), (6, 4, 1));
    // The time of a collection may be before all that there is: then nothing is old.
    for now in [at(-1_000_000), Timestamp::MIN, Timestamp::MAX] {
        let options = GcOptions {
            now,
            grace: Duration::from_secs(60),
            runs_older_than: Some(Duration::from_secs(u64::MAX)),
            dry_run: false,
        };
        let report = home.again().gc(&options, &mut |_| {}).unwrap();
        assert_eq!((report.runs, report.versions), (0, 0), "{now}");
    }
    assert_eq!(store.log(None).unwrap().len(), 7);
    assert_eq!(home.findings(), Vec::<String>::new());
}

/// Content that was cut short is told by whoever reads it, and saving it again mends it.
#[test]
fn a_truncated_blob_is_told_and_mended() {
    use std::os::unix::fs::PermissionsExt as _;
    let home = Home::new();
    let version = home.stage("x = 1\n");
    let store = home.again();
    store
        .publish(publication(&[("ant", None, version)]))
        .unwrap();
    let source = store.version(&version).unwrap().source;
    let path = home.blob(&source);
    let whole = fs::read(&path).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    for length in [0, 1, whole.len() - 1] {
        fs::write(&path, &whole[..length]).unwrap();
        let error = home.again().version(&version).unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Corrupt, "{length}: {error}");
        assert!(error.to_string().contains(&source.hex()), "{error}");
        assert_eq!(home.findings().len(), 1);
        home.stage("x = 1\n");
        home.again().version(&version).unwrap();
        assert_eq!(home.findings(), Vec::<String>::new());
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    }
}
