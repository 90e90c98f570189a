//! Heads, tags, references and undo.

use spec::{Digest, VersionRef};
use store::{Change, Operation, Resolved, StoreError, StoreErrorKind, VersionContent};

use crate::fixtures::{Home, at, by, content, name, path, publication, record, run_id};

fn reference(text: &str) -> VersionRef {
    text.parse().unwrap()
}

impl Home {
    fn publish(&self, moves: &[(&str, Option<Digest>, Digest)]) -> Operation {
        self.store.publish(publication(moves)).unwrap()
    }

    fn head(&self, of: &str) -> Option<Digest> {
        let heads = self.again().heads().unwrap();
        heads
            .into_iter()
            .find(|head| head.name == name(of))
            .map(|head| head.digest)
    }
}

#[test]
fn a_lineage_of_three_is_listed_logged_and_undone() {
    let home = Home::new();
    let [one, two, three] = ["1", "2", "3"].map(|source| home.stage(source));
    let run = run_id(1);
    home.store
        .record_run(&record(&home.store, run, None))
        .unwrap();
    home.publish(&[("writer", None, one)]);
    let mut second = publication(&[("writer", Some(one), two)]);
    second.evidence = vec![run, run];
    second.note = "better".to_owned();
    second.at = at(2);
    home.store.publish(second).unwrap();
    home.publish(&[("writer", Some(two), three)]);

    let head = &home.store.heads().unwrap()[0];
    assert_eq!((head.digest, head.versions, head.operation), (three, 3, 3));
    let lineage = home.again().lineage(&name("writer")).unwrap();
    let steps: Vec<_> = lineage
        .iter()
        .map(|step| (step.parent, step.digest))
        .collect();
    assert_eq!(steps, [(None, one), (Some(one), two), (Some(two), three)]);
    assert_eq!(lineage[1].evidence, [run]);
    assert_eq!((lineage[1].note.as_str(), lineage[1].at), ("better", at(2)));
    assert_eq!(lineage[1].task.as_deref(), Some("task-1"));

    let writer = name("writer");
    for expected in [Some(two), Some(one), None] {
        home.store.undo(Some(&writer), at(9)).unwrap();
        assert_eq!(home.head("writer"), expected);
    }
    let nothing = home.store.undo(Some(&writer), at(9)).unwrap_err();
    assert!(
        matches!(nothing, StoreError::NothingToUndo { .. }),
        "{nothing}"
    );
    let error = home.store.resolve(&reference("writer")).unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::NotFound);
    assert!(
        matches!(error, StoreError::NoHead { last, .. } if last == three),
        "{error}"
    );
    let newest = format!("writer@{}", three.short());
    assert!(error.hint().unwrap().contains(&newest), "{error}");
    // Its versions stay.
    let exact = reference(&format!("writer@{three}"));
    assert_eq!(home.store.resolve(&exact).unwrap().digest, three);
    assert!(
        home.store
            .lineage(&writer)
            .unwrap()
            .iter()
            .all(|step| step.is_undone)
    );
    assert_eq!(home.store.log(Some(&writer)).unwrap().len(), 6);
    // And it can begin again.
    home.publish(&[("writer", None, three)]);
    assert_eq!(home.head("writer"), Some(three));
    assert_eq!(home.findings(), Vec::<String>::new());
}

