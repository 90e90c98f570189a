//! Four processes that publish, attach, tag, undo, collect, push and pull, killed at any moment, lose nothing that
//! was acknowledged.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use orchestrator::share::{self, PullRequest, PushRequest};
use orchestrator::trust::TrustPolicy;
use registry::{RegistryOptions, RegistryRef, Repository};
use spec::wire::{RunContext, RunJson};
use spec::{
    Digest, Limits, RunId, RunOutcome, RunReport, RunResult, SubagentName, Tree, WorkspacePath,
};
use store::{
    Document, Exchange, GcOptions, Move, Publication, RunPlace, RunProgram, RunRecord, Store,
    StoreError, StoreErrorKind, VersionContent,
};
use testkit::{RegistryServer, Writer, pass_a_moment, random, say};

/// Processes at once.
const WRITERS: u32 = 4;
/// Rounds with one store; it does not grow without bound, because `fsck` reads all of it each time.
const ROUNDS_OF_A_STORE: u32 = 12;

fn name(text: &str) -> SubagentName {
    text.parse().unwrap()
}

fn at() -> Timestamp {
    // As if clocks jumped: the log does not care.
    Timestamp::from_second(1_767_225_600 - i64::try_from(random(1_000_000)).unwrap()).unwrap()
}

/// A version, which depends on others that have no name as often as not.
fn version(store: &Store) -> Digest {
    let mut depends = BTreeMap::new();
    for below in ["elk", "fox"] {
        if random(2) == 0 {
            depends = [(name(below), stage(store, depends))].into();
        }
    }
    stage(store, depends)
}

fn stage(store: &Store, depends: BTreeMap<SubagentName, Digest>) -> Digest {
    let path = WorkspacePath::from_text("main.py").unwrap();
    let source = format!("x = {}\n{}", random(u64::MAX), "#".repeat(20_000));
    let content = VersionContent {
        entry: path.clone(),
        description: "Counts.".to_owned(),
        files: vec![(path, source.into_bytes())],
        skills: BTreeSet::new(),
        depends,
        egress: BTreeSet::new(),
        limits: None,
        python: "3.13".to_owned(),
        requirements: Vec::new(),
    };
    store.stage(&content).unwrap().digest()
}

fn record(store: &Store, run: RunId, version: Digest) -> RunRecord {
    let tree = store.put(&Tree::default().to_bytes()).unwrap();
    let path = WorkspacePath::from_text("main.py").unwrap();
    let source = store.put_source(&[(path.clone(), b"x = 1\n".to_vec())]);
    let context = RunContext {
        run,
        version: Some(version),
        input_tree: tree,
        output_tree: Some(tree),
        writable_mounts: false,
        replayable: true,
    };
    let report = RunReport {
        outcome: RunOutcome::Completed {
            result: RunResult {
                answer: random(u64::MAX).to_string(),
                summary: String::new(),
            },
        },
        stdout: spec::Captured::default(),
        stderr: spec::Captured::default(),
        changed: Vec::new(),
        removed: Vec::new(),
        left_behind: Vec::new(),
        imports: spec::Imports::NONE,
        usage: spec::RunUsage::default(),
        timings: spec::PhaseTimings::default(),
        place: spec::Place::default(),
    };
    let asked = serde_json::json!({"number": random(u64::MAX)});
    RunRecord {
        at: at(),
        report: RunJson::new(&report, &context),
        name: Some(name("ant")),
        program: RunProgram::Subagent {
            source: source.unwrap(),
            entry: path,
            query: "count".to_owned(),
        },
        grants: [].into(),
        egress: [].into(),
        limits: Limits::default(),
        image: Digest::of(b"image"),
        engine: "none".to_owned(),
        mounts: Vec::new(),
        depends: [].into(),
        determinism: spec::Determinism::default(),
        place: RunPlace::default(),
        cassette: vec![Exchange::new(
            "llm",
            asked.clone(),
            asked,
            Duration::ZERO,
            0,
            0,
        )],
    }
}

async fn repository(place: &RegistryRef) -> Repository {
    let name = place.repository.clone();
    Repository::connect(name, &RegistryOptions::default())
        .await
        .unwrap()
}

fn collect(store: &Store) -> store::GcReport {
    let options = GcOptions {
        now: Timestamp::now(),
        grace: Duration::ZERO,
        runs_older_than: None,
        dry_run: false,
    };
    store.gc(&options, &mut |_| {}).unwrap()
}

/// Not a test: one of the processes that the other starts and kills. It says what was acknowledged.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
#[ignore = "started by the test beside it, with a store and a registry on its standard input"]
async fn writes_until_it_is_killed() {
    let Some(given) = testkit::given() else {
        return;
    };
    let (root, host) = given.split_once('\t').unwrap();
    let store = Store::ensure(Path::new(root)).unwrap();
    loop {
        match random(10) {
            0..3 => publish(&store),
            3..6 => change(&store),
            6 => {
                collect(&store);
                say(format_args!("collected"));
            }
            7 | 8 if !host.is_empty() => push(&store, host).await,
            9 if !host.is_empty() => pull(&store, host).await,
            _ => {}
        }
    }
}

