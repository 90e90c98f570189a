//! Versions: one content, one digest.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proptest::prelude::*;
use spec::{ByteSize, Digest, PartialLimits, Skill, WorkspacePath};
use store::{Requirement, StoreError, StoreErrorKind, VersionContent};

use crate::fixtures::{Home, content, name, path};

/// A version that uses every field.
fn full() -> VersionContent {
    let deep = format!("{}/{}.py", "d".repeat(90), "f".repeat(60));
    VersionContent {
        entry: path("main.py"),
        description: "Ünïcode, \"quotes\"\nand lines.".to_owned(),
        files: vec![
            (path("pkg/__init__.py"), Vec::new()),
            (
                path("main.py"),
                b"def main(query):\n    return {}\n".to_vec(),
            ),
            (path(&deep), vec![0, 255, 10]),
            (path("SKILL.md"), b"# Skill\n".to_vec()),
        ],
        skills: [Skill::ShellCommand, Skill::Llm].into(),
        depends: [(name("csv-cleaner"), Digest::of(b"other"))].into(),
        egress: ["example.org:443".to_owned(), "api.example.org".to_owned()].into(),
        limits: Some(PartialLimits {
            wall: Some(Duration::from_secs(5)),
            memory: Some(ByteSize::mib(256)),
            cpu_millis: Some(500),
            pids: Some(16),
            workspace: Some(ByteSize::mib(32)),
            output: Some(ByteSize::kib(64)),
            ..PartialLimits::default()
        }),
        python: "3.13".to_owned(),
        requirements: vec![
            Requirement {
                name: "zope-interface".to_owned(),
                version: "6.0".to_owned(),
                wheels: [Digest::of(b"b"), Digest::of(b"a")].into(),
            },
            Requirement {
                name: "attrs".to_owned(),
                version: "23.1.0".to_owned(),
                wheels: [Digest::of(b"c")].into(),
            },
        ],
    }
}

const SECOND: Duration = Duration::from_secs(1);

fn limits(change: fn(&mut PartialLimits)) -> PartialLimits {
    let mut limits = PartialLimits::default();
    change(&mut limits);
    limits
}

/// What comes back: files and requirements sorted.
fn sorted(mut content: VersionContent) -> VersionContent {
    content.files.sort();
    content.requirements.sort();
    content
}

#[test]
fn a_version_is_read_back() {
    let home = Home::new();
    let mut some = full();
    some.limits = Some(limits(|limits| {
        limits.cpu = Some(SECOND);
        limits.collect_depth = Some(3);
    }));
    for content in [content("x = 1\n"), full(), some] {
        let digest = home.store.stage(&content).unwrap().digest();
        let version = home.again().version(&digest).unwrap();
        assert_eq!(version.digest, digest);
        assert_eq!(version.content, sorted(content));
        assert_eq!(
            home.store.source(&version.source).unwrap(),
            version.content.files
        );
    }
}

#[test]
fn two_homes_and_any_order_give_the_same_digest() {
    let mut other = full();
    other.files.reverse();
    other.requirements.reverse();
    let one = Home::new().store.stage(&full()).unwrap().digest();
    let two = Home::new().store.stage(&other).unwrap().digest();
    assert_eq!(one, two);
}

