//! Leases: whose sandbox it is and until when, and the removal of what nobody owns any more.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::path::Path;

use bollard::query_parameters::{ListContainersOptions, RemoveContainerOptions};
use jiff::Timestamp;
use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};
use spec::RunId;

use crate::docker::calls::{call, refusal};
use crate::{Engine, RunnerError};

/// Labels of every sandbox.
const OWNER: &str = "agentfactory.owner";
const RUN: &str = "agentfactory.run";
const LEASE: &str = "agentfactory.lease";

/// The process that owns sandboxes, so that others can tell whether it still lives.
///
/// A process number means something only on one machine, since its last start and in one PID
/// namespace, and is used again later: so all of this is part of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The machine and the PID namespace.
    host: String,
    /// The machine's current start.
    boot: String,
    pid: u32,
    /// When the process began, in the kernel's ticks.
    start: u64,
}

impl Owner {
    /// Describes the calling process from `/proc`.
    ///
    /// # Errors
    /// The I/O error, on a system that has no such `/proc`.
    pub fn of_this_process() -> io::Result<Self> {
        let (host, boot) = here()?;
        let pid = std::process::id();
        let start = start_of(Path::new("/proc"), pid)?;
        Ok(Self {
            host,
            boot,
            pid,
            start,
        })
    }

    /// A name for a process on a system without `/proc`: its sandboxes are reaped when their
    /// leases expire.
    pub fn named(name: &str) -> Self {
        let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
        Self {
            host: format!("named-{}", name.chars().map(plain).collect::<String>()),
            boot: "none".to_owned(),
            pid: std::process::id(),
            start: 0,
        }
    }

    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('/');
        let owner = Self {
            host: parts.next()?.to_owned(),
            boot: parts.next()?.to_owned(),
            pid: parts.next()?.parse().ok()?,
            start: parts.next()?.parse().ok()?,
        };
        parts.next().is_none().then_some(owner)
    }

    /// Whether the process lives, where that is known. Nothing is known of other machines.
    fn is_alive(&self) -> Option<bool> {
        let (host, boot) = here().ok()?;
        if self.host != host {
            return None;
        }
        if self.boot != boot {
            return Some(false);
        }
        is_alive(Path::new("/proc"), self.pid, self.start)
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            host,
            boot,
            pid,
            start,
        } = self;
        write!(f, "{host}/{boot}/{pid}/{start}")
    }
}

/// This machine with its PID namespace, and its current start.
fn here() -> io::Result<(String, String)> {
    let line = |path: &str| Ok::<_, io::Error>(std::fs::read_to_string(path)?.trim().to_owned());
    let boot = line("/proc/sys/kernel/random/boot_id")?;
    // Containers of one image may share a machine id, so the PID namespace always counts too.
    let machine = line("/etc/machine-id").unwrap_or_else(|_| "unknown".to_owned());
    let namespace = std::fs::read_link("/proc/self/ns/pid")?;
    let namespace: String = namespace
        .to_string_lossy()
        .chars()
        .filter(char::is_ascii_digit)
        .collect();
    Ok((format!("{machine}-{namespace}"), boot))
}

/// When a process began. Source: `proc_pid_stat(5)`, field 22; the name in field 2 may hold
/// anything, so fields are counted after its last parenthesis.
fn start_of(proc: &Path, pid: u32) -> io::Result<u64> {
    let stat = std::fs::read(proc.join(pid.to_string()).join("stat"))?;
    let after = stat.iter().rposition(|byte| *byte == b')').unwrap_or(0);
    String::from_utf8_lossy(&stat[after..])
        .split_ascii_whitespace()
        .nth(20)
        .and_then(|field| field.parse().ok())
        .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))
}

/// Whether the process that began then lives. One that is not seen may be hidden.
/// Source: `proc(5)`, `hidepid`.
fn is_alive(proc: &Path, pid: u32, start: u64) -> Option<bool> {
    if let Ok(found) = start_of(proc, pid) {
        return Some(found == start);
    }
    let Ok(number) = i32::try_from(pid) else {
        // No process has such a number.
        return Some(false);
    };
    let is_gone = test_kill_process(Pid::from_raw(number)?) == Err(Errno::SRCH);
    is_gone.then_some(false)
}

/// The labels of a sandbox whose lease ends at `expires_at`.
pub(crate) fn labels(owner: &Owner, run: RunId, expires_at: Timestamp) -> HashMap<String, String> {
    let mut labels = lease(owner, expires_at);
    labels.insert(RUN.to_owned(), run.to_string());
    labels
}

/// The labels of any container of ours that [`reap`] may remove when its lease has ended.
pub(crate) fn lease(owner: &Owner, expires_at: Timestamp) -> HashMap<String, String> {
    HashMap::from([
        (OWNER.to_owned(), owner.to_string()),
        (LEASE.to_owned(), expires_at.as_second().to_string()),
    ])
}

