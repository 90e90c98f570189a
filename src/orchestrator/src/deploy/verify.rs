//! Whether a deployed image answers as its version did inside.
//!
//! What is verified are the newest recorded runs of the version that completed. One that had neither files
//! nor tools runs as an operator would run it; the files and the recorded answers of others are put before
//! the image's own program. The world is never asked.

use std::collections::BTreeSet;
use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use runner::images::Progress;
use runner::{Engine, Trial, TrialEnd};
use serde_json::{Value, json};
use spec::wire::OutcomeJson;
use spec::{ByteSize, Digest, RunId, SubagentName, Tree, limits};
use store::{ExchangeKind, RunProgram, RunQuery, RunRecord, Store, StoreError};
use tokio_util::sync::CancellationToken;

use super::image::{DeployedImage, ROOT};
use crate::error::FactoryError;
use crate::trust::TrustPolicy;

/// Runs that are verified; older ones are left out.
pub const VERIFY_RUNS: usize = 20;
/// Files of a run that are sent into the image.
const FILES_MAX: ByteSize = ByteSize::mib(16);
/// The kernel takes no longer argument. Source: `MAX_ARG_STRLEN` of Linux, less the terminator.
const ARGUMENT_MAX: usize = 128 * 1024 - 1;
/// What is put before the image's program.
const SCRIPT: &str = include_str!("verify.py");
/// Where the image has a sandbox's `tools` and `llm`.
const SHIMS: &str = "/opt/agentfactory/shims";
/// Source: the store's bound of a record.
const TREE_MAX: ByteSize = ByteSize::mib(512);
/// Characters of an answer or message that are shown.
const SHOWN: usize = 200;

/// What came of the recorded runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verification {
    /// The newest first.
    pub runs: Vec<VerifiedRun>,
}

/// One recorded run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedRun {
    /// Its id.
    pub run: RunId,
    /// What came of it in the image.
    pub verdict: Verdict,
}

/// How a run in the image compares with the recorded one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The same answer and summary.
    Same,
    /// Something else.
    Different {
        /// What.
        why: String,
    },
    /// It was not run.
    Skipped {
        /// Why it cannot be compared.
        why: String,
    },
}

impl Verification {
    /// Whether nothing differs.
    pub fn holds(&self) -> bool {
        let differs = |run: &VerifiedRun| matches!(run.verdict, Verdict::Different { .. });
        !self.runs.iter().any(differs)
    }

    /// How many had the same answer.
    pub fn same(&self) -> usize {
        let same = |run: &&VerifiedRun| run.verdict == Verdict::Same;
        self.runs.iter().filter(same).count()
    }
}

/// Runs the version's recorded runs in its image, under this runtime of the engine, and compares the
/// answers.
///
/// # Errors
/// [`FactoryError::Store`] and [`FactoryError::Runner`], and [`FactoryError::Trust`] when nobody who is
/// trusted vouches for the version. `None` when it was cancelled.
pub async fn verify_image(
    engine: &Engine,
    store: &Arc<Store>,
    trust: &TrustPolicy,
    deployed: &DeployedImage,
    runtime: Option<&str>,
    progress: &dyn Progress,
    cancel: &CancellationToken,
) -> Result<Option<Verification>, FactoryError> {
    trust.check(store, &deployed.version, Some(&deployed.name), None)?;
    let (from, name, version) = (Arc::clone(store), deployed.name.clone(), deployed.version);
    let found = tokio::task::spawn_blocking(move || accepted(&from, &name, &version)).await??;
    let mut verification = Verification::default();
    for (index, run) in found.iter().enumerate() {
        let number = index + 1;
        let count = found.len();
        progress.phase(&format!("verifying run {number} of {count}"));
        let (from, id) = (Arc::clone(store), *run);
        let case = tokio::task::spawn_blocking(move || Case::read(&from, &id)).await??;
        let verdict = match case {
            Err(why) => Verdict::Skipped { why },
            Ok(case) => {
                let trial = case.trial(deployed, runtime);
                match engine.try_image(&trial, cancel).await? {
                    Some(ended) => case.judge(&ended),
                    None => return Ok(None),
                }
            }
        };
        verification.runs.push(VerifiedRun { run: *run, verdict });
    }
    Ok(Some(verification))
}

/// The newest completed runs of a version: those that spoke for it when it was published, and those of it.
fn accepted(
    store: &Store,
    name: &SubagentName,
    version: &Digest,
) -> Result<Vec<RunId>, StoreError> {
    let steps = store.lineage(name)?.into_iter();
    let evidence: BTreeSet<RunId> = steps
        .filter(|step| step.digest == *version)
        .flat_map(|step| step.evidence)
        .collect();
    // A damaged record is `fsck`'s affair, and evidence may be gone.
    let own = store.run_page(&RunQuery {
        version: Some(*version),
        outcome: Some(OutcomeJson::Completed {}.kind().to_owned()),
        limit: VERIFY_RUNS,
        ..RunQuery::default()
    })?;
    let names = store.names_of(name)?;
    let spoke = evidence.into_iter().filter(|run| {
        store.run_summary(run).is_ok_and(|summary| {
            summary.name.is_some_and(|name| names.contains(&name))
                && matches!(summary.outcome, OutcomeJson::Completed {})
        })
    });
    let runs: BTreeSet<RunId> = own.runs.iter().map(|one| one.run).chain(spoke).collect();
    Ok(runs.into_iter().rev().take(VERIFY_RUNS).collect())
}

