//! A program may send anything.

use std::sync::Arc;
use std::time::Duration;

use egress::{MemoryBodies, Policy, Proxy, Timeouts, Upstream};
use proptest::prelude::*;
use rustls::RootCertStore;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::{HANG, Origin, Sandbox, Scripted, policy};

const SHORT: Duration = Duration::from_millis(50);

fn proxy(opaque: bool) -> Proxy {
    // Granted and mapped to where nothing listens.
    let nowhere = "127.0.0.1:1".parse().unwrap();
    let mut policy = Policy {
        timeouts: Timeouts {
            head: SHORT,
            handshake: SHORT,
            connect: SHORT,
            answer: SHORT,
            stall: SHORT,
        },
        ..policy(&["a.b"], &[("a.b", nowhere)])
    };
    if opaque {
        policy.opaque.clone_from(&policy.allow);
    }
    let upstream = Upstream::new(RootCertStore::empty(), Scripted::new(&[])).unwrap();
    Proxy::live(policy, Arc::new(MemoryBodies::default()), upstream).unwrap()
}

/// Sends bytes, then nothing more; whether it reads the answer or not, the proxy ends.
fn attack(proxy: &Proxy, bytes: &[u8], reads: bool, closes: bool) -> usize {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let (mut mine, its) = tokio::io::duplex(4 << 10);
        let program = async {
            // It may be closed at any time.
            drop(mine.write_all(bytes).await);
            if closes {
                drop(mine.shutdown().await);
            }
            let mut answer = Vec::new();
            if reads {
                drop(mine.read_to_end(&mut answer).await);
            }
            (mine, answer.len())
        };
        let both = futures::future::join(program, proxy.serve(its));
        let ((_mine, read), ()) = tokio::time::timeout(HANG, both).await.unwrap();
        read
    })
}

/// What requests and handshakes are made of, so that random bytes get further than the first line.
fn pieces() -> impl Strategy<Value = Vec<u8>> {
    let words: &[&[u8]] = &[
        b"GET ",
        b"POST ",
        b"CONNECT ",
        b"HEAD ",
        b"http://a.b/",
        b"http://a.b:80",
        b"a.b:443",
        b"*",
        b"http://c.d/",
        b" HTTP/1.1\r\n",
        b" HTTP/1.0\r\n",
        b"Host: a.b\r\n",
        b"Host:",
        b"\r\n",
        b"\r\n\r\n",
        b"Content-Length: 5\r\n",
        b"Content-Length: -1\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Connection: close, host\r\n",
        b"Upgrade: x\r\n",
        b"Expect: 100-continue\r\n",
        b"5\r\nhello\r\n",
        b"0\r\n\r\n",
        b"ffffffffffffffff\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"\0",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ];
    let word = prop_oneof![
        4 => proptest::sample::select(words.to_vec()).prop_map(<[u8]>::to_vec),
        1 => proptest::collection::vec(any::<u8>(), 0..20),
    ];
    proptest::collection::vec(word, 0..24).prop_map(|words| words.concat())
}

/// What answers are made of.
fn answers() -> impl Strategy<Value = Vec<u8>> {
    let words: &[&[u8]] = &[
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.0 200 OK\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
        b"HTTP/1.1 103 Early Hints\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\n",
        b"HTTP/1.1 304 Not Modified\r\n",
        b"HTTP/1.1 407 Proxy\r\n",
        b"HTTP/1.1 999 \xff\r\n",
        b"Content-Length: 5\r\n",
        b"Content-Length: 0\r\n",
        b"Content-Length: 5, 5\r\n",
        b"Content-Length: 18446744073709551615\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: gzip\r\n",
        b"Connection: close\r\n",
        b"Connection: content-length\r\n",
        b"Trailer: x\r\n",
        b"x: \xff\r\n",
        b"\r\n",
        b"5\r\nhello\r\n",
        b"0\r\n\r\n",
        b"hello",
    ];
    let word = prop_oneof![
        9 => proptest::sample::select(words.to_vec()).prop_map(<[u8]>::to_vec),
        1 => proptest::collection::vec(any::<u8>(), 0..20),
    ];
    proptest::collection::vec(word, 0..12).prop_map(|words| words.concat())
}

/// One request, answered with these bytes; then the same from the record.
async fn answered(method: &str, bytes: Vec<u8>, closes: bool) {
    let origin = Origin::raw(move |mut stream| {
        let bytes = bytes.clone();
        async move {
            let mut head = [0; 1];
            // It may be gone at any time.
            drop(stream.read_exact(&mut head).await);
            drop(stream.write_all(&bytes).await);
            if closes {
                drop(stream.shutdown().await);
            }
            while stream.read_exact(&mut head).await.is_ok() {}
        }
    })
    .await;
    let policy = Policy {
        timeouts: Timeouts {
            answer: SHORT,
            stall: SHORT,
            ..Timeouts::default()
        },
        ..policy(&["a.b"], &[("a.b", origin.address)])
    };
    let request =
        format!("{method} http://a.b/ HTTP/1.1\r\nHost: a.b\r\nConnection: close\r\n\r\n");
    let mut sandbox = Sandbox::live(policy, RootCertStore::empty());
    let live = sandbox.raw(request.as_bytes()).await;
    let (ledger, bodies) = sandbox.ledger().await;
    assert_eq!(ledger.exchanges.len(), 1, "{ledger:?}");
    let mut sandbox = Sandbox::replay(ledger.exchanges, bodies);
    let replayed = sandbox.raw(request.as_bytes()).await;
    assert_eq!(replayed, live);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_make_it_panic_or_hang(
        bytes in prop_oneof![pieces(), proptest::collection::vec(any::<u8>(), 0..4_000)],
        opaque: bool,
        reads: bool,
        closes: bool,
    ) {
        let proxy = proxy(opaque);
        let answered = attack(&proxy, &bytes, reads, closes);
        prop_assert!(answered < 64 << 10);
        let ledger = proxy.ledger();
        prop_assert_eq!(ledger.bytes, 0);
        prop_assert!(ledger.exchanges.len() <= 24);
    }

    #[test]
    fn no_bytes_in_a_tunnel_make_it_panic_or_hang(
        bytes in prop_oneof![pieces(), proptest::collection::vec(any::<u8>(), 0..4_000)],
        opaque: bool,
        closes: bool,
    ) {
        let proxy = proxy(opaque);
        let connect = b"CONNECT a.b:443 HTTP/1.1\r\nHost: a.b:443\r\n\r\n";
        attack(&proxy, &[connect, &bytes[..]].concat(), true, closes);
        prop_assert_eq!(proxy.ledger().bytes, 0);
    }

    #[test]
    fn no_answer_makes_it_panic_or_hang_and_each_replays_as_it_was(
        bytes in answers(),
        method in proptest::sample::select(vec!["GET", "HEAD"]),
        closes: bool,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            tokio::time::timeout(HANG, answered(method, bytes, closes)).await.unwrap();
        });
    }
}
