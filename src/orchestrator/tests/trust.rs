//! Signatures that are forged, torn, replayed or of somebody else.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeSet;

use orchestrator::rebuild_version;
use orchestrator::trust::{
    self, Demand, KeyFolder, PublicKey, SIGNATURE_TYPE, TrustError, TrustPolicy, TrustRule, Verdict,
};
use spec::{Digest, WorkspacePath};
use store::{Attachment, Document, Move, Publication, Store, VersionContent};

const ENVELOPE: &str = "application/vnd.dsse.envelope.v1+json";

struct Home {
    store: Store,
    keys: KeyFolder,
    key: PublicKey,
    _folder: tempfile::TempDir,
}

impl Home {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let keys = KeyFolder::new(folder.path());
        Self {
            store: Store::ensure(&folder.path().join("store")).unwrap(),
            key: keys.generate("release").unwrap().public,
            keys,
            _folder: folder,
        }
    }

    fn stage(&self, text: &str) -> Digest {
        self.stage_on(text, &[])
    }

    /// A version that depends on others.
    fn stage_on(&self, text: &str, depends: &[(&str, Digest)]) -> Digest {
        let depends = depends.iter();
        let depends = depends.map(|(name, digest)| (name.parse().unwrap(), *digest));
        let path = WorkspacePath::from_text("main.py").unwrap();
        let content = VersionContent {
            entry: path.clone(),
            description: String::new(),
            files: [(path, text.as_bytes().to_vec())].into_iter().collect(),
            skills: BTreeSet::new(),
            depends: depends.collect(),
            egress: BTreeSet::new(),
            limits: None,
            python: "3.13".to_owned(),
            requirements: Vec::new(),
        };
        self.store.stage(&content).unwrap().digest()
    }

    /// The envelope of a good signature.
    fn envelope(&self, version: &Digest) -> Vec<u8> {
        let signed = trust::sign(&self.store, &self.keys, "release", version).unwrap();
        self.store.get(&signed.signature.layers[0].1).unwrap()
    }

    fn attach(&self, version: &Digest, media_type: &str, bytes: &[u8]) -> Attachment {
        let document = Document {
            artifact_type: SIGNATURE_TYPE,
            media_type,
            bytes,
        };
        self.store.attach(version, &document).unwrap()
    }

    fn verdicts(&self, version: &Digest, keys: &[PublicKey]) -> Vec<Verdict> {
        let found = trust::signatures(&self.store, version, keys).unwrap();
        found.into_iter().map(|one| one.verdict).collect()
    }

    /// What is said of these bytes in the place of an envelope; the policy never takes them.
    fn wrong(&self, media_type: &str, bytes: &[u8]) -> String {
        let version = self.stage(&format!("x = {}\n", Digest::of(bytes).hex()));
        self.wrong_for(&version, media_type, bytes)
    }

    fn wrong_for(&self, version: &Digest, media_type: &str, bytes: &[u8]) -> String {
        self.attach(version, media_type, bytes);
        let policy = TrustPolicy {
            demand: Demand::Signed,
            keys: vec![self.key],
            ..TrustPolicy::default()
        };
        let refused = policy.check(&self.store, version, None, None);
        assert!(
            matches!(refused, Err(TrustError::Untrusted { .. })),
            "{refused:?}"
        );
        match self.verdicts(version, &[self.key]).as_slice() {
            [Verdict::Wrong(why)] => why.clone(),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_signature_is_valid_for_its_version_and_key_alone() {
    let home = Home::new();
    let (version, other) = (home.stage("1"), home.stage("2"));
    let envelope = home.envelope(&version);
    assert_eq!(
        home.verdicts(&version, &[home.key]),
        [Verdict::Valid(home.key)]
    );
    let stranger = home.keys.generate("stranger").unwrap().public;
    assert_eq!(home.verdicts(&version, &[stranger]), [Verdict::UnknownKey]);
    assert_eq!(home.verdicts(&version, &[]), [Verdict::UnknownKey]);
    assert_eq!(home.verdicts(&other, &[home.key]), []);
    // The signature of one version says nothing about another.
    let why = home.wrong_for(&other, ENVELOPE, &envelope);
    assert!(why.contains("made for another version"), "{why}");
    let report = home.store.fsck(&mut |_| {}).unwrap();
    assert_eq!(report.findings, []);
}

#[test]
fn what_is_no_envelope_is_wrong() {
    let home = Home::new();
    let good = home.envelope(&home.stage("1"));
    let why = home.wrong(ENVELOPE, &good[..good.len() - 9]);
    assert!(why.contains("not a DSSE envelope"), "{why}");
    let why = home.wrong("application/json", &good);
    assert!(why.contains("`application/json`"), "{why}");
    let why = home.wrong(ENVELOPE, b"");
    assert!(why.contains("not a DSSE envelope"), "{why}");
    let why = home.wrong(ENVELOPE, &vec![b' '; 1 << 20]);
    assert!(why.contains("too large"), "{why}");
    let deep = "[".repeat(50_000);
    let why = home.wrong(ENVELOPE, deep.as_bytes());
    assert!(why.contains("not a DSSE envelope"), "{why}");
}

#[test]
fn a_changed_envelope_is_wrong() {
    let home = Home::new();
    let change = |field: &str, value: serde_json::Value| {
        let version = home.stage(&format!("changed {field} {value}"));
        let good = home.envelope(&version);
        let mut json: serde_json::Value = serde_json::from_slice(&good).unwrap();
        *json.pointer_mut(field).unwrap() = value;
        let envelope = json.to_string();
        home.attach(&version, ENVELOPE, envelope.as_bytes());
        let mut verdicts = home.verdicts(&version, &[home.key]);
        verdicts.retain(|one| *one != Verdict::Valid(home.key));
        assert_eq!(verdicts.len(), 1, "{field}: {verdicts:?}");
        verdicts.remove(0)
    };
    let zeros = format!("{}==", "A".repeat(86));
    let wrong = change("/signatures/0/sig", zeros.into());
    assert!(
        matches!(wrong, Verdict::Wrong(ref why) if why.contains("does not fit")),
        "{wrong:?}"
    );
    let wrong = change("/signatures/0/sig", "not base64".into());
    assert!(matches!(wrong, Verdict::Wrong(_)), "{wrong:?}");
    let wrong = change("/payloadType", "text/plain".into());
    assert!(
        matches!(wrong, Verdict::Wrong(ref why) if why.contains("text/plain")),
        "{wrong:?}"
    );
    let wrong = change("/payload", "e30=".into());
    assert!(
        matches!(wrong, Verdict::Wrong(ref why) if why.contains("not a statement")),
        "{wrong:?}"
    );
}

#[test]
fn the_digest_in_a_payload_cannot_be_exchanged() {
    let home = Home::new();
    let (signed, wanted) = (home.stage("signed"), home.stage("wanted"));
    let envelope = home.envelope(&signed);
    let mut json: serde_json::Value = serde_json::from_slice(&envelope).unwrap();
    let payload = json["payload"].as_str().unwrap();
    let payload = String::from_utf8(decode(payload)).unwrap();
    let payload = payload.replace(&signed.hex(), &wanted.hex());
    json["payload"] = encode(payload.as_bytes()).into();
    let why = home.wrong_for(&wanted, ENVELOPE, json.to_string().as_bytes());
    assert!(
        why.contains("does not fit what it is said to sign"),
        "{why}"
    );
}

#[test]
fn a_key_that_lies_about_its_id_is_not_taken_for_another() {
    let home = Home::new();
    home.keys.generate("stranger").unwrap();
    let version = home.stage("1");
    let signed = trust::sign(&home.store, &home.keys, "stranger", &version).unwrap();
    let envelope = home.store.get(&signed.signature.layers[0].1).unwrap();
    let mut json: serde_json::Value = serde_json::from_slice(&envelope).unwrap();
    json["signatures"][0]["keyid"] = home.key.id().into();
    let other = home.stage("2");
    assert_eq!(home.verdicts(&version, &[home.key]), [Verdict::UnknownKey]);
    home.attach(&version, ENVELOPE, json.to_string().as_bytes());
    let verdicts = home.verdicts(&version, &[home.key]);
    assert!(
        verdicts.iter().all(|one| !matches!(one, Verdict::Valid(_))),
        "{verdicts:?}"
    );
    assert!(
        verdicts.iter().any(|one| matches!(one, Verdict::Wrong(_))),
        "{verdicts:?}"
    );
    assert_eq!(home.verdicts(&other, &[home.key]), []);
}

/// What a policy says of a version, with the causes.
fn said(policy: &TrustPolicy, home: &Home, version: &Digest) -> Option<(String, String)> {
    let refused = policy.check(&home.store, version, None, None).err()?;
    Some((orchestrator::chain(&refused), refused.hint().unwrap()))
}

#[test]
fn what_a_version_depends_on_is_demanded_a_signature_too() {
    let home = Home::new();
    let below = home.stage("below");
    let part = home.stage_on("part", &[("below", below)]);
    let whole = home.stage_on("whole", &[("part", part)]);
    let policy = TrustPolicy {
        demand: Demand::Signed,
        keys: vec![home.key],
        ..TrustPolicy::default()
    };
    let (why, _) = said(&policy, &home, &whole).unwrap();
    assert!(why.contains("is not signed"), "{why}");
    let stranger = home.keys.generate("stranger").unwrap().public;
    trust::sign(&home.store, &home.keys, "stranger", &part).unwrap();

    let signed = trust::sign(&home.store, &home.keys, "release", &whole).unwrap();
    assert_eq!(signed.depends, [below, part]);
    assert_eq!(said(&policy, &home, &whole), None);
    // Whatever it was signed for, each can be run by itself.
    assert_eq!(said(&policy, &home, &below), None);
    let report = home.store.fsck(&mut |_| {}).unwrap();
    assert_eq!(report.findings, []);

    // A rule for what it depends on decides about that alone.
    let rule = |name: &str, demand, keys| TrustRule {
        name: Some(name.to_owned()),
        registry: None,
        demand,
        keys,
    };
    let of_part = |demand, keys| TrustPolicy {
        rules: vec![rule("part", demand, keys)],
        ..policy.clone()
    };
    let strangers = of_part(Demand::Signed, vec![stranger]);
    assert_eq!(said(&strangers, &home, &whole), None);
    let other = home.keys.generate("other").unwrap().public;
    let others = of_part(Demand::Signed, vec![other]);
    let (why, hint) = said(&others, &home, &whole).unwrap();
    assert!(
        why.starts_with(&format!(
            "the version {} depends on `part`: ",
            whole.short()
        )),
        "{why}"
    );
    assert!(
        why.contains(&format!(
            "no trusted key has signed the version {}",
            part.short()
        )),
        "{why}"
    );
    assert!(hint.contains("`keys` in [trust]"), "{hint}");
    // Nothing is demanded but of what it depends on.
    let only = TrustPolicy {
        rules: vec![rule("below", Demand::Signed, vec![other])],
        ..TrustPolicy::default()
    };
    let (why, _) = said(&only, &home, &whole).unwrap();
    assert!(why.contains("depends on `below`: "), "{why}");
}

#[test]
fn a_signed_version_that_depends_on_an_unsigned_one_is_refused() {
    let (home, other) = (Home::new(), Home::new());
    let part = home.stage("part");
    let whole = home.stage_on("whole", &[("part", part)]);
    let policy = TrustPolicy {
        demand: Demand::Signed,
        keys: vec![other.key],
        ..TrustPolicy::default()
    };
    // The other home signs all of it; only the signature of the whole comes here.
    assert_eq!(other.stage("part"), part);
    assert_eq!(other.stage_on("whole", &[("part", part)]), whole);
    let envelope = other.envelope(&whole);
    home.attach(&whole, ENVELOPE, &envelope);
    let (why, hint) = said(&policy, &home, &whole).unwrap();
    assert_eq!(
        why,
        format!(
            "the version {} depends on `part`: the version {} is not signed, and [trust] demands it",
            whole.short(),
            part.short()
        )
    );
    let sign = format!("`sign {part} --key NAME`");
    assert!(hint.contains(&sign), "{hint}");
    let envelope = other.envelope(&part);
    home.attach(&part, ENVELOPE, &envelope);
    assert_eq!(said(&policy, &home, &whole), None);
}

#[test]
fn a_version_that_nobody_vouches_for_is_not_made_again() {
    let home = Home::new();
    let part = home.stage("part");
    let whole = home.stage_on("whole", &[("part", part)]);
    let moves = [("part", part), ("whole", whole)].map(|(name, to)| Move {
        name: name.parse().unwrap(),
        from: None,
        to,
    });
    home.store
        .publish(Publication {
            moves: moves.into(),
            at: jiff::Timestamp::UNIX_EPOCH,
            task: None,
            evidence: Vec::new(),
            note: String::new(),
        })
        .unwrap();
    let policy = TrustPolicy {
        demand: Demand::Signed,
        keys: vec![home.key],
        ..TrustPolicy::default()
    };
    let rebuild = |policy: &TrustPolicy| {
        let scratch = tempfile::tempdir().unwrap();
        let reference = format!("whole@{whole}").parse().unwrap();
        let rebuilt = rebuild_version(&home.store, policy, &reference, scratch.path());
        let left = std::fs::read_dir(scratch.path()).unwrap().count();
        rebuilt.map_err(|error| (orchestrator::chain(&error), error.hint().unwrap(), left))
    };
    let (why, hint, left) = rebuild(&policy).unwrap_err();
    assert!(
        why.contains(&whole.short()) && why.contains("not signed"),
        "{why}"
    );
    assert!(hint.contains("--key NAME"), "{hint}");
    assert_eq!(left, 0);
    trust::sign(&home.store, &home.keys, "release", &whole).unwrap();
    assert!(rebuild(&policy).unwrap().is_equal());
    let of_part = TrustPolicy {
        rules: vec![TrustRule {
            name: Some("part".to_owned()),
            demand: Demand::Signed,
            keys: vec![home.keys.generate("other").unwrap().public],
            ..TrustRule::default()
        }],
        ..TrustPolicy::default()
    };
    let (why, _, left) = rebuild(&of_part).unwrap_err();
    assert!(why.contains("depends on `part`"), "{why}");
    assert_eq!(left, 0);
}

fn decode(text: &str) -> Vec<u8> {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD
        .decode(text)
        .unwrap()
}

fn encode(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}
