//! What was recorded answers without a network.

use egress::{Answer, Exchange, MemoryBodies};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::{Request, Response};
use rustls::RootCertStore;

use crate::live::echo;
use crate::support::{Authority, Got, Origin, Sandbox, full, policy, send, summary, try_send};

/// What a run asks: a host by TLS, the same thing twice, a refusal, a host that fails.
async fn program(sandbox: &mut Sandbox) -> Vec<(u16, Vec<u8>, Vec<(String, String)>)> {
    let mut got = Vec::new();
    let mut client = sandbox.https("site.test:443").await;
    for body in ["one", "two", "one"] {
        let request = Request::post("/x?y=1").header("host", "site.test");
        got.push(send(&mut client, request.body(Full::from(body)).unwrap()).await);
    }
    got.push(sandbox.get_https("site.test", "/counted").await);
    got.push(sandbox.get_https("site.test", "/counted").await);
    got.push(sandbox.get("http://plain.test/").await);
    got.push(sandbox.get("http://evil.test/").await);
    got.push(sandbox.get("http://gone.test/").await);
    let mut client = sandbox.client().await;
    let request = Request::post("http://evil.test/").header("host", "evil.test");
    got.push(send(&mut client, request.body(Full::from("secret")).unwrap()).await);
    let plain = |got: Got| {
        let headers = got.headers.iter();
        let headers = headers.map(|(n, v)| (n.to_string(), v.to_str().unwrap().to_owned()));
        (got.status, got.body, headers.collect())
    };
    got.into_iter().map(plain).collect()
}

#[tokio::test]
async fn a_run_replays_with_nothing_listening() {
    let authority = Authority::new();
    let tls = Origin::https(&authority, "site.test", echo).await;
    let plain = Origin::http(echo).await;
    let gone = "127.0.0.1:1".parse().unwrap();
    let policy = policy(
        &["site.test", "plain.test", "gone.test"],
        &[
            ("site.test", tls.address),
            ("plain.test", plain.address),
            ("gone.test", gone),
        ],
    );
    let mut sandbox = Sandbox::live(policy, authority.roots());
    let live = program(&mut sandbox).await;
    let (head, stream) = sandbox.connect("Evil.TEST:443").await;
    assert!(head.starts_with("HTTP/1.1 403 "), "{head}");
    drop(stream);
    let (recorded, bodies) = sandbox.ledger().await;
    assert!(recorded.is_replayable());
    assert_eq!(live[0].0, 200);
    assert_eq!(live[6].0, 403);
    assert_eq!(live[7].0, 502);
    drop((tls, plain));

    // As it is kept: through its JSON.
    let json = serde_json::to_string(&recorded.exchanges).unwrap();
    let exchanges: Vec<Exchange> = serde_json::from_str(&json).unwrap();
    assert_eq!(exchanges, recorded.exchanges);
    let mut sandbox = Sandbox::replay(exchanges, bodies);
    assert_eq!(program(&mut sandbox).await, live);
    let (head, stream) = sandbox.connect("Evil.TEST:443").await;
    assert!(head.starts_with("HTTP/1.1 403 "), "{head}");
    drop(stream);
    let (replayed, _) = sandbox.ledger().await;
    assert_eq!(summary(&replayed), summary(&recorded));
    assert_eq!(replayed.unrecorded().count(), 0);
    assert_eq!(replayed.bytes, 0);
}

async fn recorded() -> (Vec<Exchange>, MemoryBodies) {
    let origin = Origin::http(echo).await;
    let policy = policy(&["site.test"], &[("site.test", origin.address)]);
    let mut sandbox = Sandbox::live(policy, RootCertStore::empty());
    let mut client = sandbox.client().await;
    let request = Request::post("http://site.test/x").header("host", "site.test");
    send(&mut client, request.body(Full::from("body")).unwrap()).await;
    drop(client);
    let (ledger, bodies) = sandbox.ledger().await;
    (ledger.exchanges, bodies)
}

#[tokio::test]
async fn what_was_not_recorded_is_an_error_that_says_what_differs() {
    let (exchanges, bodies) = recorded().await;
    let mut sandbox = Sandbox::replay(exchanges, bodies);
    let mut client = sandbox.client().await;
    let mut ask = async |method: &str, url: &str, body: &'static str| {
        let request = Request::builder().method(method).uri(url);
        let request = request.header("host", "site.test");
        let got = send(&mut client, request.body(Full::from(body)).unwrap()).await;
        format!("{} {}", got.status, got.text())
    };
    assert_eq!(
        ask("POST", "http://site.test/y", "body").await,
        "502 POST http://site.test/y was not recorded\n"
    );
    assert_eq!(
        ask("PUT", "http://site.test/x", "body").await,
        "502 PUT http://site.test/x was not recorded, only with POST\n"
    );
    let other = ask("POST", "http://site.test/x", "other").await;
    assert!(
        other.starts_with(
            "502 POST http://site.test/x was recorded with another body: 5 bytes with sha256:"
        ),
        "{other}"
    );
    assert!(
        ask("POST", "http://site.test/x", "body")
            .await
            .starts_with("200 ")
    );
    assert_eq!(
        ask("POST", "http://site.test/x", "body").await,
        "502 POST http://site.test/x was recorded 1 times and asked for once more\n"
    );
    drop(client);
    let (head, stream) = sandbox.connect("site.test:443").await;
    assert!(
        head.starts_with("HTTP/1.1 502 the recorded run made no connection to site.test:443\r\n"),
        "{head}"
    );
    drop(stream);
    let (ledger, _) = sandbox.ledger().await;
    assert_eq!(ledger.unrecorded().count(), 5);
}

