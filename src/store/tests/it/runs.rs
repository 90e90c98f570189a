//! Run records.

use std::fs;

use serde_json::json;
use spec::{Digest, RunId};
use store::{Exchange, RunEnvironment, RunPlace, RunProgram, RunQuery, StoreError, StoreErrorKind};

use crate::fixtures::{Home, content, record, run_id};

#[test]
fn a_record_is_read_back_exactly() {
    let home = Home::new();
    let version = home.stage("1");
    let subagent = record(&home.store, run_id(1), Some(version));
    let mut shell = record(&home.store, run_id(2), None);
    shell.program = RunProgram::Shell {
        command: "ls \u{1b}[31m".to_owned(),
    };
    shell.name = None;
    shell.report.output_tree = None;
    shell.cassette.clear();
    for record in [subagent, shell] {
        let digest = home.store.record_run(&record).unwrap();
        let run = record.report.run.parse().unwrap();
        assert_eq!(home.again().run(&run).unwrap(), record);
        // Again changes nothing.
        assert_eq!(home.store.record_run(&record).unwrap(), digest);
    }
    assert_eq!(home.store.runs().unwrap(), [run_id(2), run_id(1)]);
    assert_eq!(home.findings(), Vec::<String>::new());
}

#[test]
fn a_record_from_elsewhere_is_of_the_version_that_it_comes_with() {
    let home = Home::new();
    let (version, other) = (home.stage("1"), home.stage("2"));
    let own = record(&home.store, run_id(1), Some(version));
    let digest = home.store.record_run(&own).unwrap();
    assert_eq!(
        home.store.receive_run(&digest, &version, |_| true).unwrap(),
        run_id(1)
    );
    let draft = record(&home.store, run_id(2), None);
    let draft = home.store.record_run(&draft).unwrap();
    assert_eq!(
        home.store.receive_run(&draft, &version, |_| true).unwrap(),
        run_id(2)
    );
    for (record, version, is_its) in [
        (digest, other, true),
        (digest, version, false),
        (draft, version, false),
    ] {
        let received = home.store.receive_run(&record, &version, |_| is_its);
        let error = received.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Refused, "{error}");
    }
}

/// Golden: a change of these digests makes recorded runs unreadable under their names.
#[test]
fn the_digests_of_a_record_never_change() {
    let home = Home::new();
    let record = record(&home.store, run_id(1), None);
    let digest = home.store.record_run(&record).unwrap();
    assert_eq!(
        digest.to_string(),
        "sha256:5af77b7719336852f88ca5eaa4e77fb10d330fa592daea2fdf9c054cc5447a85"
    );
    let bytes = home.store.get(&digest).unwrap();
    let json: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
    assert_eq!(
        json["cassette"],
        "sha256:137a17794c3786c769e0012d2cd155ac4ae0243db11223d63fee03a8103d3b75"
    );
    assert_eq!(
        fs::read_to_string(home.path(&format!("runs/{}", run_id(1)))).unwrap(),
        format!("{digest}\n")
    );
}

/// What was recorded before records said where a sandbox came from is read as it was: the digest is
/// that of such a record.
#[test]
fn older_records_are_read() {
    let home = Home::new();
    let record = record(&home.store, run_id(1), None);
    let bytes = home
        .store
        .get(&home.store.record_run(&record).unwrap())
        .unwrap();
    let mut json: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
    let report = json["report"].as_object_mut().unwrap();
    assert_eq!(report.remove("start"), Some(json!("cold")));
    let older = home
        .store
        .put(&spec::canonical_json(&json).unwrap())
        .unwrap();
    assert_eq!(
        older.to_string(),
        "sha256:434fa7584c04b232a981889e65f5ee5cc43b0443300c5093d44066e847130df8"
    );
    fs::write(
        home.path(&format!("runs/{}", run_id(1))),
        format!("{older}\n"),
    )
    .unwrap();
    assert_eq!(home.again().run(&run_id(1)).unwrap(), record);
}

