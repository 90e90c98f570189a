//! A pool that other processes use: what they get, what happens when either side dies, and who is
//! turned away.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use testkit::{Finished, TestEnv, containers, full_counts};

/// Nothing that a client does may take longer, whatever happens to the pool.
const HANG: Duration = Duration::from_secs(10);
const NOBODY: u32 = 65_534;

/// A pool process, ended with the test.
struct Pool {
    process: Child,
}

impl Pool {
    /// Starts one and waits until clients can come.
    fn listening(env: &TestEnv, keep: &str) -> Self {
        let mut process = env
            .command(["pool", "--json", "--keep", keep])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let out = process.stdout.take().unwrap();
        BufReader::new(out).read_line(&mut line).unwrap();
        let err = process.stderr.take().unwrap();
        if line.is_empty() {
            let mut said = String::new();
            BufReader::new(err).read_to_string(&mut said).unwrap();
            panic!("the pool did not start: {said}");
        }
        // Whoever writes must not meet a closed pipe.
        std::thread::spawn(move || BufReader::new(err).lines().for_each(drop));
        let begun: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(begun["pid"], process.id());
        Self { process }
    }

    /// The same, until as many wait as it keeps.
    fn warm(env: &TestEnv, keep: &str) -> Self {
        let pool = Self::listening(env, keep);
        eventually("the pool is not warm", || waiting(env).to_string() == keep);
        pool
    }

    fn signal(&self, signal: &str) {
        let pid = self.process.id().to_string();
        let status = Command::new("kill").args([signal, &pid]).status().unwrap();
        assert!(status.success());
    }

    /// Its containers, also after its end.
    fn containers(&self) -> Vec<String> {
        containers_of(self.process.id())
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

fn containers_of(process: u32) -> Vec<String> {
    let is_owner = |id: &String| {
        let format = "{{index .Config.Labels \"agentfactory.owner\"}}";
        let owner = Command::new("docker")
            .args(["inspect", "--format", format, id])
            .output()
            .unwrap();
        let owner = String::from_utf8_lossy(&owner.stdout).into_owned();
        owner.split('/').nth(2) == Some(&process.to_string())
    };
    let all = containers("agentfactory.run");
    all.into_iter().filter(is_owner).collect()
}

/// Waits, within a bound, for a condition that another process brings about.
fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !holds() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::yield_now();
    }
}

fn status(env: &TestEnv) -> Value {
    let finished = env.agentfactory(["pool", "status", "--json"]);
    finished.expect_status(0).json()
}

fn waiting(env: &TestEnv) -> u64 {
    let classes = status(env)["classes"].as_array().unwrap().clone();
    let waiting = classes
        .iter()
        .map(|class| class["waiting"].as_u64().unwrap());
    waiting.sum()
}

fn socket(env: &TestEnv) -> PathBuf {
    env.runtime().join("agentfactory/pool.sock")
}

/// A program that says who it is.
fn program(env: &TestEnv) -> String {
    let source = "import getpass, os\ndef main(q):\n    getpass.getuser()\n    return {'answer': q + str(os.getuid())}\n";
    env.write("who.py", source).display().to_string()
}

fn exec(env: &TestEnv, more: &[&str]) -> Finished {
    let file = program(env);
    let mut arguments = vec!["exec", &file, "", "--json"];
    arguments.extend_from_slice(more);
    env.agentfactory(arguments)
}

/// No lock is held, so nothing of a dead process is in the way of others.
fn assert_all_slots_are_free(env: &TestEnv) {
    for entry in fs::read_dir(env.runtime().join("agentfactory/slots")).unwrap() {
        let path = entry.unwrap().path();
        eventually(&format!("{} is locked", path.display()), || {
            fs::File::open(&path).unwrap().try_lock().is_ok()
        });
    }
}

#[test]
fn a_run_leases_from_the_pool_and_every_home_of_the_user_may() {
    let Some(env) = TestEnv::with_engine() else {
        return;
    };
    let pool = Pool::warm(&env, "2");
    let first = exec(&env, &[]).expect_status(0).json();
    assert_eq!(first["start"], "leased");
    let user: u32 = first["answer"].as_str().unwrap().parse().unwrap();
    assert!((60_578..61_184).contains(&user), "{user}");
    let home = env.scratch().join("another home");
    let home = home.to_str().unwrap();
    let second = exec(&env, &["--home", home]).expect_status(0).json();
    assert_eq!(second["start"], "leased");
    // A user number of its own, as long as the first sandbox may still be on its way out.
    assert_ne!(first["answer"], second["answer"]);
    let finished = env.agentfactory(["shell", "--json", "echo hello"]);
    let shell = finished.expect_status(0).json();
    assert_eq!(shell["stdout"]["text"], "hello\n");
    // Records are like those of any other run.
    let run = first["run"].as_str().unwrap();
    let shown = env
        .agentfactory(["runs", "show", run, "--json"])
        .expect_status(0)
        .json();
    assert!(
        shown["engine"].as_str().unwrap().contains("docker"),
        "{shown}"
    );
    let status = status(&env);
    assert!(status["hits"].as_u64().unwrap() >= 2, "{status}");
    assert_eq!(status["refused"], 0);
    assert_eq!(status["pid"], pool.process.id());
}

