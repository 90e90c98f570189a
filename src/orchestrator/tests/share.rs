//! Versions between two homes, through a real registry and through one that lies.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use jiff::Timestamp;
use orchestrator::share::{self, PullRequest, Pulled, PushRequest, Pushed, ShareError};
use orchestrator::trust::{
    self, Demand, KeyFolder, SIGNATURE_TYPE, TrustError, TrustPolicy, TrustRule,
};
use orchestrator::{CopyRequest, EnvironmentSettings, copy_version};
use registry::{LayoutDir, RegistryOptions, RegistryRef, Repository};
use runner::EngineConfig;
use spec::{Digest, SubagentName, WorkspacePath};
use store::{Act, Move, Publication, Requirement, Store, StoreError, VersionContent};
use testkit::{RegistryServer, ScriptedServer, ServerReply};

struct Home {
    store: Arc<Store>,
    trust: TrustPolicy,
    folder: tempfile::TempDir,
}

impl Home {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self {
            store: Arc::new(Store::ensure(&folder.path().join("store")).unwrap()),
            trust: TrustPolicy::default(),
            folder,
        }
    }

    /// Makes the next version of a name its head.
    fn publish(&self, name: &str, text: &str, depends: &[(&str, Digest)]) -> Digest {
        let digest = self.stage(text, depends);
        self.make_head(name, digest);
        digest
    }

    fn make_head(&self, name: &str, digest: Digest) {
        self.store
            .publish(Publication {
                moves: vec![Move {
                    name: name.parse().unwrap(),
                    from: self.head(name),
                    to: digest,
                }],
                at: Timestamp::UNIX_EPOCH,
                task: None,
                evidence: Vec::new(),
                note: String::new(),
            })
            .unwrap();
    }

    /// A cache of its own, as another machine has.
    fn environments(&self) -> EnvironmentSettings {
        EnvironmentSettings {
            index: Err(orchestrator::IndexError::NotNamed),
            cache: self.folder.path().join("cache"),
            engine: EngineConfig::default(),
        }
    }

    /// Has the cache hold a wheel.
    fn cache_wheel(&self, bytes: &[u8]) -> Digest {
        let folder = self.folder.path().join("cache/wheels");
        std::fs::create_dir_all(&folder).unwrap();
        let digest = Digest::of(bytes);
        std::fs::write(folder.join(digest.hex()), bytes).unwrap();
        digest
    }

    /// Makes a version with one locked distribution the head of a name.
    fn publish_locked(&self, name: &str, wheels: &[Digest]) -> Digest {
        let plain = self.stage("import x\n", &[]);
        let mut content = self.store.version(&plain).unwrap().content;
        content.requirements = vec![Requirement {
            name: "x".to_owned(),
            version: "1.0".to_owned(),
            wheels: wheels.iter().copied().collect(),
        }];
        let digest = self.store.stage(&content).unwrap().digest();
        self.make_head(name, digest);
        digest
    }

    fn stage(&self, text: &str, depends: &[(&str, Digest)]) -> Digest {
        let path = WorkspacePath::from_text("main.py").unwrap();
        let depends = depends.iter();
        let content = VersionContent {
            entry: path.clone(),
            description: "Counts.".to_owned(),
            files: [(path, text.as_bytes().to_vec())].into_iter().collect(),
            skills: BTreeSet::new(),
            depends: depends
                .map(|(name, digest)| (name.parse().unwrap(), *digest))
                .collect::<BTreeMap<SubagentName, Digest>>(),
            egress: BTreeSet::new(),
            limits: None,
            python: "3.13".to_owned(),
            requirements: Vec::new(),
        };
        self.store.stage(&content).unwrap().digest()
    }

    fn head(&self, name: &str) -> Option<Digest> {
        let reference = name.parse().unwrap();
        self.store
            .resolve(&reference)
            .ok()
            .map(|found| found.digest)
    }

    fn is_whole(&self) {
        let report = self.store.fsck(&mut |_| {}).unwrap();
        assert_eq!(report.findings, []);
    }

    async fn push(&self, version: &str, to: &str) -> Result<Pushed, ShareError> {
        let to: RegistryRef = to.parse().unwrap();
        let request = PushRequest {
            version: version.parse().unwrap(),
            to: to.clone(),
            with_cases: false,
            environments: Some(self.environments()),
            force: false,
        };
        share::push(&self.store, &repository(&to).await, &request, &()).await
    }

    async fn pull(&self, from: &str) -> Result<Pulled, ShareError> {
        self.pull_as(from, None).await
    }

    async fn pull_as(&self, from: &str, name: Option<&str>) -> Result<Pulled, ShareError> {
        let request = PullRequest {
            name: name.map(|name| name.parse().unwrap()),
            ..self.request(from)
        };
        self.pull_by(&request).await
    }

    async fn pull_by(&self, request: &PullRequest) -> Result<Pulled, ShareError> {
        let repository = repository(&request.from).await;
        share::pull(&self.store, &repository, request, &()).await
    }

    fn request(&self, from: &str) -> PullRequest {
        PullRequest {
            from: from.parse().unwrap(),
            name: None,
            with_cases: false,
            force: false,
            trust: self.trust.clone(),
            act: act(),
        }
    }

    /// Has a blob hold other bytes.
    fn damage(&self, digest: &Digest) {
        let path = self.store.root().join("blobs/sha256").join(digest.hex());
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, b"damaged").unwrap();
    }
}