#[test]
fn numbers_of_the_world_are_kept_exactly() {
    let home = Home::new();
    let mut record = record(&home.store, run_id(1), None);
    let numbers = json!([
        u64::MAX,
        i64::MIN,
        9_007_199_254_740_993_u64,
        1e300,
        0.1,
        -0.0
    ]);
    record.cassette = vec![Exchange::new(
        "llm",
        numbers.clone(),
        numbers,
        std::time::Duration::ZERO,
        0,
        0,
    )];
    home.store.record_run(&record).unwrap();
    assert_eq!(home.store.run(&run_id(1)).unwrap(), record);
}

/// The run took place, so it is recorded whatever it measured.
#[test]
fn measured_numbers_are_capped_and_never_refused() {
    const MOST: u64 = 1 << 53;
    let home = Home::new();
    let mut record = record(&home.store, run_id(1), None);
    record.report.usage.memory_peak_bytes = u64::MAX;
    record.report.usage.wall_ms = 1e300;
    record.report.stdout.bytes = MOST + 1;
    record.report.files[0].size = MOST;
    record.report.outcome = spec::wire::OutcomeJson::OutOfMemory {
        limit_bytes: u64::MAX,
    };
    record.report.usage.skills = [(
        "llm".to_owned(),
        spec::wire::SkillJson {
            calls: u32::MAX,
            input_tokens: u64::MAX,
            output_tokens: MOST - 1,
        },
    )]
    .into();
    record.limits.memory = spec::ByteSize::bytes(u64::MAX);
    record.limits.wall = std::time::Duration::MAX;
    record.cassette[0].duration_ms = u64::MAX;
    record.cassette[0].output_tokens = u64::MAX;
    let digest = home.store.record_run(&record).unwrap();
    assert_eq!(home.store.record_run(&record).unwrap(), digest);

    let mut kept = record;
    kept.report.usage.memory_peak_bytes = MOST;
    kept.report.stdout.bytes = MOST;
    kept.report.outcome = spec::wire::OutcomeJson::OutOfMemory { limit_bytes: MOST };
    kept.report
        .usage
        .skills
        .get_mut("llm")
        .unwrap()
        .input_tokens = MOST;
    kept.limits.memory = spec::ByteSize::bytes(MOST);
    kept.limits.wall = std::time::Duration::from_millis(MOST);
    kept.cassette[0].duration_ms = MOST;
    kept.cassette[0].output_tokens = MOST;
    assert_eq!(home.again().run(&run_id(1)).unwrap(), kept);
    assert_eq!(home.findings(), Vec::<String>::new());
}

#[test]
fn a_run_has_one_record() {
    let home = Home::new();
    let mut record = record(&home.store, run_id(1), None);
    home.store.record_run(&record).unwrap();
    record.engine.push('x');
    let error = home.store.record_run(&record).unwrap_err();
    assert!(matches!(error, StoreError::RunExists { .. }), "{error}");
    record.engine.pop();
    assert_eq!(home.store.run(&run_id(1)).unwrap(), record);
}

