//! Layouts that somebody else wrote: every deviation is refused, none is followed.

use serde_json::{Value, json};
use spec::{Digest, canonical_json};
use store::{
    CONFIG_MEDIA_TYPE, MANIFEST_MEDIA_TYPE, SOURCE_MEDIA_TYPE, SUBAGENT_ARTIFACT_TYPE, StoreError,
};
use tar::{EntryType, Header};

use crate::fixtures::{Home, content};

/// The three parts of a version, to be changed one at a time.
struct Parts {
    home: Home,
    manifest: Value,
    config: Value,
    layer: Vec<u8>,
}

impl Parts {
    fn new() -> Self {
        let home = Home::new();
        let digest = home.stage("x = 1\n");
        let version = home.store.version(&digest).unwrap();
        let json = |digest| serde_json::from_slice(&home.store.get(&digest).unwrap()).unwrap();
        Self {
            manifest: json(digest),
            config: json(version.config),
            layer: home.store.get(&version.source).unwrap(),
            home,
        }
    }

    /// Puts config and layer, and a manifest that describes them truly.
    fn version(&self, config: &[u8], layer: &[u8]) -> Digest {
        let descriptor = |kind: &str, bytes: &[u8]| {
            let digest = self.home.store.put(bytes).unwrap();
            json!({"mediaType": kind, "digest": digest, "size": bytes.len()})
        };
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST_MEDIA_TYPE,
            "artifactType": SUBAGENT_ARTIFACT_TYPE,
            "config": descriptor(CONFIG_MEDIA_TYPE, config),
            "layers": [descriptor(SOURCE_MEDIA_TYPE, layer)],
        });
        self.home
            .store
            .put(&canonical_json(&manifest).unwrap())
            .unwrap()
    }

    fn refused(&self, digest: &Digest, says: &str) {
        match self.home.store.version(digest) {
            Err(StoreError::BadVersion { why, .. }) => {
                assert!(why.contains(says), "`{why}` does not say `{says}`");
            }
            other => panic!("{says}: {other:?}"),
        }
        // It is refused for everybody, whatever names it.
        assert!(
            self.home
                .store
                .tag(
                    &crate::fixtures::name("x"),
                    "t",
                    digest,
                    crate::fixtures::at(0)
                )
                .is_err()
        );
    }

    fn manifest(&self, change: impl FnOnce(&mut Value), says: &str) {
        let mut manifest = self.manifest.clone();
        change(&mut manifest);
        let digest = self
            .home
            .store
            .put(&canonical_json(&manifest).unwrap())
            .unwrap();
        self.refused(&digest, says);
    }

    fn config(&self, change: impl FnOnce(&mut Value), says: &str) {
        let mut config = self.config.clone();
        change(&mut config);
        let digest = self.version(&canonical_json(&config).unwrap(), &self.layer);
        self.refused(&digest, says);
    }

    fn layer(&self, layer: &[u8], says: &str) {
        let config = canonical_json(&self.config).unwrap();
        let digest = self.version(&config, layer);
        self.refused(&digest, says);
    }
}

#[test]
fn a_manifest_that_is_not_ours_is_refused() {
    let parts = Parts::new();
    parts.manifest(|m| m["schemaVersion"] = json!(1), "schema version is 1");
    parts.manifest(
        |m| m["mediaType"] = json!("x\u{1b}[31m"),
        r"is `x\u{1b}[31m`",
    );
    parts.manifest(
        |m| m["artifactType"] = json!("application/x"),
        "artifact type",
    );
    parts.manifest(|m| m["config"]["mediaType"] = json!("x"), "config type");
    parts.manifest(|m| m["layers"][0]["mediaType"] = json!("x"), "layer type");
    parts.manifest(|m| m["layers"] = json!([]), "it has 0 layers");
    parts.manifest(
        |m| m["layers"] = json!([m["layers"][0], m["layers"][0]]),
        "it has 2 layers",
    );
    parts.manifest(|m| m["annotations"] = json!({}), "unknown field");
    parts.manifest(
        |m| m["config"]["urls"] = json!(["http://x"]),
        "unknown field",
    );
    parts.manifest(
        |m| m["config"]["digest"] = json!("sha256:../../x"),
        "not a digest",
    );
    parts.manifest(|m| m["config"]["size"] = json!(3), "bytes, not 3");
    parts.manifest(|m| m["layers"][0]["size"] = json!(u32::MAX), "at most");
    parts.manifest(|m| m["layers"][0]["size"] = json!(-1), "invalid value");
    let pretty = serde_json::to_vec_pretty(&parts.manifest).unwrap();
    let digest = parts.home.store.put(&pretty).unwrap();
    parts.refused(&digest, "not in canonical form");
    let digest = parts.home.store.put(&vec![b'['; 20_000]).unwrap();
    parts.refused(&digest, "not a manifest");
    let digest = parts.home.store.put(&vec![b'['; 10_000]).unwrap();
    parts.refused(&digest, "not one of a subagent");
}