/// Golden: a change of these digests gives every saved version another identity. The layer is what
/// `tar --format=ustar --owner=0 --group=0 --numeric-owner --mode=0644 --mtime=@0 -b1` writes.
#[test]
fn the_digests_of_a_version_never_change() {
    let home = Home::new();
    let digest = home.store.stage(&full()).unwrap().digest();
    let version = home.store.version(&digest).unwrap();
    let text = |digest: &Digest| String::from_utf8(home.store.get(digest).unwrap()).unwrap();
    assert_eq!(
        text(&version.config),
        concat!(
            r#"{"depends":["csv-cleaner@sha256:d9298a10d1b0735837dc4bd85dac641b0f3cef27a47e5d53a54f"#,
            r#"2f3f5b2fcffa"],"description":"Ünïcode, \"quotes\"\nand lines.","egress":["api.exampl"#,
            r#"e.org","example.org:443"],"entry":"main.py","limits":{"cpuMillis":500,"memoryBytes":"#,
            r#"268435456,"outputBytes":65536,"pids":16,"wallMs":5000,"workspaceBytes":33554432},"py"#,
            r#"thon":"3.13","requirements":[{"name":"attrs","version":"23.1.0","wheels":["sha256:2e"#,
            r#"7d2c03a9507ae265ecf5b5356885a53393a2029d241394997265a1a25aefc6"]},{"name":"zope-inte"#,
            r#"rface","version":"6.0","wheels":["sha256:3e23e8160039594a33894f6564e1b1348bbd7a0088d"#,
            r#"42c4acb73eeaed59c009d","sha256:ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807"#,
            r#"785afee48bb"]}],"skills":["llm","shell_command"]}"#,
        )
    );
    assert_eq!(
        text(&digest),
        concat!(
            r#"{"artifactType":"application/vnd.agentfactory.subagent.v1","config":{"digest":"sha25"#,
            r#"6:a44b4cf781e431d0814dbe8b8265a1c7db221bf4f11fc8e12e13dafa5ccf27bc","mediaType":"app"#,
            r#"lication/vnd.agentfactory.subagent.config.v1+json","size":723},"layers":[{"digest":""#,
            r#"sha256:d5fcc819522766f86e6ee9783eb6526938e8db876d6a5281d9d1ddbd539f8f23","mediaType""#,
            r#":"application/vnd.agentfactory.subagent.source.v1.tar","size":4608}],"mediaType":"ap"#,
            r#"plication/vnd.oci.image.manifest.v1+json","schemaVersion":2}"#,
        )
    );
    assert_eq!(
        [version.config, version.source, digest].map(|digest| digest.to_string()),
        [
            "sha256:a44b4cf781e431d0814dbe8b8265a1c7db221bf4f11fc8e12e13dafa5ccf27bc",
            "sha256:d5fcc819522766f86e6ee9783eb6526938e8db876d6a5281d9d1ddbd539f8f23",
            "sha256:2c6955b6202c7993be3f9ae7b2742d0e3c54d3b1eb15adb92c2b2d385e7b38f7",
        ]
    );
}

#[test]
fn every_field_is_part_of_the_identity() {
    let home = Home::new();
    let change = |change: fn(&mut VersionContent)| {
        let mut content = full();
        change(&mut content);
        home.store.stage(&content).unwrap().digest()
    };
    let asked = |asked: fn(&mut PartialLimits)| {
        let mut content = full();
        content.limits = Some(limits(asked));
        home.store.stage(&content).unwrap().digest()
    };
    let digests = [
        change(|_| {}),
        change(|content| content.entry = path("pkg/__init__.py")),
        change(|content| content.description.push('x')),
        change(|content| content.files[0].1.push(b'\n')),
        change(|content| content.files.truncate(3)),
        change(|content| content.skills.clear()),
        change(|content| content.depends.clear()),
        change(|content| content.egress.clear()),
        change(|content| content.limits = None),
        asked(|limits| limits.pids = Some(16)),
        asked(|limits| limits.cpu = Some(SECOND)),
        asked(|limits| limits.workspace_files = Some(16)),
        asked(|limits| limits.result = Some(ByteSize::kib(1))),
        asked(|limits| limits.collect_files = Some(16)),
        asked(|limits| limits.collect_depth = Some(16)),
        asked(|limits| limits.tool_calls = Some(16)),
        asked(|limits| limits.tool_bytes = Some(ByteSize::kib(1))),
        change(|content| content.python = "3.12".to_owned()),
        change(|content| content.requirements.clear()),
    ];
    assert_eq!(digests.iter().collect::<BTreeSet<_>>().len(), digests.len());
}