#[test]
fn after_an_undo_too_many_any_version_can_be_the_head_again() {
    let home = Home::new();
    let [one, two, three, other] = ["1", "2", "3", "other"].map(|source| home.stage(source));
    let writer = name("writer");
    home.publish(&[("writer", None, one)]);
    home.publish(&[("writer", Some(one), two)]);
    home.publish(&[("writer", Some(two), three), ("b", None, other)]);
    for _ in 0..2 {
        home.store.undo(Some(&writer), at(2)).unwrap();
    }
    assert_eq!(home.head("writer"), Some(one));
    let set = |version: &Digest| home.store.restore(&writer, version, by("forward"));
    let moved = set(&three).unwrap();
    assert_eq!(moved.why.as_deref(), Some("forward"));
    assert_eq!(moved.change.head_moves()[0].from, Some(one));
    assert_eq!((home.head("writer"), home.head("b")), (Some(three), None));
    // It came from where it was published.
    let last = home.store.lineage(&writer).unwrap().pop().unwrap();
    assert_eq!((last.digest, last.parent), (three, Some(two)));

    // It is an operation as any other, and works when there is no head either.
    home.store.undo(Some(&writer), at(4)).unwrap();
    home.store.undo(Some(&writer), at(4)).unwrap();
    assert_eq!(home.head("writer"), None);
    set(&two).unwrap();
    assert_eq!(home.head("writer"), Some(two));

    let error = set(&two).unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Refused, "{error}");
    let error = set(&other).unwrap_err();
    assert!(matches!(error, StoreError::NotInHistory { .. }), "{error}");
    let error = home.store.restore(&name("writr"), &two, at(3));
    assert!(matches!(error, Err(StoreError::UnknownName { .. })));
    std::fs::remove_file(home.blob(&one)).unwrap();
    assert!(matches!(set(&one), Err(StoreError::UnknownVersion { .. })));
    assert_eq!(home.head("writer"), Some(two));
}

#[test]
fn a_publish_is_compare_and_swap_of_all_heads_or_of_none() {
    let home = Home::new();
    let [one, two, three] = ["1", "2", "3"].map(|source| home.stage(source));
    home.publish(&[("a", None, one)]);
    for from in [None, Some(two)] {
        let moves = [("b", None, one), ("a", from, three)];
        let error = home.again().publish(publication(&moves));
        let error = error.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Conflict);
        match &error {
            StoreError::HeadMoved {
                name: of,
                expected,
                found,
            } => {
                assert_eq!((of, *expected, *found), (&name("a"), from, Some(one)));
            }
            other => panic!("{other}"),
        }
        assert!(error.hint().is_some());
        assert_eq!((home.head("a"), home.head("b")), (Some(one), None));
    }
    assert_eq!(home.store.log(None).unwrap().len(), 1);
}

#[test]
fn what_makes_no_sense_is_not_published() {
    let home = Home::new();
    let one = home.stage("1");
    let check = |moves: &[(&str, Option<Digest>, Digest)], kind: StoreErrorKind| {
        let error = home.store.publish(publication(moves)).unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
    };
    check(&[], StoreErrorKind::Refused);
    check(&[("a", Some(one), one)], StoreErrorKind::Refused);
    check(
        &[("a", None, one), ("a", None, one)],
        StoreErrorKind::Refused,
    );
    check(&[("a", None, Digest::of(b"?"))], StoreErrorKind::NotFound);
    let blob = home.store.put(b"blob").unwrap();
    check(&[("a", None, blob)], StoreErrorKind::Refused);

    let mut unproven = publication(&[("a", None, one)]);
    unproven.evidence = vec![run_id(5)];
    let error = home.store.publish(unproven).unwrap_err();
    assert!(matches!(error, StoreError::UnknownRun { .. }), "{error}");
    let mut long = publication(&[("a", None, one)]);
    long.note = "x".repeat(70_000);
    assert!(matches!(
        home.store.publish(long),
        Err(StoreError::TooLarge { .. })
    ));
    assert_eq!(home.store.log(None).unwrap(), []);
}

#[test]
fn what_a_version_depends_on_must_be_there() {
    let home = Home::new();
    let base = home.stage("base");
    let needs = |digest: Digest| VersionContent {
        depends: [(name("base"), digest)].into(),
        ..content("needs")
    };
    let missing = home.store.stage(&needs(Digest::of(b"?"))).unwrap().digest();
    let error = home
        .store
        .publish(publication(&[("a", None, missing)]))
        .unwrap_err();
    assert!(
        matches!(error, StoreError::UnknownVersion { .. }),
        "{error}"
    );
    let whole = home.store.stage(&needs(base)).unwrap().digest();
    home.publish(&[("a", None, whole)]);
    std::fs::remove_file(home.blob(&base)).unwrap();
    assert_eq!(home.findings().len(), 1);
}

