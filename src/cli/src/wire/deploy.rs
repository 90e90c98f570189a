//! What `deploy` prints.

use orchestrator::{Verdict, Verification};
use serde::Serialize;
use spec::{Digest, RunId, SubagentName};

use super::MovedJson;

/// `deploy`.
#[derive(Debug, Serialize)]
pub(crate) struct DeployJson {
    /// The folder that was written.
    pub(crate) path: String,
    pub(crate) version: Digest,
    /// Its files, relative to the folder.
    pub(crate) files: Vec<String>,
}

/// `deploy --as image`.
#[derive(Debug, Serialize)]
pub(crate) struct DeployImageJson {
    pub(crate) name: SubagentName,
    pub(crate) version: Digest,
    /// The image's id on the engine.
    pub(crate) image: Digest,
    /// The digest of its configuration.
    pub(crate) config: Digest,
    pub(crate) tags: Vec<String>,
    /// The digest by which registries name it; null unless the image left the engine.
    pub(crate) manifest: Option<Digest>,
    /// All its blobs together; null likewise.
    pub(crate) size_bytes: Option<u64>,
    /// The folder with the layout; null without one.
    pub(crate) layout: Option<String>,
    /// Where it was pushed to, with its tag; null when it was not.
    pub(crate) pushed: Option<String>,
    /// What the push moved; null likewise.
    pub(crate) transferred: Option<MovedJson>,
    /// What came of the recorded runs; null when they were not run.
    pub(crate) verified: Option<VerifiedJson>,
}

/// The recorded runs in a deployed image.
#[derive(Debug, Serialize)]
pub(crate) struct VerifiedJson {
    /// Whether none differs.
    pub(crate) holds: bool,
    pub(crate) same: usize,
    pub(crate) runs: Vec<VerifiedRunJson>,
}

/// One of them.
#[derive(Debug, Serialize)]
pub(crate) struct VerifiedRunJson {
    pub(crate) run: RunId,
    /// `same`, `different` or `skipped`.
    pub(crate) verdict: &'static str,
    /// Why, unless it is the same.
    pub(crate) why: Option<String>,
}

impl VerifiedJson {
    pub(crate) fn new(verification: &Verification) -> Self {
        let runs = verification.runs.iter().map(|one| {
            let (verdict, why) = match &one.verdict {
                Verdict::Same => ("same", None),
                Verdict::Different { why } => ("different", Some(why.clone())),
                Verdict::Skipped { why } => ("skipped", Some(why.clone())),
            };
            VerifiedRunJson {
                run: one.run,
                verdict,
                why,
            }
        });
        Self {
            holds: verification.holds(),
            same: verification.same(),
            runs: runs.collect(),
        }
    }
}
