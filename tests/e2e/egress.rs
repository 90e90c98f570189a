//! The way to the network: what is granted works, is recorded and replays; nothing else leads out.

use std::path::Path;
use std::process::Command;

use serde_json::Value;
use testkit::{Site, TestEnv};

/// Two sites of the operator's map: `plain.test` without TLS, `secure.test` with it.
struct World {
    env: TestEnv,
    plain: Site,
    secure: Site,
}

impl World {
    fn new() -> Option<Self> {
        let env = TestEnv::with_engine()?;
        let world = Self {
            env,
            plain: Site::http(),
            secure: Site::https(&["secure.test"]),
        };
        world.configure("");
        Some(world)
    }

    /// Writes the configuration, with more lines for `[egress]`.
    fn configure(&self, more: &str) {
        let (plain, secure) = (self.plain.address(), self.secure.address());
        self.env.write("ca.pem", self.secure.authority_pem());
        self.env.write(
            "config.toml",
            &format!(
                "[egress]\nca_file = 'ca.pem'\n{more}\n[egress.hosts]\n'plain.test' = '{plain}'\n\
                 'secure.test' = '{secure}'\n'ungranted.test' = '{plain}'\n\
                 'odd.test:8443' = '{secure}'\n"
            ),
        );
    }

    fn agentfactory(&self, arguments: &[&str]) -> testkit::Finished {
        let mut all = vec!["--config", "config.toml"];
        all.extend_from_slice(arguments);
        self.env.agentfactory(all)
    }

    /// Runs a program that prints what it found, and gives that with the whole JSON.
    fn exec(&self, source: &str, query: &str, flags: &[&str]) -> (Value, Value) {
        let source = format!("{HEAD}{source}");
        let file = self.env.write("a.py", &source);
        let mut arguments = vec!["exec", file.to_str().unwrap(), query, "--json"];
        arguments.extend_from_slice(flags);
        let json = self.agentfactory(&arguments).json();
        assert_eq!(json["outcome"]["kind"], "completed", "{json:#}");
        let answer = serde_json::from_str(json["answer"].as_str().unwrap());
        (answer.unwrap_or_default(), json)
    }

    fn reproduce(&self, json: &Value) -> testkit::Finished {
        self.agentfactory(&["reproduce", json["run"].as_str().unwrap(), "--json"])
    }
}

/// `get(URL)` gives status and body, also where `NO_PROXY` would hide the proxy; `ask` sends raw bytes.
const HEAD: &str = r"
import json, os, socket, ssl, urllib.error, urllib.request
PROXY = ('127.0.0.1', 3128)
opener = urllib.request.build_opener(urllib.request.ProxyHandler(
    {'http': 'http://127.0.0.1:3128', 'https': 'http://127.0.0.1:3128'}))
os.environ.pop('no_proxy', None); os.environ.pop('NO_PROXY', None)
def get(url, data=None):
    try:
        with opener.open(url, data, timeout=30) as r:
            return [r.status, r.read().decode()]
    except urllib.error.HTTPError as e:
        return [e.code, e.read().decode()]
    except OSError as e:
        return [0, str(e)]
def ask(data):
    with socket.create_connection(PROXY, 30) as s:
        s.sendall(data)
        parts = []
        try:
            while part := s.recv(65536):
                parts.append(part)
        except OSError:
            pass
        return b''.join(parts).decode('latin-1')
";

const BOTH: &[&str] = &["--egress", "plain.test", "--egress", "secure.test"];