#[test]
fn undo_takes_back_the_last_operation_as_a_whole() {
    let home = Home::new();
    let [one, two] = ["1", "2"].map(|source| home.stage(source));
    home.publish(&[("a", None, one), ("b", None, one)]);
    home.publish(&[("b", Some(one), two)]);
    home.publish(&[("c", None, one)]);
    // `b` moved since the publish that made `a`.
    let error = home.store.undo(Some(&name("a")), at(5)).unwrap_err();
    assert!(
        matches!(&error, StoreError::UndoBlocked { seq: 1, by: 2, .. }),
        "{error}"
    );
    assert_eq!(error.kind(), StoreErrorKind::Conflict);
    home.store.undo(Some(&name("b")), at(5)).unwrap();
    assert_eq!(home.head("b"), Some(one));
    let undone = home.store.undo(Some(&name("a")), at(5)).unwrap();
    assert!(matches!(undone.change, Change::Undo { seq: 1, .. }));
    assert_eq!(
        (home.head("a"), home.head("b"), home.head("c")),
        (None, None, Some(one))
    );
    // Without a name, what is left is the last one.
    home.store.undo(None, at(5)).unwrap();
    assert_eq!(home.store.heads().unwrap(), []);
    let error = home.store.undo(None, at(5)).unwrap_err();
    assert!(
        matches!(error, StoreError::NothingToUndo { name: None }),
        "{error}"
    );
    assert!(matches!(
        home.store.undo(Some(&name("zzz")), at(5)),
        Err(StoreError::UnknownName { .. })
    ));
}

#[test]
fn references_resolve() {
    let home = Home::new();
    let [one, two, lost] = ["1", "2", "lost"].map(|source| home.stage(source));
    home.publish(&[("writer", None, one)]);
    home.publish(&[("writer", Some(one), two)]);
    home.store
        .tag(&name("writer"), "stable", &one, at(3))
        .unwrap();
    let check = |text: &str, of: Option<&str>, digest: Digest| {
        let expected = Resolved {
            name: of.map(name),
            digest,
            former: None,
        };
        assert_eq!(
            home.again().resolve(&reference(text)).unwrap(),
            expected,
            "{text}"
        );
    };
    check("writer", Some("writer"), two);
    check("writer:stable", Some("writer"), one);
    check(&one.to_string(), Some("writer"), one);
    check(&one.hex(), Some("writer"), one);
    check(&one.hex()[..8], Some("writer"), one);
    check(&format!("writer@{}", &two.hex()[..63]), Some("writer"), two);
    check(&format!("writer@{one}"), Some("writer"), one);
    check(&lost.to_string(), None, lost);

    let fails = |text: &str, kind: StoreErrorKind, hint: &str| {
        let error = home.store.resolve(&reference(text)).unwrap_err();
        assert_eq!(error.kind(), kind, "{text}: {error}");
        assert!(
            error.hint().unwrap().contains(hint),
            "{text}: {:?}",
            error.hint()
        );
    };
    fails("writr", StoreErrorKind::NotFound, "did you mean `writer`?");
    fails(
        "unlike",
        StoreErrorKind::NotFound,
        "list the saved subagents",
    );
    fails(
        "writer:stabel",
        StoreErrorKind::NotFound,
        "its tags: stable",
    );
    fails(&format!("writer@{lost}"), StoreErrorKind::NotFound, "log");
    fails(&lost.hex()[..12], StoreErrorKind::NotFound, "log");
    fails(
        &format!("sha256:{}", "0".repeat(64)),
        StoreErrorKind::NotFound,
        "log",
    );
}

