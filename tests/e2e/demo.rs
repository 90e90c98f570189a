//! The demonstration's sessions: install, evolve twice, reuse. `scripts/demo` shows the same.

use std::collections::BTreeSet;
use std::process::Command;

use testkit::{TestEnv, repository};

#[test]
fn a_subagent_is_installed_evolves_twice_and_is_reused() {
    let Some(env) = TestEnv::with_engine() else {
        return;
    };
    let projects = env.scratch().join("projects");
    let copied = Command::new("cp")
        .arg("-r")
        .arg(repository().join("tests/fixtures/projects"))
        .arg(&projects)
        .status();
    assert!(copied.unwrap().success());
    let demo = repository().join("tests/fixtures/demo");
    let mut versions = Vec::new();
    for number in 1..=4 {
        let task = std::fs::read_to_string(demo.join(format!("run{number}.txt"))).unwrap();
        let model = format!(
            "scripted:{}",
            demo.join(format!("run{number}.yaml")).display()
        );
        let workspace = projects.to_str().unwrap();
        let arguments = [
            "solve",
            task.trim(),
            "--model",
            &model,
            "--workspace",
            workspace,
            "--json",
        ];
        let json = env.agentfactory(arguments).expect_status(0).json();
        let saved = json["saved"].as_array().unwrap();
        assert_eq!(saved.len(), usize::from(number < 4), "{json:#}");
        versions.extend(
            saved
                .iter()
                .map(|one| one["version"].as_str().unwrap().to_owned()),
        );
        let written = json["workspace"]["written"].as_array().unwrap();
        assert_eq!(written.len(), 1, "{json:#}");
        let readme = std::fs::read_to_string(projects.join(written[0].as_str().unwrap())).unwrap();
        assert!(
            readme.starts_with("# ") && readme.lines().count() > 20,
            "{readme}"
        );
    }
    assert_eq!(versions.iter().collect::<BTreeSet<_>>().len(), 3);
    for project in std::fs::read_dir(&projects).unwrap() {
        assert!(
            project.unwrap().path().join("README.md").exists(),
            "each project has its README"
        );
    }
}