/// A recorded run that can be run in an image.
struct Case {
    record: RunRecord,
    query: String,
    /// What is put before the image's program, if anything.
    before: Option<Value>,
}

impl Case {
    /// Reads a run, or says why it cannot be compared.
    fn read(store: &Store, run: &RunId) -> Result<Result<Self, String>, StoreError> {
        let record = store.run(run)?;
        let RunProgram::Subagent { query, .. } = &record.program else {
            return Ok(Err("it is a shell command".to_owned()));
        };
        if !record.mounts.is_empty() {
            return Ok(Err(
                "it saw folders of the host, which are not in its record".to_owned(),
            ));
        }
        if record.determinism.is_on() {
            return Ok(Err(
                "its clock or random numbers were fixed, which an image's are not".to_owned(),
            ));
        }
        let is_http = |kind: ExchangeKind| kind == ExchangeKind::Http;
        if record.cassette.iter().any(|one| is_http(one.kind)) {
            return Ok(Err(
                "it used the network, which only `reproduce` can answer from a record".to_owned(),
            ));
        }
        let Ok(digest) = record.report.input_tree.parse() else {
            return Ok(Err("its record names no input".to_owned()));
        };
        let tree = store.get_at_most(&digest, TREE_MAX)?;
        let Ok(tree) = Tree::from_bytes(&tree) else {
            return Ok(Err("its input cannot be read".to_owned()));
        };
        let size: u64 = tree.entries().iter().map(|entry| entry.size).sum();
        if size > FILES_MAX.get() {
            return Ok(Err(format!("it had files of more than {FILES_MAX}")));
        }
        let is_plain = tree.entries().is_empty() && record.cassette.is_empty();
        let fits = query.len() <= ARGUMENT_MAX && !query.contains('\0');
        let before = if is_plain && fits {
            None
        } else {
            Some(before(store, query, &tree, &record)?)
        };
        Ok(Ok(Self {
            query: query.clone(),
            before,
            record,
        }))
    }

    fn trial<'a>(&'a self, deployed: &'a DeployedImage, runtime: Option<&'a str>) -> Trial<'a> {
        let (entrypoint, arguments, input) = match &self.before {
            None => (None, vec!["--".to_owned(), self.query.clone()], Vec::new()),
            Some(case) => {
                let mut program = deployed.interpreter();
                program.extend(["-c", SCRIPT].map(str::to_owned));
                (Some(program), Vec::new(), case.to_string().into_bytes())
            }
        };
        Trial {
            image: &deployed.image,
            entrypoint,
            arguments,
            input,
            runtime,
            limits: &self.record.limits,
        }
    }

    fn judge(&self, ended: &TrialEnd) -> Verdict {
        let different = |why: String| Verdict::Different { why };
        match ended.status {
            Some(0) => {}
            None => return different("it was not done within its time limit".to_owned()),
            Some(status) => {
                let said = String::from_utf8_lossy(&ended.stderr);
                let last = said.trim().lines().last().unwrap_or_default();
                let last = spec::printable(last, SHOWN);
                return different(format!("it ended with status {status}: {last}"));
            }
        }
        let Ok(result) = serde_json::from_slice::<Value>(&ended.stdout) else {
            return different("it printed no result".to_owned());
        };
        let report = &self.record.report;
        for (key, recorded) in [("answer", &report.answer), ("summary", &report.summary)] {
            if result[key].as_str() != Some(recorded) {
                let now = spec::printable(&result[key].to_string(), SHOWN);
                let recorded = spec::printable(&json!(recorded).to_string(), SHOWN);
                return different(format!("its {key} is {now}, recorded is {recorded}"));
            }
        }
        Verdict::Same
    }
}

/// What `verify.py` reads.
fn before(
    store: &Store,
    query: &str,
    tree: &Tree,
    record: &RunRecord,
) -> Result<Value, StoreError> {
    let mut files = Vec::new();
    for entry in tree.entries() {
        let content = store.get(&entry.digest)?;
        files.push(json!([
            BASE64_STANDARD.encode(entry.path.as_bytes()),
            BASE64_STANDARD.encode(content),
            entry.executable,
        ]));
    }
    let answers = record.cassette.iter();
    let answers: Vec<_> = answers
        .map(|one| json!([one.tool, one.request, one.response]))
        .collect();
    Ok(json!({
        "run": format!("/{ROOT}/run.py"),
        "shims": SHIMS,
        "query": query,
        "files": files,
        "answers": answers,
        "shell_chars": limits::SHELL_OUTPUT_CHARS,
    }))
}
