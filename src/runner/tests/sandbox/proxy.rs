//! The loopback proxy of a sandbox: what carries connections, and what may break it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use runner::{Broker, Program, Proxy, Sandboxes as _, ToolRequest};
use serde_json::{Value, json};
use spec::{RunOutcome, RunReport};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

use crate::env::{Env, answer, exists, stderr, stdout, subagent};

/// Answers a connection as its first byte asks.
#[derive(Debug, Default)]
struct Upside {
    connections: AtomicU32,
    at_once: AtomicU32,
    most_at_once: AtomicU32,
    received: AtomicU64,
}

impl Upside {
    async fn serve(&self, mut connection: DuplexStream) -> std::io::Result<()> {
        match connection.read_u8().await? {
            // Everything back, when all of it is here.
            b'e' => {
                let mut all = Vec::new();
                connection.read_to_end(&mut all).await?;
                self.received.fetch_add(all.len() as u64, Ordering::SeqCst);
                connection.write_all(&all).await?;
            }
            // So many mebibytes as the second byte says.
            b'd' => {
                let count = connection.read_u8().await?;
                let chunk = vec![b'x'; 1 << 20];
                for _ in 0..count {
                    connection.write_all(&chunk).await?;
                }
            }
            // Reads nothing and says nothing, for ever.
            b'h' => std::future::pending().await,
            // Hangs up at once.
            b'b' => {}
            b'p' => panic!("a broker's bug"),
            // A line, and then it waits for the other end.
            _ => {
                connection.write_all(b"hello\n").await?;
                let mut rest = Vec::new();
                connection.read_to_end(&mut rest).await?;
            }
        }
        connection.shutdown().await
    }
}

impl Broker for Upside {
    fn answer(&self, request: ToolRequest) -> BoxFuture<'_, Value> {
        async move { json!({"error": format!("{} is not granted", request.tool)}) }.boxed()
    }

    fn connect(&self, connection: DuplexStream) -> BoxFuture<'_, ()> {
        async move {
            self.connections.fetch_add(1, Ordering::SeqCst);
            let now = self.at_once.fetch_add(1, Ordering::SeqCst) + 1;
            self.most_at_once.fetch_max(now, Ordering::SeqCst);
            drop(self.serve(connection).await);
            self.at_once.fetch_sub(1, Ordering::SeqCst);
        }
        .boxed()
    }
}

/// A program behind a proxy, and what stood on its other side.
async fn run(program: Program) -> Option<(RunReport, Arc<Upside>)> {
    let mut env = Env::open().await?;
    env.limits.wall = Duration::from_secs(60);
    let upside = Arc::new(Upside::default());
    env.broker = Arc::clone(&upside) as _;
    let mut spec = env.spec(program);
    spec.proxy = Some(Proxy {
        certificates_pem: "-----BEGIN CERTIFICATE-----\n".to_owned(),
    });
    let run = spec.run;
    let report = env.sandboxes.run(spec, env.host(), env.cancel.clone());
    let report = report.await.unwrap();
    env.sandboxes.settle().await;
    assert!(!exists(&run).await, "the sandbox is gone");
    Some((report, upside))
}

async fn python(source: &str) -> Option<(RunReport, Arc<Upside>)> {
    let source = format!("{HEAD}{source}");
    run(subagent(&[("main.py", &source)], "ping")).await
}

const HEAD: &str = "\
import os, socket, time
def connect(timeout=20):
    return socket.create_connection(('127.0.0.1', 3128), timeout)
def rest(s):
    parts = []
    while data := s.recv(1 << 20):
        parts.append(data)
    return b''.join(parts)
";

