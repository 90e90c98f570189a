//! A registry that lies, stops half way, never stops, or leads elsewhere.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex};

use registry::{Descriptor, DockerConfig, RegistryError, Target};
use spec::Digest;
use testkit::{ScriptedServer, ServerReply, ServerRequest, Then};

use crate::support::{Memory, manifest, repository, with_login};

const BLOB: &[u8] = b"the content of a blob";

fn blob() -> Descriptor {
    Memory::default().put(BLOB)
}

/// Pulls the blob; what was refused is not kept.
async fn pull(server: &ScriptedServer) -> Result<Memory, RegistryError> {
    let repository = repository(server.host()).await;
    let there = Memory::default();
    let pulled = repository.pull_blob(&there, &blob(), &|_| {}).await;
    if pulled.is_err() {
        assert!(there.0.lock().unwrap().is_empty());
    }
    pulled.map(|()| there)
}

async fn refused(answer: impl Fn(&ServerRequest) -> ServerReply + Send + Sync + 'static) -> String {
    pull(&ScriptedServer::start(answer))
        .await
        .unwrap_err()
        .to_string()
}

#[tokio::test]
async fn other_bytes_are_not_kept() {
    let why = refused(|_| ServerReply::body("the c0ntent of a blob")).await;
    assert!(why.contains("have the digest"), "{why}");
    let why = refused(|_| ServerReply::body([BLOB, b"."].concat())).await;
    assert!(why.contains("more than its 21 bytes"), "{why}");
    let why = refused(|_| ServerReply::body(BLOB).then(Then::Endless)).await;
    assert!(why.contains("more than its 21 bytes"), "{why}");
    let why = refused(|_| ServerReply::body("")).await;
    assert!(why.contains("0 of 21 bytes"), "{why}");
    let why = refused(|_| ServerReply::status(500)).await;
    assert!(why.contains("status 500"), "{why}");
    let why = refused(|_| ServerReply::status(204)).await;
    assert!(why.contains("status 204"), "{why}");
    let why = refused(|_| ServerReply::status(404)).await;
    assert!(why.contains("has no"), "{why}");
}

#[tokio::test]
async fn what_it_says_of_errors_is_cut_and_printable() {
    let why = refused(|_| {
        let message = format!("\u{1b}[31m{}", "x".repeat(5_000));
        let body = serde_json::json!({"errors": [{"code": "X", "message": message}]});
        ServerReply {
            head: "HTTP/1.1 418 X\r\n".to_owned(),
            ..ServerReply::body(body.to_string())
        }
    });
    let why = why.await;
    assert!(why.len() < 400 && !why.contains('\u{1b}'), "{why}");
    let why = refused(|_| ServerReply {
        head: "HTTP/1.1 418 X\r\n".to_owned(),
        ..ServerReply::body("x").then(Then::Endless)
    });
    assert!(why.await.contains("418"));
}

#[tokio::test]
async fn an_interrupted_download_goes_on_where_it_was() {
    let server = ScriptedServer::start(|request| match request.headers.get("range") {
        None => ServerReply::body(&BLOB[..5]).saying(21),
        Some(range) => {
            let begin: usize = range["bytes=".len()..range.len() - 1].parse().unwrap();
            let end = (begin + 7).min(BLOB.len());
            let said = (BLOB.len() - begin) as u64;
            let mut reply = ServerReply::body(&BLOB[begin..end]).saying(said);
            reply.head = "HTTP/1.1 206 X\r\n".to_owned();
            reply.header("Content-Range", &format!("bytes {begin}-20/21"))
        }
    });
    let there = pull(&server).await.unwrap();
    assert_eq!(there.get(&blob().digest).as_deref(), Some(BLOB));
    let ranges: Vec<_> = server
        .seen()
        .iter()
        .map(|one| one.headers.get("range").cloned())
        .collect();
    let expected = [None, Some("bytes=5-"), Some("bytes=12-"), Some("bytes=19-")];
    assert_eq!(ranges, expected.map(|range| range.map(str::to_owned)));
}

#[tokio::test]
async fn one_that_closes_after_each_byte_is_given_up() {
    let server = ScriptedServer::start(|request| {
        let begin = match request.headers.get("range") {
            None => 0,
            Some(range) => range["bytes=".len()..range.len() - 1].parse().unwrap(),
        };
        let said = (BLOB.len() - begin) as u64;
        let mut reply = ServerReply::body(&BLOB[begin..=begin]).saying(said);
        if begin > 0 {
            reply.head = "HTTP/1.1 206 X\r\n".to_owned();
        }
        reply.header("Content-Range", &format!("bytes {begin}-20/21"))
    });
    pull(&server).await.unwrap_err();
    assert_eq!(server.seen().len(), 5);
}

