//! Blobs.

use std::fs;
use std::io::{Read, Write};
use std::process::{Command, Stdio};

use proptest::prelude::*;
use spec::{ByteSize, Digest};
use store::{Store, StoreErrorKind};

use crate::fixtures::Home;

#[test]
fn what_is_put_is_there_for_everyone() {
    let home = Home::new();
    let digest = home.store.put(b"hello").unwrap();
    assert_eq!(digest, Digest::of(b"hello"));
    let other = home.again();
    assert!(other.contains(&digest).unwrap());
    assert_eq!(other.get(&digest).unwrap(), b"hello");
    let mut read = Vec::new();
    other.open(&digest).unwrap().read_to_end(&mut read).unwrap();
    assert_eq!(read, b"hello");
    let missing = other.get(&Digest::of(b"other")).unwrap_err();
    assert_eq!(missing.kind(), StoreErrorKind::NotFound);
}

#[test]
fn a_store_is_shared_between_threads() {
    fn check<T: Send + Sync + std::fmt::Debug + 'static>() {}
    check::<Store>();
    check::<store::BlobWriter>();
    check::<store::BlobReader>();
    check::<store::StoreError>();
}

#[test]
fn a_writer_that_is_dropped_leaves_nothing() {
    let home = Home::new();
    let mut writer = home.store.writer().unwrap();
    writer.write_all(b"half").unwrap();
    drop(writer);
    assert_eq!(fs::read_dir(home.path("tmp")).unwrap().count(), 0);
    assert!(!home.store.contains(&Digest::of(b"half")).unwrap());

    let mut writer = home.store.writer().unwrap();
    writer.write_all(b"who").unwrap();
    writer.write_all(b"le").unwrap();
    assert_eq!(writer.size(), 5);
    assert_eq!(writer.finish().unwrap(), Digest::of(b"whole"));
    assert_eq!(fs::read_dir(home.path("tmp")).unwrap().count(), 0);
}

#[test]
fn a_blob_above_the_limit_is_refused_before_it_is_read() {
    let home = Home::new();
    let digest = home.store.put(&[0; 1000]).unwrap();
    assert!(
        home.store
            .get_at_most(&digest, ByteSize::bytes(1000))
            .is_ok()
    );
    let error = home
        .store
        .get_at_most(&digest, ByteSize::bytes(999))
        .unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Refused);
    assert!(
        error.to_string().contains("1000 bytes, at most 999"),
        "{error}"
    );
}

#[test]
fn what_is_damaged_is_held_and_not_intact() {
    let home = Home::new();
    let digest = home.store.put(b"hello").unwrap();
    let check = |intact: bool| assert_eq!(home.again().hold_intact(&digest).unwrap(), intact);
    check(true);
    for damage in [b"hallo".as_slice(), b"hell", b""] {
        fs::remove_file(home.blob(&digest)).unwrap();
        check(false);
        fs::write(home.blob(&digest), damage).unwrap();
        check(false);
        assert!(home.again().hold_blob(&digest).unwrap());
    }
    home.store.put(b"hello").unwrap();
    check(true);
    // It stays while whoever asked lives.
    let holds = home.again();
    let other = home.again().put(b"other").unwrap();
    assert!(holds.hold_intact(&other).unwrap());
    let everything = store::GcOptions {
        now: jiff::Timestamp::now(),
        grace: std::time::Duration::ZERO,
        runs_older_than: None,
        dry_run: false,
    };
    home.again().gc(&everything, &mut |_| {}).unwrap();
    assert_eq!(holds.get(&other).unwrap(), b"other");
}

#[test]
fn damage_is_seen_when_reading_and_healed_by_putting_again() {
    let home = Home::new();
    let content = vec![7; 300_000];
    let digest = home.store.put(&content).unwrap();
    for damage in [vec![8; 300_000], vec![7; 299_999], Vec::new()] {
        fs::remove_file(home.blob(&digest)).unwrap();
        fs::write(home.blob(&digest), damage).unwrap();
        assert_eq!(
            home.store.get(&digest).unwrap_err().kind(),
            StoreErrorKind::Corrupt
        );
        let mut reader = home.store.open(&digest).unwrap();
        let mut sink = Vec::new();
        assert!(reader.read_to_end(&mut sink).is_err());
        // An error once is an error for ever, however often the end is read.
        assert!(reader.read(&mut [0; 8]).is_err());
        home.store.put(&content).unwrap();
        assert_eq!(home.store.get(&digest).unwrap(), content);
    }
}

