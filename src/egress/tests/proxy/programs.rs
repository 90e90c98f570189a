//! Programs that others wrote, as they are.

use std::path::Path;
use std::process::Stdio;

use tokio::io::copy_bidirectional;
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio::task::JoinSet;

use crate::live::echo;
use crate::support::{Authority, HANG, Origin, Sandbox, policy, summary};

/// Runs a program with the proxy in its environment, as the harness does in a sandbox.
/// Without that program it says so, and there is nothing to see.
#[expect(clippy::print_stderr, reason = "a skip is to be seen")]
async fn run(sandbox: &mut Sandbox, program: &str, arguments: &[&str]) -> Option<String> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = format!("http://{}", listener.local_addr().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let certificates = folder.path().join("ca.pem");
    std::fs::write(&certificates, sandbox.proxy.certificates_pem()).unwrap();
    let found = ["/usr/bin", "/usr/local/bin", "/bin"]
        .map(|folder| Path::new(folder).join(program))
        .into_iter()
        .find(|path| path.exists());
    let Some(path) = found else {
        eprintln!("skipped: {program} is not installed");
        return None;
    };
    let mut command = Command::new(path);
    command
        .args(arguments)
        .env_clear()
        .env("HOME", folder.path())
        .env("PATH", "/usr/local/bin:/usr/bin:/bin")
        .envs(["http_proxy", "https_proxy", "HTTPS_PROXY"].map(|name| (name, &proxy)))
        .envs(["SSL_CERT_FILE", "CURL_CA_BUNDLE", "GIT_SSL_CAINFO"].map(|n| (n, &certificates)))
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let mut served = JoinSet::new();
    let serving = async {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut end = sandbox.dial();
            served.spawn(async move {
                // Either end may close it.
                drop(copy_bidirectional(&mut stream, &mut end).await);
            });
        }
    };
    let output = tokio::select! {
        output = tokio::time::timeout(HANG, command.output()) => output.unwrap().unwrap(),
        () = serving => unreachable!("it serves for ever"),
    };
    served.shutdown().await;
    let stdout = String::from_utf8_lossy(&output.stdout);
    let stderr = String::from_utf8_lossy(&output.stderr);
    Some(format!("{stdout}{stderr}"))
}

async fn sandbox() -> (Sandbox, Origin, Origin) {
    let authority = Authority::new();
    let tls = Origin::https(&authority, "site.test", echo).await;
    let plain = Origin::http(echo).await;
    let policy = policy(
        &["site.test"],
        &[
            ("site.test:443", tls.address),
            ("site.test:80", plain.address),
        ],
    );
    (Sandbox::live(policy, authority.roots()), tls, plain)
}

#[tokio::test]
async fn curl_works_unchanged() {
    let (mut sandbox, _tls, _plain) = sandbox().await;
    for (url, expected) in [
        ("https://site.test/a?b=c", "POST /a?b=c\nhost: site.test\n"),
        ("http://site.test/a", "POST /a\nhost: site.test\n"),
    ] {
        let arguments = ["-sS", "--data", "x=1", "-A", "curl", url];
        let Some(output) = run(&mut sandbox, "curl", &arguments).await else {
            return;
        };
        assert!(output.starts_with(expected), "{output}");
        assert!(output.ends_with("\n\nx=1"), "{output}");
    }
    let output = run(&mut sandbox, "curl", &["-sS", "https://evil.test/"]).await;
    let output = output.unwrap();
    assert!(output.contains("403"), "{output}");
    let output = run(&mut sandbox, "curl", &["-sS", "http://127.0.0.1:1/"]).await;
    assert!(output.unwrap().starts_with("`127.0.0.1` is an address"));
    let (ledger, _) = sandbox.ledger().await;
    assert_eq!(
        summary(&ledger)[..2],
        [
            "POST https://site.test/a?b=c 200",
            "POST http://site.test/a 200"
        ]
    );
    assert_eq!(ledger.refusals().count(), 2);
}

#[tokio::test]
async fn pythons_standard_library_works_unchanged() {
    let (mut sandbox, _tls, _plain) = sandbox().await;
    let program = "
import urllib.request
for url in ('https://site.test/a', 'http://site.test/b'):
    with urllib.request.urlopen(url, data=b'x=1') as answer:
        print(answer.status, answer.read().split(b'\\n')[0].decode())
try:
    urllib.request.urlopen('https://evil.test/')
except OSError as error:
    print(error)
";
    let Some(output) = run(&mut sandbox, "python3", &["-I", "-c", program]).await else {
        return;
    };
    assert_eq!(
        output,
        "200 POST /a\n200 POST /b\n<urlopen error Tunnel connection failed: \
         403 this subagent was not granted egress to evil.test>\n"
    );
}

#[tokio::test]
async fn git_speaks_to_its_host() {
    let (mut sandbox, _tls, _plain) = sandbox().await;
    let arguments = ["ls-remote", "https://site.test/repository.git"];
    let Some(output) = run(&mut sandbox, "git", &arguments).await else {
        return;
    };
    // It is no repository, but git got its answer.
    assert!(
        output.contains("not valid: is this a git repository?"),
        "{output}"
    );
    let (ledger, _) = sandbox.ledger().await;
    assert_eq!(
        summary(&ledger),
        ["GET https://site.test/repository.git/info/refs?service=git-upload-pack 200"]
    );
}