#[test]
fn a_record_that_names_what_is_not_there_is_refused() {
    let home = Home::new();
    let good = record(&home.store, run_id(1), None);
    let missing = Digest::of(b"missing");
    let mut bad = Vec::new();
    for field in 0..4 {
        let mut record = good.clone();
        match field {
            0 => record.report.input_tree = missing.to_string(),
            1 => record.report.output_tree = Some(missing.to_string()),
            2 => record.report.version = Some(missing.to_string()),
            _ => {
                record.program = RunProgram::Subagent {
                    source: missing,
                    entry: crate::fixtures::path("main.py"),
                    query: String::new(),
                };
            }
        }
        bad.push(record);
    }
    for record in bad {
        let error = home.store.record_run(&record).unwrap_err();
        assert!(matches!(error, StoreError::BlobMissing { .. }), "{error}");
    }
    let entry = spec::FileEntry {
        path: crate::fixtures::path("lost"),
        size: 1,
        digest: missing,
        executable: false,
    };
    let incomplete = spec::Tree::from_entries(vec![entry]).unwrap().to_bytes();
    for (tree, kind) in [
        (incomplete.as_slice(), StoreErrorKind::NotFound),
        (b"no tree".as_slice(), StoreErrorKind::Refused),
    ] {
        let mut record = good.clone();
        record.report.input_tree = home.store.put(tree).unwrap().to_string();
        let error = home.store.record_run(&record).unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
    }
    let mut record = good.clone();
    record.report.run = "../../etc/passwd".to_owned();
    assert_eq!(
        home.store.record_run(&record).unwrap_err().kind(),
        StoreErrorKind::Refused
    );
    let mut record = good;
    record.report.input_tree = "sha256:../x".to_owned();
    assert_eq!(
        home.store.record_run(&record).unwrap_err().kind(),
        StoreErrorKind::Refused
    );
    assert_eq!(home.store.runs().unwrap(), []);
}

#[test]
fn a_run_is_found_by_the_beginning_of_its_id() {
    let home = Home::new();
    for number in [0x0fff, 0x1000] {
        let record = record(&home.store, run_id(number), None);
        home.store.record_run(&record).unwrap();
    }
    let whole = run_id(0x1000).to_string();
    assert_eq!(home.store.find_run(&whole).unwrap(), run_id(0x1000));
    assert_eq!(home.store.find_run(&whole[..33]).unwrap(), run_id(0x1000));
    let error = home.store.find_run(&whole[..8]).unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Ambiguous);
    assert!(matches!(
        &error,
        StoreError::AmbiguousRun { candidates, .. }
            if *candidates == [run_id(0x1000), run_id(0x0fff)]
    ));
    let error = home.store.find_run("ffff\u{1b}").unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::NotFound);
    assert!(!error.to_string().contains('\u{1b}'));
    let error = home.store.run(&run_id(3)).unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::NotFound);
}

#[test]
fn the_newest_run_is_called_last() {
    let home = Home::new();
    let error = home.store.find_run("last").unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::NotFound);
    for number in [2, 7, 5] {
        let record = record(&home.store, run_id(number), None);
        home.store.record_run(&record).unwrap();
    }
    assert_eq!(home.store.find_run("last").unwrap(), run_id(7));
    // The first digits of an id are a time: fewer than eight name no run.
    let error = home.store.find_run(&run_id(7).to_string()[..7]);
    assert_eq!(error.unwrap_err().kind(), StoreErrorKind::NotFound);
}

#[test]
fn runs_are_listed_page_by_page() {
    let home = Home::new();
    let version = home.store.stage(&content("x = 1")).unwrap().digest();
    for number in 0..10 {
        let of_version = (number % 3 == 0).then_some(version);
        let mut record = record(&home.store, run_id(number), of_version);
        record.name = (number % 2 == 0).then(|| crate::fixtures::name("even"));
        if number % 5 == 0 {
            record.report.outcome = spec::wire::OutcomeJson::Cancelled {};
        }
        record.at = jiff::Timestamp::from_second(1_000 + i64::try_from(number).unwrap()).unwrap();
        home.store.record_run(&record).unwrap();
    }
    let page = |query: &RunQuery| {
        let page = home.store.run_page(query).unwrap();
        let runs = page.runs.iter();
        let runs: Vec<_> = runs.map(|run| run.run.to_string()).collect();
        let numbers: Vec<u32> = runs
            .iter()
            .map(|run| run[run.len() - 1..].parse().unwrap())
            .collect();
        (numbers, page.next)
    };
    let mut query = RunQuery {
        limit: 4,
        ..RunQuery::default()
    };
    let mut all = Vec::new();
    loop {
        let (runs, next) = page(&query);
        all.extend(runs);
        query.before = next;
        if next.is_none() {
            break;
        }
    }
    assert_eq!(all, [9, 8, 7, 6, 5, 4, 3, 2, 1, 0]);
    let wanted = |query: RunQuery| {
        let limit = query.limit.max(10);
        page(&RunQuery { limit, ..query }).0
    };
    let even = RunQuery {
        name: Some(crate::fixtures::name("even")),
        ..RunQuery::default()
    };
    assert_eq!(wanted(even.clone()), [8, 6, 4, 2, 0]);
    let of_version = RunQuery {
        version: Some(version),
        ..RunQuery::default()
    };
    assert_eq!(wanted(of_version.clone()), [9, 6, 3, 0]);
    let name = even.name.clone();
    assert_eq!(wanted(RunQuery { name, ..of_version }), [6, 0]);
    let outcome = Some("cancelled".to_owned());
    assert_eq!(wanted(RunQuery { outcome, ..even }), [0]);
    let since = RunQuery {
        since: Some(jiff::Timestamp::from_second(1_007).unwrap()),
        ..RunQuery::default()
    };
    assert_eq!(wanted(since), [9, 8, 7]);
    // The ids say 2023: what is asked for later than that is not looked for.
    let since = RunQuery {
        since: Some(jiff::Timestamp::from_second(2_000_000_000).unwrap()),
        ..RunQuery::default()
    };
    assert_eq!(wanted(since), Vec::<u32>::new());
}

