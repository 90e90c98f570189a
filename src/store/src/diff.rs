//! What changed from one version to another.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use similar::TextDiff;
use spec::{Digest, PartialLimits, WorkspacePath};

use crate::{Store, StoreError, VersionContent};

/// How long one file may be compared; beyond that the difference is correct but not the shortest.
const COMPARE: Duration = Duration::from_secs(1);

/// What changed from one version to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VersionDiff {
    /// The version before.
    pub from: Digest,
    /// The version after.
    pub to: Digest,
    /// Files that differ, by path.
    pub files: Vec<FileDiff>,
    /// Fields of the config that differ, grants among them.
    pub config: Vec<ConfigDiff>,
}

/// A file that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileDiff {
    /// Its path.
    pub path: WorkspacePath,
    /// How it differs.
    pub kind: FileDiffKind,
    /// The difference in unified format; none when one side is not UTF-8 text.
    pub text: Option<String>,
}

/// How a file differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileDiffKind {
    /// Only in the version after.
    Added,
    /// Only in the version before.
    Removed,
    /// In both, with different content.
    Changed,
}

/// A field of the config that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigDiff {
    /// The field, as in the config.
    pub field: &'static str,
    /// Its values before that are gone; for a list only those, else the whole value.
    pub removed: Vec<String>,
    /// Its values after that are new.
    pub added: Vec<String>,
}

impl Store {
    /// Compares two versions.
    ///
    /// # Errors
    /// As [`Self::version`].
    pub fn diff(&self, from: &Digest, to: &Digest) -> Result<VersionDiff, StoreError> {
        let before = self.version(from)?.content;
        let after = self.version(to)?.content;
        Ok(VersionDiff {
            from: *from,
            to: *to,
            files: files(&before, &after),
            config: config(&before, &after),
        })
    }
}

fn files(before: &VersionContent, after: &VersionContent) -> Vec<FileDiff> {
    let by_path = |content: &VersionContent| -> BTreeMap<WorkspacePath, Vec<u8>> {
        content.files.iter().cloned().collect()
    };
    let (old, new) = (by_path(before), by_path(after));
    let paths: BTreeSet<_> = old.keys().chain(new.keys()).collect();
    let differ = paths
        .into_iter()
        .filter(|path| old.get(*path) != new.get(*path));
    differ
        .map(|path| {
            let kind = match (old.contains_key(path), new.contains_key(path)) {
                (false, _) => FileDiffKind::Added,
                (true, false) => FileDiffKind::Removed,
                (true, true) => FileDiffKind::Changed,
            };
            let content = |files: &BTreeMap<WorkspacePath, Vec<u8>>| {
                let bytes = files.get(path).cloned().unwrap_or_default();
                // A NUL is valid UTF-8, but no text.
                String::from_utf8(bytes)
                    .ok()
                    .filter(|text| !text.contains('\0'))
            };
            let text = content(&old).zip(content(&new));
            FileDiff {
                path: path.clone(),
                kind,
                text: text.map(|(old, new)| unified(path, kind, &old, &new)),
            }
        })
        .collect()
}

fn unified(path: &WorkspacePath, kind: FileDiffKind, old: &str, new: &str) -> String {
    let (before, after) = match kind {
        FileDiffKind::Added => ("/dev/null".to_owned(), format!("b/{path}")),
        FileDiffKind::Removed => (format!("a/{path}"), "/dev/null".to_owned()),
        FileDiffKind::Changed => (format!("a/{path}"), format!("b/{path}")),
    };
    TextDiff::configure()
        .timeout(COMPARE)
        .diff_lines(old, new)
        .unified_diff()
        .header(&before, &after)
        .to_string()
}

fn config(before: &VersionContent, after: &VersionContent) -> Vec<ConfigDiff> {
    let before = fields(before).into_iter();
    before
        .zip(fields(after))
        .map(|((field, old), (_, new))| ConfigDiff {
            field,
            removed: old.difference(&new).cloned().collect(),
            added: new.difference(&old).cloned().collect(),
        })
        .filter(|one| !one.removed.is_empty() || !one.added.is_empty())
        .collect()
}

/// Every field but the source, as the set of its values; one value is a set of one.
fn fields(content: &VersionContent) -> [(&'static str, BTreeSet<String>); 8] {
    let depends = content.depends.iter();
    let requirements = content.requirements.iter().map(|one| {
        let wheels: Vec<String> = one.wheels.iter().map(ToString::to_string).collect();
        format!("{}=={} {}", one.name, one.version, wheels.join(" "))
    });
    [
        ("entry", [content.entry.to_string()].into()),
        ("description", [content.description.clone()].into()),
        (
            "skills",
            content.skills.iter().map(ToString::to_string).collect(),
        ),
        (
            "depends",
            depends
                .map(|(name, digest)| format!("{name}@{digest}"))
                .collect(),
        ),
        ("egress", content.egress.clone()),
        ("limits", content.limits.iter().flat_map(limits).collect()),
        ("python", [content.python.clone()].into()),
        ("requirements", requirements.collect()),
    ]
}

/// Exact, so that no difference hides behind rounding.
fn limits(limits: &PartialLimits) -> Vec<String> {
    let bytes = |name, size: Option<spec::ByteSize>| {
        size.map(|size| format!("{name} {} bytes", size.get()))
    };
    let millis = |name, time: Option<std::time::Duration>| {
        time.map(|time| format!("{name} {} ms", time.as_millis()))
    };
    let number = |name, number: Option<u64>| number.map(|number| format!("{name} {number}"));
    let cpu = limits.cpu_millis.map(|cpu| format!("cpu {cpu} millis"));
    let all = [
        millis("wall", limits.wall),
        millis("cpu time", limits.cpu),
        bytes("memory", limits.memory),
        cpu,
        number("pids", limits.pids.map(u64::from)),
        bytes("workspace", limits.workspace),
        number("workspace files", limits.workspace_files),
        bytes("output", limits.output),
        bytes("result", limits.result),
        number("collect files", limits.collect_files.map(u64::from)),
        number("collect depth", limits.collect_depth.map(u64::from)),
        number("tool calls", limits.tool_calls.map(u64::from)),
        bytes("tool size", limits.tool_bytes),
    ];
    all.into_iter().flatten().collect()
}
