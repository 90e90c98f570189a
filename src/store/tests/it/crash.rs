//! Killed at any moment, a writer loses nothing that it was told is saved.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use spec::{Digest, RunId};
use store::{GcOptions, Store, StoreError, StoreErrorKind};
use testkit::{Writer, pass_a_moment, random, say};

use crate::fixtures::{at, by, content, name, publication, record};

/// Not a test: the writer that the others start and kill. It says what was acknowledged.
#[test]
#[ignore = "started by the tests beside it, with a store on its standard input"]
fn writes_until_it_is_killed() {
    let Some(root) = testkit::given() else { return };
    let store = Store::ensure(Path::new(&root)).unwrap();
    loop {
        let source = format!("x = {}\n{}", random(u64::MAX), "#".repeat(20_000));
        let to = store.stage(&content(&source)).unwrap().digest();
        let uuid = u128::from(random(u64::MAX)) << 64 | u128::from(random(u64::MAX));
        let run = RunId::from_uuid(uuid::Uuid::from_u128(uuid));
        store.record_run(&record(&store, run, Some(to))).unwrap();
        say(format_args!("run {run}"));
        let from = store.head(&name("ant")).unwrap().map(|head| head.digest);
        // Both heads move together, or none does.
        let mut wanted = publication(&[("ant", from, to), ("bee", from, to)]);
        wanted.evidence = vec![run];
        match store.publish(wanted) {
            Ok(operation) => say(format_args!("operation {} {}", operation.seq, operation.id)),
            Err(StoreError::HeadMoved { .. }) => {}
            Err(error) => panic!("{error}"),
        }
        let ant = name("ant");
        let other = format!("ant-{}", random(1_000_000)).parse().unwrap();
        let tag = format!("t{}", random(4));
        let done = match random(12) {
            0 | 1 => store.undo(None, at(1)),
            2 | 3 => store.tag(&ant, &tag, &to, at(1)),
            4 => store.untag(&ant, &tag, at(1)),
            5 => store.pin(&name("cat"), by("pinned")),
            6 => store.unpin(&name("cat"), by("let go")),
            7 => store.rename(&name("cat"), &other, by("renamed")),
            8 => store.remove(&name("cat"), by("removed")),
            9 => store.restore(&name("cat"), &to, by("restored")),
            10 => store.publish(publication(&[("cat", None, to)])),
            // The index can go at any time.
            11 => {
                drop(std::fs::remove_file(store.root().join("index.db")));
                continue;
            }
            _ => continue,
        };
        match done {
            Ok(operation) => say(format_args!("operation {} {}", operation.seq, operation.id)),
            Err(error) if error.kind() == StoreErrorKind::Corrupt => panic!("{error}"),
            Err(error) => say(format_args!("refused {error}")),
        }
    }
}

/// Not a test: collects without pause, whatever the writers beside it are at.
#[test]
#[ignore = "started by the tests beside it, with a store on its standard input"]
fn collects_until_it_is_killed() {
    let Some(root) = testkit::given() else { return };
    let store = Store::ensure(Path::new(&root)).unwrap();
    loop {
        let options = GcOptions {
            now: Timestamp::now(),
            grace: Duration::ZERO,
            runs_older_than: None,
            dry_run: false,
        };
        store.gc(&options, &mut |_| {}).unwrap();
        say(format_args!("collected"));
    }
}

#[derive(Default)]
struct Heard {
    operations: BTreeMap<u64, Digest>,
    runs: Vec<RunId>,
}

impl Heard {
    fn take(&mut self, line: &str) {
        match line.split_whitespace().collect::<Vec<_>>()[..] {
            ["run", run] => self.runs.push(run.parse().unwrap()),
            ["operation", seq, id] => {
                let before = self
                    .operations
                    .insert(seq.parse().unwrap(), id.parse().unwrap());
                assert_eq!(before, None, "two operations have the number {seq}");
            }
            _ => {}
        }
    }

    fn check(&self, root: &Path) {
        let store = Store::ensure(root).unwrap();
        let report = store.fsck(&mut |_| {}).unwrap();
        assert_eq!(report.findings, []);
        assert_eq!(report.temporary, 0, "opening removed what the dead left");
        let log = store.log(None).unwrap();
        for (seq, id) in &self.operations {
            let index = usize::try_from(*seq).unwrap() - 1;
            assert_eq!(log[index].id, *id, "operation {seq}");
        }
        for run in &self.runs {
            store.run(run).unwrap();
        }
        let head = |of| store.head(&name(of)).unwrap().map(|head| head.digest);
        assert_eq!(head("ant"), head("bee"));
        store.reindex().unwrap();
        assert_eq!(
            store.log(None).unwrap(),
            log,
            "the index made anew says the same"
        );
    }
}

fn kill_at_random(times: u32) {
    let mut heard = Heard::default();
    let mut directory = tempfile::tempdir().unwrap();
    for time in 0..times {
        // A store does not grow without bound: fsck reads all of it each time.
        if time % 20 == 0 {
            directory = tempfile::tempdir().unwrap();
            heard = Heard::default();
        }
        let root = directory.path().join("store");
        let start = |test: &str| Writer::start(test, root.to_str().unwrap());
        let mut writers: Vec<Writer> = (0..=random(3))
            .map(|_| start("crash::writes_until_it_is_killed"))
            .collect();
        if time % 2 == 0 {
            writers.push(start("crash::collects_until_it_is_killed"));
        }
        for writer in &mut writers {
            writer.hear(random(6), |line| heard.take(line));
        }
        // Any moment of what they do next.
        pass_a_moment();
        for writer in writers {
            writer.kill(|line| heard.take(line));
        }
        heard.check(&root);
    }
}

/// A thousand moments with `AGENTFACTORY_TEST_FULL=1`; some of them each time.
#[test]
fn up_to_four_writers_killed_at_random_moments_lose_nothing() {
    kill_at_random(if testkit::full_counts() { 1_000 } else { 60 });
}