#[test]
fn what_was_exchanged_answers_again_when_the_world_is_gone() {
    let Some(world) = World::new() else { return };
    let (answer, json) = world.exec(
        r"
import http.client
def main(q):
    seen = [get('http://plain.test/a'), get('https://secure.test/b'),
            get('https://secure.test/echo', b'body'), get('https://secure.test/b'),
            get('http://ungranted.test/')]
    c = http.client.HTTPSConnection(*PROXY, timeout=30)
    c.set_tunnel('secure.test', 443)
    for path in ('/c', '/d'):
        c.request('GET', path); r = c.getresponse(); seen.append([r.status, r.read().decode()])
    seen.append(ask(b'GET http://plain.test/raw HTTP/1.1\r\nHost: plain.test\r\nConnection: close\r\n\r\n').split('\r\n')[0])
    open('page.txt', 'w').write(seen[1][1])
    return {'answer': seen}
",
        "",
        BOTH,
    );
    assert_eq!(answer[0], serde_json::json!([200, "GET /a after 0"]));
    assert_eq!(answer[1], serde_json::json!([200, "GET /b after 0"]));
    assert_eq!(answer[2], serde_json::json!([200, "body"]));
    assert_eq!(answer[3], serde_json::json!([200, "GET /b after 2"]));
    assert_eq!(answer[4][0], 403, "{answer}");
    assert_eq!(answer[6], serde_json::json!([200, "GET /d after 4"]));
    assert_eq!(answer[7], "HTTP/1.1 200 OK");
    let used = &json["usage"]["egress"];
    assert_eq!(
        (&used["exchanges"], &used["refused"]),
        (&7.into(), &1.into())
    );
    assert_eq!(used["bytes_up"], 4);

    let run = json["run"].as_str().unwrap();
    let shown = world.agentfactory(&["runs", "show", run, "--json"]).json();
    assert_eq!(
        shown["egress"],
        serde_json::json!(["plain.test", "secure.test"])
    );
    let urls: Vec<_> = shown["http"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| {
            (
                one["url"].as_str().unwrap(),
                one["status"].as_u64().unwrap(),
            )
        })
        .collect();
    assert!(
        urls.contains(&("https://secure.test/echo", 200)),
        "{urls:?}"
    );
    assert!(urls.contains(&("http://ungranted.test/", 403)), "{urls:?}");
    world.agentfactory(&["fsck"]).expect_status(0);

    let hits = (world.plain.hits(), world.secure.hits());
    assert_eq!((hits.0.len(), hits.1.len()), (2, 5));
    // The configuration stays, and nothing listens there any more.
    let World { env, plain, secure } = world;
    drop((plain, secure));
    let again = env.agentfactory(["--config", "config.toml", "reproduce", run, "--json"]);
    let again = again.expect_status(0).json();
    assert_eq!(again["equal"], true, "{again:#}");
    let checked: Vec<_> = again["checks"].as_array().unwrap().iter().collect();
    assert!(checked.iter().any(|check| check["what"] == "output tree"));
}

#[test]
fn what_differs_is_named() {
    let Some(world) = World::new() else { return };
    // What the clock decides is not in the record.
    let (_, json) = world.exec(
        r"
import time
def main(q):
    print(time.time_ns())
    return {'answer': [get(f'http://plain.test/{time.time_ns()}')[0]]}
",
        "",
        BOTH,
    );
    let hits = world.plain.hits().len();
    let again = world.reproduce(&json).expect_status(1).json();
    let checks: Vec<_> = again["checks"].as_array().unwrap().iter().collect();
    let equal =
        |what: &str| checks.iter().find(|one| one["what"] == what).unwrap()["equal"] == true;
    assert!(
        equal("outcome") && equal("stderr") && equal("output tree"),
        "{again:#}"
    );
    assert!(!equal("stdout") && !equal("result"), "{again:#}");
    assert_eq!(
        again["unrecorded"].as_array().unwrap().len(),
        1,
        "{again:#}"
    );
    assert_eq!(world.plain.hits().len(), hits, "nothing is asked live");
}

#[test]
fn a_run_whose_record_lacks_something_is_not_reproduced() {
    let Some(world) = World::new() else { return };
    world.configure("opaque = ['secure.test']");
    let (answer, json) = world.exec(
        r"
def main(q):
    with socket.create_connection(PROXY, 30) as s:
        s.sendall(b'CONNECT secure.test:443 HTTP/1.1\r\nHost: secure.test:443\r\n\r\n')
        head = s.recv(65536)
        context = ssl.create_default_context()
        with context.wrap_socket(s, server_hostname='secure.test') as t:
            t.sendall(b'GET /through HTTP/1.1\r\nHost: secure.test\r\nConnection: close\r\n\r\n')
            body = b''
            while part := t.recv(65536):
                body += part
    return {'answer': [head.split(b'\r\n')[0].decode(), body.split(b'\r\n\r\n')[1].decode()]}
",
        "",
        &["--egress", "secure.test"],
    );
    assert_eq!(answer[1], "GET /through after 0", "{answer}");
    assert_eq!(json["replayable"], false);
    let refused = world.reproduce(&json).expect_status(4);
    assert!(refused.stdout.contains("unread"), "{}", refused.stdout);
    std::fs::create_dir(world.env.scratch().join("data")).unwrap();
    let (_, json) = world.exec("def main(q): return {}", "", &["--mount", "data"]);
    world.reproduce(&json).expect_status(4);
    world.agentfactory(&["reproduce", "0000"]).expect_status(3);
}

