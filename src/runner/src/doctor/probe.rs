//! Starts one sandbox and reads back from inside what it is, to compare it with what was asked for.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use spec::{Limits, OutputStream, RunId, RunOutcome, Tree, WorkspacePath, limits};
use tokio_util::sync::CancellationToken;

use super::{EngineFacts, Severity};
use crate::{
    Broker, ImageId, MemoryBlobs, Observer, Program, RunHost, RunnerError, SandboxSpec, Sandboxes,
    SourceFile, ToolRequest,
};

const PROGRAM: &str = include_str!("probe.py");
/// Source: `proc(5)`: a filter of system calls is in force.
const FILTERED: &str = "2";
/// The first version of Landlock that the harness can use.
const LANDLOCK_WANTED: i64 = 2;

/// One property of a sandbox.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Probed {
    /// Which.
    pub what: &'static str,
    /// What was asked for.
    pub asked: String,
    /// What is so, by the sandbox's own kernel.
    pub seen: String,
    /// How bad the difference is, if there is one.
    pub severity: Severity,
}

/// What the program found. Only the image's own code has run, so that it is no claim of a stranger.
#[derive(Debug, Default, Deserialize)]
struct Seen {
    uid: u32,
    gid: u32,
    groups: Vec<u32>,
    capabilities: BTreeMap<String, String>,
    no_new_privs: String,
    seccomp: String,
    interfaces: Vec<String>,
    root: bool,
    workspace_bytes: u64,
    memory_bytes: Option<u64>,
    pids: Option<u64>,
    open_files: i64,
    core_bytes: i64,
    landlock: i64,
    landlock_holds: bool,
    kernel: String,
}

/// Why a sandbox could not be looked at.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProbeError {
    /// No run took place.
    #[error("the probe could not be run")]
    Run(#[source] RunnerError),
    /// It ended in another way than it must; what it wrote to standard error comes with it.
    #[error("the probe did not end as it must: {outcome}: {stderr}")]
    Ended {
        /// How it ended.
        outcome: String,
        /// The end of what it said.
        stderr: String,
    },
    /// It answered something else.
    #[error("the probe's answer cannot be read")]
    Answer(#[source] serde_json::Error),
}

/// Runs the probe in one sandbox with the default limits.
///
/// # Errors
/// [`ProbeError`] when nothing could be read back.
pub async fn probe(
    sandboxes: &dyn Sandboxes,
    image: &ImageId,
    facts: &EngineFacts,
    cancel: CancellationToken,
) -> Result<Vec<Probed>, ProbeError> {
    let main = WorkspacePath::from_text("main.py").expect("a plain name");
    let limits = Limits::default();
    let spec = SandboxSpec {
        run: RunId::from_uuid(uuid::Uuid::now_v7()),
        image: image.clone(),
        program: Program::Subagent {
            files: vec![SourceFile {
                path: main.clone(),
                content: Bytes::from_static(PROGRAM.as_bytes()),
            }],
            entry: main,
            query: String::new(),
        },
        tree: Arc::new(Tree::default()),
        mounts: Vec::new(),
        limits: limits.clone(),
        determinism: spec::Determinism::default(),
        imports: spec::Imports::NONE,
        runtime: None,
        proxy: None,
    };
    let host = RunHost {
        blobs: Arc::new(MemoryBlobs::default()),
        broker: Arc::new(Nobody),
        observer: Arc::new(Nobody),
    };
    let report = sandboxes
        .run(spec, host, cancel)
        .await
        .map_err(ProbeError::Run)?;
    let RunOutcome::Completed { result } = report.outcome else {
        return Err(ProbeError::Ended {
            outcome: format!("{:?}", report.outcome),
            stderr: String::from_utf8_lossy(&report.stderr.content).into_owned(),
        });
    };
    let seen = serde_json::from_str(&result.answer).map_err(ProbeError::Answer)?;
    Ok(compare(&seen, &limits, &facts.kernel))
}

/// Neither tools nor anybody who watches.
#[derive(Debug)]
struct Nobody;

impl Broker for Nobody {
    fn answer(&self, _: ToolRequest) -> BoxFuture<'_, serde_json::Value> {
        async { serde_json::json!({"error": "the probe has no tools"}) }.boxed()
    }
}