#[test]
fn a_manifest_with_a_missing_part_is_damage() {
    let parts = Parts::new();
    let mut manifest = parts.manifest.clone();
    manifest["layers"][0]["digest"] = json!(Digest::of(b"nowhere"));
    let digest = parts
        .home
        .store
        .put(&canonical_json(&manifest).unwrap())
        .unwrap();
    let error = parts.home.store.version(&digest).unwrap_err();
    assert!(matches!(error, StoreError::Corrupt { .. }), "{error}");
}

#[test]
fn a_config_in_another_form_is_refused() {
    let parts = Parts::new();
    parts.config(|c| c["entry"] = json!("../main.py"), "not a path inside");
    parts.config(|c| c["entry"] = json!("/etc/passwd"), "not a path inside");
    parts.config(|c| c["entry"] = json!("other.py"), "is not in its source");
    parts.config(|c| c["skills"] = json!(["root"]), "not a skill");
    parts.config(|c| c["skills"] = json!(["llm", "llm"]), "the one form");
    parts.config(
        |c| c["skills"] = json!(["shell_command", "llm"]),
        "the one form",
    );
    parts.config(|c| c["skills"] = json!(["call_llm"]), "the one form");
    parts.config(|c| c["depends"] = json!(["x"]), "is not NAME@DIGEST");
    parts.config(
        |c| c["depends"] = json!(["../x@sha256:0"]),
        "is not NAME@DIGEST",
    );
    parts.config(|c| c["egress"] = json!(["b", "a"]), "the one form");
    parts.config(|c| c["egress"] = json!(["a b"]), "is not a host");
    parts.config(|c| c["python"] = json!("2.7"), "is not a Python version");
    parts.config(
        |c| drop(c.as_object_mut().unwrap().remove("limits")),
        "canonical form",
    );
    parts.config(
        |c| drop(c.as_object_mut().unwrap().remove("egress")),
        "missing field",
    );
    parts.config(|c| c["privileged"] = json!(true), "unknown field");
    parts.config(|c| c["limits"] = json!({"wallHours": 1}), "unknown field");
    let digest = parts.version(b"{}", &parts.layer);
    parts.refused(&digest, "missing field");
}

fn header(path: &[u8], kind: EntryType, size: u64) -> Header {
    let mut header = Header::new_ustar();
    header.as_ustar_mut().unwrap().name[..path.len()].copy_from_slice(path);
    header.set_entry_type(kind);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(size);
    header.set_device_major(0).unwrap();
    header.set_device_minor(0).unwrap();
    header.set_cksum();
    header
}

