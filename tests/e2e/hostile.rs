//! Code that attacks its sandbox: each file of `security` says what it attempts and what must be
//! seen from outside, and this runs it and looks.
//!
//! `AGENTFACTORY_TEST_RUNTIME` names the runtime that sandboxes run under, and
//! `AGENTFACTORY_TEST_CASES` the files to run, by commas. A file may name a runtime that it does not
//! hold under, with the reason; it is then skipped, visibly. With `AGENTFACTORY_TEST_EXCEPTIONS` only
//! those run: one that passes is no exception any more.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::{TcpListener, UdpSocket};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use testkit::{TestEnv, containers, program, repository};

/// Cases that run at once.
const AT_ONCE: usize = 3;
/// The limit of time where a case names none.
const TIMEOUT: &str = "20s";
/// What a run may take beyond its own time, on a busy machine: start, end, collection.
const SLACK: Duration = Duration::from_secs(45);
/// What the engine's client may hold while it runs hostile code.
const CLIENT_KIB: u64 = 512 << 10;
/// The least number of cases; there are more.
const CASES_MIN: usize = 80;
/// A key of the host that no run may show.
const SECRET: &str = "agentfactory-test-secret";
/// What a case attacks, in the order of the README.
const KINDS: [&str; 8] = [
    "escape",
    "protocol",
    "resources",
    "network",
    "theft",
    "results",
    "workspace",
    "time",
];

/// One file of the corpus, by its header.
#[derive(Debug, Default)]
struct Case {
    name: String,
    attempts: String,
    seen: String,
    kind: String,
    flags: Vec<String>,
    /// The run's JSON holds one of these.
    expect: Vec<Value>,
    /// Runtimes under which it does not hold, and why.
    except: BTreeMap<String, String>,
    /// Whether a second run follows, which must look the same.
    twice: bool,
}

impl Case {
    /// Reads the docstring that each file begins with: fields, which may go on in the next line.
    fn parse(name: &str, text: &str) -> Result<Self, String> {
        let header = text
            .strip_prefix("\"\"\"")
            .and_then(|rest| rest.split_once("\"\"\"\n"));
        let (header, _) = header.ok_or("it does not begin with a header")?;
        let mut fields: Vec<(String, String)> = Vec::new();
        for line in header.lines() {
            let known = [
                "Attempts",
                "Seen from outside",
                "Kind",
                "Flags",
                "Expect",
                "Twice",
            ];
            match line.split_once(": ") {
                Some((field, text)) if known.contains(&field) || field.starts_with("Except ") => {
                    fields.push((field.to_owned(), text.to_owned()));
                }
                _ => match fields.last_mut() {
                    Some((_, text)) => *text = format!("{text} {line}"),
                    None => return Err(format!("`{line}` belongs to no field")),
                },
            }
        }
        let mut case = Self {
            name: name.to_owned(),
            ..Self::default()
        };
        for (field, text) in fields {
            match field.as_str() {
                "Attempts" => case.attempts = text,
                "Seen from outside" => case.seen = text,
                "Kind" => case.kind = text,
                "Flags" => case.flags = text.split(' ').map(str::to_owned).collect(),
                "Twice" => case.twice = text == "yes",
                "Expect" => {
                    let value = serde_json::from_str(&text);
                    case.expect
                        .push(value.map_err(|error| format!("`{text}`: {error}"))?);
                }
                _ => {
                    let runtime = field.trim_start_matches("Except ").to_owned();
                    case.except.insert(runtime, text);
                }
            }
        }
        for (what, given) in [
            ("Attempts", !case.attempts.is_empty()),
            ("Seen from outside", !case.seen.is_empty()),
            ("Expect", !case.expect.is_empty()),
            ("Kind", KINDS.contains(&case.kind.as_str())),
        ] {
            if !given {
                return Err(format!("it has no valid `{what}`"));
            }
        }
        Ok(case)
    }