#[test]
fn a_link_in_place_of_a_blob_is_not_followed() {
    let home = Home::new();
    let digest = home.store.put(b"hello").unwrap();
    let outside = home.directory.path().join("outside");
    fs::write(&outside, b"hello").unwrap();
    fs::remove_file(home.blob(&digest)).unwrap();
    std::os::unix::fs::symlink(&outside, home.blob(&digest)).unwrap();
    assert!(home.store.get(&digest).is_err());
    assert!(!home.findings().is_empty());
    // Putting it again replaces the link and leaves its target alone.
    home.store.put(b"hello").unwrap();
    assert!(fs::symlink_metadata(home.blob(&digest)).unwrap().is_file());
    assert_eq!(fs::read(&outside).unwrap(), b"hello");
}

#[test]
fn opening_removes_files_of_dead_writers_and_keeps_those_of_living_ones() {
    let home = Home::new();
    fs::write(home.path("tmp/left-behind"), b"x").unwrap();
    let mut living = home.store.writer().unwrap();
    living.write_all(b"living").unwrap();
    let again = home.again();
    assert!(!home.path("tmp/left-behind").exists());
    assert_eq!(again.get(&living.finish().unwrap()).unwrap(), b"living");
}

#[test]
fn the_file_of_another_living_process_is_kept() {
    let home = Home::new();
    let file = home.path("tmp/theirs");
    let mut other = Command::new("flock")
        .arg(&file)
        .args(["sh", "-c", "echo locked; read line"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = [0; 7];
    other.stdout.take().unwrap().read_exact(&mut said).unwrap();
    home.again();
    assert!(file.exists());
    drop(other.stdin.take());
    other.wait().unwrap();
    home.again();
    assert!(!file.exists());
}

#[test]
fn a_directory_that_is_something_else_is_refused_and_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("thesis.txt"), b"x").unwrap();
    let error = Store::ensure(directory.path()).unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Unsupported);
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);

    let file = directory.path().join("thesis.txt");
    assert!(Store::ensure(&file).is_err());
    assert!(Store::ensure(&file.join("below")).is_err());
}

#[test]
fn an_interrupted_creation_is_finished() {
    let home = Home::new();
    home.store.put(b"hello").unwrap();
    fs::remove_file(home.path("format")).unwrap();
    fs::remove_file(home.path("oci-layout")).unwrap();
    assert_eq!(home.findings(), Vec::<String>::new());
    assert!(home.store.contains(&Digest::of(b"hello")).unwrap());
}

#[test]
fn a_newer_format_is_refused() {
    let home = Home::new();
    fs::remove_file(home.path("format")).unwrap();
    fs::write(home.path("format"), "agentfactory store format 2\n").unwrap();
    let error = Store::ensure(home.store.root()).unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Unsupported);
    assert!(
        error
            .to_string()
            .ends_with("has format 2; this program knows up to 1"),
        "{error}"
    );
    for text in [
        "",
        "agentfactory store format 01\n",
        "agentfactory store format 0\n",
        "x",
    ] {
        fs::remove_file(home.path("format")).unwrap();
        fs::write(home.path("format"), text).unwrap();
        let error = Store::ensure(home.store.root()).unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Corrupt, "{text:?}");
    }
}

#[test]
fn a_store_can_be_opened_by_many_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("deep/er/store");
    std::thread::scope(|scope| {
        let openers: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| Store::ensure(&root).unwrap().put(b"x").unwrap()))
            .collect();
        for opener in openers {
            assert_eq!(opener.join().unwrap(), Digest::of(b"x"));
        }
    });
    assert!(
        Store::ensure(&root)
            .unwrap()
            .fsck(&mut |_| {})
            .unwrap()
            .is_clean()
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_blob_is_read_back_byte_for_byte(
        pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..5000), 0..6)
    ) {
        let home = Home::new();
        let mut writer = home.store.writer().unwrap();
        for piece in &pieces {
            writer.write_all(piece).unwrap();
        }
        let digest = writer.finish().unwrap();
        let whole = pieces.concat();
        prop_assert_eq!(digest, Digest::of(&whole));
        prop_assert_eq!(home.store.put(&whole).unwrap(), digest);
        prop_assert_eq!(home.store.get(&digest).unwrap(), whole);
    }
}