#[test]
fn nothing_but_the_granted_hosts_is_reached() {
    let Some(world) = World::new() else { return };
    let victim = Site::http();
    let port = victim.address().port().to_string();
    let (answer, json) = world.exec(
        r"
def main(port):
    hosts = ['127.0.0.1', '127.1', '0x7f.1', '2130706433', '0', 'localhost', 'LOCALHOST', 'localhost.',
             '[::1]', '[::ffff:127.0.0.1]', '[::ffff:7f00:1]', '[64:ff9b::7f00:1]', '10.0.0.1',
             '169.254.169.254', 'metadata.google.internal', 'ungranted.test', 'plain.test',
             'user@plain.test', 'plain.test.', 'plain.test%00.evil', 'ip6-localhost']
    seen = {}
    for h in hosts:
        line = f'GET http://{h}:{port}/ HTTP/1.1\r\nHost: plain.test\r\nConnection: close\r\n\r\n'
        seen['GET ' + h] = ask(line.encode()).split('\r\n')[0]
        line = f'CONNECT {h}:{port} HTTP/1.1\r\nHost: plain.test:80\r\n\r\n'
        inner = f'GET / HTTP/1.1\r\nHost: plain.test\r\nConnection: close\r\n\r\n'
        seen['CONNECT ' + h] = ask((line + inner).encode()).split('\r\n')[0]
    seen['redirect'] = get(f'http://plain.test/redirect?http://127.0.0.1:{port}/')[0]
    seen['redirect6'] = get(f'http://plain.test/redirect?http://[::1]:{port}/')[0]
    seen['host header'] = ask(f'GET / HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n'.encode()).split('\r\n')[0]
    # The certificate that the program is shown is for what it asked of the proxy, whatever it says later.
    with socket.create_connection(PROXY, 30) as s:
        s.sendall(b'CONNECT secure.test:443 HTTP/1.1\r\nHost: secure.test:443\r\n\r\n')
        s.recv(65536)
        try:
            with ssl.create_default_context().wrap_socket(s, server_hostname='ungranted.test') as t:
                t.sendall(b'GET / HTTP/1.1\r\nHost: ungranted.test\r\nConnection: close\r\n\r\n')
                seen['other name'] = t.recv(65536).split(b'\r\n')[0].decode('latin-1')
        except OSError as e:
            seen['other name'] = 'refused'
    return {'answer': seen}
",
        &port,
        &["--egress", "plain.test,secure.test,ip6-localhost"],
    );
    for (what, line) in answer.as_object().unwrap() {
        let line = line.to_string();
        assert!(!line.contains(" 200") && line != "200", "{what}: {line}");
    }
    assert_eq!(victim.hits(), Vec::<String>::new());
    let redirects: Vec<_> = world.plain.hits();
    assert!(
        redirects.iter().all(|hit| hit.starts_with("GET /redirect")),
        "{redirects:?}"
    );
    assert!(world.secure.hits().iter().all(|hit| !hit.is_empty()));
    assert!(
        json["usage"]["egress"]["refused"].as_u64().unwrap() > 20,
        "{json:#}"
    );
}

