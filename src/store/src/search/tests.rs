//! Who may remove the file, and what is told where it cannot be used.

use std::time::Duration;

use super::*;
use crate::StoreErrorKind;

#[test]
fn what_another_process_is_filling_is_left_to_it() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::ensure(&folder.path().join("store")).unwrap();
    store.search("anything", 5, &mut |_| {}).unwrap();
    let path = store.layout.search_index();
    let filling = Connection::open(&path).unwrap();
    filling
        .execute_batch("BEGIN IMMEDIATE; DELETE FROM reached")
        .unwrap();
    let before = persist::identity(&path).unwrap();
    // One who does not wait, and has something to read on.
    let impatient = Search::open(&store.layout).unwrap();
    impatient.db.busy_timeout(Duration::ZERO).unwrap();
    *store.search.lock() = Some(impatient);
    std::fs::create_dir(store.layout.runs.join("something-new")).unwrap();
    let error = store.search("anything", 5, &mut |_| {}).unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Conflict, "{error}");
    assert!(error.hint().unwrap().contains("wait"), "{error}");
    assert_eq!(persist::identity(&path), Some(before));
    filling.execute_batch("COMMIT").unwrap();
}

#[test]
fn only_what_the_file_holds_is_a_reason_to_remove_it() {
    use rusqlite::ffi;
    let folder = tempfile::tempdir().unwrap();
    let store = Store::ensure(&folder.path().join("store")).unwrap();
    let check = |code: i32, expected: StoreErrorKind| {
        let error = rusqlite::Error::SqliteFailure(ffi::Error::new(code), None);
        let error = unusable(&store.layout, error);
        assert_eq!(error.kind(), expected, "{error}");
        assert_eq!(
            matches!(error, StoreError::Index { .. }),
            [ffi::SQLITE_CORRUPT, ffi::SQLITE_NOTADB].contains(&code),
            "{error}"
        );
        assert!(error.hint().is_some(), "{error}");
    };
    check(ffi::SQLITE_BUSY, StoreErrorKind::Conflict);
    check(ffi::SQLITE_LOCKED, StoreErrorKind::Conflict);
    check(ffi::SQLITE_READONLY, StoreErrorKind::ReadOnly);
    check(ffi::SQLITE_CANTOPEN, StoreErrorKind::ReadOnly);
    check(ffi::SQLITE_FULL, StoreErrorKind::DiskFull);
    check(ffi::SQLITE_IOERR, StoreErrorKind::Io);
    check(ffi::SQLITE_CORRUPT, StoreErrorKind::Io);
    check(ffi::SQLITE_NOTADB, StoreErrorKind::Io);
}
