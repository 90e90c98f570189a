//! What a run may use, and how long anything waits.

use std::time::{Duration, Instant};

use bytes::Bytes;
use egress::{EgressError, MemoryBodies, Policy, Proxy, Upstream};
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;
use hyper::{Request, Response};
use rustls::RootCertStore;
use spec::ByteSize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::live::echo;
use crate::support::{
    Authority, HANG, Origin, OriginBody, Sandbox, Scripted, full, policy, send, summary,
};

/// So many chunks of 64 KiB whose number is not told beforehand.
fn chunks(count: usize) -> OriginBody {
    let chunk = || Ok(Frame::data(Bytes::from(vec![b'x'; 64 << 10])));
    StreamBody::new(futures::stream::iter((0..count).map(move |_| chunk()))).boxed()
}

async fn sandbox(
    change: impl FnOnce(&mut Policy),
    handler: fn() -> OriginBody,
) -> (Sandbox, Origin) {
    let origin = Origin::http(move |_| async move { Response::new(handler()) }).await;
    let mut policy = policy(&["site.test"], &[("site.test", origin.address)]);
    change(&mut policy);
    (Sandbox::live(policy, RootCertStore::empty()), origin)
}

#[tokio::test]
async fn the_bytes_of_a_run_are_bounded_to_the_byte() {
    let (mut sandbox, _origin) = sandbox(
        |policy| policy.bytes_max = ByteSize::kib(500),
        || chunks(100),
    )
    .await;
    let got = sandbox.get("http://site.test/").await;
    assert_eq!((got.status, got.is_whole), (200, false));
    assert!(
        (400_000..512_000).contains(&got.body.len()),
        "{}",
        got.body.len()
    );
    let got = sandbox.get("http://site.test/").await;
    let reason = "this run has used up its 500K of egress; a larger budget would be needed";
    assert_eq!((got.status, got.text().trim_end()), (403, reason));
    let (head, stream) = sandbox.connect("site.test:443").await;
    assert!(
        head.starts_with(&format!("HTTP/1.1 403 {reason}\r\n")),
        "{head}"
    );
    drop(stream);
    let (ledger, _) = sandbox.ledger().await;
    assert_eq!(ledger.bytes, 500 << 10);
    assert_eq!(
        summary(&ledger)[..2],
        [
            format!("GET http://site.test/ 200 cut: {reason}"),
            format!("GET http://site.test/ refused 403: {reason}"),
        ]
    );
}

#[tokio::test]
async fn what_is_sent_counts_as_well() {
    let origin = Origin::http(echo).await;
    let mut policy = policy(&["site.test"], &[("site.test", origin.address)]);
    policy.bytes_max = ByteSize::kib(100);
    let mut sandbox = Sandbox::live(policy, RootCertStore::empty());
    let mut stream = sandbox.dial();
    let head = "PUT http://site.test/ HTTP/1.1\r\nHost: x\r\nContent-Length: 1048576\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    // It may be closed before all is sent.
    drop(stream.write_all(&vec![0; 1 << 20]).await);
    let mut answer = [0; 13];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 403 ");
    drop(stream);
    let (ledger, _) = sandbox.ledger().await;
    assert_eq!(ledger.bytes, 100 << 10);
    assert_eq!(ledger.exchanges.len(), 1);
}

#[tokio::test]
async fn requests_are_counted_and_the_rest_is_turned_away() {
    let (mut sandbox, origin) = sandbox(|policy| policy.exchanges_max = 3, || full("x")).await;
    for url in [
        "http://site.test/",
        "http://evil.test/",
        "http://site.test/",
    ] {
        sandbox.get(url).await;
    }
    for _ in 0..5 {
        let got = sandbox.get("http://site.test/").await;
        let reason = "this run has used up its 3 requests; a larger budget would be needed\n";
        assert_eq!((got.status, got.text()), (403, reason));
        let (head, _) = sandbox.connect("evil.test:443").await;
        assert!(head.starts_with("HTTP/1.1 403 "), "{head}");
    }
    let (ledger, _) = sandbox.ledger().await;
    assert_eq!((ledger.exchanges.len(), ledger.turned_away), (3, 10));
    assert!(!ledger.is_replayable());
    assert_eq!(origin.connections(), 2);
}