#[test]
fn there_is_no_other_way_out() {
    let Some(world) = World::new() else { return };
    let victim = Site::http();
    let port = victim.address().port().to_string();
    let (answer, _) = world.exec(
        r"
def main(port):
    seen = {}
    for family, address in ((socket.AF_INET, '1.1.1.1'), (socket.AF_INET, '169.254.169.254'),
                            (socket.AF_INET, '127.0.0.1'), (socket.AF_INET6, '::1'),
                            (socket.AF_INET6, '2606:4700:4700::1111'), (socket.AF_INET6, '::ffff:127.0.0.1')):
        s = socket.socket(family); s.settimeout(5)
        try:
            s.connect((address, int(port))); seen[address] = 'connected'
        except OSError as e:
            seen[address] = type(e).__name__
        u = socket.socket(family, socket.SOCK_DGRAM); u.settimeout(1)
        try:
            u.sendto(b'\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x04test\x00\x00\x01\x00\x01', (address, 53))
            u.recv(100); seen[address + ' udp'] = 'answered'
        except OSError as e:
            seen[address + ' udp'] = type(e).__name__
    for name in ('plain.test', 'example.org'):
        try:
            socket.getaddrinfo(name, 80); seen[name] = 'resolved'
        except OSError as e:
            seen[name] = type(e).__name__
    seen['interfaces'] = sorted(os.listdir('/sys/class/net')) if os.path.isdir('/sys/class/net') else ['lo']
    return {'answer': seen}
",
        &port,
        BOTH,
    );
    for (what, how) in answer.as_object().unwrap() {
        if what == "interfaces" {
            assert_eq!(*how, serde_json::json!(["lo"]));
        } else {
            let how = how.as_str().unwrap();
            assert!(how.ends_with("Error") || how == "gaierror", "{what}: {how}");
        }
    }
    assert_eq!(victim.hits(), Vec::<String>::new());
    // Without a grant there is not even a proxy.
    let file = world.env.write(
        "b.py",
        "import os, socket\ndef main(q):\n    s = socket.socket()\n    \
         return {'answer': [s.connect_ex(('127.0.0.1', 3128)) != 0, 'HTTP_PROXY' in os.environ]}\n",
    );
    let json = world
        .agentfactory(&["exec", file.to_str().unwrap(), "--json"])
        .json();
    assert_eq!(json["answer"], "[true, false]");
    assert!(json["usage"].get("egress").is_none());
}

#[test]
fn budgets_hold() {
    let Some(world) = World::new() else { return };
    let (answer, json) = world.exec(
        r"
def main(q):
    count = 0
    with opener.open('http://plain.test/big?100', timeout=60) as r:
        while part := r.read(1 << 16):
            count += len(part)
    return {'answer': count}
",
        "",
        &[
            "--egress",
            "plain.test",
            "--memory",
            "128M",
            "--workspace-size",
            "16M",
        ],
    );
    assert_eq!(answer, 100 << 20);
    assert!(json["usage"]["memory_peak_bytes"].as_u64().unwrap() < 100 << 20);
    assert_eq!(json["usage"]["egress"]["bytes_down"], 100 << 20);

    world.configure("bytes = '2M'");
    let (answer, _) = world.exec(
        r"
def main(q):
    count = 0
    try:
        with opener.open('http://plain.test/big?100', timeout=60) as r:
            while part := r.read(1 << 16):
                count += len(part)
    except Exception:
        pass
    return {'answer': [count, get('http://plain.test/after')[0]]}
",
        "",
        BOTH,
    );
    assert!(answer[0].as_u64().unwrap() <= 2 << 20, "{answer}");
    assert_ne!(answer[1], 200);
    assert!(!world.plain.hits().iter().any(|hit| hit.contains("after")));

    world.configure("");
    let (answer, json) = world.exec(
        r"
import http.client
def main(q):
    codes = {}
    c = http.client.HTTPConnection(*PROXY, timeout=30)
    for n in range(1100):
        try:
            c.request('GET', f'http://plain.test/{n}'); r = c.getresponse(); r.read(); code = r.status
        except (http.client.HTTPException, OSError):
            c.close(); code = 0
        codes[code] = codes.get(code, 0) + 1
    return {'answer': codes}
",
        "",
        BOTH,
    );
    assert_eq!(answer["200"], 1000, "{answer}");
    assert_eq!(json["usage"]["egress"]["exchanges"], 1000);
    assert_eq!(json["usage"]["egress"]["refused"], 100);
}

#[test]
fn the_operator_has_the_last_word() {
    let Some(world) = World::new() else { return };
    let source = "def main(q): return {'answer': get('http://plain.test/')}";
    world.configure("deny = ['plain.test']");
    let file = world.env.write("c.py", &format!("{HEAD}{source}"));
    let arguments = ["exec", file.to_str().unwrap(), "--egress", "plain.test"];
    let refused = world.agentfactory(&arguments).expect_status(4);
    assert!(refused.stderr.contains("deny"), "{}", refused.stderr);
    for wrong in ["127.0.0.1", "http://plain.test", "*", "localhost", "a b"] {
        let arguments = ["exec", file.to_str().unwrap(), "--egress", wrong];
        world.agentfactory(&arguments).expect_status(2);
    }
    for wrong in ["bytes = 0", "allow = ['127.0.0.1']", "unknown = 1"] {
        world.configure(wrong);
        world.agentfactory(&["list"]).expect_status(2);
    }
    world.configure("");
    // A port of its own is a grant of its own.
    let source = r"
def main(q):
    return {'answer': [get('https://odd.test:8443/')[0], '403' in get('https://odd.test/')[1]]}
";
    let (answer, _) = world.exec(source, "", &["--egress", "odd.test:8443"]);
    // The certificate is for another name: verified upstream, and refused.
    assert_eq!(answer, serde_json::json!([502, true]), "{answer}");
}

