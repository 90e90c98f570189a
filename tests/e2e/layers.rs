//! The direction of dependencies: a new edge is a decision made in review.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

/// Each crate, and those of ours that it may use.
const ALLOWED: &[(&str, &[&str])] = &[
    ("spec", &[]),
    ("store", &["spec"]),
    ("runner", &["spec"]),
    ("llm", &["spec"]),
    ("egress", &["spec"]),
    ("guard", &["spec"]),
    ("registry", &["spec"]),
    (
        "orchestrator",
        &[
            "spec", "store", "runner", "llm", "egress", "guard", "registry",
        ],
    ),
    (
        "cli",
        &[
            "spec",
            "store",
            "runner",
            "llm",
            "egress",
            "guard",
            "registry",
            "orchestrator",
        ],
    ),
    ("testkit", &[]),
    ("bench", &["spec", "store", "runner"]),
    // What a hostile registry could send is made with the store.
    ("e2e", &["testkit", "store"]),
];

#[test]
fn crates_use_only_what_is_to_their_left() {
    let metadata = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--no-deps", "--offline"])
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
        .output()
        .unwrap();
    assert!(
        metadata.status.success(),
        "{}",
        String::from_utf8_lossy(&metadata.stderr)
    );
    let metadata: serde_json::Value = serde_json::from_slice(&metadata.stdout).unwrap();
    let allowed: BTreeMap<_, _> = ALLOWED.iter().copied().collect();
    let packages = metadata["packages"].as_array().unwrap();
    assert_eq!(
        packages.len(),
        allowed.len(),
        "a crate was added or removed: update the list"
    );
    for package in packages {
        let name = package["name"].as_str().unwrap();
        let may_use = allowed
            .get(name)
            .unwrap_or_else(|| panic!("`{name}` is not in the list"));
        for dependency in package["dependencies"].as_array().unwrap() {
            let used = dependency["name"].as_str().unwrap();
            // Tests may use the fixtures.
            let is_test_fixture = used == "testkit" && dependency["kind"] == "dev";
            if allowed.contains_key(used) && !is_test_fixture {
                assert!(may_use.contains(&used), "`{name}` must not use `{used}`");
            }
        }
    }
}

#[test]
fn only_the_runner_speaks_to_the_engine() {
    for (name, _) in ALLOWED
        .iter()
        .filter(|(name, _)| !["runner", "bench", "testkit", "e2e"].contains(name))
    {
        let manifest = format!("{}/../../src/{name}/Cargo.toml", env!("CARGO_MANIFEST_DIR"));
        let manifest = std::fs::read_to_string(manifest).unwrap();
        assert!(!manifest.contains("bollard"), "`{name}` depends on bollard");
    }
}

#[test]
fn no_document_says_a_section_twice() {
    for document in ["README.md", "ARCHITECTURE.md", "src/cli/CONFIGURATION.md"] {
        let path = format!("{}/../../{document}", env!("CARGO_MANIFEST_DIR"));
        let text = std::fs::read_to_string(path).unwrap();
        let mut seen = BTreeSet::new();
        for heading in text.lines().filter(|line| line.starts_with("## ")) {
            assert!(seen.insert(heading), "{document}: `{heading}`");
        }
    }
}