    fn timeout(&self) -> Duration {
        let flag = self.flags.iter().position(|flag| flag == "--timeout");
        let text = flag.map_or(TIMEOUT, |at| self.flags[at + 1].as_str());
        Duration::from_secs(text.trim_end_matches('s').parse().unwrap())
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "tests are configured by their environment"
)]
pub(crate) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

fn corpus() -> PathBuf {
    repository().join("tests/e2e/security")
}

fn cases() -> Vec<Case> {
    let files = std::fs::read_dir(corpus()).unwrap();
    let mut cases: Vec<Case> = files
        .map(|file| file.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "py"))
        .map(|path| {
            let name = path.file_stem().unwrap().to_str().unwrap();
            let text = std::fs::read_to_string(&path).unwrap();
            Case::parse(name, &text).unwrap_or_else(|error| panic!("{name}: {error}"))
        })
        .collect();
    cases.sort_by(|one, other| one.name.cmp(&other.name));
    cases
}

/// What hostile code must not touch, and what tells whether it did.
struct World {
    env: TestEnv,
    runtime: Option<String>,
    /// Words that are in no other place of this machine.
    mark: String,
    canary: PathBuf,
    held: String,
    tcp: TcpListener,
    udp: UdpSocket,
    unix: UnixListener,
    flags: Vec<String>,
}

impl World {
    fn open() -> Option<Self> {
        let env = TestEnv::with_engine()?
            .set("ANTHROPIC_API_KEY", SECRET)
            .set("OPENAI_API_KEY", SECRET);
        let unique = env.scratch().file_name().unwrap().to_str().unwrap();
        let mark = format!("agentfactory-mark-{}", unique.trim_start_matches('.'));
        let held = format!("agentfactory-canary-{}", unique.trim_start_matches('.'));
        let canary = env.write("host/canary.txt", &held);
        env.write(
            "next.py",
            "def main(query):\n    return {'answer': query.upper()}\n",
        );
        let tcp = TcpListener::bind("0.0.0.0:0").unwrap();
        let udp = UdpSocket::bind(tcp.local_addr().unwrap()).unwrap();
        let name = SocketAddr::from_abstract_name(&mark).unwrap();
        let unix = UnixListener::bind_addr(&name).unwrap();
        tcp.set_nonblocking(true).unwrap();
        udp.set_nonblocking(true).unwrap();
        unix.set_nonblocking(true).unwrap();
        let runtime = variable("AGENTFACTORY_TEST_RUNTIME");
        let mut flags = vec!["--json".to_owned()];
        if let Some(runtime) = &runtime {
            let text = format!("[engine]\nruntime = \"{runtime}\"\n");
            let config = env.write("runtime.toml", &text);
            flags.extend(["--config".to_owned(), config.to_str().unwrap().to_owned()]);
        }
        Some(Self {
            env,
            runtime,
            mark,
            canary,
            held,
            tcp,
            udp,
            unix,
            flags,
        })
    }

    /// Runs a file and gives its JSON. The engine's client runs under a limit of its own.
    fn exec(&self, file: &str, query: &str, flags: &[String]) -> Result<Value, String> {
        let arguments = ["exec", file, query].map(str::to_owned);
        let inner = self
            .env
            .command(arguments.iter().chain(&self.flags).chain(flags));
        let mut command = Command::new("sh");
        command
            .args(["-c", "ulimit -d $1 && shift && exec \"$@\"", "sh"])
            .arg(CLIENT_KIB.to_string())
            .arg(program())
            .args(inner.get_args())
            .current_dir(inner.get_current_dir().unwrap());
        for (name, value) in inner.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        let output = command.output().map_err(|error| error.to_string())?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let shown = String::from_utf8_lossy(&output.stderr).into_owned();
        for secret in [SECRET, self.held.as_str()] {
            if text.contains(secret) || shown.contains(secret) {
                return Err(format!("`{secret}` came out"));
            }
        }
        let json: Value = serde_json::from_str(&text)
            .map_err(|error| format!("{error}: status {:?}, `{text}`, `{shown}`", output.status))?;
        let succeeded = json["outcome"]["kind"] == "completed";
        if output.status.code() != Some(i32::from(!succeeded)) {
            return Err(format!(
                "it ended with {:?}: {json:#}\n{shown}",
                output.status
            ));
        }
        Ok(json)
    }