fn act() -> Act {
    Act {
        by: Some("ada".to_owned()),
        ..Timestamp::UNIX_EPOCH.into()
    }
}

async fn repository(reference: &RegistryRef) -> Repository {
    let options = RegistryOptions::default();
    let name = reference.repository.clone();
    Repository::connect(name, &options).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_and_what_it_depends_on_keep_their_digests() {
    let Some(server) = RegistryServer::start("") else {
        return;
    };
    let (here, there) = (Home::new(), Home::new());
    let below = here.publish("adder", "def main(query): return {}\n", &[]);
    let old = here.publish("counter", "import adder\n", &[("adder", below)]);
    let new = here.publish("counter", "import adder as a\n", &[("adder", below)]);
    let place = format!("{}/team/counter", server.host());
    let pushed = here.push(&format!("counter@{old}"), &place).await.unwrap();
    assert_eq!((pushed.versions, pushed.version), (2, old));
    let pulled = there.pull(&place).await.unwrap();
    assert_eq!((pulled.version, pulled.before), (old, None));
    assert_eq!(there.head("counter"), Some(old));
    // What a version depends on is here, but has no name of its own.
    assert_eq!(there.head("adder"), None);
    there.store.version(&below).unwrap();

    // The next one comes from the one that is there: both move on.
    let pushed = here.push("counter", &place).await.unwrap();
    assert_eq!(pushed.attachments, 1);
    let pulled = there.pull(&place).await.unwrap();
    assert_eq!((pulled.version, pulled.before), (new, Some(old)));
    // Nothing is sent or moved twice.
    let again = here.push("counter", &place).await.unwrap();
    assert_eq!((again.moved.blobs, again.moved.bytes), (0, 0));
    let again = there.pull(&place).await.unwrap();
    assert!(!again.is_new());
    assert_eq!(again.moved.bytes, 0);
    // An older one is no step forward, neither there nor here.
    let error = here.push(&format!("counter@{old}"), &place).await;
    assert!(matches!(error, Err(ShareError::TagIsNotAncestor { .. })));
    let error = there.pull(&format!("{place}@{old}")).await.unwrap_err();
    assert!(
        matches!(error, ShareError::HeadIsNotAncestor { .. }),
        "{error}"
    );
    assert_eq!(there.head("counter"), Some(new));
    there
        .pull_as(&format!("{place}@{old}"), Some("older"))
        .await
        .unwrap();
    assert_eq!(there.head("older"), Some(old));
    here.is_whole();
    there.is_whole();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_pulled_and_changed_comes_back_as_a_step_forward() {
    let Some(server) = RegistryServer::start("") else {
        return;
    };
    let (here, there, third) = (Home::new(), Home::new(), Home::new());
    let place = format!("{}/counter", server.host());
    here.publish("counter", "1", &[]);
    let second = here.publish("counter", "2", &[]);
    here.push("counter", &place).await.unwrap();
    there.pull(&place).await.unwrap();
    third.publish("counter", "1", &[]);
    // Meanwhile both go on: the second to push is told.
    there.publish("counter", "3", &[]);
    here.publish("counter", "4", &[]);
    there.push("counter", &place).await.unwrap();
    let error = here.push("counter", &place).await.unwrap_err();
    assert!(
        matches!(error, ShareError::TagIsNotAncestor { .. }),
        "{error}"
    );
    let error = here.pull(&place).await.unwrap_err();
    assert!(
        matches!(error, ShareError::HeadIsNotAncestor { .. }),
        "{error}"
    );
    assert!(error.hint().unwrap().contains("--as"));
    // The third never saw the second version; that its own came before it was told to the others.
    let pulled = third.pull(&place).await.unwrap();
    assert_eq!(pulled.version, there.head("counter").unwrap());
    assert_ne!(pulled.version, second);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blob_that_changed_in_the_registry_is_not_taken() {
    let Some(server) = RegistryServer::start("") else {
        return;
    };
    let (here, there) = (Home::new(), Home::new());
    let version = here.publish("counter", "def main(query): return {}\n", &[]);
    let place = format!("{}/counter", server.host());
    here.push("counter", &place).await.unwrap();
    let version = here.store.version(&version).unwrap();
    let file = server.blob(&version.source.hex());
    let good = std::fs::read(&file).unwrap();
    for bad in [good[..good.len() - 1].to_vec(), vec![b'x'; good.len()]] {
        std::fs::write(&file, bad).unwrap();
        there.pull(&place).await.unwrap_err();
        assert_eq!(there.head("counter"), None);
        assert!(there.store.version(&version.digest).is_err());
        there.is_whole();
    }
    std::fs::write(&file, good).unwrap();
    there.pull(&place).await.unwrap();
    there.store.version(&version.digest).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_subagent_is_refused() {
    let there = Home::new();
    let ask = async |manifest: String| {
        let server = ScriptedServer::start(move |request| {
            if request.target.contains("/manifests/") {
                ServerReply::body(manifest.clone())
            } else {
                ServerReply::status(404)
            }
        });
        let error = there.pull(&format!("{}/counter", server.host())).await;
        assert_eq!(there.head("counter"), None);
        there.is_whole();
        error.unwrap_err().to_string()
    };
    let manifest = |artifact: &str, config_size: u64, layers: usize| {
        let part = |media_type: &str, size: u64| serde_json::json!({"digest": Digest::of(b"x"), "mediaType": media_type, "size": size});
        let layer = part(store::SOURCE_MEDIA_TYPE, 9);
        let json = serde_json::json!({
            "artifactType": artifact,
            "config": part(store::CONFIG_MEDIA_TYPE, config_size),
            "layers": vec![layer; layers],
            "mediaType": store::MANIFEST_MEDIA_TYPE,
            "schemaVersion": 2,
        });
        String::from_utf8(spec::canonical_json(&json).unwrap()).unwrap()
    };
    let ours = store::SUBAGENT_ARTIFACT_TYPE;
    let why = ask(manifest("application/vnd.agentfactory.subagent.v2", 2, 1)).await;
    assert!(why.contains("newer format"), "{why}");
    let why = ask(manifest("application/vnd.example", 2, 1)).await;
    assert!(
        why.contains("is not a subagent: it is `application/vnd.example`"),
        "{why}"
    );
    let why = ask(manifest(ours, 1 << 40, 1)).await;
    assert!(why.contains("at most 524288"), "{why}");
    let why = ask(manifest(ours, 2, 2)).await;
    assert!(why.contains("2 layers"), "{why}");
    let why = ask(manifest(ours, 2, 60_000)).await;
    assert!(why.contains("more than 4194304 bytes"), "{why}");
    let why = ask(manifest(ours, 2, 500)).await;
    assert!(why.contains("too large"), "{why}");
    let why = ask(manifest(ours, 2, 1).replace(":2}", ": 2}")).await;
    assert!(why.contains("canonical"), "{why}");
    let why = ask(manifest(ours, 2, 1)).await;
    assert!(why.contains("has no"), "{why}");
    for text in [
        "",
        "{}",
        "[]",
        "not json",
        "{\"manifests\": [], \"schemaVersion\": 2}",
    ] {
        let why = ask(text.to_owned()).await;
        assert!(why.contains("not a valid version"), "{text}: {why}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_that_was_cut_off_leaves_no_name_and_goes_on() {
    let Some(server) = RegistryServer::start("") else {
        return;
    };
    let (here, there) = (Home::new(), Home::new());
    let below = here.publish("adder", "def main(query): return {}\n", &[]);
    here.publish("counter", "import adder\n", &[("adder", below)]);
    let place = format!("{}/counter", server.host());
    here.push("counter", &place).await.unwrap();
    // Between us and the registry is one that stops to answer after some requests.
    let host = server.host();
    let left = Arc::new(Mutex::new(0));
    let budget = Arc::clone(&left);
    let relay = ScriptedServer::start(move |request| {
        let mut left = budget.lock().unwrap();
        if *left == 0 {
            return ServerReply::status(404);
        }
        *left -= 1;
        forward(&host, &request.method, &request.target)
    });
    let place = format!("{}/counter", relay.host());
    let mut failures = 0;
    for requests in 1..100 {
        *left.lock().unwrap() = requests;
        match there.pull(&place).await {
            Ok(_) => break,
            Err(_) => failures += 1,
        }
        assert_eq!(there.head("counter"), None);
        there.is_whole();
    }
    assert!(failures >= 3, "{failures}");
    assert_eq!(there.head("counter"), here.head("counter"));
}

/// Asks a registry the same.
fn forward(host: &str, method: &str, target: &str) -> ServerReply {
    use std::io::{Read as _, Write as _};
    let mut stream = std::net::TcpStream::connect(host).unwrap();
    let accept =
        "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json";
    let request = format!("{method} {target} HTTP/1.0\r\nHost: {host}\r\nAccept: {accept}\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let end = answer
        .windows(4)
        .position(|four| four == b"\r\n\r\n")
        .unwrap();
    let status = String::from_utf8_lossy(&answer[9..12]).parse().unwrap();
    ServerReply {
        body: answer[end + 4..].to_vec(),
        ..ServerReply::status(status)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn signatures_go_along_and_decide_what_is_pulled() {
    let Some(server) = RegistryServer::start("") else {
        return;
    };
    let (here, mut there) = (Home::new(), Home::new());
    let keys = KeyFolder::new(here.folder.path());
    let [release, other] = ["release", "other"].map(|name| keys.generate(name).unwrap().public);
    there.trust = TrustPolicy {
        demand: Demand::Signed,
        keys: vec![release],
        ..TrustPolicy::default()
    };
    let version = here.publish("counter", "def main(query): return {}\n", &[]);
    let place = format!("{}/counter", server.host());
    here.push("counter", &place).await.unwrap();
    let error = there.pull(&place).await.unwrap_err();
    assert!(
        matches!(error, ShareError::Trust(TrustError::Unsigned { .. })),
        "{error}"
    );
    assert_eq!(there.head("counter"), None);

    trust::sign(&here.store, &keys, "other", &version).unwrap();
    here.push("counter", &place).await.unwrap();
    let error = there.pull(&place).await.unwrap_err();
    assert!(
        matches!(error, ShareError::Trust(TrustError::Untrusted { .. })),
        "{error}"
    );
    assert!(error.to_string().contains(&other.id()), "{error}");
    assert_eq!(there.head("counter"), None);

    let signed = trust::sign(&here.store, &keys, "release", &version).unwrap();
    // The same key says the same each time.
    assert_eq!(
        trust::sign(&here.store, &keys, "release", &version).unwrap(),
        signed
    );
    let pushed = here.push("counter", &place).await.unwrap();
    assert_eq!(pushed.attachments, 2);
    let pulled = there.pull(&place).await.unwrap();
    assert_eq!((pulled.version, pulled.attachments), (version, 2));
    assert_eq!(there.head("counter"), Some(version));
    // It goes on from there: a third home gets the signature from the second.
    let next = format!("{}/mirror/counter", server.host());
    there.push("counter", &next).await.unwrap();
    let mut third = Home::new();
    third.trust = there.trust.clone();
    third.pull(&next).await.unwrap();
    third.is_whole();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_environment_goes_along_as_the_wheels_that_the_lock_names() {
    let Some(server) = RegistryServer::start("") else {
        return;
    };
    let (here, there) = (Home::new(), Home::new());
    let (wheel, other) = (b"a wheel".as_slice(), Digest::of(b"of another platform"));
    let locked = here.publish_locked("counter", &[Digest::of(wheel), other]);
    let place = format!("{}/team/counter", server.host());
    // Nothing is here that could go along, and that is said.
    let pushed = here.push("counter", &place).await.unwrap();
    assert_eq!(
        (pushed.attachments, pushed.without_environment),
        (0, vec![locked])
    );
    let wheel = here.cache_wheel(wheel);
    let pushed = here.push("counter", &place).await.unwrap();
    assert_eq!(
        (pushed.attachments, pushed.without_environment),
        (1, vec![])
    );
    let pulled = there.pull(&place).await.unwrap();
    assert_eq!((pulled.attachments, pulled.refused), (1, 0));
    assert_eq!(there.store.get(&wheel).unwrap(), b"a wheel");
    // It goes on from there, although that cache never saw it.
    let pushed = there
        .push("counter", &format!("{place}-again"))
        .await
        .unwrap();
    assert_eq!(
        (pushed.attachments, pushed.without_environment),
        (1, vec![])
    );
    here.is_whole();
    there.is_whole();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_environment_that_no_lock_names_stays_where_it_is() {
    let Some(server) = RegistryServer::start("") else {
        return;
    };
    let (here, there) = (Home::new(), Home::new());
    let wheel = here.cache_wheel(b"a wheel");
    let version = here.publish_locked("counter", &[wheel]);
    // Somebody who may write there says that something else is its environment.
    let evil = here.store.put(b"another wheel").unwrap();
    let media_type = "application/vnd.agentfactory.wheel.v1+zip".to_owned();
    here.store.put(b"a wheel").unwrap();
    let kind = "application/vnd.agentfactory.environment.v1";
    let layers = [(evil, 13), (wheel, 7)];
    let layers = layers.map(|(digest, size)| {
        let size = spec::ByteSize::bytes(size);
        (media_type.clone(), digest, size)
    });
    here.store.attach_layers(&version, kind, layers).unwrap();
    let place = format!("{}/team/counter", server.host());
    let pushed = here.push("counter", &place).await.unwrap();
    assert_eq!(pushed.attachments, 2);
    let pulled = there.pull(&place).await.unwrap();
    assert_eq!((pulled.attachments, pulled.refused), (1, 1));
    assert!(there.store.contains(&wheel).unwrap());
    assert!(!there.store.contains(&evil).unwrap());

    // Nor does it come from another home.
    let third = Home::new();
    let request = CopyRequest {
        from: &here.store,
        to: &third.store,
        reference: &"counter".parse().unwrap(),
        with_cases: false,
        environments: None,
        act: act(),
    };
    let copied = copy_version(&request, &mut |_, _| {}).unwrap();
    assert_eq!(copied.attachments, 1);
    assert!(third.store.contains(&wheel).unwrap());
    assert!(!third.store.contains(&evil).unwrap());
    third.is_whole();
}

#[test]
fn signatures_are_copied() {
    let (here, there) = (Home::new(), Home::new());
    let version = here.publish("counter", "def main(query): return {}\n", &[]);
    let keys = KeyFolder::new(here.folder.path());
    keys.generate("release").unwrap();
    trust::sign(&here.store, &keys, "release", &version).unwrap();
    let request = CopyRequest {
        from: &here.store,
        to: &there.store,
        reference: &"counter".parse().unwrap(),
        with_cases: false,
        environments: None,
        act: act(),
    };
    let copied = copy_version(&request, &mut |_, _| {}).unwrap();
    assert_eq!(copied.attachments, 1);
    let signed = there.store.attachments(&version).unwrap();
    assert_eq!(signed, here.store.attachments(&version).unwrap());
    there.is_whole();
}

/// What a registry says about ancestors is nobody's word: it takes back nothing that is known here.
#[tokio::test(flavor = "multi_thread")]
async fn a_registry_cannot_take_a_head_back() {
    let Some(server) = RegistryServer::start("") else {
        return;
    };
    let (here, there, evil) = (Home::new(), Home::new(), Home::new());
    let place = format!("{}/counter", server.host());
    let old = here.publish("counter", "1", &[]);
    here.push("counter", &place).await.unwrap();
    there.pull(&place).await.unwrap();
    let new = here.publish("counter", "2", &[]);
    here.push("counter", &place).await.unwrap();
    there.pull(&place).await.unwrap();
    assert_eq!(there.head("counter"), Some(new));
    // Now the old version is said to have come from the new one, and is the latest again.
    evil.publish("counter", "2", &[]);
    assert_eq!(evil.publish("counter", "1", &[]), old);
    evil.push("counter", &place).await.unwrap();
    let error = there.pull(&place).await.unwrap_err();
    assert!(matches!(error, ShareError::HeadIsNewer { .. }), "{error}");
    assert!(error.hint().unwrap().contains("--force"));
    assert_eq!(there.head("counter"), Some(new));
    let forced = PullRequest {
        force: true,
        ..there.request(&place)
    };
    there.pull_by(&forced).await.unwrap();
    assert_eq!(there.head("counter"), Some(old));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pinned_head_moves_only_over_its_pin() {
    let Some(server) = RegistryServer::start("") else {
        return;
    };
    let (here, there) = (Home::new(), Home::new());
    let place = format!("{}/counter", server.host());
    let old = here.publish("counter", "1", &[]);
    here.push("counter", &place).await.unwrap();
    there.pull(&place).await.unwrap();
    there.store.pin(&"counter".parse().unwrap(), act()).unwrap();
    let new = here.publish("counter", "2", &[]);
    here.push("counter", &place).await.unwrap();
    let error = there.pull(&place).await.unwrap_err();
    assert!(
        matches!(error, ShareError::Store(StoreError::Pinned { .. })),
        "{error}"
    );
    assert_eq!(there.head("counter"), Some(old));
    let over = PullRequest {
        act: Act {
            over_pins: true,
            ..act()
        },
        ..there.request(&place)
    };
    there.pull_by(&over).await.unwrap();
    assert_eq!(there.head("counter"), Some(new));
    let log = there.store.log(None).unwrap();
    assert!(log.iter().all(|one| one.by.as_deref() == Some("ada")));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_demanded_of_a_name_and_a_place_holds_however_they_are_written() {
    let Some(server) = RegistryServer::start("") else {
        return;
    };
    let (here, mut there) = (Home::new(), Home::new());
    let port = server.host().rsplit(':').next().unwrap().to_owned();
    let place = format!("localhost:{port}/old");
    here.publish("old", "1", &[]);
    here.push("old", &place).await.unwrap();
    there.pull(&place).await.unwrap();
    let (old, present) = ("old".parse().unwrap(), "prod-x".parse().unwrap());
    there.store.rename(&old, &present, act()).unwrap();
    here.publish("old", "2", &[]);
    here.push("old", &place).await.unwrap();
    let rule = |name: Option<&str>, registry: Option<String>| TrustPolicy {
        rules: vec![TrustRule {
            name: name.map(str::to_owned),
            registry,
            demand: Demand::Signed,
            keys: Vec::new(),
        }],
        ..TrustPolicy::default()
    };
    let head = there.head("prod-x");
    for (policy, from) in [
        // A former name moves the head of the present one.
        (rule(Some("prod-*"), None), place.clone()),
        (
            rule(None, Some(format!("localhost:{port}/*"))),
            place.replace("localhost", "LocalHost"),
        ),
        (
            rule(None, Some(format!("LOCALHOST:{port}/*"))),
            place.clone(),
        ),
    ] {
        there.trust = policy;
        let error = there.pull(&from).await.unwrap_err();
        assert!(
            matches!(error, ShareError::Trust(TrustError::Unsigned { .. })),
            "{error}"
        );
        assert_eq!(there.head("prod-x"), head);
    }
    there.trust = rule(Some("old"), None);
    let pulled = there.pull(&place).await.unwrap();
    assert_eq!(pulled.name, present);
    assert_eq!(there.head("prod-x"), here.head("old"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_damaged_here_is_mended_by_pulling_it_again() {
    let Some(server) = RegistryServer::start("") else {
        return;
    };
    let (here, there) = (Home::new(), Home::new());
    let keys = KeyFolder::new(here.folder.path());
    keys.generate("release").unwrap();
    let version = here.publish("counter", "def main(query): return {}\n", &[]);
    let signed = trust::sign(&here.store, &keys, "release", &version).unwrap();
    let place = format!("{}/counter", server.host());
    here.push("counter", &place).await.unwrap();
    there.pull(&place).await.unwrap();
    let whole = there.store.version(&version).unwrap();
    let signature = signed.signature;
    for damaged in [
        version,
        whole.config,
        whole.source,
        signature.digest,
        signature.layers[0].1,
    ] {
        there.damage(&damaged);
        there.pull(&place).await.unwrap();
        there.is_whole();
    }
}

/// Has one home demand a signature by a key of the other, `release`.
fn demanded(here: &Home, there: &mut Home) -> KeyFolder {
    let keys = KeyFolder::new(here.folder.path());
    let key = keys.generate("release").unwrap().public;
    there.trust = TrustPolicy {
        demand: Demand::Signed,
        keys: vec![key],
        ..TrustPolicy::default()
    };
    keys
}

/// Somebody who may write there says things that are of no use.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_said_wrongly_keeps_nothing_from_coming() {
    let Some(server) = RegistryServer::start("") else {
        return;
    };
    let (here, mut there) = (Home::new(), Home::new());
    let keys = demanded(&here, &mut there);
    let version = here.publish("counter", "def main(query): return {}\n", &[]);
    let place = format!("{}/counter", server.host());
    here.push("counter", &place).await.unwrap();
    let repository = repository(&place.parse().unwrap()).await;
    let content = LayoutDir::new(here.store.root());
    let large = here.store.put(&vec![b' '; 200 << 10]).unwrap();
    let small = here.store.put(b"small").unwrap();
    let empty = here.store.put(b"{}").unwrap();
    let lineage = "application/vnd.agentfactory.lineage.v1";
    let run = "application/vnd.agentfactory.run.v1";
    let size = here.store.open(&version).unwrap().size();
    for (artifact_type, layer, layer_size, annotations) in [
        (SIGNATURE_TYPE, small, 5, true),
        (lineage, large, 200 << 10, false),
        (run, small, 5, false),
    ] {
        let mut manifest = serde_json::json!({
            "artifactType": artifact_type,
            "config": {"digest": empty, "mediaType": "application/vnd.oci.empty.v1+json", "size": 2},
            "layers": [{"digest": layer, "mediaType": "text/plain", "size": layer_size}],
            "mediaType": store::MANIFEST_MEDIA_TYPE,
            "schemaVersion": 2,
            "subject": {"digest": version, "mediaType": store::MANIFEST_MEDIA_TYPE, "size": size},
        });
        if annotations {
            manifest["annotations"] = serde_json::json!({"org.example": "x"});
        }
        let bytes = spec::canonical_json(&manifest).unwrap().into();
        repository
            .push_artifact(&content, &bytes, None, &())
            .await
            .unwrap();
    }
    let error = there.pull(&place).await.unwrap_err();
    assert!(matches!(error, ShareError::Trust(_)), "{error}");
    trust::sign(&here.store, &keys, "release", &version).unwrap();
    here.push("counter", &place).await.unwrap();
    let pulled = there.pull(&place).await.unwrap();
    assert_eq!((pulled.attachments, pulled.refused), (1, 2));
    let with_cases = PullRequest {
        with_cases: true,
        ..there.request(&place)
    };
    let pulled = there.pull_by(&with_cases).await.unwrap();
    assert_eq!((pulled.runs.len(), pulled.refused), (0, 3));
    there.is_whole();
}

/// Much of one type does not hide what is of another.
#[tokio::test(flavor = "multi_thread")]
async fn a_signature_is_found_among_a_thousand_other_things() {
    let Some(server) = RegistryServer::start("") else {
        return;
    };
    let (here, mut there) = (Home::new(), Home::new());
    let keys = demanded(&here, &mut there);
    let version = here.publish("counter", "def main(query): return {}\n", &[]);
    let signed = trust::sign(&here.store, &keys, "release", &version).unwrap();
    let place = format!("{}/counter", server.host());
    here.push("counter", &place).await.unwrap();
    let listed = |digest: Digest, artifact_type: &str| serde_json::json!({"artifactType": artifact_type, "digest": digest, "mediaType": store::MANIFEST_MEDIA_TYPE, "size": 500});
    let others = (0..1_200).map(|number: u32| Digest::of(&number.to_le_bytes()));
    let others: BTreeSet<Digest> = others.collect();
    let lineage = "application/vnd.agentfactory.lineage.v1";
    let mut list: Vec<_> = others.iter().map(|one| listed(*one, lineage)).collect();
    list.push(listed(signed.signature.digest, SIGNATURE_TYPE));
    let list = serde_json::json!({"manifests": list, "schemaVersion": 2}).to_string();
    let host = server.host();
    let relay = ScriptedServer::start(move |request| {
        let asked = request.target.rsplit('/').next().unwrap_or_default();
        if request.target.contains("/referrers/") {
            ServerReply::body(list.clone())
        } else if asked.parse().is_ok_and(|digest| others.contains(&digest)) {
            ServerReply::status(404)
        } else {
            forward(&host, &request.method, &request.target)
        }
    });
    let pulled = there.pull(&format!("{}/counter", relay.host())).await;
    assert_eq!(pulled.unwrap().attachments, 1);
}
