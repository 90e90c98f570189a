//! Runs that import pandas, in an environment that the program makes, against runs that import nothing.

use std::path::Path;

use anyhow::{Context as _, ensure};
use runner::ImageId;
use serde_json::Value;
use spec::Imports;

use crate::cli::Program;
use crate::ours::{Job, Ours};
use crate::report::Report;
use crate::rows::{Row, progress, row};

const LEASED: &str = "leased run with pandas";
const CALLED: &str = "fresh CLI call with pandas against the pool";
/// What is imported ahead; the source names nothing else.
const MODULE: &str = "pandas";
const SOURCE: &str =
    "import pandas\ndef main(query):\n    return {'answer': pandas.__version__, 'summary': ''}\n";

/// What runs, as a file and in this process.
pub(crate) struct Pandas {
    file: String,
    pub(crate) job: Job,
}

impl Pandas {
    /// Makes the environment; `None`, said aloud, where that cannot be had.
    pub(crate) async fn prepare(program: &Program, folder: &Path) -> anyhow::Result<Option<Self>> {
        let file = folder.join("with_pandas.py");
        std::fs::write(&file, SOURCE)?;
        let file = file
            .to_str()
            .context("a path that is not UTF-8")?
            .to_owned();
        if let Err(error) = program.call(&call(&file)).await {
            progress(&format!("SKIPPED: the rows with pandas: {error:#}\n"));
            return Ok(None);
        }
        // The first call made the environment; the pool hears of this one, and keeps its kind from now on.
        program.call(&call(&file)).await?;
        let (shown, _) = program.call(&["runs", "show", "last", "--json"]).await?;
        let shown: Value = serde_json::from_str(&shown)?;
        let image = shown["image"].as_str().context("the image of a run")?;
        let job = Job::subagent(SOURCE).with(ImageId(image.parse()?), Imports::of([MODULE]));
        Ok(Some(Self { file, job }))
    }

    /// In this process, and from a shell.
    pub(crate) fn rows<'a>(
        &'a self,
        program: &'a Program,
        ours: &'a Ours,
        rounds: usize,
    ) -> [Row<'a>; 2] {
        [
            row(LEASED, rounds, || ours.leased(&self.job)),
            row(CALLED, rounds, move || async move {
                program.pool_has_of(2, Some(MODULE)).await?;
                let (printed, took) = program.call(&call(&self.file)).await?;
                let run: Value = serde_json::from_str(&printed)?;
                let is_ahead = run["start"] == "leased" && run["imports"] == "ahead";
                ensure!(is_ahead, "the call was not served from the pool: {printed}");
                // Importing takes the processors for longer than other rows take.
                program.pool_has_of(2, Some(MODULE)).await?;
                Ok(took)
            }),
        ]
    }
}

fn call(file: &str) -> [&str; 6] {
    ["exec", file, "", "--json", "--requirement", "pandas"]
}

/// What the rows are to show.
pub(crate) fn compare(report: &mut Report) {
    report.takes_at_most(LEASED, "leased run", 3.0);
    report.takes_at_most(CALLED, "fresh CLI call against the pool", 3.0);
}