#[tokio::test(flavor = "multi_thread")]
async fn the_program_finds_its_proxy_and_its_certificates() {
    let Some((report, _)) = python(
        "def main(q):
    e = os.environ
    names = ['HTTP_PROXY', 'HTTPS_PROXY', 'http_proxy', 'https_proxy', 'NO_PROXY', 'SSL_CERT_FILE',
             'REQUESTS_CA_BUNDLE', 'CURL_CA_BUNDLE', 'PIP_CERT', 'GIT_SSL_CAINFO']
    return {'answer': [sorted({e[n] for n in names}), open(e['SSL_CERT_FILE']).read()]}
",
    )
    .await
    else {
        return;
    };
    let expected = json!([
        [
            "/tmp/.agentfactory/ca.pem",
            "http://127.0.0.1:3128",
            "localhost,127.0.0.1,::1"
        ],
        "-----BEGIN CERTIFICATE-----\n"
    ]);
    assert_eq!(
        serde_json::from_str::<Value>(answer(&report)).unwrap(),
        expected
    );
    let command = "echo $https_proxy $SSL_CERT_FILE".to_owned();
    let (report, _) = run(Program::Shell { command }).await.unwrap();
    assert_eq!(
        stdout(&report),
        "http://127.0.0.1:3128 /tmp/.agentfactory/ca.pem\n"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_proxy_nothing_listens() {
    let Some(env) = Env::open().await else { return };
    let source = format!(
        "{HEAD}def main(q):
    try:
        connect()
    except ConnectionRefusedError:
        return {{'answer': [n for n in os.environ if 'proxy' in n.lower()]}}
"
    );
    let report = env.python(&source).await;
    assert_eq!(answer(&report), "[]");
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_arrive_whole_in_both_directions() {
    let Some((report, upside)) = python(
        "import hashlib, threading
def main(q):
    s = connect()
    sent = os.urandom(8 << 20)
    def send():
        s.sendall(b'e' + sent)
        s.shutdown(socket.SHUT_WR)
    threading.Thread(target=send).start()
    back = rest(s)
    s = connect(); s.sendall(b'd\\x64')
    begun = time.monotonic()
    count = 0
    while data := s.recv(1 << 20):
        assert not data.strip(b'x')
        count += len(data)
    print(f'{count / (time.monotonic() - begun) / 1e6:.0f} MB/s')
    return {'answer': [back == sent, count == 100 << 20]}
",
    )
    .await
    else {
        return;
    };
    assert_eq!(answer(&report), "[true, true]", "{}", stderr(&report));
    assert_eq!(upside.received.load(Ordering::SeqCst), 8 << 20);
    // Whoever sees the numbers sees what carrying costs.
    assert!(stdout(&report).ends_with("MB/s\n"));
    assert!(
        report.usage.memory_peak_bytes < 128 << 20,
        "{:?}",
        report.usage
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn each_end_can_leave_first() {
    let Some((report, upside)) = python(
        "def main(q):
    seen = []
    for first in (b'b', b'p'):
        s = connect(); s.sendall(first)
        try:
            seen.append(rest(s).decode())
        except ConnectionError as error:
            seen.append(type(error).__name__)
    # The line comes although the program will not write any more.
    s = connect(); s.sendall(b'l'); s.shutdown(socket.SHUT_WR)
    seen.append(rest(s).decode())
    # Left in the middle of a download, and before any byte.
    for _ in range(40):
        s = connect(); s.sendall(b'd\\x64'); s.recv(10); s.close()
        connect().close()
    s = connect(); s.sendall(b'l'); s.shutdown(socket.SHUT_WR)
    seen.append(rest(s).decode())
    return {'answer': seen}
",
    )
    .await
    else {
        return;
    };
    let expected = json!(["", "", "hello\n", "hello\n"]);
    assert_eq!(
        serde_json::from_str::<Value>(answer(&report)).unwrap(),
        expected
    );
    assert_eq!(upside.connections.load(Ordering::SeqCst), 84);
    assert_eq!(
        upside.at_once.load(Ordering::SeqCst),
        1,
        "the one that panicked"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_connections_harms_nobody() {
    let Some((report, upside)) = python(
        "import resource
def main(q):
    resource.setrlimit(resource.RLIMIT_NOFILE, (1024, 1024))
    held = []
    for n in range(5000):
        s = socket.socket(); s.setblocking(False)
        try:
            s.connect(('127.0.0.1', 3128))
        except BlockingIOError:
            pass
        held.append(s)
        if len(held) > 900:
            for s in held: s.close()
            held = []
    for s in held: s.close()
    # More than may be open at once, none of which is ever answered.
    hung = []
    for _ in range(40):
        s = connect(); s.sendall(b'h' + b'x' * 1000); hung.append(s)
    print('alive', flush=True)
    for s in hung: s.close()
    return {'answer': 'done'}
",
    )
    .await
    else {
        return;
    };
    assert_eq!(answer(&report), "done", "{}", stderr(&report));
    assert!(upside.most_at_once.load(Ordering::SeqCst) <= 32);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_does_not_read_is_not_waited_for() {
    let Some((report, _)) = python(
        "def main(q):
    held = []
    for n in range(30):
        s = connect(); s.sendall(b'd\\xff'); held.append(s)
    # Nor is one that only writes, to whom nobody listens.
    s = connect(); s.setblocking(False); s.send(b'h')
    sent = 0
    end = time.monotonic() + 10
    try:
        while time.monotonic() < end:
            sent += s.send(b'x' * 65536)
    except BlockingIOError:
        pass
    return {'answer': sent < 64 << 20}
",
    )
    .await
    else {
        return;
    };
    assert_eq!(answer(&report), "true");
    assert!(
        report.usage.memory_peak_bytes < 128 << 20,
        "{:?}",
        report.usage
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_with_open_connections_ends_in_time() {
    let Some(mut env) = Env::open().await else {
        return;
    };
    env.limits.wall = Duration::from_secs(2);
    env.broker = Arc::new(Upside::default());
    let source = format!(
        "{HEAD}def main(q):
    held = [connect() for _ in range(32)]
    for s in held: s.sendall(b'h')
    time.sleep(60)
"
    );
    let mut spec = env.spec(subagent(&[("main.py", &source)], ""));
    spec.proxy = Some(Proxy {
        certificates_pem: String::new(),
    });
    let begun = std::time::Instant::now();
    let report = env.sandboxes.run(spec, env.host(), env.cancel.clone());
    let report = report.await.unwrap();
    assert!(
        matches!(report.outcome, RunOutcome::TimedOut { .. }),
        "{report:?}"
    );
    assert!(begun.elapsed() < Duration::from_secs(30));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_of_the_program_is_its_own() {
    let Some((report, upside)) = python(
        "def main(q):
    seen = []
    for family, address in ((socket.AF_INET, '127.0.0.1'), (socket.AF_INET6, '::1')):
        s = socket.socket(family)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        try:
            s.bind((address, 3128)); s.listen()
            seen.append('taken')
        except OSError as error:
            seen.append('in use' if error.errno in (98, 99) else str(error))
    s = socket.socket(); s.bind(('127.0.0.1', 0)); s.listen()
    c = socket.create_connection(s.getsockname())
    a, _ = s.accept(); a.sendall(b'own'); a.close()
    return {'answer': [seen, rest(c).decode()]}
",
    )
    .await
    else {
        return;
    };
    assert_eq!(answer(&report), "[[\"in use\", \"in use\"], \"own\"]");
    assert_eq!(upside.connections.load(Ordering::SeqCst), 0);
}
