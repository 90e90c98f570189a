//! What was not granted, and what no grant can give.

use std::net::SocketAddr;

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Request, Response};
use rustls::RootCertStore;
use tokio::io::AsyncReadExt;

use crate::live::echo;
use crate::support::{Authority, Origin, Sandbox, Scripted, full, policy, send, summary, try_send};

/// A listener that nothing may reach.
async fn trap() -> Origin {
    Origin::raw(|_| async {}).await
}

async fn refusal(sandbox: &mut Sandbox, url: &str) -> String {
    let got = sandbox.get(url).await;
    format!("{} {}", got.status, got.text().trim_end())
}

#[tokio::test]
async fn a_host_that_was_not_granted_is_refused_by_name() {
    let trap = trap().await;
    let policy = policy(&["site.test"], &[("other.test", trap.address)]);
    let mut sandbox = Sandbox::live(policy, RootCertStore::empty());
    assert_eq!(
        refusal(&mut sandbox, "http://other.test/").await,
        "403 this subagent was not granted egress to other.test"
    );
    let (head, stream) = sandbox.connect("other.test:443").await;
    assert!(
        head.starts_with("HTTP/1.1 403 this subagent was not granted egress to other.test\r\n"),
        "{head}"
    );
    drop(stream);
    for target in [
        "site.test:80",
        "site.test:22",
        "site.test:8443",
        "sub.site.test:443",
    ] {
        let (head, stream) = sandbox.connect(target).await;
        assert!(head.starts_with("HTTP/1.1 403 "), "{target}: {head}");
        drop(stream);
    }
    let (ledger, _) = sandbox.ledger().await;
    assert_eq!(ledger.refusals().count(), 6);
    assert_eq!(ledger.exchanges.len(), 6);
    assert_eq!(
        summary(&ledger)[1],
        "CONNECT other.test:443 refused 403: this subagent was not granted egress to other.test"
    );
    assert_eq!(ledger.bytes, 0);
    assert_eq!(trap.connections(), 0);
}

