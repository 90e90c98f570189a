//! The recorded skills of the reference implementation: imported, listed, run.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Value, json};
use testkit::{TestEnv, repository};

/// Name, documentation and code of each skill that a recorded session looked at.
type Skills = BTreeMap<String, (String, String)>;

/// The recordings lie beside the repository, not in it.
#[expect(clippy::print_stderr, reason = "a skip must be seen")]
fn recorded() -> Option<Skills> {
    let paper = repository().join("../shared/data/paper");
    if !paper.is_dir() {
        eprintln!("SKIPPED: there are no recordings in `{}`", paper.display());
        return None;
    }
    let mut skills = Skills::new();
    for session in ["readme/second_time", "qq_music/second_time"] {
        let file = paper.join(format!("trajectories/{session}.json"));
        let recorded: Value =
            serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
        for step in recorded["trajectory"].as_array().unwrap() {
            let result = &step["result"];
            let Some(name) = result["skill_name"].as_str() else {
                continue;
            };
            let text = |key: &str| result[key].as_str().map(str::to_owned);
            if let Some(code) = text("code") {
                skills.entry(name.to_owned()).or_default().1 = code;
            }
            if let Some(described) = text("description") {
                skills.entry(name.to_owned()).or_default().0 = described;
            }
        }
    }
    skills.retain(|_, (_, code)| !code.is_empty());
    Some(skills)
}

/// The folder as the reference implementation writes it: front matter that is no YAML, and each .py
/// of the workspace in each skill.
fn write(env: &TestEnv, skills: &Skills) -> std::path::PathBuf {
    for (name, (documentation, _)) in skills {
        let first = documentation.lines().find(|line| line.starts_with("**"));
        let first = first.unwrap_or("A skill: recorded");
        let matter = format!(
            "---\nname: {name}\ndescription: {first}\nentry_file: {name}.py\n---\n\n{documentation}\n"
        );
        let folder = format!("reference/skills/subagents/{name}");
        env.write(&format!("{folder}/SKILL.md"), &matter);
        for (other, (_, code)) in skills {
            env.write(&format!("{folder}/{other}.py"), code);
        }
    }
    env.scratch().join("reference")
}

fn import(env: &TestEnv, folder: &Path) -> Value {
    let folder = folder.to_str().unwrap();
    env.agentfactory(["import", folder, "--json"])
        .expect_status(0)
        .json()
}

#[test]
fn the_recorded_skills_import_and_list_and_the_readme_writer_runs() {
    let Some(skills) = recorded() else { return };
    let Some(env) = TestEnv::with_engine() else {
        return;
    };
    let names: Vec<&str> = skills.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        [
            "audio_transcriber",
            "explorer",
            "qq_music_player",
            "readme_writer"
        ]
    );
    let folder = write(&env, &skills);
    let imported = import(&env, &folder);
    let outcomes = imported["subagents"].as_array().unwrap();
    for item in outcomes {
        assert_eq!(item["outcome"], "saved", "{item:#}");
    }
    let again = import(&env, &folder);
    assert_eq!(again["subagents"][0]["outcome"], "unchanged", "{again:#}");
    let list = env.agentfactory(["list", "--json"]).expect_status(0).json();
    let listed: Vec<_> = list["subagents"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["name"].as_str().unwrap())
        .collect();
    assert_eq!(listed, names);

    let script = json!({"format": 1, "agent": [], "subagent": [
        {"text": "# BarraCUDA\n\nA compiler.\n"}, {"text": "Wrote it."},
    ]});
    let file = env.write("replies.yaml", &script.to_string());
    let model = format!("scripted:{}", file.display());
    let run = env
        .agentfactory([
            "run",
            "readme_writer",
            "Write it.",
            "--model",
            &model,
            "--json",
        ])
        .expect_status(0)
        .json();
    assert_eq!(run["summary"], "Wrote it.", "{run:#}");
    let files = run["files"].to_string();
    assert!(files.contains("README_output.md"), "{run:#}");

    // It has no browser here, and says so.
    let run = env.agentfactory(["run", "qq_music_player", "Play.", "--model", &model]);
    let run = run.expect_status(1);
    assert!(
        run.stderr.contains("No module named 'playwright'"),
        "{}",
        run.stderr
    );
    env.agentfactory(["fsck"]).expect_status(0);
}

#[test]
fn folders_and_homes_keep_digests() {
    let env = TestEnv::new();
    env.write(
        "skills/echo/SKILL.md",
        "---\nname: echo\ndescription: Says it again.\n---\n",
    );
    env.write(
        "skills/echo/echo.py",
        "def main(query):\n    return {'answer': query}\n",
    );
    env.write(
        "skills/none/SKILL.md",
        "---\nname: none\nskills: [fly]\n---\n",
    );
    let tried = env.agentfactory(["import", "skills", "--dry-run"]);
    assert_eq!(tried.status, 4, "one is refused: {}", tried.stderr);
    assert!(tried.stdout.contains("would be saved"), "{}", tried.stdout);
    assert!(tried.stderr.contains("line 3"), "{}", tried.stderr);
    let list = || env.agentfactory(["list", "--json"]).expect_status(0).stdout;
    assert!(!list().contains("echo"));
    env.agentfactory(["import", "skills"]).expect_status(4);
    let version = |home: &str| {
        let shown = env.agentfactory(["--home", home, "show", "echo", "--json"]);
        shown.expect_status(0).json()["version"].clone()
    };
    let own = env.home().to_str().unwrap().to_owned();
    let first = version(&own);

    env.agentfactory(["copy", "echo", "--to", "other", "--with-cases"])
        .expect_status(0);
    assert_eq!(version("other"), first);
    env.agentfactory(["export", "echo", "out"]).expect_status(0);
    env.agentfactory(["--home", "third", "import", "out/echo"])
        .expect_status(0);
    assert_eq!(version("third"), first);
    env.agentfactory(["--home", "fourth", "copy", "echo", "--from", "third"])
        .expect_status(0);
    assert_eq!(version("fourth"), first);
    for home in ["other", "third", "fourth"] {
        env.agentfactory(["--home", home, "fsck"]).expect_status(0);
    }
    let again = env.agentfactory(["export", "echo", "out"]).expect_status(4);
    assert!(again.stderr.contains("exists already"), "{}", again.stderr);
    env.agentfactory(["copy", "echo", "--from", "nowhere"])
        .expect_status(3);
    env.agentfactory(["import", "nowhere"]).expect_status(3);
    env.agentfactory(["import", "out"]).expect_status(0);
}