impl Observer for Nobody {
    fn output(&self, _: OutputStream, _: &[u8]) {}
}

/// What differs, and how bad that is. With a kernel of its own, a sandbox has the wall elsewhere:
/// what the machine's kernel would enforce is a warning there.
fn compare(seen: &Seen, limits: &Limits, kernel: &str) -> Vec<Probed> {
    let own_kernel = !kernel.is_empty() && seen.kernel != kernel;
    let mut probed = vec![user(seen), capabilities(seen)];
    probed.extend(calls(seen, own_kernel));
    probed.extend(surroundings(seen));
    probed.extend(bounds(seen, limits, own_kernel));
    probed.push(landlock(seen));
    probed
}

/// What the machine's kernel enforces, or another.
fn elsewhere(own_kernel: bool) -> Severity {
    if own_kernel {
        Severity::Warning
    } else {
        Severity::Error
    }
}

fn judge(
    what: &'static str,
    asked: &str,
    seen: impl Into<String>,
    holds: bool,
    otherwise: Severity,
) -> Probed {
    Probed {
        what,
        asked: asked.to_owned(),
        seen: seen.into(),
        severity: if holds { Severity::Ok } else { otherwise },
    }
}

fn user(seen: &Seen) -> Probed {
    let roots = seen.uid == 0 || seen.gid == 0 || seen.groups.contains(&0);
    let shown = format!("{}:{}", seen.uid, seen.gid);
    judge("user", "not root", shown, !roots, Severity::Error)
}

fn capabilities(seen: &Seen) -> Probed {
    let sets = &seen.capabilities;
    let some = sets
        .iter()
        .filter(|(_, set)| !set.trim_start_matches('0').is_empty());
    let some: Vec<String> = some.map(|(name, set)| format!("{name} {set}")).collect();
    let shown = if !some.is_empty() {
        some.join(", ")
    } else if sets.values().any(String::is_empty) {
        // Not every kernel shows every set.
        "none that the kernel shows".to_owned()
    } else {
        "none".to_owned()
    };
    judge(
        "capabilities",
        "none",
        shown,
        some.is_empty(),
        Severity::Error,
    )
}

fn calls(seen: &Seen, own_kernel: bool) -> [Probed; 2] {
    let privileges = match seen.no_new_privs.as_str() {
        "1" => "refused",
        "" => "the kernel does not say",
        _ => "possible",
    };
    let filtered = seen.seccomp == FILTERED;
    let calls = if filtered {
        "filtered".to_owned()
    } else if own_kernel {
        format!(
            "not filtered, but answered by the sandbox's own kernel, {}",
            seen.kernel
        )
    } else {
        "not filtered".to_owned()
    };
    let otherwise = elsewhere(own_kernel);
    let refused = seen.no_new_privs == "1";
    [
        judge("new privileges", "refused", privileges, refused, otherwise),
        judge("system calls", "filtered", calls, filtered, otherwise),
    ]
}

fn surroundings(seen: &Seen) -> [Probed; 2] {
    let alone = seen.interfaces.iter().all(|name| name == "lo");
    let shown = seen.interfaces.join(", ");
    let root = if seen.root { "read-only" } else { "writable" };
    [
        judge("interfaces", "lo", shown, alone, Severity::Error),
        judge("root folder", "read-only", root, seen.root, Severity::Error),
    ]
}

