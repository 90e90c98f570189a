//! Random operations, compared with the simplest thing that could be right.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use spec::{Digest, VersionRef};
use store::{StoreError, TagMove};

use crate::fixtures::{Home, at, name, publication};

const NAMES: [&str; 3] = ["ant", "bee", "cat"];
const TAGS: [&str; 2] = ["red", "blue"];

/// What somebody tries.
#[derive(Clone, Debug)]
enum Attempt {
    /// Heads by index, to versions by index; `stale` expects a wrong head of the first.
    Publish {
        moves: BTreeMap<usize, usize>,
        stale: bool,
    },
    Tag {
        name: usize,
        tag: usize,
        version: usize,
    },
    Undo {
        name: Option<usize>,
    },
    /// Goes on with a store that has nothing in memory.
    Reopen,
}

fn attempts() -> impl Strategy<Value = Vec<Attempt>> {
    let publish = (
        prop::collection::btree_map(0..NAMES.len(), 0..4_usize, 1..3),
        0..6,
    )
        .prop_map(|(moves, stale)| Attempt::Publish {
            moves,
            stale: stale == 0,
        });
    let tag = (0..NAMES.len(), 0..TAGS.len(), 0..4_usize)
        .prop_map(|(name, tag, version)| Attempt::Tag { name, tag, version });
    let undo = prop::option::of(0..NAMES.len()).prop_map(|name| Attempt::Undo { name });
    let attempt = prop_oneof![
        5 => publish,
        2 => tag,
        4 => undo,
        1 => Just(Attempt::Reopen),
    ];
    prop::collection::vec(attempt, 1..40)
}

/// What points somewhere: a head or a tag.
type Key = (usize, Option<usize>);

/// Changes in order, and whether each is in effect. Everything else follows from them.
#[derive(Debug, Default)]
struct Model {
    changes: Vec<(BTreeMap<Key, usize>, bool)>,
    log: usize,
}

impl Model {
    fn pointers(&self) -> BTreeMap<Key, usize> {
        let in_effect = self.changes.iter().filter(|(_, on)| *on);
        in_effect.flat_map(|(change, _)| change.clone()).collect()
    }

    fn add(&mut self, change: BTreeMap<Key, usize>) {
        self.changes.push((change, true));
        self.log += 1;
    }

    /// The last change in effect; an error when one after it would be torn apart.
    fn undo(&mut self, of: Option<usize>) -> Result<bool, ()> {
        let touches = |change: &BTreeMap<Key, usize>| {
            of.is_none_or(|of| change.keys().any(|(name, _)| *name == of))
        };
        let last = self
            .changes
            .iter()
            .rposition(|(change, on)| *on && touches(change));
        let Some(last) = last else { return Ok(false) };
        let keys: BTreeSet<Key> = self.changes[last].0.keys().copied().collect();
        let mut later = self.changes[last + 1..].iter().filter(|(_, on)| *on);
        if later.any(|(change, _)| change.keys().any(|key| keys.contains(key))) {
            return Err(());
        }
        self.changes[last].1 = false;
        self.log += 1;
        Ok(true)
    }

    fn is_known(&self, of: usize) -> bool {
        self.changes
            .iter()
            .any(|(change, _)| change.keys().any(|(name, _)| *name == of))
    }
}

fn check(home: &Home, store: &store::Store, model: &Model, versions: &[Digest]) {
    let pointers = model.pointers();
    for (index, of) in NAMES.iter().enumerate() {
        let head = store
            .heads()
            .unwrap()
            .into_iter()
            .find(|head| head.name == name(of));
        let expected = pointers
            .get(&(index, None))
            .map(|version| versions[*version]);
        assert_eq!(head.as_ref().map(|head| head.digest), expected, "{of}");
        let resolved = store.resolve(&VersionRef::Head(name(of)));
        assert_eq!(resolved.ok().map(|resolved| resolved.digest), expected);
        for (number, tag) in TAGS.iter().enumerate() {
            let resolved = store.resolve(&VersionRef::Tag(name(of), (*tag).to_owned()));
            let expected = pointers
                .get(&(index, Some(number)))
                .map(|version| versions[*version]);
            assert_eq!(
                resolved.ok().map(|resolved| resolved.digest),
                expected,
                "{of}:{tag}"
            );
        }
        if let Some(head) = head {
            let all = model.changes.iter().flat_map(|(change, _)| change);
            let ever: BTreeSet<_> = all
                .filter(|((of, _), _)| *of == index)
                .map(|(_, version)| version)
                .collect();
            assert_eq!(head.versions, ever.len());
        }
    }
    assert_eq!(
        store.log(None).unwrap().len(),
        model.log,
        "{}",
        home.store.root().display()
    );
}