#[tokio::test]
async fn what_is_damaged_here_comes_again() {
    let server = ScriptedServer::start(|_| ServerReply::body(BLOB));
    let repository = repository(server.host()).await;
    let (here, blob) = (Memory::default(), blob());
    for (damage, requests) in [
        (&b"the c0ntent of a blob"[..], 1),
        (&BLOB[..9], 2),
        (BLOB, 2),
        (&b""[..], 3),
    ] {
        here.0.lock().unwrap().insert(blob.digest, damage.to_vec());
        let moved = repository.pull_blobs(&here, &[&blob], &()).await.unwrap();
        assert_eq!(moved.blobs + moved.skipped, 1);
        assert_eq!(server.seen().len(), requests);
        assert_eq!(here.get(&blob.digest).as_deref(), Some(BLOB));
    }
}

#[tokio::test]
async fn a_part_that_was_not_asked_for_is_refused() {
    let why = refused(|request| {
        if !request.headers.contains_key("range") {
            return ServerReply::body(&BLOB[..5]).saying(21);
        }
        let mut reply = ServerReply::body(&BLOB[1..]);
        reply.head = "HTTP/1.1 206 X\r\n".to_owned();
        reply.header("Content-Range", "bytes 1-20/21")
    });
    let why = why.await;
    assert!(why.contains("another part"), "{why}");
}

#[tokio::test]
async fn one_that_knows_no_parts_sends_all_again() {
    let calls = AtomicUsize::new(0);
    let server = ScriptedServer::start(move |_| match calls.fetch_add(1, Ordering::Relaxed) {
        0 => ServerReply::body(&BLOB[..5]).saying(21),
        _ => ServerReply::body(BLOB),
    });
    let there = pull(&server).await.unwrap();
    assert_eq!(there.get(&blob().digest).as_deref(), Some(BLOB));
}

#[tokio::test]
async fn redirects_end_and_lead_to_http_only() {
    let why = refused(|request| {
        ServerReply::status(307).header("Location", &format!("{}x", request.target))
    });
    let why = why.await;
    assert!(why.contains("redirects without an end"), "{why}");
    for place in ["file:///etc/passwd", "gopher://127.0.0.1/", "data:,x"] {
        let why = refused(move |_| ServerReply::status(302).header("Location", place)).await;
        assert!(why.contains("redirects to"), "{place}: {why}");
    }
    let why = refused(|_| ServerReply::status(302)).await;
    assert!(why.contains("redirects to nowhere"), "{why}");
}

#[tokio::test]
async fn another_host_gets_no_credentials() {
    let other = ScriptedServer::start(|_| ServerReply::body(BLOB));
    let place = format!("http://{}/elsewhere", other.host());
    let server = ScriptedServer::start(move |request| {
        if !request.headers.contains_key("authorization") {
            return ServerReply::status(401).header("WWW-Authenticate", "Basic realm=\"x\"");
        }
        ServerReply::status(307).header("Location", &place)
    });
    let folder = tempfile::tempdir().unwrap();
    let config = format!(
        "{{\"auths\": {{\"{}\": {{\"auth\": \"bWU6c2VjcmV0\"}}}}}}",
        server.host()
    );
    std::fs::write(folder.path().join("config.json"), config).unwrap();
    let docker = registry::DockerConfig {
        folder: Some(folder.path().to_owned()),
        environment: Vec::new(),
    };
    let repository = crate::support::with_login(server.host(), &docker).await;
    let there = Memory::default();
    repository
        .pull_blob(&there, &blob(), &|_| {})
        .await
        .unwrap();
    let seen = other.seen();
    assert_eq!(seen.len(), 1);
    assert!(!seen[0].headers.contains_key("authorization"), "{seen:?}");
    let seen = server.seen();
    assert_eq!(seen[1].headers["authorization"], "Basic bWU6c2VjcmV0");
}

