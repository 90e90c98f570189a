//! Random sequences of all that can be done, beside a collector: what is named stays, with all that belongs to it,
//! and what is not goes. Undoing is [`crate::model`]'s: here the model never has to go back.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proptest::prelude::*;
use spec::{Digest, RunId, VersionRef};
use store::{Document, GcOptions, GcReport, Operation, Store, StoreError, StoreErrorKind};

use crate::fixtures::{Home, at, name, publication, record, run_id};

const NAMES: [&str; 3] = ["ant", "bee", "cat"];
const TAGS: [&str; 2] = ["red", "blue"];
const VERSIONS: usize = 5;

/// What somebody tries: names, tags and versions by index.
#[derive(Clone, Debug)]
enum Attempt {
    /// With a run that speaks for it, or not.
    Publish(usize, usize, bool),
    Tag(usize, usize, usize),
    Untag(usize, usize),
    Pin(usize),
    Unpin(usize),
    Rename(usize, usize),
    Remove(usize),
    Restore(usize, usize),
    Attach(usize),
    RecordRun(usize, usize),
    /// Old runs too, or not.
    Gc(bool),
    Search(usize),
    Reopen,
}

fn attempts() -> impl Strategy<Value = Vec<Attempt>> {
    let (of, tag, version) = (0..NAMES.len(), 0..TAGS.len(), 0..VERSIONS);
    let attempt = prop_oneof![
        6 => (of.clone(), version.clone(), any::<bool>())
            .prop_map(|(of, to, proven)| Attempt::Publish(of, to, proven)),
        3 => (of.clone(), tag.clone(), version.clone())
            .prop_map(|(of, tag, to)| Attempt::Tag(of, tag, to)),
        1 => (of.clone(), tag).prop_map(|(of, tag)| Attempt::Untag(of, tag)),
        1 => of.clone().prop_map(Attempt::Pin),
        2 => of.clone().prop_map(Attempt::Unpin),
        1 => (of.clone(), of.clone()).prop_map(|(from, to)| Attempt::Rename(from, to)),
        3 => of.clone().prop_map(Attempt::Remove),
        3 => (of.clone(), version.clone()).prop_map(|(of, to)| Attempt::Restore(of, to)),
        3 => version.clone().prop_map(Attempt::Attach),
        2 => (of.clone(), version).prop_map(|(of, to)| Attempt::RecordRun(of, to)),
        4 => any::<bool>().prop_map(Attempt::Gc),
        1 => of.prop_map(Attempt::Search),
        1 => Just(Attempt::Reopen),
    ];
    prop::collection::vec(attempt, 1..40)
}

#[derive(Clone, Debug, Default)]
struct Subagent {
    head: Option<Digest>,
    tags: BTreeMap<&'static str, Digest>,
    pinned: bool,
    removed: bool,
    /// What it had since it was removed the last time.
    has: BTreeSet<Digest>,
    /// What it ever had.
    had: BTreeSet<Digest>,
}

impl Subagent {
    /// Of what a removed one had, only what a tag holds stays; the rest may go.
    fn let_go(&mut self) {
        if self.removed {
            let tagged: BTreeSet<Digest> = self.tags.values().copied().collect();
            self.has.retain(|version| tagged.contains(version));
        }
    }
}

/// What holds, said in the simplest way.
#[derive(Debug, Default)]
struct Model {
    subagents: Vec<Subagent>,
    /// Former names too.
    names: BTreeMap<&'static str, usize>,
    /// Each run, its version, and the subagents that it speaks for.
    runs: BTreeMap<RunId, (Digest, Vec<usize>)>,
    attached: BTreeSet<(Digest, Digest)>,
    operations: usize,
    made: u32,
}

impl Model {
    fn find(&self, of: &'static str) -> Option<&Subagent> {
        self.names.get(of).map(|id| &self.subagents[*id])
    }

    fn id(&mut self, of: &'static str) -> usize {
        let next = self.subagents.len();
        let id = *self.names.entry(of).or_insert(next);
        if id == next {
            self.subagents.push(Subagent::default());
        }
        id
    }

    fn subagent(&mut self, of: &'static str) -> &mut Subagent {
        let id = self.id(of);
        &mut self.subagents[id]
    }

    fn take(&mut self, of: &'static str, version: Digest) -> &mut Subagent {
        let subagent = self.subagent(of);
        subagent.has.insert(version);
        subagent.had.insert(version);
        subagent
    }

    /// The versions that no collection may touch.
    fn needed(&self) -> BTreeSet<Digest> {
        let mut needed: BTreeSet<Digest> =
            self.runs.values().map(|(version, _)| *version).collect();
        for subagent in &self.subagents {
            if !subagent.removed {
                needed.extend(&subagent.has);
            }
            let is_new = |tagged: &&Digest| subagent.has.contains(*tagged);
            needed.extend(subagent.tags.values().filter(is_new));
        }
        needed
    }