/// Publishes what a run is the evidence of, and says something about it.
fn publish(store: &Store) {
    let to = version(store);
    let uuid = u128::from(random(u64::MAX)) << 64 | u128::from(random(u64::MAX));
    let run = RunId::from_uuid(uuid::Uuid::from_u128(uuid));
    store.record_run(&record(store, run, to)).unwrap();
    say(format_args!("run {run}"));
    let from = store.head(&name("ant")).unwrap().map(|head| head.digest);
    // Both heads move together, or none does.
    let moves = ["ant", "bee"].map(|of| Move {
        name: name(of),
        from,
        to,
    });
    let wanted = Publication {
        moves: moves.into(),
        at: at(),
        task: None,
        evidence: vec![run],
        note: String::new(),
    };
    match store.publish(wanted) {
        Ok(operation) => say(format_args!("operation {} {}", operation.seq, operation.id)),
        Err(StoreError::HeadMoved { .. }) => return,
        Err(error) => panic!("{error}"),
    }
    let text = random(u64::MAX).to_string();
    let document = Document {
        artifact_type: "application/vnd.agentfactory.test",
        media_type: "text/plain",
        bytes: text.as_bytes(),
    };
    let attached = store.attach(&to, &document).unwrap();
    say(format_args!("attached {to} {}", attached.digest));
}

/// One of all other things that can happen to a name.
fn change(store: &Store) {
    let (ant, cat) = (name("ant"), name("cat"));
    let Some(head) = store.head(&ant).unwrap().map(|head| head.digest) else {
        return;
    };
    let tag = format!("t{}", random(4));
    let other = name(&format!("cat-{}", random(1_000_000)));
    let done = match random(10) {
        0 => store.undo(None, at()),
        1 | 2 => store.tag(&ant, &tag, &head, at()),
        3 => store.untag(&ant, &tag, at()),
        4 => store.pin(&cat, at()),
        5 => store.unpin(&cat, at()),
        6 => store.rename(&cat, &other, at()),
        7 => store.remove(&cat, at()),
        8 => store.restore(&cat, &head, at()),
        _ => store.publish(Publication {
            moves: vec![Move {
                name: cat,
                from: None,
                to: version(store),
            }],
            at: at(),
            task: None,
            evidence: Vec::new(),
            note: String::new(),
        }),
    };
    match done {
        Ok(operation) => say(format_args!("operation {} {}", operation.seq, operation.id)),
        Err(error) if error.kind() == StoreErrorKind::Corrupt => panic!("{error}"),
        Err(error) => say(format_args!("refused {error}")),
    }
}

async fn push(store: &Store, host: &str) {
    let store = &std::sync::Arc::new(store.clone());
    let place: RegistryRef = format!("{host}/team/r{}", random(3)).parse().unwrap();
    let request = PushRequest {
        version: "ant".parse().unwrap(),
        to: place.clone(),
        with_cases: random(2) == 0,
        environments: None,
        force: random(2) == 0,
    };
    match share::push(store, &repository(&place).await, &request, &()).await {
        Ok(pushed) => say(format_args!("pushed {place} {}", pushed.version)),
        Err(error) => say(format_args!("refused {error}")),
    }
}

async fn pull(store: &Store, host: &str) {
    let store = &std::sync::Arc::new(store.clone());
    let place: RegistryRef = format!("{host}/team/r{}", random(3)).parse().unwrap();
    let request = PullRequest {
        from: place.clone(),
        name: Some(name(&format!("pulled-{}", random(1_000_000)))),
        with_cases: random(2) == 0,
        force: false,
        trust: TrustPolicy::default(),
        act: at().into(),
    };
    match share::pull(store, &repository(&place).await, &request, &()).await {
        Ok(pulled) => {
            let named = request.name.unwrap();
            say(format_args!("pulled {named} {}", pulled.version));
        }
        Err(error) => say(format_args!("refused {error}")),
    }
}

#[derive(Default)]
struct Heard {
    operations: BTreeMap<u64, Digest>,
    runs: Vec<RunId>,
    attached: Vec<(Digest, Digest)>,
    pulled: Vec<(SubagentName, Digest)>,
    pushed: BTreeMap<Digest, RegistryRef>,
    /// How often each thing was said.
    words: BTreeMap<String, u32>,
}

