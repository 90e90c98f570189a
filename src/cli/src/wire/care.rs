//! What keeps the library well: checks, what is removed, what fills the disk.

use serde::Serialize;
use spec::{Digest, SubagentName};
use store::{Amount, FindingKind, FsckReport};

/// `fsck`.
#[derive(Debug, Serialize)]
pub(crate) struct FsckJson {
    /// Whether nothing is wrong.
    pub(crate) clean: bool,
    pub(crate) findings: Vec<FindingJson>,
    pub(crate) blobs: u64,
    pub(crate) bytes: u64,
    pub(crate) versions: u64,
    pub(crate) operations: u64,
    pub(crate) runs: u64,
}

/// One thing that is wrong.
#[derive(Debug, Serialize)]
pub(crate) struct FindingJson {
    /// `damaged`, `missing`, `invalid`, `stray` or `unreadable`.
    pub(crate) kind: &'static str,
    pub(crate) path: String,
    pub(crate) digest: Option<Digest>,
    pub(crate) why: String,
    pub(crate) hint: String,
}

/// A number of blobs and their bytes.
#[derive(Debug, Serialize)]
pub(crate) struct AmountJson {
    pub(crate) blobs: u64,
    pub(crate) bytes: u64,
}

impl From<Amount> for AmountJson {
    fn from(amount: Amount) -> Self {
        Self {
            blobs: amount.blobs,
            bytes: amount.size.get(),
        }
    }
}

/// `gc`.
#[derive(Debug, Serialize)]
pub(crate) struct GcJson {
    pub(crate) dry_run: bool,
    pub(crate) before: AmountJson,
    pub(crate) removed: AmountJson,
    pub(crate) after: AmountJson,
    /// Versions among what was removed.
    pub(crate) versions: u64,
    /// Runs that were removed.
    pub(crate) runs: u64,
    /// Runs that are old and stay.
    pub(crate) evidence: u64,
    /// What nothing names and is too young.
    pub(crate) young: AmountJson,
    /// What only a running command may name.
    pub(crate) leased: AmountJson,
}

/// `reindex`.
#[derive(Debug, Serialize)]
pub(crate) struct ReindexJson {
    pub(crate) operations: u64,
    pub(crate) subagents: u64,
    pub(crate) unreadable: u64,
    pub(crate) runs: u64,
}

/// `stats`.
#[derive(Debug, Serialize)]
pub(crate) struct StatsJson {
    pub(crate) names: u64,
    pub(crate) versions: u64,
    pub(crate) operations: u64,
    pub(crate) runs: u64,
    /// All blobs of the store, and what they are for.
    pub(crate) content: AmountJson,
    pub(crate) of_versions: AmountJson,
    pub(crate) of_runs: AmountJson,
    pub(crate) of_cassettes: AmountJson,
    pub(crate) unnamed: AmountJson,
    /// What it would be more if nothing were kept once for many.
    pub(crate) shared_bytes: u64,
    pub(crate) unreadable: u64,
    /// Files outside the content.
    pub(crate) log_bytes: u64,
    pub(crate) temporary: AmountJson,
    pub(crate) tasks_bytes: u64,
    pub(crate) outputs_bytes: u64,
    /// The user's cache, which all homes share.
    pub(crate) cache_bytes: u64,
    /// Of the cache: the layers of environments and the wheels that they are made from.
    pub(crate) environments_bytes: u64,
    /// How many environments are in it.
    pub(crate) environments: usize,
    pub(crate) largest: Vec<NameSizeJson>,
}

/// What the versions of one name take.
#[derive(Debug, Serialize)]
pub(crate) struct NameSizeJson {
    pub(crate) name: SubagentName,
    pub(crate) versions: u64,
    pub(crate) bytes: u64,
    /// What no other name has too.
    pub(crate) own_bytes: u64,
}

impl From<&FsckReport> for FsckJson {
    fn from(report: &FsckReport) -> Self {
        let findings = report.findings.iter().map(|finding| FindingJson {
            kind: kind(finding.kind),
            path: finding.path.display().to_string(),
            digest: finding.digest,
            why: finding.why.clone(),
            hint: finding.hint(),
        });
        Self {
            clean: report.is_clean(),
            findings: findings.collect(),
            blobs: report.blobs,
            bytes: report.bytes,
            versions: report.versions,
            operations: report.operations,
            runs: report.runs,
        }
    }
}

/// The word for a kind of finding.
pub(crate) fn kind(kind: FindingKind) -> &'static str {
    match kind {
        FindingKind::Damaged => "damaged",
        FindingKind::Missing => "missing",
        FindingKind::Invalid => "invalid",
        FindingKind::Stray => "stray",
        FindingKind::Unreadable => "unreadable",
    }
}
