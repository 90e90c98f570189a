//! Recorded runs, and versions, again: bit for bit, with everything outside gone.

use std::fs;
use std::process::{Child, Stdio};
use std::sync::Mutex;

use serde_json::{Value, json};
use testkit::{EndpointProtocol, EndpointReply, Finished, ModelEndpoint, Site, TestEnv};

/// Of each of the five kinds.
const RUNS: usize = 10;

/// Every way to ask the clock and chance.
const PURE: &str = r"
import datetime, json, random, time, uuid
def main(query):
    seen = [hash(query), sorted({query, 'b', 'c'}), str(datetime.datetime.now()), time.strftime('%F %T'),
            str(datetime.date.today()), random.random(), random.Random().random()]
    time.sleep(0.001)
    seen.append(time.time_ns())
    print(seen, time.ctime())
    if query.endswith('7'):
        raise ValueError(query)
    return {'answer': seen, 'summary': query}
";
const TOOLS: &str = r"
from tools import execute_shell_command
def main(query):
    first = execute_shell_command(f'echo {query} | tee out-{query}.txt; echo problem >&2; exit 3')
    return {'answer': [first, execute_shell_command(f'cat out-{query}.txt; rm -rf /etc')]}
";
const MODEL: &str = r"
from concurrent.futures import ThreadPoolExecutor
from llm import call_llm
def main(query):
    first = call_llm('You count.', [{'role': 'user', 'content': query}])
    with ThreadPoolExecutor(4) as pool:
        more = list(pool.map(lambda n: call_llm('You count.', f'{query} {n}'), range(4)))
    return {'answer': [first] + more}
";
const EGRESS: &str = r"
import urllib.request, urllib.error
def get(url, data=None):
    try:
        with urllib.request.urlopen(url, data, timeout=30) as r:
            return [r.status, r.read().decode()]
    except urllib.error.HTTPError as e:
        return [e.code, e.read().decode()]
def main(query):
    seen = [get(f'http://plain.test/{query}'), get(f'https://secure.test/{query}'),
            get('https://secure.test/echo', query.encode()), get(f'http://plain.test/{query}'),
            get('http://ungranted.test/')]
    return {'answer': seen}
";
const FILES: &str = r"
import os, pathlib
def main(query):
    here = pathlib.Path('.')
    text = ''.join(sorted(p.read_text() for p in here.rglob('*.txt')))
    (here / 'made').mkdir()
    for n in range(20):
        (here / 'made' / f'{n}.bin').write_bytes(os.fsencode(f'{query} {n}') * 1000)
    (here / 'old.txt').unlink()
    os.symlink('x', 'link')
    os.chmod('in/keep.txt', 0o755)
    os.write(1, b'\xff\xfe not text')
    return {'answer': text}
";

/// A pool process, ended with the test: it makes the runs short.
struct Pool(Child);

