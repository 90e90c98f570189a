//! Hosts behind a proxy of the operator's, and hosts that want a password: the program sees neither.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use egress::{Approach, Authorization, NextProxy, Policy};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

use crate::live::echo;
use crate::support::{Authority, Origin, Sandbox, policy};

/// A proxy that opens tunnels to one place, whatever is asked for, and tells what was.
async fn tunnels(to: SocketAddr, answer: &'static str) -> (SocketAddr, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let heads = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&heads);
    // It ends with the test's runtime.
    let serve = async move {
        // What it refuses it keeps open, as proxies do that expect another try.
        let mut refused = Vec::new();
        loop {
            let (mut program, _) = listener.accept().await.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(program.read_u8().await.unwrap());
            }
            told.lock().unwrap().push(String::from_utf8(head).unwrap());
            program.write_all(answer.as_bytes()).await.unwrap();
            if answer.contains(" 200 ") {
                let mut host = TcpStream::connect(to).await.unwrap();
                drop(copy_bidirectional(&mut program, &mut host).await);
            } else {
                refused.push(program);
            }
        }
    };
    let mut jobs = tokio::task::JoinSet::new();
    jobs.spawn(serve);
    jobs.detach_all();
    (address, heads)
}

fn behind(is_https: bool, next: Option<SocketAddr>, wants: Option<&str>) -> Policy {
    let secret = |text: &str| Authorization::new(text);
    Policy {
        approaches: vec![Approach {
            host: "site.test".parse().unwrap(),
            is_https,
            authorization: wants.and_then(secret),
            next: next.map(|address| NextProxy {
                address,
                authorization: secret("Basic proxys"),
            }),
        }],
        ..policy(&["site.test"], &[])
    }
}

#[tokio::test]
async fn https_goes_through_a_tunnel_of_the_next_proxy() {
    let authority = Authority::new();
    let origin = Origin::https(&authority, "site.test", echo).await;
    let (address, heads) = tunnels(origin.address, "HTTP/1.1 200 OK\r\n\r\n").await;
    // Its name is the next proxy's to resolve: nobody here knows it.
    let policy = behind(true, Some(address), Some("Basic mine"));
    let mut sandbox = Sandbox::live(policy, authority.roots());
    let got = sandbox.get_https("site.test", "/a").await;
    assert_eq!(got.status, 200, "{}", got.text());
    // The host is told who asks, and nothing of the next proxy's.
    assert!(
        got.text().contains("authorization: Basic mine\n"),
        "{}",
        got.text()
    );
    assert!(!got.text().contains("proxys"), "{}", got.text());
    let head = heads.lock().unwrap()[0].clone();
    assert!(
        head.starts_with("CONNECT site.test:443 HTTP/1.1\r\n"),
        "{head}"
    );
    assert!(
        head.contains("proxy-authorization: Basic proxys\r\n"),
        "{head}"
    );
    assert!(!head.contains("mine"), "{head}");
    let (ledger, _) = sandbox.ledger().await;
    let recorded = format!("{:?}", ledger.exchanges[0].headers);
    assert!(!recorded.contains("Basic"), "{recorded}");
}

#[tokio::test]
async fn a_next_proxy_that_refuses_is_said() {
    let check = async |answer: &'static str, password: bool, expected: &str| {
        let (address, _) = tunnels("127.0.0.1:9".parse().unwrap(), answer).await;
        let authority = Authority::new();
        let mut policy = behind(true, Some(address), None);
        // So long that this would not end if a refusal were waited for after it was said.
        policy.timeouts.handshake = Duration::from_hours(1);
        let next = policy.approaches[0].next.as_mut().unwrap();
        next.authorization = next.authorization.take().filter(|_| password);
        let mut sandbox = Sandbox::live(policy, authority.roots());
        let got = sandbox.get_https("site.test", "/").await;
        assert_eq!(got.status, 502);
        assert!(got.text().contains(expected), "{}", got.text());
    };
    let wants = "HTTP/1.1 407 No\r\ncontent-length: 0\r\n\r\n";
    check(wants, true, "it refuses the password (407)").await;
    check(wants, false, "it wants a password (407)").await;
    // Its page is never whole.
    let forbids = "HTTP/1.1 403 No\r\ncontent-length: 9\r\n\r\nno";
    check(forbids, true, "it refuses (403)").await;
}

#[tokio::test]
async fn http_is_asked_of_the_next_proxy_as_a_whole_address() {
    let origin = Origin::http(echo).await;
    let policy = behind(false, Some(origin.address), None);
    let mut sandbox = Sandbox::live(policy, rustls::RootCertStore::empty());
    let got = sandbox.get("http://site.test/a?b").await;
    assert!(
        got.text().starts_with("GET http://site.test/a?b\n"),
        "{}",
        got.text()
    );
    assert!(got.text().contains("proxy-authorization: Basic proxys\n"));
}

#[tokio::test]
async fn a_password_is_for_its_scheme_alone() {
    let origin = Origin::http(echo).await;
    let mut policy = behind(true, None, Some("Basic mine"));
    policy.hosts.insert("site.test".to_owned(), origin.address);
    let mut sandbox = Sandbox::live(policy, rustls::RootCertStore::empty());
    let got = sandbox.get("http://site.test/").await;
    assert_eq!(got.status, 200);
    assert!(!got.text().contains("Basic mine"), "{}", got.text());
}