#[test]
fn a_prefix_of_several_versions_lists_them() {
    let home = Home::new();
    // Eight digits collide too rarely to wait for: any two versions share the empty prefix.
    let [one, two] = ["1", "2"].map(|source| home.stage(source));
    home.publish(&[("a", None, one)]);
    home.publish(&[("a", Some(one), two)]);
    let shared = VersionRef::Prefix(None, String::new());
    let error = home.store.resolve(&shared).unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Ambiguous);
    let StoreError::AmbiguousVersion { candidates, .. } = &error else {
        panic!("{error}");
    };
    let mut expected = vec![one, two];
    expected.sort_unstable();
    assert_eq!(*candidates, expected);
    assert!(error.hint().unwrap().contains(&one.to_string()));
}

#[test]
fn a_name_of_hex_digits_is_found_when_no_version_begins_so() {
    let home = Home::new();
    let one = home.stage("1");
    home.publish(&[("deadbeef", None, one)]);
    let found = home.store.resolve(&reference("deadbeef")).unwrap();
    assert_eq!(found.name, Some(name("deadbeef")));
}

#[test]
fn tags_move_and_are_undone() {
    let home = Home::new();
    let [one, two] = ["1", "2"].map(|source| home.stage(source));
    let writer = name("writer");
    home.publish(&[("writer", None, one)]);
    home.store.tag(&writer, "stable", &one, at(1)).unwrap();
    // A version that was never the head can be kept by a tag.
    home.store.tag(&writer, "stable", &two, at(2)).unwrap();
    assert_eq!(
        home.again().tags(&writer).unwrap(),
        [("stable".to_owned(), two)]
    );
    assert!(home.store.tag(&writer, "stable", &two, at(2)).is_err());
    for bad in [
        "",
        "-x",
        ".x",
        "a b",
        "a:b",
        "a@b",
        "é",
        &"x".repeat(129),
        "a\u{1b}",
    ] {
        let error = home.store.tag(&writer, bad, &one, at(2)).unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Refused, "{bad:?}");
        assert!(!error.to_string().contains('\u{1b}'));
    }
    home.store.undo(None, at(3)).unwrap();
    assert_eq!(
        home.store.tags(&writer).unwrap(),
        [("stable".to_owned(), one)]
    );
    home.store.undo(Some(&writer), at(3)).unwrap();
    assert_eq!(home.store.tags(&writer).unwrap(), []);
    assert_eq!(home.head("writer"), Some(one));
    assert_eq!(home.findings(), Vec::<String>::new());
}

#[test]
fn writers_at_once_lose_no_version() {
    const WRITERS: usize = 4;
    const EACH: usize = 12;
    let home = Home::new();
    std::thread::scope(|scope| {
        for writer in 0..WRITERS {
            let store = home.again();
            scope.spawn(move || {
                for number in 0..EACH {
                    let source = format!("{writer} {number}");
                    let to = store.stage(&content(&source)).unwrap().digest();
                    loop {
                        let heads = store.heads().unwrap();
                        let from = heads.first().map(|head| head.digest);
                        match store.publish(publication(&[("shared", from, to)])) {
                            Ok(_) => break,
                            Err(StoreError::HeadMoved { .. }) => {}
                            Err(error) => panic!("{error}"),
                        }
                    }
                }
            });
        }
    });
    let steps = home.store.lineage(&name("shared")).unwrap();
    assert_eq!(steps.len(), WRITERS * EACH);
    assert!(
        steps
            .windows(2)
            .all(|pair| pair[1].parent == Some(pair[0].digest))
    );
    assert_eq!(home.store.heads().unwrap()[0].versions, WRITERS * EACH);
    assert_eq!(home.findings(), Vec::<String>::new());
}

#[test]
fn the_source_may_have_any_names() {
    let home = Home::new();
    let mut odd = content("x");
    odd.files.push((
        path("%FF%00a".replace("%00", "%01").as_str()),
        b"\0".to_vec(),
    ));
    let digest = home.store.stage(&odd).unwrap().digest();
    home.publish(&[("odd", None, digest)]);
    assert_eq!(home.findings(), Vec::<String>::new());
}