#[test]
fn a_damaged_record_hides_no_other() {
    let home = Home::new();
    for number in [1, 2] {
        let record = record(&home.store, run_id(number), None);
        home.store.record_run(&record).unwrap();
    }
    fs::write(home.path(&format!("runs/{}", run_id(2))), "nothing\n").unwrap();
    let page = home.store.run_page(&RunQuery {
        limit: 10,
        ..RunQuery::default()
    });
    let page = page.unwrap();
    assert_eq!(page.runs.len(), 1);
    assert_eq!(
        (page.unreadable[0].0, page.unreadable_count),
        (run_id(2), 1)
    );
}

/// Everything that a record can say, pinned: a change of this digest is a change of the format.
#[test]
fn a_whole_record_never_changes() {
    let home = Home::new();
    let version = home.stage("1");
    let mut record = record(&home.store, run_id(1), Some(version));
    record.egress = ["example.org".to_owned()].into();
    record.depends = [(crate::fixtures::name("helper"), version)].into();
    record.determinism = spec::Determinism {
        clock_ms: Some(1_767_225_600_000),
        seed: Some(u32::MAX),
    };
    record.place = RunPlace {
        runtime: Some("runc".to_owned()),
        python: Some("3.13.5".to_owned()),
        harness: Some(Digest::of(b"harness")),
        environment: Some(RunEnvironment {
            key: Digest::of(b"key"),
            layer: home.store.put(b"layer").unwrap(),
        }),
    };
    let digest = home.store.record_run(&record).unwrap();
    assert_eq!(home.again().run(&run_id(1)).unwrap(), record);
    assert_eq!(
        digest.to_string(),
        "sha256:7ce2680a24c06ef200f7b7732ba19c8f45d0b76230f64df7ecb475af32b81b01"
    );
    let closure = home.store.run_closure(&run_id(1)).unwrap();
    assert_eq!(closure.depends, [version]);
    assert!(
        closure
            .blobs
            .iter()
            .any(|blob| blob.digest == Digest::of(b"layer"))
    );
    assert_eq!(home.findings(), Vec::<String>::new());
    // What it names must be there.
    record.report.run = run_id(2).to_string();
    record.depends = [(crate::fixtures::name("helper"), Digest::of(b"gone"))].into();
    let error = home.store.record_run(&record).unwrap_err();
    assert!(matches!(error, StoreError::BlobMissing { .. }), "{error}");
}

fn numbers(home: &Home, query: &RunQuery) -> Vec<u32> {
    let page = home.again().run_page(query).unwrap();
    let last = |run: RunId| u32::from_str_radix(&run.to_string()[30..], 16).unwrap();
    page.runs.iter().map(|run| last(run.run)).collect()
}