/// Removes the sandboxes of ours that nobody owns any more, and says how many.
///
/// Those are the ones whose owner ran on this machine and has ended, and, where it cannot be seen whether
/// the owner lives, those whose lease expired before `now`: clocks jump, and machines sleep while their
/// runs stand still. Ones that were created but never started are among them.
///
/// # Errors
/// [`RunnerError::Engine`] and [`RunnerError::EngineTimeout`] when the engine fails to list or to
/// remove them.
pub async fn reap(engine: &Engine, now: Timestamp) -> Result<usize, RunnerError> {
    remove_where(engine, |labels| is_abandoned(labels, now)).await
}

/// Removes all sandboxes of one owner, whatever they do, and says how many.
///
/// It is for an owner that ends at once: runs of its that still wait for a sandbox see it vanish.
///
/// # Errors
/// As of [`reap`].
pub async fn remove_owned(engine: &Engine, owner: &Owner) -> Result<usize, RunnerError> {
    let owner = owner.to_string();
    remove_where(engine, |labels| labels.get(OWNER) == Some(&owner)).await
}

/// Removes the containers of ours that are chosen by their labels, all at once.
async fn remove_where(
    engine: &Engine,
    chosen: impl Fn(&HashMap<String, String>) -> bool,
) -> Result<usize, RunnerError> {
    let options = ListContainersOptions {
        all: true,
        filters: Some(HashMap::from([(
            "label".to_owned(),
            vec![OWNER.to_owned()],
        )])),
        ..ListContainersOptions::default()
    };
    let listed = call(
        "list sandboxes",
        engine.docker.list_containers(Some(options)),
    )
    .await?;
    let chosen = listed.into_iter().filter_map(|container| {
        let (id, labels) = (container.id?, container.labels?);
        chosen(&labels).then_some((id, labels))
    });
    let removals = chosen.map(async |(id, labels)| {
        // Expected: the owner died, or was stopped twice.
        tracing::info!(container = id, run = labels.get(RUN), "removing a sandbox");
        let options = RemoveContainerOptions {
            force: true,
            ..RemoveContainerOptions::default()
        };
        let removal = engine.docker.remove_container(&id, Some(options));
        match call("remove a sandbox", removal).await {
            Ok(()) => Ok(1),
            // Gone meanwhile, or going.
            Err(error) if matches!(refusal(&error), Some(404 | 409)) => Ok(0),
            Err(error) => Err(error),
        }
    });
    // One that cannot be removed does not keep the others.
    let removed = futures::future::join_all(removals).await;
    removed.into_iter().sum()
}

fn is_abandoned(labels: &HashMap<String, String>, now: Timestamp) -> bool {
    let owner = labels.get(OWNER).and_then(|owner| Owner::parse(owner));
    if let Some(is_alive) = owner.and_then(|owner| owner.is_alive()) {
        return !is_alive;
    }
    let lease = labels.get(LEASE).and_then(|lease| lease.parse().ok());
    lease.is_none_or(|expires_at: i64| expires_at < now.as_second())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn abandoned(owner: &Owner, lease: &str) -> bool {
        let labels = HashMap::from([
            (OWNER.to_owned(), owner.to_string()),
            (LEASE.to_owned(), lease.to_owned()),
        ]);
        is_abandoned(&labels, Timestamp::from_second(1_000).unwrap())
    }

    #[test]
    fn an_owner_is_read_back_from_its_label() {
        let owner = Owner::of_this_process().unwrap();
        assert_eq!(Owner::parse(&owner.to_string()), Some(owner));
        let named = Owner::named("a/b c");
        assert_eq!(Owner::parse(&named.to_string()), Some(named));
    }

    #[test]
    fn a_process_that_is_not_seen_is_not_taken_for_dead() {
        // As `/proc` is with `hidepid`.
        let hidden = tempfile::tempdir().unwrap();
        let owner = Owner::of_this_process().unwrap();
        assert_eq!(is_alive(hidden.path(), owner.pid, owner.start), None);
        let mut child = std::process::Command::new("true").spawn().unwrap();
        child.wait().unwrap();
        assert_eq!(
            is_alive(hidden.path(), child.id(), owner.start),
            Some(false)
        );
        assert_eq!(is_alive(hidden.path(), 0, owner.start), None);
    }

    #[test]
    fn a_sandbox_is_abandoned_when_its_owner_ended_or_is_unknown_and_its_lease_expired() {
        let alive = Owner::of_this_process().unwrap();
        let reused = Owner {
            start: alive.start + 1,
            ..alive.clone()
        };
        let none = Owner {
            pid: u32::MAX,
            ..alive.clone()
        };
        let before = Owner {
            boot: "another".to_owned(),
            ..alive.clone()
        };
        let elsewhere = Owner {
            host: "another".to_owned(),
            ..none.clone()
        };
        assert!(!abandoned(&alive, "1000"));
        assert!(!abandoned(&alive, "999"));
        assert!(abandoned(&reused, "1000"));
        assert!(abandoned(&none, "1000"));
        assert!(abandoned(&before, "1000"));
        assert!(!abandoned(&elsewhere, "1000"));
        assert!(abandoned(&elsewhere, "999"));
        assert!(abandoned(&elsewhere, "soon"));
    }
}
