//! What is judged against, and what comes out.

use std::collections::BTreeMap;

/// Where a command runs, and what may be changed there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Context {
    /// The directory whose content the command may change, absolute.
    pub workspace: String,
    /// Further directories whose content it may change, absolute.
    pub scratch: Vec<String>,
    /// The home directory, absolute. It may lie in a scratch directory; what is in it is then kept
    /// from being removed or from deciding what later programs do.
    pub home: String,
    /// The directory in which it begins, absolute.
    pub cwd: String,
    /// Variables whose values are known, besides `HOME` and `PWD`.
    pub variables: BTreeMap<String, String>,
}

impl Context {
    /// A sandbox's: `/workspace`, `/tmp`, `/dev/shm`, and a home in `/tmp`.
    pub fn sandbox() -> Self {
        Self {
            workspace: "/workspace".to_owned(),
            scratch: vec!["/tmp".to_owned(), "/dev/shm".to_owned()],
            home: "/tmp/home".to_owned(),
            cwd: "/workspace".to_owned(),
            variables: BTreeMap::new(),
        }
    }
}

/// What is to become of a command. The order is that of weight: the heaviest finding decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    /// It changes nothing outside the workspace that can be seen.
    Allow,
    /// What it would change cannot be told from its text.
    Ask,
    /// It would change something outside the workspace.
    Refuse,
}

impl Decision {
    /// The word for it: `allow`, `ask` or `refuse`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Ask => "ask",
            Self::Refuse => "refuse",
        }
    }
}

impl std::fmt::Display for Decision {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One thing that a command would do.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Finding {
    /// What this alone would decide.
    pub decision: Decision,
    /// A sentence without a full stop: which part of the command does what, and where.
    pub reason: String,
    /// The part of the command, shortened.
    pub command: String,
    /// The path that it is about, when there is one.
    pub path: Option<String>,
}

/// What was found out about a command.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Verdict {
    /// The heaviest decision of the findings.
    pub decision: Decision,
    /// Why, as a sentence without a full stop.
    pub reason: String,
    /// Everything that was found, in the order of the command; at most [`FINDINGS_MAX`].
    pub findings: Vec<Finding>,
}

/// Findings of one verdict, so that an answer stays readable.
pub const FINDINGS_MAX: usize = 50;

impl Verdict {
    /// Takes findings together.
    pub(crate) fn of(findings: Vec<Finding>) -> Self {
        let heaviest = findings.iter().map(|finding| finding.decision).max();
        let decision = heaviest.unwrap_or(Decision::Allow);
        let first = findings
            .iter()
            .find(|finding| finding.decision == decision && decision != Decision::Allow);
        let reason = match first {
            Some(finding) => finding.reason.clone(),
            None if findings.is_empty() => {
                "what it runs is not known to change anything outside the workspace".to_owned()
            }
            None => "what it changes is inside the workspace or scratch space".to_owned(),
        };
        Self {
            decision,
            reason,
            findings,
        }
    }

    /// A verdict for what is not looked into.
    pub(crate) fn unread(why: &str) -> Self {
        let reason = format!("cannot tell what this changes: {why}");
        Self {
            decision: Decision::Ask,
            findings: vec![Finding {
                decision: Decision::Ask,
                reason: reason.clone(),
                command: String::new(),
                path: None,
            }],
            reason,
        }
    }
}