/// Filters are answered by the index, which follows what is recorded, collected and damaged.
#[test]
fn filters_follow_the_folder_of_runs() {
    let home = Home::new();
    let rare = RunQuery {
        name: Some(crate::fixtures::name("rare")),
        limit: 10,
        ..RunQuery::default()
    };
    let add = |number: u32, named: &str| {
        let mut record = record(&home.store, run_id(u128::from(number)), None);
        record.name = Some(crate::fixtures::name(named));
        home.store.record_run(&record).unwrap();
    };
    assert_eq!(numbers(&home, &rare), [0; 0]);
    for number in 1..200 {
        add(number, if number % 50 == 0 { "rare" } else { "often" });
    }
    assert_eq!(numbers(&home, &rare), [150, 100, 50]);
    // One from a clock that went back, one that is gone, one that another process wrote.
    add(0, "rare");
    fs::remove_file(home.path(&format!("runs/{}", run_id(100)))).unwrap();
    assert_eq!(numbers(&home, &rare), [150, 50, 0]);
    // The index is a view: it may vanish, or be something else.
    fs::remove_file(home.path("index.db")).unwrap();
    assert_eq!(numbers(&home, &rare), [150, 50, 0]);
    fs::write(home.path("index.db"), b"not a database").unwrap();
    assert_eq!(numbers(&home, &rare), [150, 50, 0]);
    // A page ends where the next one begins, and the last says that there is none.
    let mut page = RunQuery {
        limit: 2,
        ..rare.clone()
    };
    let first = home.store.run_page(&page).unwrap();
    assert_eq!(first.next, Some(run_id(50)));
    page.before = first.next;
    let second = home.store.run_page(&page).unwrap();
    assert_eq!((second.runs.len(), second.next), (1, None));
    // A record that cannot be read may be wanted: it is told, once it is indexed and before.
    let damaged = home.path(&format!("runs/{}", run_id(77)));
    fs::write(&damaged, "nothing\n").unwrap();
    fs::remove_file(home.path("index.db")).unwrap();
    for _ in 0..2 {
        let page = home.again().run_page(&rare).unwrap();
        assert_eq!(page.runs.len(), 3);
        assert_eq!(
            (page.unreadable[0].0, page.unreadable_count),
            (run_id(77), 1)
        );
    }
    fs::remove_file(&damaged).unwrap();
    assert_eq!(numbers(&home, &rare), [150, 50, 0]);
    assert_eq!(home.findings(), [] as [String; 0]);
}

#[test]
fn a_table_of_runs_that_says_something_else_is_found() {
    let home = Home::new();
    for number in 1..4 {
        let record = record(&home.store, run_id(number), None);
        home.store.record_run(&record).unwrap();
    }
    let wanted = RunQuery {
        outcome: Some("completed".to_owned()),
        limit: 10,
        ..RunQuery::default()
    };
    assert_eq!(numbers(&home, &wanted), [3, 2, 1]);
    for sql in [
        "UPDATE runs SET name = 'other'",
        "UPDATE runs SET at = at + 1",
        "UPDATE runs SET version = 'sha256:' || hex(zeroblob(32))",
        "INSERT INTO runs VALUES ('f', 1, NULL, NULL, NULL)",
    ] {
        let tables = rusqlite::Connection::open(home.path("index.db")).unwrap();
        tables.execute(sql, []).unwrap();
        drop(tables);
        let report = home.again().fsck(&mut |_| {}).unwrap();
        if sql.starts_with("INSERT") && report.findings.is_empty() {
            // No run has that name: reading on took it for one that is gone.
            continue;
        }
        assert_eq!(report.findings[0].path, home.path("index.db"), "{sql}");
        assert!(report.findings[0].hint().contains("reindex"), "{sql}");
        home.store.reindex().unwrap();
        assert_eq!(home.findings(), [] as [String; 0], "{sql}");
        assert_eq!(numbers(&home, &wanted), [3, 2, 1]);
    }
}