#[test]
fn it_starts_under_a_mask_that_lets_the_group_write() {
    let Some(env) = TestEnv::with_engine() else {
        return;
    };
    let under_mask = |arguments: &[&str]| {
        let program = env.command(arguments);
        let mut shell = Command::new("sh");
        shell
            .args(["-c", "umask 002; exec \"$@\"", "sh"])
            .arg(program.get_program())
            .args(program.get_args())
            .current_dir(env.scratch());
        for (name, value) in program.get_envs() {
            match value {
                Some(value) => shell.env(name, value),
                None => shell.env_remove(name),
            };
        }
        shell
    };
    let folder = env.runtime().join("agentfactory");
    let mode = || fs::metadata(&folder).unwrap().mode() & 0o777;
    // It is not there, and then it is as an older program has left it.
    for _ in 0..2 {
        let mut process = under_mask(&["pool", "--json", "--keep", "1"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let out = process.stdout.take().unwrap();
        BufReader::new(out).read_line(&mut line).unwrap();
        assert!(line.contains("pool.sock"), "{line}");
        let stopped = under_mask(&["pool", "stop"]).output().unwrap();
        assert!(stopped.status.success(), "{stopped:?}");
        assert_eq!(process.wait().unwrap().code(), Some(0));
        assert_eq!(mode(), 0o700);
        fs::set_permissions(&folder, PermissionsExt::from_mode(0o775)).unwrap();
    }
}

#[test]
fn what_does_not_fit_starts_its_own() {
    let Some(env) = TestEnv::with_engine() else {
        return;
    };
    let pool = Pool::warm(&env, "1");
    let start = |more: &[&str]| exec(&env, more).expect_status(0).json()["start"].clone();
    assert_eq!(start(&["--no-pool"]), "cold");
    let data = env.scratch().join("data");
    fs::create_dir(&data).unwrap();
    assert_eq!(start(&["--mount", data.to_str().unwrap()]), "cold");
    let config = env.write("config.toml", "[pool]\nuse = false\n");
    assert_eq!(start(&["--config", config.to_str().unwrap()]), "cold");
    assert_eq!(status(&env)["hits"], 0);
    // Other limits are started when they are wanted first, and kept from then on.
    assert_eq!(start(&["--memory", "300M"]), "cold");
    eventually("none of the other limits waits", || waiting(&env) == 2);
    assert_eq!(start(&["--memory", "300M"]), "leased");
    // What the sandbox learns with its run is no limit of the pool's.
    eventually("none waits", || waiting(&env) == 2);
    assert_eq!(
        start(&["--timeout", "20s", "--output-size", "4K"]),
        "leased"
    );
    drop(pool);
    assert_eq!(start(&[]), "cold");
}

#[test]
fn one_pool_at_a_time_and_what_a_dead_one_leaves_is_replaced() {
    let Some(env) = TestEnv::with_engine() else {
        return;
    };
    let finished = env
        .agentfactory(["pool", "status", "--json"])
        .expect_status(3);
    assert_eq!(finished.json()["error"]["code"], "not_found");
    env.agentfactory(["pool", "stop"]).expect_status(3);
    let mut pool = Pool::warm(&env, "1");
    let second = env.agentfactory(["pool", "--json"]).expect_status(4);
    let error = second.json()["error"].clone();
    let pid = pool.process.id().to_string();
    assert!(error["hint"].as_str().unwrap().contains(&pid), "{error}");
    pool.process.kill().unwrap();
    pool.process.wait().unwrap();
    assert!(socket(&env).exists());
    assert_eq!(exec(&env, &[]).expect_status(0).json()["start"], "cold");
    let next = Pool::warm(&env, "1");
    assert_eq!(exec(&env, &[]).expect_status(0).json()["start"], "leased");
    // The reaper of the next one has removed what the first one left.
    assert_eq!(pool.containers(), Vec::<String>::new());
    drop(next);
}

#[test]
fn a_pool_that_is_told_to_end_leaves_nothing() {
    let Some(env) = TestEnv::with_engine() else {
        return;
    };
    for how in ["-TERM", "-INT", "stop"] {
        let mut pool = Pool::warm(&env, "2");
        assert!(!pool.containers().is_empty());
        if how == "stop" {
            let stopped = env
                .agentfactory(["pool", "stop", "--json"])
                .expect_status(0);
            assert_eq!(stopped.json()["stopped"], true);
            assert_eq!(pool.containers(), Vec::<String>::new());
        } else {
            pool.signal(how);
        }
        let ended = pool.process.wait().unwrap();
        assert_eq!(ended.code(), Some(0), "{how}");
        assert_eq!(pool.containers(), Vec::<String>::new(), "{how}");
        assert!(!socket(&env).exists(), "{how}");
    }
    assert_all_slots_are_free(&env);
}

#[test]
fn a_run_goes_on_when_the_pool_is_told_to_end() {
    let Some(env) = TestEnv::with_engine() else {
        return;
    };
    let mut pool = Pool::warm(&env, "1");
    let mut client = start(
        &env,
        "import sys\ndef main(q):\n    print('begun', flush=True)\n    import time; time.sleep(2)\n    return {'answer': 'done'}\n",
    );
    pool.signal("-TERM");
    assert_eq!(finish(&mut client).0, "completed");
    assert_eq!(pool.process.wait().unwrap().code(), Some(0));
    assert_eq!(pool.containers(), Vec::<String>::new());
}

/// Starts a run and waits until its program says `begun`.
fn start(env: &TestEnv, source: &str) -> Child {
    let file = env.write("begins.py", source);
    let mut child = env
        .command(["exec", file.to_str().unwrap(), "q", "--json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let begun = lines
        .by_ref()
        .map(Result::unwrap)
        .any(|line| line.contains("begun"));
    assert!(begun, "the run did not begin");
    std::thread::spawn(move || lines.for_each(drop));
    child
}

/// What a client printed of its run.
fn printed(client: &mut Child) -> Value {
    let mut printed = String::new();
    let mut out = client.stdout.take().unwrap();
    out.read_to_string(&mut printed).unwrap();
    client.wait().unwrap();
    serde_json::from_str(&printed).unwrap_or_else(|_| panic!("{printed}"))
}

/// The outcome of a run, and where it ran.
fn finish(client: &mut Child) -> (String, String) {
    let run = printed(client);
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    (text(&run["outcome"]["kind"]), text(&run["start"]))
}

const ENDLESS: &str = "import time\ndef main(q):\n    print('begun', flush=True)\n    while True:\n        time.sleep(60)\n";

#[test]
fn a_client_that_is_killed_takes_its_sandbox_along() {
    let Some(env) = TestEnv::with_engine() else {
        return;
    };
    let pool = Pool::warm(&env, "1");
    let mut client = start(&env, ENDLESS);
    assert_eq!(status(&env)["leased"], 1);
    client.kill().unwrap();
    client.wait().unwrap();
    let killed = Instant::now();
    eventually("the sandbox stays", || status(&env)["leased"] == 0);
    assert!(killed.elapsed() < HANG);
    // What waits is all that there is.
    eventually("a container is left", || {
        waiting(&env) == 1 && pool.containers().len() == 1
    });
    pool.signal("-TERM");
    drop(pool);
    assert_all_slots_are_free(&env);
}

#[test]
fn interrupting_a_client_ends_its_run_gently() {
    let Some(env) = TestEnv::with_engine() else {
        return;
    };
    let _pool = Pool::warm(&env, "1");
    let mut client = start(&env, ENDLESS);
    let pid = client.id().to_string();
    Command::new("kill").args(["-INT", &pid]).status().unwrap();
    assert_eq!(
        finish(&mut client),
        ("cancelled".to_owned(), "leased".to_owned())
    );
    eventually("the sandbox stays", || status(&env)["leased"] == 0);
}

#[test]
fn a_pool_that_is_killed_at_any_moment_leaves_nothing_and_nobody_hangs() {
    let Some(env) = TestEnv::with_engine() else {
        return;
    };
    let file = program(&env);
    let rounds = if full_counts() { 100 } else { 15 };
    let mut seed = 0x9E37_79B9_u64;
    let (mut pools, mut outcomes) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let mut pool = Pool::listening(&env, "2");
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        // The moment is the point, so this is a wait for nothing.
        let moment = Duration::from_millis((seed >> 33) % 700);
        let clients: Vec<_> = (0..3)
            .map(|_| {
                let mut command = env.command(["exec", &file, "", "--json", "-q"]);
                command.stdout(Stdio::piped()).stderr(Stdio::null());
                command.spawn().unwrap()
            })
            .collect();
        std::thread::sleep(moment);
        pool.process.kill().unwrap();
        pool.process.wait().unwrap();
        let killed = Instant::now();
        for mut client in clients {
            let run = printed(&mut client);
            let took = killed.elapsed();
            assert!(took < HANG, "a client hung: {took:?}, {run:#}");
            outcomes.push(
                run["outcome"]["kind"]
                    .as_str()
                    .unwrap_or_default()
                    .to_owned(),
            );
        }
        pools.push(pool.process.id());
    }
    // They end as they should or say what happened.
    let known = |outcome: &String| matches!(outcome.as_str(), "completed" | "sandbox_lost");
    assert!(outcomes.iter().all(known), "{outcomes:?}");
    assert!(outcomes.iter().any(|outcome| outcome == "completed"));
    // This one reaps.
    exec(&env, &["--no-pool"]).expect_status(0);
    for pool in pools {
        eventually("a container is left", || containers_of(pool).is_empty());
    }
    assert_all_slots_are_free(&env);
}

#[test]
fn whoever_talks_nonsense_or_nothing_is_in_nobodys_way() {
    let Some(env) = TestEnv::with_engine() else {
        return;
    };
    let _pool = Pool::warm(&env, "1");
    let hello = |json: &str| {
        let mut bytes = vec![64];
        bytes.extend_from_slice(&u32::try_from(json.len()).unwrap().to_le_bytes());
        bytes.extend_from_slice(json.as_bytes());
        bytes
    };
    let mut open = Vec::new();
    for bytes in [
        vec![],
        vec![64],
        vec![64, 255, 255, 255, 255],
        vec![0; 4096],
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        hello("{}"),
        hello("{\"protocol\":1,\"want\":{\"sandbox\":{}}}"),
        hello("[[[[[[[[[["),
    ] {
        for _ in 0..5 {
            let mut stream = UnixStream::connect(socket(&env)).unwrap();
            // It may hang up in the middle.
            drop(stream.write_all(&bytes));
            open.push(stream);
        }
    }
    let mut stream = UnixStream::connect(socket(&env)).unwrap();
    stream
        .write_all(&hello("{\"protocol\":7,\"want\":\"status\"}"))
        .unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let answer: Value = serde_json::from_slice(&answer[5..]).unwrap();
    assert_eq!(answer["protocol"]["protocol"], 4);
    assert_eq!(exec(&env, &[]).expect_status(0).json()["start"], "leased");
    drop(open);
}

#[test]
fn other_users_are_turned_away_on_both_sides() {
    let Some(env) = TestEnv::with_engine() else {
        return;
    };
    if fs::metadata(env.scratch()).unwrap().uid() != 0 {
        // Only root can be another user.
        return;
    }
    let pool = Pool::warm(&env, "1");
    // As if somebody had opened the way to the socket.
    let open = |path: PathBuf| fs::set_permissions(path, PermissionsExt::from_mode(0o777)).unwrap();
    let open_the_way = || {
        let socket = socket(&env);
        let ways = socket.ancestors().skip(1);
        for way in ways.take_while(|way| way.starts_with(env.scratch())) {
            open(way.to_owned());
        }
    };
    open_the_way();
    open(socket(&env));
    let ask = "import socket, sys\ns = socket.socket(socket.AF_UNIX)\ns.connect(sys.argv[1])\n\
               try:\n    s.sendall(b'@\\x1e\\0\\0\\0{\"protocol\":1,\"want\":\"status\"}'[:35])\n\
               except OSError: pass\ntry: print(len(s.recv(9)))\nexcept OSError: print(0)";
    let asked = Command::new("python3")
        .args(["-c", ask, socket(&env).to_str().unwrap()])
        .uid(NOBODY)
        .gid(NOBODY)
        .current_dir("/")
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&asked.stdout), "0\n", "{asked:?}");
    assert_eq!(exec(&env, &[]).expect_status(0).json()["start"], "leased");
    drop(pool);

    // The command has closed the way again. Somebody else's process in the pool's place:
    let mode = fs::metadata(socket(&env).parent().unwrap()).unwrap().mode();
    assert_eq!(mode & 0o777, 0o700);
    fs::remove_file(socket(&env)).unwrap();
    open_the_way();
    let listen = "import socket, sys\ns = socket.socket(socket.AF_UNIX)\ns.bind(sys.argv[1])\n\
                  s.listen()\nprint('ready', flush=True)\nc = s.accept()[0]\nprint(c.recv(9))";
    let mut listener = Command::new("python3")
        .args(["-c", listen, socket(&env).to_str().unwrap()])
        .uid(NOBODY)
        .gid(NOBODY)
        .current_dir("/")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(listener.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "ready");
    let refused = exec(&env, &[]).expect_status(0);
    assert!(
        refused.stderr.contains("belongs to another user"),
        "{}",
        refused.stderr
    );
    assert_eq!(refused.json()["start"], "cold");
    assert_eq!(lines.next().unwrap().unwrap(), "b''");
    listener.wait().unwrap();
}

#[test]
fn more_runs_than_may_wait_and_then_are_told_when_to_come_back() {
    let Some(env) = TestEnv::with_engine() else {
        return;
    };
    let config = env.write("config.toml", "[sandbox]\nruns_max = 1\n");
    let config = config.to_str().unwrap();
    let file = env.write("endless.py", ENDLESS);
    let mut first = env
        .command(["exec", file.to_str().unwrap(), "--config", config])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(first.stderr.take().unwrap()).lines();
    assert!(lines.by_ref().any(|line| line.unwrap().contains("begun")));
    let turned_away = exec(&env, &["--config", config, "--queue-timeout", "1s"]);
    let error = turned_away.expect_status(75).json()["error"].clone();
    assert_eq!(error["code"], "busy");
    assert!(error["retry_after_s"].as_u64().unwrap() >= 1, "{error}");
    let mut second = env
        .command(["exec", &program(&env), "--config", config, "--json"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    // It ends by a signal, however it is waiting, and the other one begins.
    first.kill().unwrap();
    first.wait().unwrap();
    assert_eq!(finish(&mut second).0, "completed");
    assert_all_slots_are_free(&env);
}

/// How many wait that have imported these modules.
fn waiting_with(env: &TestEnv, imports: &[&str]) -> u64 {
    let classes = status(env)["classes"].as_array().unwrap().clone();
    let of = classes
        .iter()
        .filter(|class| class["imports"] == json!(imports));
    of.map(|class| class["waiting"].as_u64().unwrap()).sum()
}

#[test]
fn environments_are_kept_with_what_their_runs_import() {
    let Some(env) = TestEnv::with_index() else {
        return;
    };
    let pool = Pool::warm(&env, "1");
    let source =
        "def main(query):\n    import idna.codec\n    return {'answer': idna.__version__}\n";
    let script = json!({"format": 1, "agent": [{"calls": [
        {"tool": "create_subagent", "arguments": {"name": "namer", "description": "Names.", "code": source,
            "skills": [], "requirements": ["idna==3.10"]}},
        {"tool": "run_subagent", "arguments": {"name": "namer", "query": ""}},
        {"tool": "finish", "arguments": {"answer": "done", "save": [{"name": "namer"}]}},
    ]}]});
    let file = env.write("session.yaml", &script.to_string());
    let model = format!("scripted:{}", file.display());
    let solve = ["solve", "Name.", "--model", &model];
    env.agentfactory(solve).expect_status(0);
    let run = |flags: &[&str]| {
        let arguments = [&["run", "namer", "x", "--json"], flags].concat();
        let run = env.agentfactory(arguments).expect_status(0).json();
        assert_eq!(run["answer"], "3.10");
        (run["start"].clone(), run["imports"].clone())
    };
    assert_eq!(run(&[]), (json!("cold"), Value::Null));
    let names = ["idna.codec"];
    eventually("it is not kept", || waiting_with(&env, &names) > 0);
    assert_eq!(run(&[]), (json!("leased"), json!("ahead")));
    // What is there before everything else cannot have been imported ahead.
    assert_eq!(run(&["--seed", "1"]).1, Value::Null);
    assert_eq!(run(&["--no-pool"]), (json!("cold"), Value::Null));
    drop(pool);
}

#[test]
fn the_first_run_of_an_environment_has_it_kept_for_the_second() {
    let Some(env) = TestEnv::with_index() else {
        return;
    };
    let pool = Pool::warm(&env, "1");
    let source = "def main(query):
    import idna.uts46data
    return {'answer': idna.__version__}
";
    let file = env.write("namer.py", source);
    let file = file.to_str().unwrap();
    let run = || {
        let arguments = ["exec", file, "", "--requirement", "idna==3.9", "--json"];
        let run = env.agentfactory(arguments).expect_status(0).json();
        assert_eq!(run["answer"], "3.9");
        (run["start"].clone(), run["imports"].clone())
    };
    assert_eq!(run(), (json!("cold"), Value::Null));
    let names = ["idna.uts46data"];
    eventually("it is not kept", || waiting_with(&env, &names) > 0);
    assert_eq!(run(), (json!("leased"), json!("ahead")));
    drop(pool);
}