    /// Runs a case, and says what of it is not as it must be.
    fn attack(&self, case: &Case) -> Result<(), String> {
        let file = corpus().join(format!("{}.py", case.name));
        let port = self.tcp.local_addr().unwrap().port();
        let query = json!({"canary": self.canary, "mark": self.mark, "port": port}).to_string();
        let mut flags = case.flags.clone();
        if !flags.iter().any(|flag| flag == "--timeout") {
            flags.extend(["--timeout", TIMEOUT].map(str::to_owned));
        }
        for _ in 0..=usize::from(case.twice) {
            let begun = Instant::now();
            let json = self.exec(file.to_str().unwrap(), &query, &flags)?;
            let took = begun.elapsed();
            if took > case.timeout() + SLACK {
                return Err(format!("it took {took:?}"));
            }
            if !case.expect.iter().any(|expected| holds(&json, expected)) {
                return Err(format!("expected {:#?}, got {json:#}", case.expect));
            }
            let run = json["run"].as_str().unwrap_or_default();
            let left = containers(&format!("agentfactory.run={run}"));
            if !left.is_empty() {
                return Err(format!("its sandbox {left:?} is still there"));
            }
            // What a host shows of it is printable, whatever it was.
            let listed = ["files", "left_behind"].map(|field| json[field].as_array().unwrap());
            for entry in listed.into_iter().flatten() {
                let path = entry["path"].as_str().unwrap();
                if path.chars().any(char::is_control) {
                    return Err(format!("it is listed as {path:?}"));
                }
            }
        }
        Ok(())
    }

    /// What nobody may have touched.
    fn check(&self) -> Result<(), String> {
        let next = self.env.scratch().join("next.py");
        let next = self.exec(next.to_str().unwrap(), "works", &[])?;
        if next["answer"] != "WORKS" {
            return Err(format!("the next run does not work: {next:#}"));
        }
        if std::fs::read_to_string(&self.canary).ok().as_ref() != Some(&self.held) {
            return Err("a file of the host was changed".to_owned());
        }
        let folder = std::fs::read_dir(self.canary.parent().unwrap()).unwrap();
        if folder.count() != 1 {
            return Err("a file was made on the host".to_owned());
        }
        if self.tcp.accept().is_ok() || self.unix.accept().is_ok() {
            return Err("a listener of the host was reached".to_owned());
        }
        if self.udp.recv_from(&mut [0]).is_ok() {
            return Err("a datagram reached the host".to_owned());
        }
        Ok(())
    }

    /// Processes of the host that carry the mark; only while no case runs.
    fn left_processes(&self) -> Vec<String> {
        let processes = std::fs::read_dir("/proc").unwrap().flatten();
        let texts = processes.filter_map(|process| {
            let path = process.path().join("cmdline");
            let text = String::from_utf8_lossy(&std::fs::read(path).ok()?).replace('\0', " ");
            text.contains(&self.mark).then_some(text)
        });
        texts.collect()
    }
}

/// Whether a value holds all that another says: objects by field, lists one by one.
pub(crate) fn holds(value: &Value, expected: &Value) -> bool {
    match (value, expected) {
        (Value::Object(value), Value::Object(expected)) => expected
            .iter()
            .all(|(name, expected)| value.get(name).is_some_and(|value| holds(value, expected))),
        (Value::Array(value), Value::Array(expected)) => {
            value.len() == expected.len()
                && value
                    .iter()
                    .zip(expected)
                    .all(|(one, other)| holds(one, other))
        }
        _ => value == expected,
    }
}

#[expect(clippy::print_stderr, reason = "a skip must be seen")]
pub(crate) fn skip(what: &str) {
    eprintln!("{what}");
}

