//! A version as a container image, against `docker build` of the same files on the same base.

use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;

use crate::cli::Program;
use crate::docker::{output, time};
use crate::report::Report;
use crate::rows::{Row, row};

const BUILD: &str = "`docker build` with a COPY";
const BUILD_AGAIN: &str = "`docker build`, nothing changed";
const DEPLOY: &str = "deploy as an image";
const DEPLOY_AGAIN: &str = "deploy as an image, nothing changed";
/// What is built and deployed; both are removed again.
const BUILT: &str = "agentfactory-bench/built:1";
const DEPLOYED: &str = "agentfactory-bench/deployed:1";
/// Saves the subagent that is deployed.
const SCRIPT: &str = r#"{"format": 1, "agent": [{"calls": [
    {"tool": "create_subagent", "arguments": {"name": "empty", "description": "Does nothing.", "entry": "empty.py", "skills": [],
        "files": [{"path": "empty.py", "code": "def main(query):\n    return {'answer': '', 'summary': ''}\n"}]}},
    {"tool": "run_subagent", "arguments": {"name": "empty", "query": ""}},
    {"tool": "finish", "arguments": {"answer": "", "save": [{"name": "empty"}]}}]}]}"#;

/// Saves the subagent, and writes the files of its image where `docker build` finds them.
pub(crate) async fn prepare(program: &Program, folder: &Path, image: &str) -> anyhow::Result<()> {
    let script = folder.join("install.json");
    std::fs::write(&script, SCRIPT)?;
    let model = format!("scripted:{}", script.display());
    program
        .call(&["solve", "Do nothing.", "--model", &model])
        .await?;
    let context = folder.join("context");
    std::fs::create_dir(&context)?;
    program.call(&deploy()).await?;
    let container = output(&["docker", "create", DEPLOYED]).await?;
    let from = format!("{}:/opt/agentfactory/subagent", container.trim());
    let to = context.to_str().context("a path that is not UTF-8")?;
    let copied = output(&["docker", "cp", &from, to]).await;
    output(&["docker", "rm", container.trim()]).await?;
    copied?;
    let recipe = format!(
        "FROM {image}\nCOPY subagent /opt/agentfactory/subagent\n\
         ENTRYPOINT [\"python3\", \"/opt/agentfactory/subagent/run.py\"]\n"
    );
    std::fs::write(context.join("Dockerfile"), recipe)?;
    Ok(())
}

fn deploy() -> [&'static str; 6] {
    ["deploy", "empty", "--as", "image", "--tag", DEPLOYED]
}

/// Measures both, each with nothing there and with everything there.
pub(crate) fn rows<'a>(program: &'a Program, context: &'a str, rounds: usize) -> [Row<'a>; 4] {
    let build = ["docker", "build", "--quiet", "--tag", BUILT, context];
    let build_anew = [
        "docker",
        "build",
        "--quiet",
        "--no-cache",
        "--tag",
        BUILT,
        context,
    ];
    [
        row(
            BUILD,
            rounds,
            move || async move { time(&build_anew).await },
        ),
        row(
            BUILD_AGAIN,
            rounds,
            move || async move { time(&build).await },
        ),
        row(DEPLOY, rounds, move || async move {
            output(&["docker", "rmi", "--no-prune", DEPLOYED]).await?;
            Ok::<Duration, anyhow::Error>(program.call(&deploy()).await?.1)
        }),
        row(DEPLOY_AGAIN, rounds, move || async move {
            Ok::<Duration, anyhow::Error>(program.call(&deploy()).await?.1)
        }),
    ]
}

/// Removes what was made.
pub(crate) async fn clean() -> anyhow::Result<()> {
    output(&["docker", "rmi", BUILT, DEPLOYED]).await?;
    Ok(())
}

/// What the rows are to show.
pub(crate) fn compare(report: &mut Report) {
    report.faster(DEPLOY, BUILD, 3.0);
    report.faster(DEPLOY_AGAIN, BUILD, 10.0);
    report.faster(DEPLOY_AGAIN, BUILD_AGAIN, 1.0);
}