#[tokio::test]
async fn an_address_is_never_a_host() {
    let trap = trap().await;
    let port = trap.address.port();
    // Even where the name server would say so.
    let mut sandbox = Sandbox::resolving(
        policy(&["site.test"], &[]),
        RootCertStore::empty(),
        Scripted::new(&[&["127.0.0.1"]]),
    );
    for host in [
        "127.0.0.1",
        "127.1",
        "0x7f.1",
        "0x7f000001",
        "2130706433",
        "017700000001",
        "0",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[64:ff9b::7f00:1]",
        "[::]",
        "0.0.0.0",
        "169.254.169.254",
        "[fd00:ec2::254]",
        "localhost",
        "LOCALHOST",
        "x.localhost",
        "localhost.",
        "127.0.0.1.",
    ] {
        for url in [format!("http://{host}/"), format!("http://{host}:{port}/")] {
            let answer = sandbox.raw(get(&url).as_bytes()).await;
            assert!(answer.starts_with("HTTP/1.1 403 "), "{url}: {answer}");
        }
        for port in [port, 443] {
            let target =
                format!("CONNECT {host}:{port} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
            let answer = sandbox.raw(target.as_bytes()).await;
            assert!(answer.starts_with("HTTP/1.1 403 "), "{target}: {answer}");
        }
    }
    let (ledger, _) = sandbox.ledger().await;
    assert_eq!(ledger.refusals().count(), 80);
    assert_eq!(trap.connections(), 0);
}

fn get(url: &str) -> String {
    format!("GET {url} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
}

#[tokio::test]
async fn names_in_disguise_are_refused() {
    let trap = trap().await;
    let policy = policy(&["site.test"], &[("site.test", trap.address)]);
    let mut sandbox = Sandbox::live(policy, RootCertStore::empty());
    for (url, status) in [
        ("http://site.test@evil.test/", 403),
        ("http://evil.test@site.test/", 403),
        ("http://user:pw@site.test/", 403),
        ("http://site.test.evil.test/", 403),
        ("http://evilsite.test/", 403),
        ("http://site%2Etest/", 400),
        ("http://site.test%00.evil.test/", 400),
        ("http://site.test\\@evil.test/", 400),
        ("http://site.test:0x50/", 403),
        ("http://site.test:080/", 403),
        ("http://site.test./", 403),
        ("http://s\u{ef}te.test/", 400),
        ("http://site.test\0/", 400),
        ("http:// site.test/", 400),
        ("https://site.test/", 400),
        ("ftp://site.test/", 400),
        ("file:///etc/passwd", 400),
        ("/", 400),
        ("site.test", 400),
    ] {
        let answer = sandbox.raw(get(url).as_bytes()).await;
        let expected = [format!("HTTP/1.1 {status} "), "HTTP/1.1 400 ".to_owned()];
        assert!(
            expected.iter().any(|e| answer.starts_with(e)),
            "{url:?}: {answer}"
        );
    }
    assert_eq!(trap.connections(), 0);
}

#[tokio::test]
async fn a_name_that_points_inside_is_refused_and_nothing_is_dialled() {
    let trap = trap().await;
    let port = trap.address.port();
    for address in [
        "127.0.0.1",
        "10.0.0.1",
        "172.16.0.1",
        "192.168.1.1",
        "100.64.0.1",
        "169.254.169.254",
        "0.0.0.0",
        "255.255.255.255",
        "224.0.0.1",
        "240.0.0.1",
        "198.18.0.1",
        "192.0.0.192",
        "::1",
        "::",
        "::ffff:127.0.0.1",
        "::127.0.0.1",
        "64:ff9b::7f00:1",
        "2002:7f00:1::",
        "2001:0:7f00:1::",
        "fc00::1",
        "fd00:ec2::254",
        "fe80::1",
        "ff02::1",
    ] {
        // One such address among public ones is enough.
        for answer in [
            &[address][..],
            &["8.8.8.8", address],
            &[address, "2606:4700::1111"],
        ] {
            let mut sandbox = Sandbox::resolving(
                policy(&[&format!("site.test:{port}"), "site.test"], &[]),
                RootCertStore::empty(),
                Scripted::new(&[answer]),
            );
            for url in ["http://site.test/", &format!("http://site.test:{port}/")] {
                let text = refusal(&mut sandbox, url).await;
                assert!(
                    text.starts_with("403 site.test resolves to an address that is "),
                    "{answer:?}: {text}"
                );
                assert!(
                    !text.contains(address),
                    "the program learns no address: {text}"
                );
            }
            let (head, stream) = sandbox.connect("site.test:443").await;
            assert!(
                head.starts_with("HTTP/1.1 403 site.test resolves to "),
                "{head}"
            );
            drop(stream);
            let (ledger, _) = sandbox.ledger().await;
            assert_eq!(ledger.bytes, 0);
        }
    }
    assert_eq!(trap.connections(), 0);
}

#[tokio::test]
async fn a_name_means_what_it_meant_the_first_time() {
    let trap = trap().await;
    let port = trap.address.port();
    // A block that IANA has not assigned: nobody answers there.
    let resolver = Scripted::new(&[&["2d00::1"], &["127.0.0.1"]]);
    let rule = format!("site.test:{port}");
    let mut sandbox = Sandbox::resolving(
        policy(&[&rule], &[]),
        RootCertStore::empty(),
        resolver.clone(),
    );
    for _ in 0..3 {
        let text = refusal(&mut sandbox, &format!("http://{rule}/")).await;
        assert!(
            text.starts_with("502 ") || text.starts_with("504 "),
            "{text}"
        );
    }
    assert_eq!(resolver.asked(), 1);
    // The other way round as well: what was forbidden once stays so.
    let resolver = Scripted::new(&[&["127.0.0.1"], &["2d00::1"]]);
    let mut sandbox = Sandbox::resolving(
        policy(&[&rule], &[]),
        RootCertStore::empty(),
        resolver.clone(),
    );
    for _ in 0..3 {
        let text = refusal(&mut sandbox, &format!("http://{rule}/")).await;
        assert!(text.starts_with("403 "), "{text}");
    }
    assert_eq!(resolver.asked(), 1);
    assert_eq!(trap.connections(), 0);
}

#[tokio::test]
async fn a_name_that_does_not_resolve_says_so_and_may_resolve_later() {
    let resolver = Scripted::new(&[]);
    let mut sandbox = Sandbox::resolving(
        policy(&["site.test"], &[]),
        RootCertStore::empty(),
        resolver.clone(),
    );
    for asked in 1..=2 {
        let text = refusal(&mut sandbox, "http://site.test/").await;
        assert_eq!(text, "502 site.test has no address: no such name");
        assert_eq!(resolver.asked(), asked);
    }
}

#[tokio::test]
async fn a_redirect_is_the_programs_to_follow_and_is_checked_again() {
    let trap = trap().await;
    let location = format!("http://{}/", trap.address);
    let origin = Origin::http(move |_| {
        let location = location.clone();
        async move {
            Response::builder()
                .status(302)
                .header("location", location)
                .body(full(""))
                .unwrap()
        }
    })
    .await;
    let policy = policy(&["site.test"], &[("site.test", origin.address)]);
    let mut sandbox = Sandbox::live(policy, RootCertStore::empty());
    let got = sandbox.get("http://site.test/").await;
    assert_eq!(got.status, 302);
    let location = got.headers["location"].to_str().unwrap();
    let text = refusal(&mut sandbox, location).await;
    assert!(text.starts_with("403 `127.0.0.1` is an address"), "{text}");
    assert_eq!(trap.connections(), 0);
}

#[tokio::test]
async fn a_handshake_for_another_host_is_closed() {
    let authority = Authority::new();
    let origin = Origin::https(&authority, "site.test", echo).await;
    let policy = policy(
        &["site.test", "other.test"],
        &[
            ("site.test", origin.address),
            ("other.test", origin.address),
        ],
    );
    let mut sandbox = Sandbox::live(policy, authority.roots());
    for name in ["other.test", "evil.test", "127.0.0.1"] {
        let (head, stream) = sandbox.connect("site.test:443").await;
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        assert!(Sandbox::tls(sandbox.trust(), name, stream).await.is_err());
    }
    let (ledger, _) = sandbox.ledger().await;
    assert_eq!(
        summary(&ledger),
        [
            "CONNECT site.test:443 closed: its TLS handshake names `other.test`, not site.test",
            "CONNECT site.test:443 closed: its TLS handshake names `evil.test`, not site.test",
            "CONNECT site.test:443 closed: its TLS handshake names no host",
        ]
    );
    assert_eq!(origin.connections(), 0);
}

#[tokio::test]
async fn a_request_for_another_host_inside_a_connection_is_refused() {
    let authority = Authority::new();
    let origin = Origin::https(&authority, "site.test", echo).await;
    let policy = policy(
        &["site.test", "other.test"],
        &[("site.test", origin.address)],
    );
    let mut sandbox = Sandbox::live(policy, authority.roots());
    for host in ["other.test", "site.test:80", "127.0.0.1"] {
        let mut client = sandbox.https("site.test:443").await;
        let request = Request::get("/").header("host", host);
        let got = send(&mut client, request.body(Full::default()).unwrap()).await;
        assert_eq!(got.status, 403);
        let expected = format!("the request names `{host}` in a connection to site.test:443\n");
        assert_eq!(got.text(), expected);
    }
    assert_eq!(origin.connections(), 0);
}

#[tokio::test]
async fn a_host_without_a_certificate_for_its_name_is_not_spoken_to() {
    let authority = Authority::new();
    let other = Origin::https(&authority, "other.test", echo).await;
    let unknown = Origin::https(&Authority::new(), "unknown.test", echo).await;
    let plain = Origin::http(echo).await;
    let policy = policy(
        &["site.test", "unknown.test", "plain.test"],
        &[
            ("site.test", other.address),
            ("unknown.test", unknown.address),
            ("plain.test", plain.address),
        ],
    );
    let mut sandbox = Sandbox::live(policy, authority.roots());
    for (host, why) in [
        ("site.test", "not valid for name"),
        ("unknown.test", "invalid peer certificate"),
        ("plain.test", "no TLS with plain.test:443"),
    ] {
        let got = sandbox.get_https(host, "/").await;
        assert_eq!(got.status, 502);
        assert!(got.text().contains(why), "{}", got.text());
    }
}

#[tokio::test]
async fn a_connection_is_not_switched_to_another_protocol() {
    let trap = trap().await;
    let policy = policy(&["site.test"], &[("site.test", trap.address)]);
    let mut sandbox = Sandbox::live(policy, RootCertStore::empty());
    let mut client = sandbox.client().await;
    let request = Request::get("http://site.test/")
        .header("host", "site.test")
        .header("connection", "upgrade")
        .header("upgrade", "websocket")
        .body(Full::<Bytes>::default())
        .unwrap();
    let got = send(&mut client, request).await;
    assert_eq!(got.status, 501);
    assert!(got.text().contains("listed as opaque"), "{}", got.text());
    assert_eq!(trap.connections(), 0);
}

#[tokio::test]
async fn a_request_is_not_smuggled_behind_another() {
    let origin = Origin::http(echo).await;
    let policy = policy(&["site.test"], &[("site.test", origin.address)]);
    let mut sandbox = Sandbox::live(policy, RootCertStore::empty());
    let hidden = "0\r\n\r\nGET http://evil.test/ HTTP/1.1\r\nHost: evil.test\r\n\r\n";
    let answer = sandbox
        .raw(
            format!(
                "POST http://site.test/ HTTP/1.1\r\nHost: site.test\r\nContent-Length: {}\r\n\
                 Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n{hidden}",
                hidden.len()
            )
            .as_bytes(),
        )
        .await;
    assert!(!answer.contains("evil.test"), "{answer}");
    let (ledger, _) = sandbox.ledger().await;
    for exchange in &ledger.exchanges {
        assert!(
            !exchange
                .headers
                .iter()
                .any(|(name, _)| name == "transfer-encoding")
        );
        assert_eq!(exchange.url, "http://site.test/");
    }
}

#[tokio::test]
async fn a_host_that_closes_at_once_is_a_failure_with_a_reason() {
    let origin = Origin::raw(|mut stream| async move {
        stream.read_u8().await.ok();
    })
    .await;
    let gone = SocketAddr::from(([127, 0, 0, 1], 1));
    let policy = policy(
        &["site.test", "gone.test"],
        &[("site.test", origin.address), ("gone.test", gone)],
    );
    let mut sandbox = Sandbox::live(policy, RootCertStore::empty());
    let mut client = sandbox.client().await;
    let request = Request::get("http://site.test/").header("host", "site.test");
    let got = try_send(&mut client, request.body(Full::default()).unwrap()).await;
    let got = got.unwrap();
    assert_eq!(got.status, 502);
    assert!(
        got.text().starts_with("no answer from site.test:80: "),
        "{}",
        got.text()
    );
    let text = refusal(&mut sandbox, "http://gone.test/").await;
    assert!(
        text.starts_with("502 no connection to gone.test:80: "),
        "{text}"
    );
}
