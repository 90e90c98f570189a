//! What was granted works.

use std::fmt::Write as _;

use bytes::Bytes;
use egress::{Answer, Body};
use http_body_util::{BodyExt, Collected, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::{Request, Response};
use rustls::RootCertStore;
use spec::Digest;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;

use crate::support::{Authority, Origin, OriginBody, Sandbox, full, policy, send, summary};

/// Says what it was asked, by headers and body.
pub(crate) async fn echo(request: Request<Incoming>) -> Response<OriginBody> {
    let (head, body) = request.into_parts();
    let mut text = format!("{} {}\n", head.method, head.uri);
    for (name, value) in &head.headers {
        writeln!(text, "{name}: {}", value.to_str().unwrap_or("?")).unwrap();
    }
    let body = body.collect().await.map(Collected::to_bytes);
    text.push('\n');
    text.push_str(&String::from_utf8_lossy(&body.unwrap_or_default()));
    Response::builder()
        .header("x-echo", "yes")
        .header("set-cookie", "b=2")
        .header("set-cookie", "a=1")
        .body(full(text))
        .unwrap()
}

#[tokio::test]
async fn a_granted_host_answers_by_http() {
    let origin = Origin::http(echo).await;
    let policy = policy(&["site.test"], &[("site.test", origin.address)]);
    let mut sandbox = Sandbox::live(policy, rustls::RootCertStore::empty());
    let got = sandbox.get("http://SITE.test/a%20b?c=d").await;
    assert_eq!(got.status, 200);
    assert_eq!(got.text(), "GET /a%20b?c=d\nhost: site.test\n\n");
    let (ledger, bodies) = sandbox.ledger().await;
    assert_eq!(summary(&ledger), ["GET http://site.test/a%20b?c=d 200"]);
    assert!(ledger.is_replayable());
    assert_eq!(ledger.exchanges[0].bytes, ledger.bytes);
    assert!(ledger.bytes > 100, "{}", ledger.bytes);
    let Answer::Response { body, headers, .. } = &ledger.exchanges[0].answer else {
        panic!("{ledger:?}");
    };
    assert_eq!(bodies.find(&body.digest).unwrap()[..], got.body[..]);
    let cookies: Vec<_> = headers.iter().filter(|(n, _)| n == "set-cookie").collect();
    assert_eq!(cookies[0].1, "b=2");
    assert_eq!(cookies[1].1, "a=1");
}

#[tokio::test]
async fn a_granted_host_answers_by_https() {
    let authority = Authority::new();
    let origin = Origin::https(&authority, "site.test", echo).await;
    let policy = policy(&["site.test"], &[("site.test:443", origin.address)]);
    let mut sandbox = Sandbox::live(policy, authority.roots());
    let mut client = sandbox.https("site.test:443").await;
    for turn in ["/1", "/2", "/3"] {
        let request = Request::post(turn)
            .header("host", "site.test")
            .header("authorization", "Bearer mine")
            .header("proxy-authorization", "Basic x")
            .body(Full::from("body"))
            .unwrap();
        let got = send(&mut client, request).await;
        assert_eq!(
            got.text(),
            format!(
                "POST {turn}\nhost: site.test\nauthorization: Bearer mine\ncontent-length: 4\n\nbody"
            ),
        );
    }
    drop(client);
    let (ledger, _) = sandbox.ledger().await;
    assert_eq!(
        summary(&ledger),
        [
            "POST https://site.test/1 200",
            "POST https://site.test/2 200",
            "POST https://site.test/3 200"
        ]
    );
    assert_eq!(
        ledger.exchanges[0].body,
        Some(Body {
            digest: Digest::of(b"body"),
            size: 4
        })
    );
    // The rest is the end of the TLS connection.
    let by_exchange: u64 = ledger.exchanges.iter().map(|e| e.bytes).sum();
    assert!((by_exchange..by_exchange + 100).contains(&ledger.bytes));
    assert!(ledger.exchanges[0].bytes > ledger.exchanges[1].bytes + 500);
    assert_eq!(origin.connections(), 1, "a connection is used again");
}

#[tokio::test]
async fn an_answer_arrives_while_it_is_made() {
    let (events, receiver) = mpsc::unbounded_channel::<&'static str>();
    let receiver = std::sync::Mutex::new(Some(receiver));
    let origin = Origin::http(move |_| {
        let receiver = receiver.lock().unwrap().take().unwrap();
        let stream = futures::stream::unfold(receiver, |mut receiver| async move {
            let event = receiver.recv().await?;
            Some((
                Ok(Frame::data(Bytes::from_static(event.as_bytes()))),
                receiver,
            ))
        });
        async move { Response::new(StreamBody::new(stream).boxed()) }
    })
    .await;
    let policy = policy(&["site.test"], &[("site.test", origin.address)]);
    let mut sandbox = Sandbox::live(policy, rustls::RootCertStore::empty());
    let mut stream = sandbox.dial();
    stream
        .write_all(
            b"GET http://site.test/ HTTP/1.1\r\nHost: site.test\r\nConnection: close\r\n\r\n",
        )
        .await
        .unwrap();
    let mut seen = Vec::new();
    // Each event is sent only after the one before has come out at the other end.
    for event in ["data: one\n\n", "data: two\n\n", "data: three\n\n"] {
        events.send(event).unwrap();
        while !String::from_utf8_lossy(&seen).contains(event) {
            seen.push(stream.read_u8().await.unwrap());
        }
    }
    drop(events);
    stream.read_to_end(&mut seen).await.unwrap();
    let text = String::from_utf8(seen).unwrap();
    assert!(text.ends_with("0\r\n\r\n"), "{text}");
    drop(stream);
    let (ledger, _) = sandbox.ledger().await;
    assert_eq!(summary(&ledger), ["GET http://site.test/ 200"]);
}

#[tokio::test]
async fn large_bodies_pass_both_ways_and_are_kept() {
    let origin = Origin::http(|request| async move {
        let body = request.into_body().collect().await.unwrap().to_bytes();
        Response::new(full(body))
    })
    .await;
    let policy = policy(&["site.test"], &[("site.test", origin.address)]);
    let mut sandbox = Sandbox::live(policy, rustls::RootCertStore::empty());
    let large: Vec<u8> = (0..3_000_000_u32).flat_map(u32::to_le_bytes).collect();
    let mut client = sandbox.client().await;
    let request = Request::put("http://site.test/large")
        .header("host", "site.test")
        .body(Full::from(large.clone()))
        .unwrap();
    let got = send(&mut client, request).await;
    assert!(got.body == large && got.is_whole);
    assert_eq!(got.headers["content-length"], "12000000");
    drop(client);
    let (ledger, bodies) = sandbox.ledger().await;
    let expected = Body {
        digest: Digest::of(&large),
        size: 12_000_000,
    };
    assert_eq!(ledger.exchanges[0].body, Some(expected));
    assert!(bodies.find(&expected.digest).unwrap()[..] == large[..]);
    assert!(ledger.bytes > 24_000_000);
}

#[tokio::test]
async fn the_corners_of_http_survive() {
    let origin = Origin::http(|request| async move {
        let status: u16 = request.uri().path()[1..].parse().unwrap();
        let response = Response::builder().status(status);
        match status {
            200 => response.header("content-length", "1000").body(full("")),
            204 | 304 => response.body(full("")),
            _ => response
                .header("content-encoding", "gzip")
                .body(full(&b"\x1f\x8b\0\xff"[..])),
        }
        .unwrap()
    })
    .await;
    let policy = policy(&["site.test"], &[("site.test", origin.address)]);
    let mut sandbox = Sandbox::live(policy, rustls::RootCertStore::empty());
    let mut client = sandbox.client().await;
    let mut ask = async |method: &str, status: u16| {
        let request = Request::builder()
            .method(method)
            .uri(format!("http://site.test/{status}"))
            .header("host", "site.test");
        send(&mut client, request.body(Full::default()).unwrap()).await
    };
    let head = ask("HEAD", 200).await;
    assert_eq!(
        (head.status, &head.headers["content-length"]),
        (200, &"1000".parse().unwrap())
    );
    assert_eq!(ask("GET", 204).await.status, 204);
    assert_eq!(ask("GET", 304).await.status, 304);
    let gzip = ask("GET", 404).await;
    assert_eq!((gzip.status, &gzip.body[..]), (404, &b"\x1f\x8b\0\xff"[..]));
    assert_eq!(gzip.headers["content-encoding"], "gzip");
    assert_eq!(ask("PROPFIND", 503).await.status, 503);
    drop(client);
    let (ledger, _) = sandbox.ledger().await;
    assert_eq!(ledger.exchanges.len(), 5);
    assert_eq!(origin.connections(), 1);
}

#[tokio::test]
async fn a_program_that_waits_to_be_told_to_go_on_is_told() {
    let origin = Origin::http(echo).await;
    let policy = policy(&["site.test"], &[("site.test", origin.address)]);
    let mut sandbox = Sandbox::live(policy, rustls::RootCertStore::empty());
    let mut stream = sandbox.dial();
    stream
        .write_all(
            b"POST http://site.test/ HTTP/1.1\r\nHost: site.test\r\nTransfer-Encoding: chunked\r\n\
              Expect: 100-continue\r\nConnection: close\r\n\r\n",
        )
        .await
        .unwrap();
    let mut told = [0; 25];
    stream.read_exact(&mut told).await.unwrap();
    assert_eq!(&told, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream
        .write_all(b"3\r\nabc\r\n0\r\nx-trailer: 1\r\n\r\n")
        .await
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.contains("transfer-encoding: chunked\n"), "{answer}");
    assert!(!answer.contains("expect"), "{answer}");
    assert!(answer.ends_with("\n\nabc"), "{answer}");
}

#[tokio::test]
async fn a_body_without_a_length_arrives_whatever_the_method() {
    let origin = Origin::http(async |request: Request<Incoming>| {
        let body = request.into_body().collect().await.unwrap().to_bytes();
        Response::new(full(format!("got {} bytes", body.len())))
    });
    let origin = origin.await;
    for method in ["GET", "DELETE", "OPTIONS", "POST"] {
        let policy = policy(&["site.test"], &[("site.test", origin.address)]);
        let mut sandbox = Sandbox::live(policy, RootCertStore::empty());
        let mut stream = sandbox.dial();
        let request = format!(
            "{method} http://site.test/ HTTP/1.1\r\nhost: site.test\r\nconnection: close\r\n\
             transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.contains("got 5 bytes"), "{method}: {answer}");
        drop(stream);
        let (recorded, _) = sandbox.ledger().await;
        assert_eq!(recorded.exchanges[0].body.unwrap().size, 5, "{method}");
    }
}

#[tokio::test]
async fn certificates_of_one_run_have_numbers_of_their_own() {
    let authority = Authority::new();
    let origin = Origin::https(&authority, "a.test", echo).await;
    let hosts = [("a.test", origin.address), ("b.test", origin.address)];
    let mut sandbox = Sandbox::live(policy(&["a.test", "b.test"], &hosts), authority.roots());
    let mut certificates = Vec::new();
    for name in ["a.test", "b.test"] {
        let (_, stream) = sandbox.connect(&format!("{name}:443")).await;
        let tls = Sandbox::tls(sandbox.trust(), name, stream).await.unwrap();
        let shown = tls.get_ref().1.peer_certificates().unwrap();
        // The version, then the serial number. Source: RFC 5280, section 4.1.
        let version = [0xa0, 3, 2, 1, 2];
        let at = shown[0]
            .windows(5)
            .position(|part| part == version)
            .unwrap();
        let length = usize::from(shown[0][at + 6]);
        certificates.push(shown[0][at + 7..][..length].to_vec());
    }
    assert_ne!(certificates[0], certificates[1]);
}

#[tokio::test]
async fn hosts_on_other_ports_and_below_a_pattern_work() {
    let authority = Authority::new();
    let plain = Origin::http(echo).await;
    let tls = Origin::https(&authority, "api.site.test", echo).await;
    let policy = policy(
        &["*.site.test", "site.test:8080"],
        &[("api.site.test", tls.address), ("site.test", plain.address)],
    );
    let mut sandbox = Sandbox::live(policy, authority.roots());
    assert_eq!(sandbox.get_https("api.site.test", "/").await.status, 200);
    let got = sandbox.get("http://site.test:8080/x").await;
    assert!(
        got.text().contains("host: site.test:8080"),
        "{}",
        got.text()
    );
    assert_eq!(sandbox.get("http://site.test/").await.status, 403);
    let (ledger, _) = sandbox.ledger().await;
    assert_eq!(
        summary(&ledger),
        [
            "GET https://api.site.test/ 200",
            "GET http://site.test:8080/x 200",
            "GET http://site.test/ refused 403: this subagent was not granted egress to site.test",
        ]
    );
}