#[tokio::test]
async fn a_token_is_asked_for_where_the_registry_says() {
    let host = Arc::new(Mutex::new(String::new()));
    let known = Arc::clone(&host);
    let server = ScriptedServer::start(move |request| {
        let host = known.lock().unwrap().clone();
        if request.target.starts_with("/token") {
            assert!(
                request
                    .target
                    .contains("scope=repository%3Ateam%2Fcsv%3Apull")
            );
            assert!(request.target.contains("service=here"));
            return ServerReply::body("{\"token\": \"abc\"}");
        }
        match request.headers.get("authorization").map(String::as_str) {
            Some("Bearer abc") => ServerReply::body(BLOB),
            _ => ServerReply::status(401).header(
                "WWW-Authenticate",
                &format!("Bearer realm=\"http://{host}/token\",service=\"here\""),
            ),
        }
    });
    server.host().clone_into(&mut host.lock().unwrap());
    pull(&server).await.unwrap();
}

#[tokio::test]
async fn a_token_that_never_helps_is_given_up() {
    let host = Arc::new(Mutex::new(String::new()));
    let known = Arc::clone(&host);
    let server = ScriptedServer::start(move |request| {
        let host = known.lock().unwrap().clone();
        if request.target.starts_with("/token") {
            return ServerReply::body("{\"token\": \"abc\"}");
        }
        ServerReply::status(401).header(
            "WWW-Authenticate",
            &format!("Bearer realm=\"http://{host}/token\""),
        )
    });
    server.host().clone_into(&mut host.lock().unwrap());
    let error = pull(&server).await.unwrap_err();
    assert!(matches!(error, RegistryError::Denied { .. }), "{error}");
    for realm in ["file:///x", "", "http://"] {
        let why = refused(move |_| {
            ServerReply::status(401)
                .header("WWW-Authenticate", &format!("Bearer realm=\"{realm}\""))
        });
        let why = why.await;
        assert!(why.contains("an authorization"), "{realm}: {why}");
    }
    let endless = ScriptedServer::start(|_| ServerReply::body("{").then(Then::Endless));
    let realm = format!("http://{}/", endless.host());
    let why = refused(move |_| {
        ServerReply::status(401).header("WWW-Authenticate", &format!("Bearer realm=\"{realm}\""))
    });
    let why = why.await;
    assert!(why.contains("more than 65536 bytes"), "{why}");
}

#[tokio::test]
async fn manifests_have_a_bound_and_the_right_digest() {
    let tag = Target::Tag("v1".to_owned());
    let ask = async |reply: ServerReply, target: &Target| {
        let server = ScriptedServer::start(move |_| reply.clone());
        let repository = repository(server.host()).await;
        repository.manifest(target).await.map_err(|e| e.to_string())
    };
    let endless = ServerReply::body("{").then(Then::Endless);
    let why = ask(endless, &tag).await.unwrap_err();
    assert!(why.contains("more than 4194304 bytes"), "{why}");
    let digest = Digest::of(b"{}");
    let right = ask(ServerReply::body("{}"), &Target::Digest(digest)).await;
    assert_eq!(right.unwrap().digest, digest);
    let why = ask(ServerReply::body("{ }"), &Target::Digest(digest)).await;
    assert!(why.unwrap_err().contains("not sha256:"));
    let said = ServerReply::body("{ }").header("Docker-Content-Digest", &digest.to_string());
    assert!(ask(said, &tag).await.unwrap_err().contains("not sha256:"));
    // What it says of the digest of what is asked for by digest does not count.
    let said = ServerReply::body("{ }").header("Docker-Content-Digest", &digest.to_string());
    let why = ask(said, &Target::Digest(digest)).await;
    assert!(why.unwrap_err().contains("not sha256:"));
}

#[tokio::test]
async fn a_list_of_referrers_is_bounded_and_an_index() {
    let subject = Digest::of(b"x");
    let ask = async |reply: ServerReply| {
        let server = ScriptedServer::start(move |_| reply.clone());
        let repository = repository(server.host()).await;
        let found = repository.referrers(&subject, None).await;
        found.map_err(|error| error.to_string())
    };
    let why = ask(ServerReply::body("{").then(Then::Endless)).await;
    assert!(why.unwrap_err().contains("more than"));
    let why = ask(ServerReply::body("{}")).await.unwrap_err();
    assert!(why.contains("not an index"), "{why}");
    let one = serde_json::to_value(blob()).unwrap();
    let many = serde_json::json!({"schemaVersion": 2, "manifests": vec![one; 5_000]});
    let found = ask(ServerReply::body(many.to_string())).await.unwrap();
    assert_eq!(found.len(), 1_000);
    assert_eq!(ask(ServerReply::status(404)).await.unwrap(), []);
}

