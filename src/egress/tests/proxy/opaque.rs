//! Hosts whose TLS is tunnelled unread.

use http_body_util::Full;
use hyper::Request;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::live::echo;
use crate::support::{Authority, Origin, Sandbox, policy, send, summary};

async fn sandbox(authority: &Authority) -> (Sandbox, Origin) {
    let origin = Origin::https(authority, "site.test", echo).await;
    let mut policy = policy(&["site.test"], &[("site.test", origin.address)]);
    policy.opaque = ["site.test", "ungranted.test"]
        .map(|rule| rule.parse().unwrap())
        .into();
    // What is opaque is not verified here: the program does that.
    (
        Sandbox::live(policy, rustls::RootCertStore::empty()),
        origin,
    )
}

#[tokio::test]
async fn an_opaque_host_is_tunnelled_and_counted() {
    let authority = Authority::new();
    let (mut sandbox, origin) = sandbox(&authority).await;
    let (head, stream) = sandbox.connect("site.test:443").await;
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    // With the host's own certificate, not one of ours.
    let stream = Sandbox::tls(authority.roots(), "site.test", stream)
        .await
        .unwrap();
    let mut client = sandbox.speak(stream).await;
    let request = Request::get("/x").header("host", "site.test");
    let got = send(&mut client, request.body(Full::default()).unwrap()).await;
    assert_eq!(got.status, 200);
    drop(client);
    let (ledger, _) = sandbox.ledger().await;
    assert_eq!(ledger.exchanges, []);
    assert_eq!(ledger.tunnels.len(), 1);
    let tunnel = &ledger.tunnels[0];
    assert_eq!((tunnel.host.as_str(), tunnel.port), ("site.test", 443));
    assert!(
        tunnel.up_bytes > 300 && tunnel.down_bytes > 600,
        "{tunnel:?}"
    );
    assert_eq!(ledger.bytes, tunnel.up_bytes + tunnel.down_bytes);
    assert!(!ledger.is_replayable());
    assert_eq!(origin.connections(), 1);
}

#[tokio::test]
async fn an_opaque_host_still_needs_a_grant() {
    let (mut sandbox, origin) = sandbox(&Authority::new()).await;
    for target in ["ungranted.test:443", "site.test:80", "site.test:22"] {
        let (head, stream) = sandbox.connect(target).await;
        assert!(head.starts_with("HTTP/1.1 403 "), "{head}");
        drop(stream);
    }
    assert_eq!(origin.connections(), 0);
}

#[tokio::test]
async fn a_tunnel_begins_with_a_handshake_for_its_host() {
    let authority = Authority::new();
    let (mut sandbox, origin) = sandbox(&authority).await;
    let (_, stream) = sandbox.connect("site.test:443").await;
    let tls = Sandbox::tls(authority.roots(), "evil.test", stream).await;
    assert!(tls.is_err());
    let large = [
        b"\x16\x03\x01\x40\x00\x01\x00\xff\xff".as_slice(),
        &vec![0; 70_000],
    ]
    .concat();
    for first in [
        b"GET / HTTP/1.1\r\nHost: site.test\r\n\r\n".as_slice(),
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00",
        &large,
    ] {
        let (_, mut stream) = sandbox.connect("site.test:443").await;
        // It may be closed before all of it is sent.
        drop(stream.write_all(first).await);
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        assert_eq!(answer, b"");
    }
    let (ledger, _) = sandbox.ledger().await;
    let summary = summary(&ledger);
    assert_eq!(
        summary[0],
        "CONNECT site.test:443 closed: its TLS handshake names `evil.test`, not site.test"
    );
    assert_eq!(summary.len(), 5);
    assert!(
        summary.iter().all(|line| line.contains(" closed: ")),
        "{summary:?}"
    );
    assert_eq!((ledger.tunnels.len(), origin.connections()), (0, 0));
}