impl Heard {
    fn take(&mut self, line: &str) {
        let words: Vec<&str> = line.split_whitespace().collect();
        if let Some(first) = words.first() {
            *self.words.entry((*first).to_owned()).or_default() += 1;
        }
        match words[..] {
            ["run", run] => self.runs.push(run.parse().unwrap()),
            ["operation", seq, id] => {
                let known = self
                    .operations
                    .insert(seq.parse().unwrap(), id.parse().unwrap());
                assert_eq!(known, None, "two operations have the number {seq}");
            }
            ["attached", subject, digest] => {
                let attached = (subject.parse().unwrap(), digest.parse().unwrap());
                self.attached.push(attached);
            }
            ["pulled", name, version] => {
                let pulled = (name.parse().unwrap(), version.parse().unwrap());
                self.pulled.push(pulled);
            }
            ["pushed", place, version] => {
                let version = version.parse().unwrap();
                self.pushed.insert(version, place.parse().unwrap());
            }
            _ => {}
        }
    }

    /// That all that was acknowledged is there.
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
        for (subject, digest) in &self.attached {
            // The version is in the history of `ant`, which nobody removes.
            let all = store.attachments(subject).unwrap();
            assert!(all.iter().any(|one| one.digest == *digest), "{subject}");
        }
        for (name, version) in &self.pulled {
            let seen = store.log(Some(name)).unwrap();
            let moves = seen.iter().flat_map(|one| one.change.head_moves());
            assert!(moves.into_iter().any(|one| one.to == Some(*version)));
        }
        let head = |of| store.head(&name(of)).unwrap().map(|head| head.digest);
        assert_eq!(head("ant"), head("bee"));
    }

    /// That a collection leaves nothing for another one, and nothing grows.
    fn check_collected(&self, root: &Path) {
        let store = Store::ensure(root).unwrap();
        let first = collect(&store);
        let second = collect(&store);
        assert_eq!(second.removed.blobs, 0);
        assert_eq!(second.before, first.after());
        assert_eq!(second.leased.blobs + second.young.blobs, 0, "{second:?}");
        for folder in ["tmp", "leases"] {
            let left = std::fs::read_dir(root.join(folder)).unwrap().count();
            assert_eq!(left, 0, "{folder}");
        }
        self.check(root);
    }

    /// That what was pushed can be pulled.
    async fn check_pushed(&self) {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::ensure(&folder.path().join("store")).unwrap();
        let store = std::sync::Arc::new(store);
        for (version, place) in &self.pushed {
            let from: RegistryRef = format!("{}@{version}", place.repository).parse().unwrap();
            let request = PullRequest {
                from: from.clone(),
                name: Some(name(&format!("v{}", &version.hex()[..16]))),
                with_cases: false,
                force: true,
                trust: TrustPolicy::default(),
                act: at().into(),
            };
            let pulled = share::pull(&store, &repository(&from).await, &request, &()).await;
            assert_eq!(pulled.unwrap().version, *version);
        }
        assert_eq!(store.fsck(&mut |_| {}).unwrap().findings, []);
    }
}

/// A thousand processes with `AGENTFACTORY_TEST_FULL=1`; some of them each time.
#[tokio::test(flavor = "multi_thread")]
async fn four_processes_killed_at_random_moments_lose_nothing() {
    let server = RegistryServer::start("");
    let host = server
        .as_ref()
        .map(RegistryServer::host)
        .unwrap_or_default();
    let kills = if testkit::full_counts() { 1_000 } else { 48 };
    let mut heard = Heard::default();
    let mut words: BTreeMap<String, u32> = BTreeMap::new();
    let mut folder = tempfile::tempdir().unwrap();
    let rounds = kills / WRITERS;
    for round in 0..rounds {
        let root = folder.path().join("store");
        let given = format!("{}\t{host}", root.display());
        let start = |_| Writer::start("writes_until_it_is_killed", &given);
        let mut writers: Vec<Writer> = (0..WRITERS).map(start).collect();
        for writer in &mut writers {
            writer.hear(random(5), |line| heard.take(line));
        }
        for writer in writers {
            // Any moment of what it does next.
            pass_a_moment();
            writer.kill(|line| heard.take(line));
        }
        heard.check(&root);
        if round % ROUNDS_OF_A_STORE == ROUNDS_OF_A_STORE - 1 || round == rounds - 1 {
            heard.check_collected(&root);
            heard.check_pushed().await;
            for (word, count) in std::mem::take(&mut heard).words {
                *words.entry(word).or_default() += count;
            }
            folder = tempfile::tempdir().unwrap();
        }
    }
    println!("killed {kills} processes; they said: {words:?}");
    // A round in which nothing happens proves nothing.
    for word in ["operation", "run", "attached", "collected"] {
        assert!(words.contains_key(word), "no process ever said `{word}`");
    }
    if testkit::full_counts() && !host.is_empty() {
        for word in ["pushed", "pulled"] {
            assert!(words.contains_key(word), "no process ever said `{word}`");
        }
    }
}