    fn run(&mut self) -> RunId {
        self.made += 1;
        run_id(u128::from(self.made))
    }
}

fn collect(home: &Home, with_runs: bool) -> GcReport {
    let options = GcOptions {
        now: at(1_000_000),
        grace: Duration::ZERO,
        runs_older_than: with_runs.then_some(Duration::ZERO),
        dry_run: false,
    };
    home.again().gc(&options, &mut |_| {}).unwrap()
}

/// The version of a number, staged by somebody who is gone: nothing but its name holds it.
fn version(home: &Home, number: usize) -> Digest {
    let store = home.again();
    let content = crate::fixtures::content(&format!("x = {number}\n"));
    store.stage(&content).unwrap().digest()
}

/// Tries it, and makes the model follow where it was done.
fn attempt(home: &Home, store: &Store, model: &mut Model, one: &Attempt) {
    let done = match *one {
        Attempt::Publish(of, to, is_proven) => publish(home, store, model, (of, to, is_proven)),
        Attempt::Attach(to) => {
            let to = version(home, to);
            model.made += 1;
            let text = model.made.to_string();
            let document = Document {
                artifact_type: "application/vnd.agentfactory.test",
                media_type: "text/plain",
                bytes: text.as_bytes(),
            };
            let attached = home.again().attach(&to, &document).unwrap();
            model.attached.insert((to, attached.digest));
            return;
        }
        Attempt::RecordRun(of, to) => {
            let to = version(home, to);
            let run = model.run();
            let store = home.again();
            let mut record = record(&store, run, Some(to));
            record.name = Some(name(NAMES[of]));
            store.record_run(&record).unwrap();
            model.runs.insert(run, (to, Vec::new()));
            return;
        }
        Attempt::Gc(with_runs) => return collected(home, model, with_runs),
        Attempt::Search(of) => {
            let found = store.search(NAMES[of], 5, &mut |_| {}).unwrap();
            for one in found {
                let head = store.head(&one.name).unwrap().unwrap();
                assert_eq!((head.name, head.digest), (one.name, one.version));
            }
            return;
        }
        Attempt::Reopen => return,
        _ => change(home, store, model, one),
    };
    match done {
        Ok(_) => model.operations += 1,
        Err(error) => assert!(
            matches!(
                error.kind(),
                StoreErrorKind::NotFound | StoreErrorKind::Refused | StoreErrorKind::Conflict
            ),
            "{one:?}: {error}"
        ),
    }
}

/// Name, version, and whether a run speaks for it.
fn publish(
    home: &Home,
    store: &Store,
    model: &mut Model,
    (of, to, is_proven): (usize, usize, bool),
) -> Result<Operation, StoreError> {
    let of = NAMES[of];
    let to = version(home, to);
    let from = model.find(of).and_then(|found| found.head);
    let mut wanted = publication(&[(of, from, to)]);
    if is_proven {
        let run = model.run();
        store.record_run(&record(store, run, Some(to))).unwrap();
        model.runs.insert(run, (to, Vec::new()));
        wanted.evidence = vec![run];
    }
    let evidence = wanted.evidence.clone();
    let is_free = from != Some(to) && model.find(of).is_none_or(|found| !found.pinned);
    let done = store.publish(wanted);
    assert_eq!(done.is_ok(), is_free, "{of}: {done:?}");
    if done.is_ok() {
        let subagent = model.take(of, to);
        (subagent.head, subagent.removed) = (Some(to), false);
        let id = model.id(of);
        for run in evidence {
            model.runs.entry(run).and_modify(|(_, of)| of.push(id));
        }
    }
    done
}

