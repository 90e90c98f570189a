//! What a version or a run names.

use std::collections::BTreeSet;

use spec::Digest;
use store::{BlobRef, MANIFEST_MEDIA_TYPE, RUN_MEDIA_TYPE, Store, StoreError, TREE_MEDIA_TYPE};

use crate::fixtures::{Home, at, content, name, publication, record, run_id};

/// Stages a version that depends on others.
fn stage(home: &Home, source: &str, depends: &[(&str, Digest)]) -> Digest {
    let mut content = content(source);
    content.depends = depends
        .iter()
        .map(|(of, digest)| (name(of), *digest))
        .collect();
    home.store.stage(&content).unwrap().digest()
}

/// Writes blobs into another store, in their order.
fn copy(from: &Store, to: &Store, blobs: &[BlobRef]) {
    for blob in blobs {
        let bytes = from.get(&blob.digest).unwrap();
        assert_eq!(bytes.len() as u64, blob.size.get(), "{blob:?}");
        to.put(&bytes).unwrap();
    }
}

#[test]
fn a_version_comes_after_what_it_depends_on_and_each_once() {
    let home = Home::new();
    let shared = stage(&home, "s", &[]);
    let left = stage(&home, "l", &[("shared", shared)]);
    let right = stage(&home, "r", &[("shared", shared)]);
    let top = stage(&home, "t", &[("left", left), ("right", right)]);
    let closure = home.store.closure(&top).unwrap();
    let order: Vec<_> = closure.versions.iter().map(|one| one.digest).collect();
    assert_eq!(order, [shared, left, right, top]);
    let names: Vec<_> = closure
        .names()
        .into_iter()
        .map(spec::SubagentName::as_str)
        .collect();
    assert_eq!(names, ["left", "right", "shared"]);

    let unique: BTreeSet<_> = closure.blobs.iter().map(|blob| blob.digest).collect();
    assert_eq!(unique.len(), closure.blobs.len());
    let last = closure.blobs.last().unwrap();
    assert_eq!((last.digest, last.media_type), (top, MANIFEST_MEDIA_TYPE));

    // It is all that another store needs.
    let other = Home::new();
    copy(&home.store, &other.store, &closure.blobs);
    assert_eq!(other.store.closure(&top).unwrap(), closure);
    other
        .store
        .publish(publication(&[("top", None, top)]))
        .unwrap();
    assert_eq!(other.findings(), Vec::<String>::new());
}

#[test]
fn a_closure_lacks_nothing_in_silence() {
    let home = Home::new();
    let gone = Digest::of(b"gone");
    let top = stage(&home, "t", &[("gone", gone)]);
    assert!(matches!(
        home.store.closure(&top),
        Err(StoreError::UnknownVersion { .. })
    ));
    assert!(
        home.store
            .publish(publication(&[("top", None, top)]))
            .is_err()
    );
}

#[test]
fn a_name_never_depends_on_itself() {
    let home = Home::new();
    let first = stage(&home, "1", &[]);
    let through = stage(&home, "2", &[("a", first)]);
    let second = stage(&home, "3", &[("b", through)]);
    // `a` would need `b`, which needs an older `a`.
    let refused = |result: Result<(), StoreError>| {
        let error = result.unwrap_err().to_string();
        assert!(error.contains("`a` would depend on itself"), "{error}");
    };
    refused(
        home.store
            .publish(publication(&[("a", None, second)]))
            .map(|_| ()),
    );
    refused(home.store.tag(&name("a"), "t", &second, at(1)).map(|_| ()));
    home.store
        .publish(publication(&[("c", None, second)]))
        .unwrap();
    // Nor does something that is depended on: `c` needs `a`, which needs `b`, which needs `a`.
    let third = stage(&home, "4", &[("a", second)]);
    refused(home.store.closure(&third).map(|_| ()));
    refused(
        home.store
            .publish(publication(&[("d", None, third)]))
            .map(|_| ()),
    );
    assert_eq!(home.findings(), Vec::<String>::new());
}

#[test]
fn depth_and_number_are_bounded() {
    let home = Home::new();
    let mut top = stage(&home, "0", &[]);
    for level in 1..=store::DEPENDS_DEPTH {
        let below = format!("n{}", level - 1);
        top = stage(&home, &level.to_string(), &[(&below, top)]);
    }
    assert_eq!(home.store.closure(&top).unwrap().versions.len(), 65);
    let deeper = stage(&home, "deeper", &[("n64", top)]);
    let error = home.store.closure(&deeper).unwrap_err().to_string();
    assert!(error.contains("more than 64 deep"), "{error}");

    let many: Vec<_> = (0..=store::DEPENDS_MAX)
        .map(|one| (format!("m{one}"), stage(&home, &format!("m{one}"), &[])))
        .collect();
    let named = |count: usize| -> Vec<_> {
        let some = many[..count].iter();
        some.map(|(of, digest)| (of.as_str(), *digest)).collect()
    };
    let wide = stage(&home, "wide", &named(store::DEPENDS_MAX));
    assert_eq!(home.store.closure(&wide).unwrap().versions.len(), 257);
    let wider = stage(&home, "wider", &named(store::DEPENDS_MAX + 1));
    let error = home.store.closure(&wider).unwrap_err().to_string();
    assert!(error.contains("more than 256 others"), "{error}");
}

#[test]
fn the_closure_of_a_run_is_all_that_its_record_needs() {
    let home = Home::new();
    let version = home.stage("x = 1\n");
    let mut given = record(&home.store, run_id(1), Some(version));
    let body = home.store.put(b"a body").unwrap();
    given.cassette[0].blobs = [body].into();
    let digest = home.store.record_run(&given).unwrap();
    let closure = home.store.run_closure(&run_id(1)).unwrap();
    assert_eq!((closure.record, closure.version), (digest, Some(version)));
    let last = closure.blobs.last().unwrap();
    assert_eq!((last.digest, last.media_type), (digest, RUN_MEDIA_TYPE));
    assert!(closure.blobs.iter().any(|blob| blob.digest == body));
    let trees = closure
        .blobs
        .iter()
        .filter(|blob| blob.media_type == TREE_MEDIA_TYPE);
    assert_eq!(trees.count(), 2);

    let other = Home::new();
    let of_version = home.store.closure(&version).unwrap();
    copy(&home.store, &other.store, &of_version.blobs);
    copy(&home.store, &other.store, &closure.blobs);
    assert_eq!(other.store.record_run(&given).unwrap(), digest);
    assert_eq!(other.findings(), Vec::<String>::new());

    std::fs::remove_file(home.blob(&body)).unwrap();
    assert!(matches!(
        home.store.run_closure(&run_id(1)),
        Err(StoreError::BlobMissing { .. })
    ));
}