#[tokio::test]
async fn a_recorded_answer_is_given_once_however_many_ask() {
    let (mut exchanges, bodies) = recorded().await;
    exchanges[0].method = "GET".to_owned();
    exchanges[0].body = None;
    let exchanges = vec![exchanges[0].clone(); 8];
    let mut sandbox = Sandbox::replay(exchanges, bodies);
    let mut clients = Vec::new();
    for _ in 0..12 {
        clients.push(sandbox.client().await);
    }
    let asked = clients.iter_mut().map(|client| {
        let request = Request::get("http://site.test/x").header("host", "site.test");
        try_send(client, request.body(Full::default()).unwrap())
    });
    let got = futures::future::join_all(asked).await;
    let answered = got.iter().filter(|got| got.as_ref().unwrap().status == 200);
    assert_eq!(answered.count(), 8);
}

/// What a part of a file is.
async fn part(sandbox: &mut Sandbox, range: &str) -> Got {
    let mut client = sandbox.client().await;
    let request = Request::get("http://site.test/f").header("host", "site.test");
    let request = request.header("range", range).body(Full::default());
    send(&mut client, request.unwrap()).await
}

/// Which of four connections are accepted, while a budget is used up.
async fn spend(sandbox: &mut Sandbox) -> Vec<bool> {
    let mut accepted = Vec::new();
    for number in 0..4 {
        let (head, stream) = sandbox.connect("site.test:443").await;
        accepted.push(head.starts_with("HTTP/1.1 200 "));
        if accepted[number] {
            let tls = Sandbox::tls(sandbox.trust(), "site.test", stream)
                .await
                .unwrap();
            let mut client = sandbox.speak(tls).await;
            let request = Request::post(format!("/{number}")).header("host", "site.test");
            let request = request.body(Full::from("x".repeat(600))).unwrap();
            drop(try_send(&mut client, request).await);
        }
    }
    accepted
}

#[tokio::test]
async fn parts_of_a_file_are_told_apart() {
    let origin = Origin::http(async |request: Request<Incoming>| {
        let range = request.headers()["range"].to_str().unwrap().to_owned();
        Response::new(full(format!("part {range}")))
    });
    let origin = origin.await;
    let policy = policy(&["site.test"], &[("site.test", origin.address)]);
    let mut sandbox = Sandbox::live(policy, RootCertStore::empty());
    for range in ["bytes=2-3", "bytes=0-1"] {
        part(&mut sandbox, range).await;
    }
    let (recorded, bodies) = sandbox.ledger().await;
    let mut sandbox = Sandbox::replay(recorded.exchanges, bodies);
    for range in ["bytes=0-1", "bytes=2-3"] {
        let got = part(&mut sandbox, range).await;
        assert_eq!(got.text(), format!("part {range}"));
    }
    let got = part(&mut sandbox, "bytes=4-5").await;
    assert!(
        got.text().contains("with another `Range`"),
        "{}",
        got.text()
    );
}

#[tokio::test]
async fn a_refusal_comes_when_it_is_its_turn() {
    let authority = Authority::new();
    let origin = Origin::https(&authority, "site.test", echo).await;
    let mut policy = policy(&["site.test"], &[("site.test", origin.address)]);
    policy.bytes_max = spec::ByteSize::kib(3);
    let mut sandbox = Sandbox::live(policy, authority.roots());
    let live = spend(&mut sandbox).await;
    assert!(
        live[0] && !live[3],
        "the budget is used up meanwhile: {live:?}"
    );
    let (recorded, bodies) = sandbox.ledger().await;
    let mut sandbox = Sandbox::replay(recorded.exchanges, bodies);
    assert_eq!(spend(&mut sandbox).await, live);
}

#[tokio::test]
async fn a_body_that_is_lost_or_was_cut_is_not_passed_off_as_whole() {
    let (exchanges, bodies) = recorded().await;
    let ask = async |exchanges: Vec<Exchange>, bodies: MemoryBodies| {
        let mut sandbox = Sandbox::replay(exchanges, bodies);
        let mut client = sandbox.client().await;
        let request = Request::post("http://site.test/x").header("host", "site.test");
        let request = request.body(Full::from("body")).unwrap();
        try_send(&mut client, request).await
    };
    let lost = ask(exchanges.clone(), MemoryBodies::default()).await;
    assert!(lost.is_err() || !lost.unwrap().is_whole);
    let mut cut_short = exchanges;
    let Answer::Response { cut, headers, .. } = &mut cut_short[0].answer else {
        panic!("{cut_short:?}");
    };
    *cut = Some("the host ended it early".to_owned());
    headers.retain(|(name, _)| name != "content-length");
    let got = ask(cut_short, bodies).await.unwrap();
    assert!(!got.is_whole);
    assert!(got.text().starts_with("POST /x\n"), "{}", got.text());
}