#[tokio::test]
async fn connections_at_once_are_bounded() {
    let (mut sandbox, _origin) = sandbox(|policy| policy.connections_max = 2, || full("x")).await;
    let mut first = sandbox.client().await;
    let mut second = sandbox.client().await;
    let request = || {
        let request = Request::get("http://site.test/").header("host", "site.test");
        request.body(Full::default()).unwrap()
    };
    assert_eq!(send(&mut first, request()).await.status, 200);
    assert_eq!(send(&mut second, request()).await.status, 200);
    let answer = sandbox.raw(b"GET http://site.test/ HTTP/1.1\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    drop((first, second));
    let (ledger, _) = sandbox.ledger().await;
    assert_eq!(ledger.turned_away, 1);
}

#[tokio::test]
async fn an_answer_that_is_too_large_is_cut_or_not_begun() {
    let small = |policy: &mut Policy| policy.body_max = ByteSize::kib(100);
    let (mut sandbox1, _origin1) = sandbox(small, || chunks(100)).await;
    let got = sandbox1.get("http://site.test/").await;
    assert_eq!((got.status, got.is_whole), (200, false));
    assert!(got.body.len() <= 100 << 10, "{}", got.body.len());
    let (ledger, _) = sandbox1.ledger().await;
    assert_eq!(
        summary(&ledger),
        ["GET http://site.test/ 200 cut: the answer's body is larger than 100K"]
    );
    let (mut sandbox2, _origin2) = sandbox(small, || full(vec![0; 200 << 10])).await;
    let got = sandbox2.get("http://site.test/").await;
    let reason = "the answer has 204800 bytes, more than the 100K of one body\n";
    assert_eq!((got.status, got.text()), (502, reason));
}

#[tokio::test]
async fn a_request_that_is_too_large_is_refused() {
    let (mut sandbox, _origin) =
        sandbox(|policy| policy.body_max = ByteSize::kib(100), || full("x")).await;
    let answer = sandbox
        .raw(
            b"PUT http://site.test/ HTTP/1.1\r\nHost: site.test\r\nContent-Length: 999999999999\r\n\
              Connection: close\r\n\r\n",
        )
        .await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    let (ledger, _) = sandbox.ledger().await;
    assert_eq!(
        summary(&ledger),
        ["PUT http://site.test/ refused 413: the request's body is larger than 100K"]
    );
}

#[tokio::test]
async fn a_request_that_turns_out_too_large_ends_in_a_refusal() {
    let origin = Origin::http(echo).await;
    let mut policy = policy(&["site.test"], &[("site.test", origin.address)]);
    policy.body_max = ByteSize::kib(100);
    let mut sandbox = Sandbox::live(policy, RootCertStore::empty());
    let mut stream = sandbox.dial();
    stream
        .write_all(
            b"PUT http://site.test/ HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n",
        )
        .await
        .unwrap();
    for _ in 0..4 {
        let chunk = format!("8000\r\n{}\r\n", "x".repeat(0x8000));
        // It may be closed before all is sent.
        drop(stream.write_all(chunk.as_bytes()).await);
    }
    let mut answer = [0; 13];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 413 ");
    drop(stream);
    let (ledger, _) = sandbox.ledger().await;
    assert_eq!(ledger.exchanges.len(), 1);
}

#[tokio::test]
async fn heads_are_bounded() {
    let (mut sandbox, _origin) = sandbox(|_| {}, || full("x")).await;
    let many = "x: y\r\n".repeat(1_000);
    let large = format!("x: {}\r\n", "y".repeat(200_000));
    let long = "/".repeat(200_000);
    for (path, headers) in [("/", &many), ("/", &large), (&long, &String::new())] {
        let mut stream = sandbox.dial();
        let request = format!("GET http://site.test{path} HTTP/1.1\r\n{headers}\r\n");
        // It may be refused before all of it is sent.
        drop(stream.write_all(request.as_bytes()).await);
        let mut answer = [0; 10];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"HTTP/1.1 4", "{}", &request[..40]);
    }
}