fn bounds(seen: &Seen, limits: &Limits, own_kernel: bool) -> [Probed; 5] {
    let bound = |what, asked: u64, seen: Option<u64>| {
        let shown = seen.map_or_else(|| "no limit".to_owned(), |seen| seen.to_string());
        let holds = seen.is_some_and(|seen| seen <= asked);
        judge(
            what,
            &asked.to_string(),
            shown,
            holds,
            elsewhere(own_kernel),
        )
    };
    // An unlimited one is below zero.
    let unsigned = |limit: i64| u64::try_from(limit).ok();
    [
        bound(
            "workspace bytes",
            limits.workspace.get(),
            Some(seen.workspace_bytes),
        ),
        bound("memory bytes", limits.memory.get(), seen.memory_bytes),
        bound("processes", u64::from(limits.pids), seen.pids),
        bound("open files", limits::OPEN_FILES, unsigned(seen.open_files)),
        bound("core dump bytes", 0, unsigned(seen.core_bytes)),
    ]
}

fn landlock(seen: &Seen) -> Probed {
    let shown = match (seen.landlock, seen.landlock_holds) {
        (0, _) => "the kernel has none".to_owned(),
        (version, true) => format!("in force, version {version}"),
        (version, false) => format!("not in force, version {version}"),
    };
    let holds = seen.landlock >= LANDLOCK_WANTED && seen.landlock_holds;
    judge("Landlock", "in force", shown, holds, Severity::Warning)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> Seen {
        let limits = Limits::default();
        let sets =
            ["CapBnd", "CapEff"].map(|name| (name.to_owned(), "0000000000000000".to_owned()));
        Seen {
            uid: 60_000,
            gid: 60_000,
            groups: vec![60_000],
            capabilities: sets.into(),
            no_new_privs: "1".to_owned(),
            seccomp: "2".to_owned(),
            interfaces: vec!["lo".to_owned()],
            root: true,
            workspace_bytes: limits.workspace.get(),
            memory_bytes: Some(limits.memory.get()),
            pids: Some(u64::from(limits.pids)),
            open_files: 1_024,
            core_bytes: 0,
            landlock: 4,
            landlock_holds: true,
            kernel: "6.12".to_owned(),
        }
    }

    fn worst(change: fn(&mut Seen)) -> Vec<(&'static str, Severity)> {
        let mut seen = good();
        change(&mut seen);
        compare(&seen, &Limits::default(), "6.12")
            .into_iter()
            .filter(|one| one.severity != Severity::Ok)
            .map(|one| (one.what, one.severity))
            .collect()
    }

    #[test]
    fn each_difference_is_seen() {
        assert_eq!(worst(|_| ()), []);
        let check = |change: fn(&mut Seen), what: &'static str, severity: Severity| {
            assert_eq!(worst(change), [(what, severity)]);
        };
        check(|seen| seen.uid = 0, "user", Severity::Error);
        check(|seen| seen.groups.push(0), "user", Severity::Error);
        check(
            |seen| seen.capabilities = [("CapEff".into(), "00000000a8".into())].into(),
            "capabilities",
            Severity::Error,
        );
        check(
            |seen| seen.no_new_privs = "0".into(),
            "new privileges",
            Severity::Error,
        );
        check(
            |seen| seen.seccomp = "0".into(),
            "system calls",
            Severity::Error,
        );
        check(
            |seen| seen.interfaces.push("eth0".into()),
            "interfaces",
            Severity::Error,
        );
        check(|seen| seen.root = false, "root folder", Severity::Error);
        check(
            |seen| seen.memory_bytes = None,
            "memory bytes",
            Severity::Error,
        );
        check(
            |seen| seen.pids = Some(1 << 20),
            "processes",
            Severity::Error,
        );
        check(
            |seen| seen.core_bytes = -1,
            "core dump bytes",
            Severity::Error,
        );
        check(
            |seen| seen.landlock_holds = false,
            "Landlock",
            Severity::Warning,
        );
    }

    #[test]
    fn a_kernel_of_its_own_is_another_wall() {
        let found = worst(|seen| {
            seen.kernel = "4.4.0".to_owned();
            seen.seccomp = "0".to_owned();
            seen.memory_bytes = None;
        });
        let warned = [
            ("system calls", Severity::Warning),
            ("memory bytes", Severity::Warning),
        ];
        assert_eq!(found, warned);
    }
}