impl Pool {
    fn start(env: &TestEnv) -> Self {
        let mut pool = env.command(["pool", "--json", "--keep", "4"]);
        let pool = pool.stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
        let mut pool = pool.unwrap();
        let mut line = String::new();
        let out = pool.stdout.take().unwrap();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(out), &mut line).unwrap();
        Self(pool)
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// What each run of a kind is asked with.
struct Kind {
    file: &'static str,
    flags: Vec<String>,
}

fn kinds(env: &TestEnv) -> Vec<Kind> {
    for (file, source) in [
        ("pure.py", PURE),
        ("tools_run.py", TOOLS),
        ("model.py", MODEL),
        ("egress.py", EGRESS),
        ("files.py", FILES),
    ] {
        env.write(file, source);
    }
    env.write("input/in/keep.txt", "kept\n");
    env.write("input/old.txt", "old\n");
    let kind = |file, flags: &str| Kind {
        file,
        flags: flags.split_whitespace().map(str::to_owned).collect(),
    };
    vec![
        kind("pure.py", "--clock 2026-01-01T00:00:00Z --seed 4294967295"),
        kind("tools_run.py", "--grant shell_command"),
        kind("model.py", "--grant llm --model openai:gpt-test"),
        kind("egress.py", "--egress plain.test --egress secure.test"),
        kind("files.py", "--input input"),
    ]
}

fn agentfactory(env: &TestEnv, arguments: &[&str]) -> Finished {
    env.agentfactory([&["--config", "config.toml"], arguments].concat())
}

/// Calls a function with each item, on two threads.
fn each<T: Sync, R: Send>(items: &[T], call: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let next = Mutex::new(items.iter().enumerate());
    let done = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let item = next.lock().unwrap().next();
                    let Some((number, item)) = item else { return };
                    let result = call(item);
                    done.lock().unwrap().push((number, result));
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap();
    done.sort_by_key(|(number, _)| *number);
    done.into_iter().map(|(_, result)| result).collect()
}

#[test]
fn fifty_recorded_runs_are_the_same_again_when_the_world_is_gone() {
    let Some(env) = TestEnv::with_engine() else {
        return;
    };
    let (plain, secure) = (Site::http(), Site::https(&["secure.test"]));
    let mut count = 0;
    let endpoint = ModelEndpoint::of(EndpointProtocol::OpenAi).answering(move |_| {
        count += 1;
        EndpointReply::text(&format!("answer {count}"))
    });
    let endpoint = endpoint.key("test-key").start();
    let env = env
        .set("OPENAI_API_KEY", "test-key")
        .set("OPENAI_BASE_URL", endpoint.url());
    env.write("ca.pem", secure.authority_pem());
    env.write(
        "config.toml",
        &format!(
            "[egress]\nca_file = 'ca.pem'\n[egress.hosts]\n'plain.test' = '{}'\n'secure.test' = '{}'\n",
            plain.address(),
            secure.address()
        ),
    );
    let pool = Pool::start(&env);
    let kinds = kinds(&env);
    let wanted: Vec<_> = kinds
        .iter()
        .flat_map(|kind| (0..RUNS).map(move |number| (kind, number)))
        .collect();
    let runs = each(&wanted, |(kind, number)| {
        let query = format!("q{number}");
        let mut arguments = vec!["exec", kind.file, &query, "--json"];
        arguments.extend(kind.flags.iter().map(String::as_str));
        let json = agentfactory(&env, &arguments).json();
        let expected = match (kind.file, number) {
            ("pure.py", 7) => "raised",
            _ => "completed",
        };
        assert_eq!(json["outcome"]["kind"], expected, "{json:#}");
        json["run"].as_str().unwrap().to_owned()
    });
    assert_eq!(runs.len(), 5 * RUNS);
    let (asked, hits) = (endpoint.received().len(), plain.hits().len());
    assert_eq!((asked, hits), (5 * RUNS, 2 * RUNS));

    drop((plain, secure, endpoint));
    let again = each(&runs, |run| {
        let again = agentfactory(&env, &["reproduce", run, "--json"]);
        (again.status, again.json())
    });
    for (status, json) in again {
        assert_eq!(
            (status, &json["equal"]),
            (0, &Value::Bool(true)),
            "{json:#}"
        );
        assert_eq!(json["unrecorded"], json!([]));
        assert_eq!(json["notes"], json!([]), "{json:#}");
    }
    // They ran in sandboxes that the pool kept, and the record says in which way.
    let shown = agentfactory(&env, &["runs", "show", &runs[0], "--json"]).json();
    assert_eq!(shown["clock"], "2026-01-01T00:00:00Z");
    assert_eq!(shown["seed"], u32::MAX);
    for known in ["runtime", "python", "harness"] {
        assert!(shown[known].is_string(), "{known}: {shown:#}");
    }
    drop(pool);

    // Pages, names, outcomes.
    let page = |arguments: &[&str]| {
        let arguments = [&["runs", "list", "--json"], arguments].concat();
        let json = agentfactory(&env, &arguments).expect_status(0).json();
        (json["runs"].as_array().unwrap().len(), json["next"].clone())
    };
    let (count, next) = page(&["--limit", "40"]);
    assert_eq!(count, 40);
    assert_eq!(
        page(&["--before", next.as_str().unwrap()]),
        (10, Value::Null)
    );
    assert_eq!(page(&["--outcome", "raised"]), (1, Value::Null));
    assert_eq!(page(&["--name", "nobody"]), (0, Value::Null));
    assert_eq!(page(&["--since", "1h", "-n", "100"]).0, 50);
    let last = agentfactory(&env, &["runs", "show", "last", "--json"]).json();
    let newest = runs.iter().max().unwrap();
    assert_eq!(last["report"]["run"], **newest);
}

/// The wheels come from the package index that pip is configured to use.
#[test]
fn runs_in_an_environment_are_the_same_again_without_the_index() {
    let Some(env) = TestEnv::with_index() else {
        return;
    };
    env.write("config.toml", "");
    let source = "import six\ndef main(query):\n    return {'answer': six.__version__ + query}\n";
    env.write("six_says.py", source);
    let exec = |query: &str| {
        let arguments = [
            "exec",
            "six_says.py",
            query,
            "--requirement",
            "six==1.17.0",
            "--json",
        ];
        agentfactory(&env, &arguments)
    };
    let runs = [exec("a"), exec("b")].map(|run| run.expect_status(0).json());
    assert_eq!(runs[0]["answer"], "1.17.0a");
    let env = env.set("PIP_INDEX_URL", "https://index.invalid/simple");
    for json in runs {
        let run = json["run"].as_str().unwrap();
        let shown = agentfactory(&env, &["runs", "show", run, "--json"]).json();
        assert!(shown["environment"]["layer"].is_string(), "{shown:#}");
        let again = agentfactory(&env, &["reproduce", run, "--json"]).expect_status(0);
        assert_eq!(again.json()["equal"], true);
    }
    agentfactory(&env, &["fsck"]).expect_status(0);

    // What made it is collected; its layer is with the run.
    agentfactory(&env, &["env", "gc"]).expect_status(0);
    let listed = agentfactory(&env, &["env", "list", "--json"]).json();
    assert_eq!(listed, json!([]));
    agentfactory(&env, &["reproduce", "last"]).expect_status(0);
}

#[test]
fn a_record_that_names_another_program_than_its_version_is_refused() {
    let Some(env) = TestEnv::with_engine() else {
        return;
    };
    env.write("config.toml", "");
    let code = |answer: u8| format!("def main(query):\n    return {{'answer': {answer}}}\n");
    let script = json!({"format": 1, "agent": [{"calls": [
        {"tool": "create_subagent", "arguments":
            {"name": "one", "description": "Says 1.", "code": code(1), "skills": []}},
        {"tool": "run_subagent", "arguments": {"name": "one", "query": ""}},
        {"tool": "finish", "arguments": {"answer": "done", "save": [{"name": "one"}]}},
    ]}]});
    let file = env.write("session.yaml", &script.to_string());
    let model = format!("scripted:{}", file.display());
    agentfactory(&env, &["solve", "One.", "--model", &model]).expect_status(0);
    agentfactory(&env, &["run", "one", ""]).expect_status(0);
    agentfactory(&env, &["reproduce", "last"]).expect_status(0);

    // As a registry could send it: all is there, and the program is somebody else's.
    let store = store::Store::ensure(&env.home().join("store")).unwrap();
    let own = store.runs().unwrap()[0];
    let mut record = store.run(&own).unwrap();
    let store::RunProgram::Subagent { source, .. } = &mut record.program else {
        panic!("{record:?}");
    };
    let mut files = store.source(source).unwrap();
    files[0].1 = code(2).into_bytes();
    *source = store.put_source(&files).unwrap();
    let other = "ffffffff-0000-7000-8000-000000000000";
    record.report.run = other.to_owned();
    store.record_run(&record).unwrap();
    let refused = agentfactory(&env, &["reproduce", "last"]).expect_status(4);
    assert!(
        refused.stderr.contains("not the program of"),
        "{}",
        refused.stderr
    );
}

#[test]
fn what_the_clock_and_chance_decide_is_named() {
    let Some(env) = TestEnv::with_engine() else {
        return;
    };
    env.write("a.py", PURE);
    env.write("config.toml", "");
    let exec = |more: &[&str]| {
        let json = agentfactory(&env, &[&["exec", "a.py", "q", "--json"], more].concat());
        json.expect_status(0).json()
    };
    let fixed = ["--clock", "2026-01-01T00:00:00Z", "--seed", "1"];
    let (one, two) = (exec(&fixed), exec(&fixed));
    assert_eq!(one["answer"], two["answer"]);
    let answer: Value = serde_json::from_str(one["answer"].as_str().unwrap()).unwrap();
    assert_eq!(answer[2], "2026-01-01 00:00:00");
    assert_eq!(answer[3], "2026-01-01 00:00:00");
    assert_eq!(answer[4], "2026-01-01");
    // Three readings before it, a millisecond each, and a millisecond of sleep.
    assert_eq!(answer[7], 1_767_225_600_004_000_000_u64);
    assert_ne!(exec(&["--seed", "2"])["answer"], one["answer"]);

    let free = exec(&["--seed", "1"]);
    let again = agentfactory(
        &env,
        &["reproduce", free["run"].as_str().unwrap(), "--json"],
    );
    let again = again.expect_status(1).json();
    assert!(
        again["notes"][0]
            .as_str()
            .unwrap()
            .contains("--clock would"),
        "{again:#}"
    );
    for wrong in [
        ["--clock", "now"],
        ["--seed", "4294967296"],
        ["--clock", "1969-01-01T00:00:00Z"],
    ] {
        agentfactory(&env, &[&["exec", "a.py"], wrong.as_slice()].concat()).expect_status(2);
    }
}

/// A version, and the image that it runs on, in an empty home: the packages of the distribution are
/// fetched once more.
#[test]
fn a_version_and_its_image_are_the_same_from_nothing() {
    let Some(env) = TestEnv::with_engine() else {
        return;
    };
    let script = json!({"format": 1, "agent": [{"calls": [
        {"tool": "create_subagent", "arguments":
            {"name": "echo", "description": "Says it again.", "code": "def main(query):\n    return {'answer': query}\n", "skills": []}},
        {"tool": "run_subagent", "arguments": {"name": "echo", "query": "this"}},
        {"tool": "finish", "arguments": {"answer": "done", "save": [{"name": "echo"}]}},
    ]}]});
    env.write("config.toml", "");
    let file = env.write("session.yaml", &script.to_string());
    let model = format!("scripted:{}", file.display());
    let solved = agentfactory(&env, &["solve", "Echo.", "--model", &model, "--json"]);
    let solved = solved.expect_status(0).json();
    let version = solved["saved"][0]["version"].as_str().unwrap();
    let reference = format!("echo@{version}");
    let again = agentfactory(&env, &["reproduce", &reference, "--json"]).json();
    assert_eq!(again["version"], version);
    let checks = again["checks"].as_array().unwrap();
    let named: Vec<_> = checks
        .iter()
        .map(|check| check["what"].as_str().unwrap())
        .collect();
    assert_eq!(
        named,
        [
            "source",
            "config",
            "manifest",
            "base image",
            "harness",
            "harness layer",
            "image"
        ]
    );
    for check in checks {
        let is_ours =
            ["source", "config", "manifest", "harness"].contains(&check["what"].as_str().unwrap());
        // The distribution may have newer packages than when the base was made; then that is said.
        let is_explained = check["equal"] == true || check["why"].is_string();
        assert!(
            is_explained && (!is_ours || check["equal"] == true),
            "{again:#}"
        );
    }
    let left = fs::read_dir(env.home()).unwrap().flatten();
    let left: Vec<_> = left.map(|entry| entry.file_name()).collect();
    assert!(
        !left
            .iter()
            .any(|name| name.to_string_lossy().starts_with("reproduce-")),
        "{left:?}"
    );
    agentfactory(&env, &["reproduce", "echo@00000000"]).expect_status(3);
    agentfactory(&env, &["reproduce", "nobody"]).expect_status(3);
}