/// Runs all cases of one kind, a few at once, and names those that are not as they must be.
fn attack_all(kind: &str) {
    let Some(world) = World::open() else { return };
    let named = variable("AGENTFACTORY_TEST_CASES");
    let named: Option<Vec<&str>> = named.as_deref().map(|names| names.split(',').collect());
    let mut queue: Vec<Case> = cases()
        .into_iter()
        .filter(|case| case.kind == kind)
        .filter(|case| {
            named
                .as_ref()
                .is_none_or(|names| names.contains(&case.name.as_str()))
        })
        .collect();
    let only_exceptions = variable("AGENTFACTORY_TEST_EXCEPTIONS").is_some();
    queue.retain(|case| {
        let reason = world
            .runtime
            .as_ref()
            .and_then(|name| case.except.get(name));
        if let Some(reason) = reason {
            skip(&format!("EXCEPTION: {}: {reason}", case.name));
        }
        reason.is_some() == only_exceptions
    });
    skip(&format!("{kind}: {} files", queue.len()));
    // The long ones first, so that none is alone at the end.
    queue.sort_by_key(Case::timeout);
    let (queue, failures) = (Mutex::new(queue), Mutex::new(Vec::new()));
    let fail = |name: &str, why: String| failures.lock().unwrap().push(format!("{name}: {why}"));
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                let mut done = Vec::new();
                loop {
                    let next = queue.lock().unwrap().pop();
                    let ended = next.is_none();
                    if let Some(case) = next {
                        if let Err(why) = world.attack(&case) {
                            fail(&case.name, why);
                        }
                        done.push(case.name);
                    }
                    if done.len() == AT_ONCE || (ended && !done.is_empty()) {
                        if let Err(why) = world.check() {
                            fail(&format!("one of {done:?} or beside them"), why);
                        }
                        done.clear();
                    }
                    if ended {
                        break;
                    }
                }
            });
        }
    });
    let mut failures = failures.into_inner().unwrap();
    let left = world.left_processes();
    if !left.is_empty() {
        failures.push(format!("processes are left on the host: {left:?}"));
    }
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}

macro_rules! kinds {
    ($($kind:ident)*) => {$(
        #[test]
        fn $kind() {
            attack_all(stringify!($kind));
        }
    )*};
}

kinds! { escape protocol resources network theft results workspace time }

#[test]
fn the_corpus_is_described() {
    let cases = cases();
    assert!(cases.len() >= CASES_MIN, "{} cases", cases.len());
    let mut text = String::new();
    for kind in KINDS {
        let of_kind: Vec<&Case> = cases.iter().filter(|case| case.kind == kind).collect();
        let files = of_kind.len();
        let head = "| File | Attempts | Seen from outside | Not under |\n|---|---|---|---|";
        writeln!(text, "\n### {kind}: {files} files\n\n{head}").unwrap();
        for case in of_kind {
            let except: Vec<String> = case
                .except
                .iter()
                .map(|(runtime, why)| format!("{runtime}: {why}"))
                .collect();
            let cells = [&case.attempts, &case.seen, &except.join("; ")];
            let cells = cells.map(|cell| cell.replace('|', "\\|")).join(" | ");
            writeln!(text, "| `{}` | {cells} |", case.name).unwrap();
        }
    }
    let path = corpus().join("README.md");
    let readme = std::fs::read_to_string(&path).unwrap();
    let mark =
        "<!-- What follows is made from the files: AGENTFACTORY_UPDATE_CORPUS=1 writes it. -->\n";
    let (above, below) = readme.split_once(mark).expect("the README has its mark");
    if variable("AGENTFACTORY_UPDATE_CORPUS").is_some() {
        std::fs::write(&path, format!("{above}{mark}{text}")).unwrap();
        return;
    }
    assert_eq!(
        below, text,
        "set AGENTFACTORY_UPDATE_CORPUS=1 once to write it"
    );
}

#[test]
fn every_exception_names_a_runtime_that_there_is() {
    let known = BTreeSet::from(["crun", "runsc"]);
    for case in cases() {
        for runtime in case.except.keys() {
            assert!(known.contains(runtime.as_str()), "{}: {runtime}", case.name);
        }
    }
}
