//! What is said about versions stays as long as they do, and comes back with them.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use spec::Digest;
use store::{Attachment, Document, GcOptions, GcPhase, Store};

use crate::fixtures::{Home, at, content, name, publication};

fn all() -> GcOptions {
    GcOptions {
        now: jiff::Timestamp::now(),
        grace: Duration::ZERO,
        runs_older_than: None,
        dry_run: false,
    }
}

fn say(store: &Store, version: &Digest) -> Attachment {
    let document = Document {
        artifact_type: "application/vnd.example.signature",
        media_type: "text/plain",
        bytes: b"it is good",
    };
    store.attach(version, &document).unwrap()
}

/// A home with a version that something is said about, and that was the head of a name. Nobody holds it.
fn removed() -> (Home, Digest, Attachment) {
    let home = Home::new();
    let store = home.again();
    let version = store.stage(&content("x = 1\n")).unwrap().digest();
    let said = say(&store, &version);
    store
        .publish(publication(&[("ant", None, version)]))
        .unwrap();
    store.remove(&name("ant"), at(1)).unwrap();
    (home, version, said)
}

#[test]
fn what_is_received_again_is_held() {
    let (home, version, said) = removed();
    let receiver = home.again();
    receiver.receive_attachment(&said.bytes).unwrap();
    home.again().gc(&all(), &mut |_| {}).unwrap();
    assert_eq!(receiver.attachments(&version).unwrap(), [said]);
}

#[test]
fn what_was_lost_is_repaired_when_it_is_received_again() {
    let (home, version, said) = removed();
    for damage in [None, Some(b"damaged".as_slice())] {
        let blob = home.blob(&said.digest);
        fs::remove_file(&blob).unwrap();
        if let Some(bytes) = damage {
            fs::write(&blob, bytes).unwrap();
        }
        assert!(home.again().attachments(&version).is_err());
        home.again().receive_attachment(&said.bytes).unwrap();
        let now = home.again().attachments(&version).unwrap();
        assert_eq!(now.as_slice(), std::slice::from_ref(&said));
    }
}

/// Whatever was done when it was killed, what comes back is either said or not.
#[test]
fn a_collection_that_was_killed_leaves_nothing_that_points_nowhere() {
    // A version of a name that was removed, and one that never had a name.
    for is_named in [true, false] {
        for stop_at in 0_u64.. {
            let (home, version, said) = removed();
            let version = if is_named {
                version
            } else {
                let staged = home.again().stage(&content("x = 2\n")).unwrap().digest();
                say(&home.again(), &staged);
                staged
            };
            let store = home.again();
            let mut steps = 0;
            let ended = catch_unwind(AssertUnwindSafe(|| {
                store.gc(&all(), &mut |progress| {
                    if progress.phase == GcPhase::Removing {
                        assert!(steps != stop_at, "killed");
                        steps += 1;
                    }
                })
            }));
            drop(store);
            let again = home.again();
            let source = if is_named { "x = 1\n" } else { "x = 2\n" };
            assert_eq!(again.stage(&content(source)).unwrap().digest(), version);
            for one in again.attachments(&version).unwrap() {
                assert_eq!(one.subject, version);
            }
            assert_eq!(say(&again, &version).artifact_type, said.artifact_type);
            assert_eq!(again.attachments(&version).unwrap().len(), 1);
            again
                .publish(publication(&[("ant", None, version)]))
                .unwrap();
            assert_eq!(home.findings(), [] as [String; 0]);
            if ended.is_ok() {
                assert!(stop_at > 1, "it was killed at no step");
                break;
            }
        }
    }
}