#[tokio::test]
async fn a_host_with_an_endless_head_is_given_up() {
    let origin = Origin::raw(|mut stream| async move {
        let (mut reader, mut writer) = stream.split();
        let read = async { while reader.read_u8().await.is_ok() {} };
        let write = async {
            drop(writer.write_all(b"HTTP/1.1 200 OK\r\n").await);
            while writer.write_all(&b"x: y\r\n".repeat(1_000)).await.is_ok() {}
        };
        futures::future::join(read, write).await;
    })
    .await;
    let policy = policy(&["site.test"], &[("site.test", origin.address)]);
    let mut sandbox = Sandbox::live(policy, RootCertStore::empty());
    let got = sandbox.get("http://site.test/").await;
    assert_eq!(got.status, 502, "{}", got.text());
    let (ledger, _) = sandbox.ledger().await;
    assert!(ledger.bytes < 1 << 20, "{}", ledger.bytes);
}

/// Each wait is short; all of them together end long before this.
const SHORT: Duration = Duration::from_millis(100);

#[tokio::test]
async fn nobody_is_waited_for_without_end() {
    let silent =
        Origin::raw(|mut stream| async move { while stream.read_u8().await.is_ok() {} }).await;
    let stalled = Origin::raw(|mut stream| async move {
        drop(
            stream
                .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc")
                .await,
        );
        while stream.read_u8().await.is_ok() {}
    })
    .await;
    let mut policy = policy(
        &["silent.test", "stalled.test"],
        &[
            ("silent.test", silent.address),
            ("stalled.test", stalled.address),
        ],
    );
    policy.timeouts = egress::Timeouts {
        head: SHORT,
        handshake: SHORT,
        connect: SHORT,
        answer: SHORT,
        stall: SHORT,
    };
    let mut sandbox = Sandbox::live(policy, RootCertStore::empty());
    let begun = Instant::now();
    // A head that does not come, or does not end.
    assert_eq!(sandbox.raw(b"").await, "");
    assert_eq!(
        sandbox.raw(b"GET http://silent.test/ HTTP/1.1\r\nx:").await,
        ""
    );
    // A handshake that does not come.
    let (_, mut stream) = sandbox.connect("silent.test:443").await;
    assert_eq!(stream.read(&mut [0]).await.unwrap(), 0);
    // A host that says nothing, by plain HTTP and in the handshake.
    assert_eq!(sandbox.get("http://silent.test/").await.status, 504);
    assert_eq!(sandbox.get_https("silent.test", "/").await.status, 504);
    // A host that stops in the middle.
    let got = sandbox.get("http://stalled.test/").await;
    assert_eq!((&got.body[..], got.is_whole), (&b"abc"[..], false));
    // A request whose body stops in the middle.
    let answer = sandbox
        .raw(b"PUT http://silent.test/ HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nabc")
        .await;
    assert!(
        answer.starts_with("HTTP/1.1 400 ") || answer.starts_with("HTTP/1.1 504 "),
        "{answer}"
    );
    assert!(begun.elapsed() < HANG / 2);
    let (ledger, _) = sandbox.ledger().await;
    let summary = summary(&ledger);
    assert_eq!(
        summary[..4],
        [
            "CONNECT silent.test:443 closed: no TLS handshake came in time",
            "GET http://silent.test/ failed 504: silent.test:80 did not answer in time",
            "GET https://silent.test/ failed 504: no TLS handshake with silent.test:443 in time",
            "GET http://stalled.test/ 200 cut: the host ended it early: nothing came in time",
        ]
    );
    assert_eq!(summary.len(), 5);
}

#[tokio::test]
async fn a_program_that_does_not_read_holds_nothing_up() {
    let (mut sandbox, _origin) =
        sandbox(|policy| policy.timeouts.stall = SHORT, || chunks(10_000)).await;
    let mut stream = sandbox.dial();
    stream
        .write_all(b"GET http://site.test/ HTTP/1.1\r\nHost: site.test\r\n\r\n")
        .await
        .unwrap();
    stream.read_u8().await.unwrap();
    // It ends although the program neither reads nor closes.
    let (ledger, _) = sandbox.ledger().await;
    assert_eq!(
        summary(&ledger),
        ["GET http://site.test/ 200 cut: the program closed the connection"]
    );
    assert!(
        ledger.bytes < 20 << 20,
        "no more was fetched than fits: {}",
        ledger.bytes
    );
    drop(stream);
}