#[test]
fn content_that_breaks_a_rule_is_refused_and_nothing_is_written() {
    let home = Home::new();
    let check = |change: &dyn Fn(&mut VersionContent), says: &str| {
        let mut content = content("x = 1\n");
        change(&mut content);
        let error = home.store.stage(&content).unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Refused, "{error}");
        assert!(
            error.to_string().contains(says),
            "{error} does not say {says}"
        );
        let blobs = std::fs::read_dir(home.path("blobs/sha256"))
            .unwrap()
            .count();
        assert_eq!(blobs, 0, "{says}");
    };
    let file = |text: &str| (path(text), Vec::new());
    check(
        &|c| c.entry = path("other.py"),
        "`other.py` is not in its source",
    );
    check(&|c| c.files.clear(), "`main.py` is not in its source");
    check(&|c| c.files.push(file("main.py")), "contradict each other");
    check(
        &|c| c.files.push(file("main.py/x")),
        "contradict each other",
    );
    check(
        &|c| c.files.extend((0..255).map(|n| file(&n.to_string()))),
        "more than 256 files",
    );
    check(
        &|c| c.files[0].1 = vec![0; 8 << 20],
        "larger than 8M together",
    );
    check(
        &|c| c.files.push(file(&"x".repeat(101))),
        "too long for a source layer",
    );
    check(
        &|c| c.files.push(file(&format!("{0}/{0}", "x".repeat(156)))),
        "too long for a source layer",
    );
    for python in ["", "3", "3.", "2.7", "3.13.1", "3.x", "3.1234"] {
        check(&|c| c.python = python.to_owned(), "is not a Python version");
    }
    for host in [
        "", ":80", "a:0", "a:080", "a:65536", "a:b:1", "A.org", "a..b", "-a", "a/", "u@h", "a b",
        "*.org", "http://a",
    ] {
        check(&|c| c.egress = [host.to_owned()].into(), "is not a host");
    }
    for (change, says) in [
        (
            limits(|limits| limits.pids = Some(1)),
            "1 processes is too low",
        ),
        (
            limits(|limits| limits.wall = Some(Duration::from_micros(1500))),
            "whole number of milliseconds",
        ),
        (
            limits(|limits| limits.cpu = Some(Duration::from_micros(1_000_001))),
            "whole number of milliseconds",
        ),
        (
            limits(|limits| limits.cpu = Some(Duration::ZERO)),
            "processor time limit is too low",
        ),
        (
            limits(|limits| limits.memory = Some(ByteSize::bytes(u64::MAX))),
            "memory limit is too large",
        ),
        (limits(|_| {}), "say nothing"),
    ] {
        check(&|c| c.limits = Some(change.clone()), says);
    }
    let required = |name: &str, version: &str, wheels: &[Digest]| Requirement {
        name: name.to_owned(),
        version: version.to_owned(),
        wheels: wheels.iter().copied().collect(),
    };
    let wheel = [Digest::of(b"x")];
    for (one, says) in [
        (required("A", "1", &wheel), "normalised"),
        (required("a_b", "1", &wheel), "normalised"),
        (required("-a", "1", &wheel), "normalised"),
        (required("", "1", &wheel), "normalised"),
        (required("a", "", &wheel), "exact version"),
        (required("a", "1\n--index-url x", &wheel), "exact version"),
        (required("a", ">=1", &wheel), "exact version"),
        (required("a", "1", &[]), "not locked"),
    ] {
        check(&|c| c.requirements = vec![one.clone()], says);
    }
    let twice = vec![required("a", "1", &wheel), required("a", "2", &wheel)];
    check(&|c| c.requirements = twice.clone(), "required twice");
    check(&|c| c.description = "x".repeat(600_000), "too large");
}