fn archive(entries: &[(Header, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (header, content) in entries {
        builder.append(header, *content).unwrap();
    }
    builder.into_inner().unwrap()
}

#[test]
fn a_layer_in_another_form_is_refused() {
    let parts = Parts::new();
    let regular = |path: &[u8]| header(path, EntryType::Regular, 1);
    let one = |header: Header| archive(&[(header, b"x".as_slice())]);

    parts.layer(&one(regular(b"../../etc/cron.d/x")), "impossible path");
    parts.layer(&one(regular(b"/etc/passwd")), "impossible path");
    parts.layer(&one(regular(b"a/./b")), "impossible path");
    parts.layer(&one(regular(b"a//b")), "impossible path");
    parts.layer(&one(regular(b"")), "impossible path");
    for kind in [
        EntryType::Symlink,
        EntryType::Link,
        EntryType::Char,
        EntryType::Block,
        EntryType::Fifo,
        EntryType::Directory,
        EntryType::Continuous,
        EntryType::GNULongName,
        EntryType::GNULongLink,
        EntryType::GNUSparse,
        EntryType::XHeader,
        EntryType::XGlobalHeader,
        EntryType::new(b'\x1b'),
    ] {
        parts.layer(&one(header(b"main.py", kind, 1)), "is not a regular file");
    }
    let two = |a: &[u8], b: &[u8]| archive(&[(regular(a), b"x".as_slice()), (regular(b), b"y")]);
    parts.layer(&two(b"main.py", b"main.py"), "contradict each other");
    parts.layer(&two(b"main.py", b"main.py/x"), "contradict each other");
    parts.layer(&two(b"main.py", b"SKILL.md"), "one form of a source layer");

    let changed = |change: &dyn Fn(&mut Header)| {
        let mut header = regular(b"main.py");
        change(&mut header);
        header.set_cksum();
        one(header)
    };
    let not_canonical = "one form of a source layer";
    parts.layer(&changed(&|h| h.set_mode(0o4755)), not_canonical);
    parts.layer(&changed(&|h| h.as_mut_bytes()[156] = 0), not_canonical);
    parts.layer(&changed(&|h| h.set_uid(1)), not_canonical);
    parts.layer(&changed(&|h| h.set_gid(1)), not_canonical);
    parts.layer(&changed(&|h| h.set_mtime(1)), not_canonical);
    parts.layer(
        &changed(&|h| h.set_username("root").unwrap()),
        not_canonical,
    );
    parts.layer(&changed(&|h| h.set_device_major(1).unwrap()), not_canonical);
    parts.layer(&changed(&|h| h.as_mut_bytes()[511] = 1), not_canonical);
    parts.layer(
        &changed(&|h| h.as_mut_bytes()[257..265].fill(0)),
        not_canonical,
    );

    let mut wrong_sum = regular(b"main.py");
    wrong_sum.as_mut_bytes()[148] = b'7';
    parts.layer(&one(wrong_sum), "not a readable archive");
    let whole = one(regular(b"main.py"));
    parts.layer(&[whole.as_slice(), &[0; 512]].concat(), not_canonical);
    parts.layer(&[whole.as_slice(), b"hidden"].concat(), not_canonical);
    parts.layer(&whole[..whole.len() - 512], not_canonical);
    parts.layer(&whole[..513], "");
    parts.layer(b"", not_canonical);
    parts.layer(&[0x1f, 0x8b, 8, 0], "");
}

#[test]
fn a_layer_above_the_limits_is_refused() {
    let parts = Parts::new();
    let mut names = Vec::new();
    for number in 0..257 {
        names.push(format!("f{number:03}"));
    }
    let empty: Vec<(Header, &[u8])> = names
        .iter()
        .map(|name| {
            (
                header(name.as_bytes(), EntryType::Regular, 0),
                b"".as_slice(),
            )
        })
        .collect();
    parts.layer(&archive(&empty), "more than 256 files");

    let huge = header(b"main.py", EntryType::Regular, (8 << 20) + 1);
    let content = vec![0; (8 << 20) + 1];
    parts.layer(&archive(&[(huge, content.as_slice())]), "larger than 8M");
    // A size that nothing follows must not be believed.
    for size in [1 << 20, 1 << 33, u64::MAX / 2] {
        let mut lie = header(b"main.py", EntryType::Regular, 0);
        lie.set_size(size);
        lie.set_cksum();
        parts.layer(&[lie.as_bytes().as_slice(), &[0; 1024]].concat(), "");
    }
    parts.layer(&vec![0; 9 << 20], "at most");
}

#[test]
fn the_parts_as_written_are_accepted() {
    let parts = Parts::new();
    let config = canonical_json(&parts.config).unwrap();
    let digest = parts.version(&config, &parts.layer);
    assert_eq!(
        digest,
        parts
            .home
            .store
            .stage(&content("x = 1\n"))
            .unwrap()
            .digest()
    );
}