#[tokio::test]
async fn a_program_that_leaves_is_noticed_while_its_host_is_silent() {
    let origin = Origin::raw(|mut stream| async move {
        drop(stream.write_all(b"HTTP/1.1 200 OK\r\n\r\nabc").await);
        while stream.read_u8().await.is_ok() {}
    })
    .await;
    let policy = policy(&["site.test"], &[("site.test", origin.address)]);
    let mut sandbox = Sandbox::live(policy, RootCertStore::empty());
    let mut stream = sandbox.dial();
    stream
        .write_all(b"GET http://site.test/ HTTP/1.1\r\nHost: site.test\r\n\r\n")
        .await
        .unwrap();
    let mut seen = Vec::new();
    while !seen.ends_with(b"abc") {
        seen.push(stream.read_u8().await.unwrap());
    }
    drop(stream);
    let (ledger, bodies) = sandbox.ledger().await;
    assert_eq!(
        summary(&ledger),
        ["GET http://site.test/ 200 cut: the program closed the connection"]
    );
    // What it had got by then is there for a replay.
    assert!(bodies.find(&spec::Digest::of(b"abc")).is_some());
}

#[tokio::test]
async fn what_is_under_way_when_a_connection_is_dropped_is_recorded() {
    let origin =
        Origin::raw(|mut stream| async move { while stream.read_u8().await.is_ok() {} }).await;
    let policy = policy(&["site.test"], &[("site.test", origin.address)]);
    let upstream = Upstream::new(RootCertStore::empty(), Scripted::new(&[])).unwrap();
    let proxy = Proxy::live(
        policy,
        std::sync::Arc::new(MemoryBodies::default()),
        upstream,
    )
    .unwrap();
    let (mut mine, its) = tokio::io::duplex(1 << 10);
    mine.write_all(b"GET http://site.test/ HTTP/1.1\r\nHost: site.test\r\n\r\n")
        .await
        .unwrap();
    let connected = async {
        while origin.connections() == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        () = proxy.serve(its) => panic!("nothing ended it"),
        () = async {
            connected.await;
            let ledger = proxy.ledger();
            assert!(ledger.open == 1 && !ledger.is_replayable(), "{ledger:?}");
        } => {}
    }
    let ledger = proxy.ledger();
    assert!(ledger.open == 0 && ledger.is_replayable(), "{ledger:?}");
    assert_eq!(
        summary(&proxy.ledger()),
        ["GET http://site.test/ closed: the connection ended before the answer"]
    );
}

#[tokio::test]
async fn a_policy_that_permits_nothing_or_maps_nonsense_is_refused() {
    let check = |change: &dyn Fn(&mut Policy), expected: &str| {
        let mut policy = Policy::default();
        change(&mut policy);
        let upstream = Upstream::new(Authority::new().roots(), Scripted::new(&[])).unwrap();
        let bodies = std::sync::Arc::new(MemoryBodies::default());
        let error: EgressError = Proxy::live(policy, bodies, upstream).unwrap_err();
        assert_eq!(error.to_string(), expected);
        assert!(error.hint().is_some());
    };
    check(
        &|policy| policy.bytes_max = ByteSize::default(),
        "the egress limit `bytes_max` is zero",
    );
    let map = |key: &'static str| {
        move |policy: &mut Policy| {
            policy
                .hosts
                .insert(key.to_owned(), ([127, 0, 0, 1], 1).into());
        }
    };
    check(
        &map("127.0.0.1"),
        "the map of egress hosts names `127.0.0.1`",
    );
    check(
        &map("*.a.b"),
        "the map of egress hosts names the pattern `*.a.b`",
    );
}

#[tokio::test]
async fn what_a_host_does_not_take_is_not_kept() {
    let origin = Origin::raw(|mut stream| async move {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        let answer = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok";
        drop(stream.write_all(answer).await);
    })
    .await;
    let policy = policy(&["site.test"], &[("site.test", origin.address)]);
    let mut sandbox = Sandbox::live(policy, RootCertStore::empty());
    let mut stream = sandbox.dial();
    let head = "PUT http://site.test/ HTTP/1.1\r\nHost: x\r\nContent-Length: 33554432\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    // It is closed before all is sent.
    let mut sent = 0_usize;
    while sent < 32 << 20 && stream.write_all(&vec![0; 64 << 10]).await.is_ok() {
        sent += 64 << 10;
    }
    assert!(sent < 32 << 20, "all of it was read");
    drop(stream);
    let (ledger, _) = sandbox.ledger().await;
    assert_eq!(ledger.exchanges.len(), 1);
    assert_eq!(ledger.exchanges[0].body, None);
}