#[test]
fn the_largest_source_fits() {
    let home = Home::new();
    let mut content = content("");
    content.files = (0..254)
        .map(|n| (path(&format!("f{n}")), vec![1; 33_000]))
        .collect();
    content.files.push((path("main.py"), Vec::new()));
    let used: usize = content.files.iter().map(|(_, bytes)| bytes.len()).sum();
    content
        .files
        .push((path("rest"), vec![2; (8 << 20) - used]));
    let digest = home.store.stage(&content).unwrap().digest();
    assert_eq!(
        home.store.version(&digest).unwrap().content,
        sorted(content)
    );
}

#[test]
fn an_unknown_version_and_another_blob_are_told_apart() {
    let home = Home::new();
    let blob = home.store.put(b"not a manifest").unwrap();
    let unknown = home.store.version(&Digest::of(b"unknown")).unwrap_err();
    assert_eq!(unknown.kind(), StoreErrorKind::NotFound);
    let other = home.store.version(&blob).unwrap_err();
    assert!(matches!(other, StoreError::BadVersion { .. }), "{other}");
}

fn any_path() -> impl Strategy<Value = WorkspacePath> {
    prop::collection::vec(any::<u8>(), 1..40)
        .prop_filter_map("a path", |bytes| WorkspacePath::from_bytes(bytes).ok())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_files_are_read_back(
        files in prop::collection::btree_map(
            any_path(), prop::collection::vec(any::<u8>(), 0..1500), 0..6)
    ) {
        let home = Home::new();
        let files: Vec<_> = files.into_iter().collect();
        if let Ok(layer) = home.store.put_source(&files) {
            prop_assert_eq!(home.store.source(&layer).unwrap(), files);
        }
    }
}

#[test]
fn a_difference_names_files_and_grants() {
    let home = Home::new();
    let mut after = full();
    after.files[1].1 = b"def main(query):\n    return {\"answer\": query}\n".to_vec();
    after.files[2].1 = vec![1];
    after.files.remove(0);
    after
        .files
        .push((path("new.py"), b"no line feed at the end".to_vec()));
    after.skills.remove(&Skill::Llm);
    after.egress.insert("new.org".to_owned());
    after.depends = BTreeMap::new();
    after.limits = None;
    let before = home.store.stage(&full()).unwrap().digest();
    let after = home.store.stage(&after).unwrap().digest();
    let diff = home.store.diff(&before, &after).unwrap();
    let files: Vec<String> = diff
        .files
        .iter()
        .map(|file| {
            let shown = file.path.to_string();
            let text = file.text.clone().unwrap_or_else(|| "binary\n".to_owned());
            format!("{:?} {}\n{text}", file.kind, &shown[..shown.len().min(16)])
        })
        .collect();
    assert_eq!(
        files.concat(),
        "Changed dddddddddddddddd\nbinary\n\
         Changed main.py\n--- a/main.py\n+++ b/main.py\n@@ -1,2 +1,2 @@\n def main(query):\n-    \
         return {}\n+    return {\"answer\": query}\n\
         Added new.py\n--- /dev/null\n+++ b/new.py\n@@ -0,0 +1 @@\n+no line feed at the end\n\\ No \
         newline at end of file\n\
         Removed pkg/__init__.py\n"
    );
    let config: Vec<String> = diff
        .config
        .iter()
        .map(|one| format!("{} -{:?} +{:?}", one.field, one.removed, one.added))
        .collect();
    assert_eq!(config.len(), 4, "{config:?}");
    assert_eq!(config[0], "skills -[\"llm\"] +[]");
    assert!(config[1].starts_with("depends -[\"csv-cleaner@sha256:"));
    assert_eq!(config[2], "egress -[] +[\"new.org\"]");
    assert!(
        config[3].starts_with("limits -[\"cpu 500 millis\""),
        "{}",
        config[3]
    );
    assert_eq!(home.store.diff(&before, &before).unwrap().files, []);
}