/// What moves a name, a tag or a pin, and is no publication.
fn change(
    home: &Home,
    store: &Store,
    model: &mut Model,
    one: &Attempt,
) -> Result<Operation, StoreError> {
    match *one {
        Attempt::Tag(of, tag, to) => {
            let to = version(home, to);
            let done = store.tag(&name(NAMES[of]), TAGS[tag], &to, at(1));
            if done.is_ok() {
                let subagent = model.take(NAMES[of], to);
                subagent.tags.insert(TAGS[tag], to);
                subagent.let_go();
            }
            done
        }
        Attempt::Untag(of, tag) => {
            let done = store.untag(&name(NAMES[of]), TAGS[tag], at(1));
            if done.is_ok() {
                let subagent = model.subagent(NAMES[of]);
                assert!(subagent.tags.remove(TAGS[tag]).is_some());
                subagent.let_go();
            }
            done
        }
        Attempt::Pin(of) | Attempt::Unpin(of) => {
            let pinned = matches!(one, Attempt::Pin(_));
            let of = NAMES[of];
            let done = if pinned {
                store.pin(&name(of), at(1))
            } else {
                store.unpin(&name(of), at(1))
            };
            if done.is_ok() {
                model.subagent(of).pinned = pinned;
            }
            done
        }
        Attempt::Rename(from, to) => {
            let (from, to) = (NAMES[from], NAMES[to]);
            let done = store.rename(&name(from), &name(to), at(1));
            if done.is_ok() {
                let id = model.names[from];
                assert!(model.names.get(to).is_none_or(|taken| *taken == id));
                model.names.insert(to, id);
            }
            done
        }
        Attempt::Remove(of) => {
            let done = store.remove(&name(NAMES[of]), at(1));
            if done.is_ok() {
                let subagent = model.subagent(NAMES[of]);
                assert!(!subagent.pinned && subagent.head.is_some());
                (subagent.head, subagent.removed) = (None, true);
                subagent.let_go();
            }
            done
        }
        Attempt::Restore(of, to) => {
            // It is not made anew: what was collected is gone.
            let to = version_digest(to);
            let done = store.restore(&name(NAMES[of]), &to, at(1));
            if done.is_ok() {
                let subagent = model.take(NAMES[of], to);
                (subagent.head, subagent.removed) = (Some(to), false);
            }
            done
        }
        _ => unreachable!("{one:?} changes no name"),
    }
}

/// The digest of a version that is not staged for it.
fn version_digest(number: usize) -> Digest {
    let elsewhere = Home::new();
    version(&elsewhere, number)
}

/// Collects, and looks whether what is named is there and the rest is gone.
fn collected(home: &Home, model: &mut Model, with_runs: bool) {
    collect(home, with_runs);
    let store = home.again();
    if with_runs {
        let removed: Vec<bool> = model.subagents.iter().map(|one| one.removed).collect();
        let stays = |(_, of): &(Digest, Vec<usize>)| of.iter().any(|id| !removed[*id]);
        for (run, about) in &model.runs {
            assert_eq!(store.has_run(run).unwrap(), stays(about), "{run}");
        }
        model.runs.retain(|_, about| stays(about));
    }
    for run in model.runs.keys() {
        store.run(run).unwrap();
    }
    let needed = model.needed();
    for version in &needed {
        store.version(version).unwrap();
    }
    for (subject, digest) in &model.attached {
        let all = store.attachments(subject).unwrap();
        let is_there = all.iter().any(|one| one.digest == *digest);
        let is_kept = store.contains(subject).unwrap();
        assert_eq!(is_there, is_kept, "{subject}");
        assert!(is_kept || !needed.contains(subject), "{subject}");
    }
    model
        .attached
        .retain(|(subject, _)| store.contains(subject).unwrap());
    assert_eq!(home.findings(), Vec::<String>::new());
    drop(store);
    assert_eq!(collect(home, with_runs).removed.blobs, 0);
}

fn check(store: &Store, model: &Model) {
    for of in NAMES {
        let head = store.head(&name(of)).unwrap();
        let expected = model.find(of).and_then(|found| found.head);
        assert_eq!(head.as_ref().map(|head| head.digest), expected, "{of}");
        if let (Some(head), Some(found)) = (head, model.find(of)) {
            assert_eq!(head.is_pinned, found.pinned, "{of}");
            assert_eq!(head.versions, found.had.len(), "{of}");
        }
        for tag in TAGS {
            let resolved = store.resolve(&VersionRef::Tag(name(of), tag.to_owned()));
            let expected = model.find(of).and_then(|found| found.tags.get(tag));
            assert_eq!(
                resolved.ok().map(|one| one.digest).as_ref(),
                expected,
                "{of}:{tag}"
            );
        }
    }
    assert_eq!(store.log(None).unwrap().len(), model.operations);
    assert_eq!(store.runs().unwrap().len(), model.runs.len());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20))]

    #[test]
    fn what_is_named_stays_and_the_rest_goes(attempts in attempts()) {
        let home = Home::new();
        let mut model = Model::default();
        let mut store = home.again();
        let watcher = home.again();
        for one in &attempts {
            if matches!(one, Attempt::Reopen | Attempt::Gc(_)) {
                // What it put is its own no longer.
                drop(store);
                store = home.again();
            }
            attempt(&home, &store, &mut model, one);
            check(&store, &model);
            check(&watcher, &model);
        }
        drop((store, watcher));
        collected(&home, &mut model, true);
        check(&home.again(), &model);
    }
}