fn attempt(
    store: &store::Store,
    model: &mut Model,
    versions: &[Digest],
    number: i64,
    attempt: &Attempt,
) {
    let pointers = model.pointers();
    let head = |of: usize| pointers.get(&(of, None)).map(|version| versions[*version]);
    match attempt {
        Attempt::Publish { moves, stale } => {
            let mut wanted: Vec<_> = moves
                .iter()
                .map(|(of, to)| (NAMES[*of], head(*of), versions[*to]))
                .collect();
            if *stale {
                let wrong = [None, Some(versions[0]), Some(versions[1])];
                let (_, from, to) = &mut wanted[0];
                let other = wrong
                    .into_iter()
                    .find(|one| one != from && *one != Some(*to));
                *from = other.unwrap();
            }
            let result = store.publish(publication(&wanted));
            if wanted.iter().any(|(_, from, to)| *from == Some(*to)) {
                assert!(
                    matches!(result, Err(StoreError::Refused { .. })),
                    "{result:?}"
                );
            } else if *stale {
                assert!(
                    matches!(result, Err(StoreError::HeadMoved { .. })),
                    "{result:?}"
                );
            } else {
                result.unwrap();
                model.add(moves.iter().map(|(of, to)| ((*of, None), *to)).collect());
            }
        }
        Attempt::Tag {
            name: of,
            tag,
            version,
        } => {
            let key = (*of, Some(*tag));
            let result = store.tag(
                &name(NAMES[*of]),
                TAGS[*tag],
                &versions[*version],
                at(number),
            );
            if pointers.get(&key) == Some(version) {
                assert!(
                    matches!(result, Err(StoreError::Refused { .. })),
                    "{result:?}"
                );
            } else {
                result.unwrap();
                model.add([(key, *version)].into());
            }
        }
        Attempt::Undo { name: of } => {
            let subject = of.map(|of| name(NAMES[of]));
            let result = store.undo(subject.as_ref(), at(number));
            match (model.undo(*of), result) {
                (Ok(true), Ok(operation)) => {
                    let moved: &[TagMove] = operation.change.tag_moves();
                    assert!(moved.len() + operation.change.head_moves().len() > 0);
                }
                (Ok(false), Err(StoreError::NothingToUndo { .. }))
                | (Err(()), Err(StoreError::UndoBlocked { .. })) => {}
                (Ok(false), Err(StoreError::UnknownName { .. })) => {
                    assert!(of.is_some_and(|of| !model.is_known(of)));
                }
                (expected, result) => panic!("{expected:?}, but {result:?}"),
            }
        }
        Attempt::Reopen => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn any_operations_do_what_the_model_does(attempts in attempts()) {
        let home = Home::new();
        let versions: Vec<Digest> = (0..4).map(|n| home.stage(&n.to_string())).collect();
        let mut model = Model::default();
        let mut store = home.again();
        // It learns of everything from the file, piece by piece.
        let watcher = home.again();
        for (number, one) in (0..).zip(&attempts) {
            if matches!(one, Attempt::Reopen) {
                store = home.again();
            }
            attempt(&store, &mut model, &versions, number, one);
            check(&home, &store, &model, &versions);
            check(&home, &watcher, &model, &versions);
        }
        check(&home, &home.again(), &model, &versions);
        prop_assert_eq!(home.findings(), Vec::<String>::new());
    }
}