#[tokio::test]
async fn an_upload_is_not_sent_to_another_host() {
    let other = ScriptedServer::start(|_| ServerReply::status(201));
    let place = format!("http://{}/upload", other.host());
    let server =
        ScriptedServer::start(move |_| ServerReply::status(202).header("Location", &place));
    let here = Memory::default();
    let blob = here.put(BLOB);
    let repository = repository(server.host()).await;
    let error = repository
        .push_blob(&here, &blob, &|_| {})
        .await
        .unwrap_err();
    assert!(error.to_string().contains("another host"), "{error}");
    assert!(other.seen().is_empty());
}

#[tokio::test]
async fn requests_that_are_refused_at_once_all_show_the_password_then() {
    let together = Barrier::new(2);
    let server = ScriptedServer::start(move |request| {
        if !request.headers.contains_key("authorization") {
            // Both are on their way before either is answered.
            together.wait();
            return ServerReply::status(401).header("WWW-Authenticate", "Basic realm=\"x\"");
        }
        // Both blobs are there.
        let is_blob = request.target.contains(&Digest::of(BLOB).to_string());
        match (request.method.as_str(), is_blob) {
            ("HEAD", true) => ServerReply::body(BLOB),
            ("HEAD", false) => ServerReply::body("{}"),
            _ => ServerReply::status(201),
        }
    });
    let folder = tempfile::tempdir().unwrap();
    let logins = serde_json::json!({"auths": {server.host(): {"auth": "bWU6c2VjcmV0"}}});
    std::fs::write(folder.path().join("config.json"), logins.to_string()).unwrap();
    let docker = DockerConfig {
        folder: Some(folder.path().to_owned()),
        environment: Vec::new(),
    };
    let repository = with_login(server.host(), &docker).await;
    let here = Memory::default();
    let bytes = manifest(&[&here.put(b"{}"), &here.put(BLOB)], None);
    let pushed = repository.push_artifact(&here, &bytes, None, &()).await;
    assert_eq!(pushed.unwrap().skipped, 2);
}

/// A registry that takes uploads in memory and can lose a connection in one.
#[tokio::test]
async fn an_interrupted_upload_goes_on_where_the_registry_is() {
    let kept: Arc<Mutex<Vec<u8>>> = Arc::default();
    let known = Arc::clone(&kept);
    let cut = AtomicUsize::new(0);
    let server = ScriptedServer::start(move |request| {
        let mut kept = known.lock().unwrap();
        match request.method.as_str() {
            "POST" => ServerReply::status(202).header("Location", "/v2/up"),
            "GET" => ServerReply::status(204)
                .header("Location", "/v2/up")
                .header("Range", &format!("0-{}", kept.len() - 1)),
            "PATCH" => {
                let range = request.headers["content-range"].clone();
                let begin: usize = range.split('-').next().unwrap().parse().unwrap();
                assert_eq!(begin, kept.len());
                // The second part is taken only in half, and the answer is lost.
                if cut.fetch_add(1, Ordering::Relaxed) == 1 {
                    kept.extend_from_slice(&request.body[..request.body.len() / 2]);
                    return ServerReply::status(503);
                }
                kept.extend_from_slice(&request.body);
                ServerReply::status(202).header("Location", "/v2/up")
            }
            _ => {
                kept.extend_from_slice(&request.body);
                ServerReply::status(201)
            }
        }
    });
    let here = Memory::default();
    let bytes: Vec<u8> = (0..20_u32 << 20).map(|n| n.to_le_bytes()[1]).collect();
    let blob = here.put(&bytes);
    let repository = repository(server.host()).await;
    let done = AtomicUsize::new(0);
    let count = |bytes: u64| done.store(usize::try_from(bytes).unwrap(), Ordering::Relaxed);
    repository.push_blob(&here, &blob, &count).await.unwrap();
    assert_eq!(*kept.lock().unwrap(), bytes);
    assert_eq!(done.load(Ordering::Relaxed), bytes.len());
}

#[tokio::test]
async fn a_blob_that_changed_on_this_side_is_not_pushed() {
    let server = ScriptedServer::start(|_| ServerReply::status(202).header("Location", "/v2/up"));
    let here = Memory::default();
    let blob = here.put(BLOB);
    here.0
        .lock()
        .unwrap()
        .insert(blob.digest, b"the content of a blab".to_vec());
    let repository = repository(server.host()).await;
    let error = repository
        .push_blob(&here, &blob, &|_| {})
        .await
        .unwrap_err();
    assert!(matches!(error, RegistryError::Content { .. }), "{error}");
    assert!(server.seen().iter().all(|one| one.body.is_empty()));
}