#[test]
fn a_version_reaches_what_it_names_and_somebody_allows() {
    let Some(world) = World::new() else { return };
    let code = "import urllib.request\ndef main(query):\n    with urllib.request.urlopen(query, timeout=30) as r:\n        return {'answer': r.read().decode()}\n";
    let create = |host: &str| {
        serde_json::json!({ "tool": "create_subagent", "arguments": {
            "name": "fetch", "description": "Fetches.", "skills": [], "egress": [host], "code": code,
        } })
    };
    let script = serde_json::json!({ "format": 1, "agent": [
        { "calls": [create("ungranted.test")] },
        { "expect": "does not allow the host `ungranted.test`", "calls": [
            create("plain.test"),
            { "tool": "run_subagent",
              "arguments": { "name": "fetch", "query": "http://plain.test/task" } },
            { "tool": "finish", "arguments": { "answer": "done", "save": [{ "name": "fetch" }] } },
        ] },
    ] });
    let script = world.env.write("script.yaml", &script.to_string());
    let model = format!("scripted:{}", script.display());
    world
        .agentfactory(&[
            "solve",
            "Fetch.",
            "--model",
            &model,
            "--egress",
            "plain.test",
        ])
        .expect_status(0);
    assert_eq!(world.plain.hits(), ["GET /task"]);
    let shown = world.agentfactory(&["show", "fetch", "--json"]).json();
    assert_eq!(shown["egress"], serde_json::json!(["plain.test"]));
    let listed = world.agentfactory(&["list"]).expect_status(0);
    assert!(listed.stdout.contains("plain.test"), "{}", listed.stdout);

    let run = |flags: &[&str]| {
        let mut arguments = vec!["run", "fetch", "http://plain.test/run"];
        arguments.extend_from_slice(flags);
        world.agentfactory(&arguments)
    };
    let held_back = run(&[]).expect_status(1);
    assert!(
        held_back.stderr.contains("plain.test"),
        "{}",
        held_back.stderr
    );
    assert_eq!(world.plain.hits().len(), 1);
    run(&["--egress", "plain.test"]).expect_status(0);
    run(&["--egress", "secure.test"]).expect_status(4);
    world.configure("allow = ['plain.test']");
    run(&[]).expect_status(0);
    assert_eq!(world.plain.hits().len(), 3);
}

/// The pip of this machine, with the `requests` that it brings; `None`, said aloud, without one.
fn pip() -> Option<String> {
    let output = Command::new("python3")
        .args(["-c", "import pip; print(pip.__path__[0])"])
        .output();
    let path = output.ok().filter(|output| output.status.success());
    let path = path.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    if path.is_none() {
        #[expect(clippy::print_stderr, reason = "a skip must be seen")]
        {
            eprintln!("SKIPPED: there is no pip on this machine to try in a sandbox");
        }
    }
    path
}

#[test]
fn pip_and_requests_work_unchanged() {
    let Some(world) = World::new() else { return };
    let Some(pip) = pip() else { return };
    let source = r"
import subprocess, sys
def main(q):
    sys.path.insert(0, '/mnt/lib')
    from pip._vendor import requests
    page = requests.get('https://secure.test/requests', timeout=30)
    pip = subprocess.run([sys.executable, '-m', 'pip', 'index', 'versions', 'demo', '--index-url',
                          'https://secure.test/simple/', '--disable-pip-version-check', '--no-cache-dir'],
                         env={**os.environ, 'PYTHONPATH': '/mnt/lib'}, capture_output=True, text=True)
    return {'answer': [page.status_code, page.text, pip.stdout, pip.stderr]}
";
    let folder = Path::new(&pip).parent().unwrap().display().to_string();
    let mount = format!("{folder}=lib");
    let flags = ["--egress", "secure.test", "--mount", &mount];
    let (answer, _) = world.exec(source, "", &flags);
    assert_eq!(answer[0], 200, "{answer}");
    assert_eq!(answer[1], "GET /requests after 0");
    assert!(answer[2].as_str().unwrap().contains("1.0"), "{answer}");
    assert!(
        world
            .secure
            .hits()
            .contains(&"GET /simple/demo/".to_owned())
    );
}
