//! What an engine is, and what that means for running untrusted code on it.

mod findings;
mod probe;

use std::collections::BTreeMap;

use bollard::models::{SystemInfo, SystemVersion};
use jiff::Timestamp;
use serde::Serialize;

use crate::docker::calls::call;
use crate::engine::capabilities::ignores_limits;
use crate::{Engine, RunnerError};

pub use probe::{ProbeError, Probed, probe};

/// Facts about an engine. What it does not say is empty or `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct EngineFacts {
    /// Where it answers.
    pub address: String,
    /// Its product and version, such as `Docker Engine 20.10.24`.
    pub engine: String,
    /// The version of the API that is spoken.
    pub api: String,
    /// Where images and writable layers are.
    pub storage_driver: String,
    /// 1 or 2.
    pub cgroup_version: Option<u8>,
    /// Who makes control groups: `cgroupfs`, `systemd` or `none`.
    pub cgroup_driver: String,
    /// Which resources it can limit.
    pub limits: ResourceLimits,
    /// The names of its runtimes, sorted.
    pub runtimes: Vec<String>,
    /// Those of them that make no control groups, and so enforce no limit.
    pub unlimited_runtimes: Vec<String>,
    /// The runtime of sandboxes that name none.
    pub default_runtime: String,
    /// The version of runc.
    pub runc: Option<String>,
    /// The security options that it reports, without their settings, such as `seccomp`, sorted.
    pub security: Vec<String>,
    /// The version of the kernel.
    pub kernel: String,
    /// The operating system's name.
    pub system: String,
    /// Such as `x86_64`.
    pub architecture: String,
    /// How many processors it has.
    pub cpus: u64,
    /// How much memory it has.
    pub memory_bytes: u64,
    /// Whether its containers go on when it stops.
    pub live_restore: bool,
    /// How far its clock is ahead of this machine's, in seconds.
    pub clock_ahead_s: Option<i64>,
    /// Where the kernel sends core dumps, if the engine runs on this machine.
    pub core_pattern: Option<String>,
    /// What follows from all that, the worst first.
    pub findings: Vec<Finding>,
}

/// Which resources an engine can limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "four independent facts, as the engine reports them"
)]
pub struct ResourceLimits {
    /// Memory.
    pub memory: bool,
    /// Swap; without it a sandbox can use as much swap as memory.
    pub swap: bool,
    /// Processor time.
    pub cpu: bool,
    /// The number of processes.
    pub pids: bool,
}

/// One thing worth knowing about an engine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// What it is about, in a word or two.
    pub topic: &'static str,
    /// What is so.
    pub text: String,
    /// What to do about it.
    pub hint: Option<String>,
}

/// How bad a finding is; the worst is the greatest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// As it should be.
    Ok,
    /// It works, but protects less or is slow.
    Warning,
    /// Sandboxes cannot run, or not safely.
    Error,
}

/// Asks the engine what it is.
///
/// # Errors
/// [`RunnerError`] when it does not answer.
pub async fn inspect(engine: &Engine, now: fn() -> Timestamp) -> Result<EngineFacts, RunnerError> {
    let info = call("describe itself", engine.docker.info()).await?;
    let now = now();
    let version = call("tell its version", engine.docker.version()).await?;
    let mut facts = facts(engine, info, version, now);
    facts.findings = findings::of(&facts);
    Ok(facts)
}

fn facts(engine: &Engine, info: SystemInfo, version: SystemVersion, now: Timestamp) -> EngineFacts {
    let components = version.components.unwrap_or_default();
    let component = |name: &str| {
        let found = components.iter().find(|part| part.name == name);
        found.map(|part| part.version.clone())
    };
    let known: BTreeMap<_, _> = info.runtimes.unwrap_or_default().into_iter().collect();
    let unlimited = known.iter().filter(|(_, runtime)| ignores_limits(runtime));
    let unlimited = unlimited.map(|(name, _)| name.clone()).collect();
    let runtimes = known.into_keys().collect();
    let clock = info.system_time.as_deref().and_then(|time| {
        let there: Timestamp = time.parse().ok()?;
        Some(there.as_second() - now.as_second())
    });
    let mut security: Vec<String> = info
        .security_options
        .unwrap_or_default()
        .iter()
        .map(|option| security_name(option).to_owned())
        .collect();
    security.sort();
    let number = |number: Option<i64>| u64::try_from(number.unwrap_or(0)).unwrap_or(0);
    let kernel = info.kernel_version.unwrap_or_default();
    EngineFacts {
        address: engine.address.clone(),
        engine: product(
            components.first().map(|part| part.name.as_str()),
            &info.server_version.or(version.version).unwrap_or_default(),
        ),
        api: engine.api.to_string(),
        storage_driver: info.driver.unwrap_or_default(),
        cgroup_version: info
            .cgroup_version
            .and_then(|version| version.as_ref().parse().ok()),
        cgroup_driver: info
            .cgroup_driver
            .map_or_else(String::new, |driver| driver.to_string()),
        limits: ResourceLimits {
            memory: info.memory_limit.unwrap_or(false),
            swap: info.swap_limit.unwrap_or(false),
            cpu: info.cpu_cfs_quota.unwrap_or(false),
            pids: info.pids_limit.unwrap_or(false),
        },
        runtimes,
        unlimited_runtimes: unlimited,
        live_restore: info.live_restore_enabled.unwrap_or(false),
        clock_ahead_s: clock,
        default_runtime: info.default_runtime.unwrap_or_default(),
        runc: component("runc"),
        security,
        core_pattern: core_pattern(&engine.address, &kernel),
        kernel,
        system: info.operating_system.unwrap_or_default(),
        architecture: info.architecture.unwrap_or_default(),
        cpus: number(info.ncpu),
        memory_bytes: number(info.mem_total),
        findings: Vec::new(),
    }
}

/// The first component is the engine itself; Docker calls its own only `Engine`.
fn product(component: Option<&str>, version: &str) -> String {
    match component {
        None | Some("Engine") => format!("Docker Engine {version}"),
        Some(name) => format!("{name} {version}"),
    }
}

/// `name=seccomp,profile=default` is `seccomp`; older engines write only the name.
fn security_name(option: &str) -> &str {
    let first = option.split(',').next().unwrap_or_default();
    first.strip_prefix("name=").unwrap_or(first)
}

/// Reads the setting of this machine's kernel if it is the engine's too.
fn core_pattern(address: &str, kernel: &str) -> Option<String> {
    let line = |path: &str| {
        let text = std::fs::read_to_string(path).ok()?;
        Some(text.trim().to_owned())
    };
    let local = address.starts_with("unix://");
    let same = line("/proc/sys/kernel/osrelease").is_some_and(|release| release == kernel);
    if local && same {
        line("/proc/sys/kernel/core_pattern")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn security_options_are_read_in_both_spellings() {
        let check = |option: &str, expected: &str| assert_eq!(security_name(option), expected);
        check("name=seccomp,profile=default", "seccomp");
        check("name=rootless", "rootless");
        check("seccomp", "seccomp");
        check("", "");
    }

    #[test]
    fn the_engine_is_named_as_people_know_it() {
        assert_eq!(product(Some("Engine"), "27.0"), "Docker Engine 27.0");
        assert_eq!(product(Some("Podman Engine"), "5.2"), "Podman Engine 5.2");
        assert_eq!(product(None, "1"), "Docker Engine 1");
    }
}
