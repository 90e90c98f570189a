//! From facts to what they mean. Pure, so that each engine that exists can be a test.

use super::{EngineFacts, Finding, Severity};

/// Below this a default sandbox hardly fits beside the engine.
const MEMORY_WANTED: u64 = 1 << 30;

/// Seconds by which clocks may differ; leases have more to spare.
const CLOCKS_DIFFER: u64 = 60;

/// What follows from the facts, the worst first.
pub(super) fn of(facts: &EngineFacts) -> Vec<Finding> {
    let mut findings = vec![
        engine(facts),
        seccomp(facts),
        profiles(facts),
        user(facts),
        limits(facts),
        cgroup(facts),
        runc(facts),
        storage(facts),
        size(facts),
    ];
    findings.extend(core(facts));
    findings.extend(facts.unlimited_runtimes.iter().map(|name| unlimited(name)));
    findings.extend(clock(facts));
    findings.extend(live_restore(facts));
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    findings
}

fn finding(
    severity: Severity,
    topic: &'static str,
    text: impl Into<String>,
    hint: Option<&str>,
) -> Finding {
    Finding {
        severity,
        topic,
        text: text.into(),
        hint: hint.map(str::to_owned),
    }
}

fn ok(topic: &'static str, text: impl Into<String>) -> Finding {
    finding(Severity::Ok, topic, text, None)
}

fn warning(topic: &'static str, text: impl Into<String>, hint: &str) -> Finding {
    finding(Severity::Warning, topic, text, Some(hint))
}

fn error(topic: &'static str, text: impl Into<String>, hint: &str) -> Finding {
    finding(Severity::Error, topic, text, Some(hint))
}

fn has(facts: &EngineFacts, option: &str) -> bool {
    facts.security.iter().any(|known| known == option)
}

fn engine(facts: &EngineFacts) -> Finding {
    let text = format!("{} at `{}`, API {}", facts.engine, facts.address, facts.api);
    if facts.engine.starts_with("Docker Engine ") {
        ok("engine", text)
    } else if facts.engine.starts_with("Podman") {
        warning(
            "engine",
            text,
            "only Docker Engine is tested; Podman asks for limits of processes and open files of its \
             own, and containers fail to start where its service may not raise them",
        )
    } else {
        warning("engine", text, "only Docker Engine is tested")
    }
}

fn seccomp(facts: &EngineFacts) -> Finding {
    if has(facts, "seccomp") {
        return ok("seccomp", "system calls can be filtered");
    }
    error(
        "seccomp",
        "the engine cannot filter system calls, so nothing untrusted is run on it",
        "use an engine and a kernel that are built with seccomp",
    )
}

fn profiles(facts: &EngineFacts) -> Finding {
    match ["apparmor", "selinux"]
        .into_iter()
        .find(|name| has(facts, name))
    {
        Some(name) => ok("access control", format!("{name} is on")),
        None => warning(
            "access control",
            "neither AppArmor nor SELinux confines containers",
            "enable AppArmor or SELinux on the engine's machine for a second wall",
        ),
    }
}

fn user(facts: &EngineFacts) -> Finding {
    let mapped = ["rootless", "userns"]
        .into_iter()
        .find(|name| has(facts, name));
    match mapped {
        Some("rootless") => ok("users", "the engine runs without root"),
        Some(_) => ok(
            "users",
            "users of containers are mapped to others of the machine",
        ),
        // Sandboxes never run as root, so this is how most engines are.
        None => ok(
            "users",
            "the engine runs as root; sandboxes run as other users",
        ),
    }
}

fn limits(facts: &EngineFacts) -> Finding {
    let limits = facts.limits;
    let missing = |wanted: &[(&'static str, bool)]| {
        let names: Vec<&str> = wanted
            .iter()
            .filter(|limit| !limit.1)
            .map(|limit| limit.0)
            .collect();
        names.join(", ")
    };
    let hint = "for a rootless engine: control groups version 2 with delegation of cpu, memory \
                and pids; otherwise enable them in the kernel's command line";
    let hard = missing(&[("memory", limits.memory), ("processes", limits.pids)]);
    if !hard.is_empty() {
        return error("limits", format!("the engine cannot limit {hard}"), hint);
    }
    let soft = missing(&[("processor time", limits.cpu), ("swap", limits.swap)]);
    if !soft.is_empty() {
        return warning("limits", format!("the engine cannot limit {soft}"), hint);
    }
    ok(
        "limits",
        "memory, swap, processor time and processes can be limited",
    )
}

fn cgroup(facts: &EngineFacts) -> Finding {
    let driver = &facts.cgroup_driver;
    match facts.cgroup_version {
        Some(1) => warning(
            "control groups",
            format!(
                "version 1, driver `{driver}`: buffers of sockets and locks of files are not \
                 counted as a sandbox's memory"
            ),
            "start the engine's machine with control groups version 2",
        ),
        Some(version) => ok(
            "control groups",
            format!("version {version}, driver `{driver}`"),
        ),
        None => warning(
            "control groups",
            "the engine does not say which version it uses",
            "`docker info` shows what it knows",
        ),
    }
}

fn runc(facts: &EngineFacts) -> Finding {
    if facts.default_runtime != "runc" && !facts.default_runtime.is_empty() {
        return ok(
            "runtime",
            format!("sandboxes run on `{}`", facts.default_runtime),
        );
    }
    let Some(text) = &facts.runc else {
        return ok("runtime", "runc; the engine does not say which version");
    };
    if fixed(text) {
        return ok("runtime", format!("runc {text}"));
    }
    warning(
        "runtime",
        format!(
            "runc {text} is from before 1.2.8 and 1.3.3, which close ways out of a container \
             through races of mounts (unless the distribution has patched it)"
        ),
        "update runc on the engine's machine",
    )
}

/// Whether a version of runc has the fixes of November 2025.
///
/// Source: the advisories for CVE-2025-31133, CVE-2025-52565 and CVE-2025-52881: fixed in 1.2.8,
/// 1.3.3 and 1.4.0-rc.3. What cannot be read is not known to be fixed.
fn fixed(version: &str) -> bool {
    let version = version.strip_prefix('v').unwrap_or(version);
    let core = version
        .split(['-', '+', '~', ' '])
        .next()
        .unwrap_or_default();
    let mut numbers = core.split('.').map(str::parse::<u32>);
    let mut next = || numbers.next().unwrap_or(Ok(0));
    let (Ok(major), Ok(minor), Ok(patch)) = (next(), next(), next()) else {
        return false;
    };
    match (major, minor) {
        (0, _) | (1, 0 | 1) => false,
        (1, 2) => patch >= 8,
        (1, 3) => patch >= 3,
        (1, 4) if patch == 0 => {
            let rest = version[core.len()..].split('+').next();
            !matches!(rest, Some("-rc.1" | "-rc.2"))
        }
        _ => true,
    }
}

fn storage(facts: &EngineFacts) -> Finding {
    let driver = &facts.storage_driver;
    match driver.as_str() {
        "vfs" => warning(
            "storage",
            "the driver `vfs` copies the whole image for each sandbox",
            "use `overlay2`",
        ),
        "fuse-overlayfs" => warning(
            "storage",
            "the driver `fuse-overlayfs` makes the start of a sandbox slower",
            "use `overlay2` where the kernel allows it",
        ),
        _ => ok("storage", format!("the driver is `{driver}`")),
    }
}

fn size(facts: &EngineFacts) -> Finding {
    let text = format!(
        "{} processors, {} MiB of memory, {} on {} ({})",
        facts.cpus,
        facts.memory_bytes >> 20,
        facts.kernel,
        facts.system,
        facts.architecture
    );
    if facts.memory_bytes > 0 && facts.memory_bytes < MEMORY_WANTED {
        return warning(
            "machine",
            text,
            "give the engine's machine more memory, or sandboxes less",
        );
    }
    ok("machine", text)
}

/// A runtime without control groups. What is left is what the harness and this program do.
fn unlimited(name: &str) -> Finding {
    warning(
        "runtime",
        format!(
            "the runtime `{name}` makes no control groups: it enforces neither memory nor \
             processor time; the harness limits memory and processes inside, and this program \
             watches the memory from outside where the engine is on this machine"
        ),
        "remove `--ignore-cgroups` from its arguments where its control groups work",
    )
}

/// Leases are written by this machine's clock and judged by those of others.
fn clock(facts: &EngineFacts) -> Option<Finding> {
    let ahead = facts.clock_ahead_s?;
    if ahead.unsigned_abs() <= CLOCKS_DIFFER {
        return Some(ok("clock", "the engine's clock agrees with this machine's"));
    }
    Some(warning(
        "clock",
        format!("the engine's clock differs from this machine's by {ahead} s"),
        "set both by NTP: sandboxes of a dead program are removed by time",
    ))
}

fn live_restore(facts: &EngineFacts) -> Option<Finding> {
    facts.live_restore.then(|| {
        warning(
            "live restore",
            "containers go on when the engine stops, so a sandbox may outlive its run until the \
             engine is back",
            "turn `live-restore` off on an engine that is only for sandboxes",
        )
    })
}

/// A pattern with `|` starts a program of the machine, as root, with what a sandbox leaves behind.
fn core(facts: &EngineFacts) -> Option<Finding> {
    let pattern = facts.core_pattern.as_ref()?;
    if !pattern.starts_with('|') {
        return Some(ok("core dumps", "no program is started for them"));
    }
    Some(warning(
        "core dumps",
        format!(
            "the kernel starts `{}` as root for a program that crashes in a container",
            &pattern[1..]
        ),
        "`sysctl kernel.core_pattern=core` on a machine that needs no crash reports",
    ))
}

#[cfg(test)]
mod tests {
    use super::super::ResourceLimits;
    use super::*;

    fn good() -> EngineFacts {
        EngineFacts {
            address: "unix:///s".to_owned(),
            engine: "Docker Engine 29.0".to_owned(),
            api: "1.52".to_owned(),
            storage_driver: "overlay2".to_owned(),
            cgroup_version: Some(2),
            cgroup_driver: "systemd".to_owned(),
            limits: ResourceLimits {
                memory: true,
                swap: true,
                cpu: true,
                pids: true,
            },
            runtimes: vec!["runc".to_owned()],
            unlimited_runtimes: Vec::new(),
            live_restore: false,
            clock_ahead_s: Some(1),
            default_runtime: "runc".to_owned(),
            runc: Some("1.3.3".to_owned()),
            security: vec!["apparmor".to_owned(), "seccomp".to_owned()],
            kernel: "6.12".to_owned(),
            system: "Debian".to_owned(),
            architecture: "x86_64".to_owned(),
            cpus: 2,
            memory_bytes: 4 << 30,
            core_pattern: Some("core".to_owned()),
            findings: Vec::new(),
        }
    }

    #[test]
    fn a_good_engine_has_only_good_findings() {
        let bad: Vec<Finding> = of(&good())
            .into_iter()
            .filter(|finding| finding.severity != Severity::Ok)
            .collect();
        assert_eq!(bad, []);
    }

    #[test]
    fn each_weakness_is_found() {
        let check = |change: fn(&mut EngineFacts), severity: Severity, topic: &str| {
            let mut facts = good();
            change(&mut facts);
            let found = of(&facts);
            assert_eq!((found[0].severity, found[0].topic), (severity, topic));
            assert!(found[0].hint.is_some());
            let worse = found.iter().filter(|one| one.severity != Severity::Ok);
            assert_eq!(worse.count(), 1);
        };
        check(
            |f| f.security = vec!["apparmor".into()],
            Severity::Error,
            "seccomp",
        );
        check(
            |f| f.security = vec!["seccomp".into()],
            Severity::Warning,
            "access control",
        );
        check(|f| f.limits.memory = false, Severity::Error, "limits");
        check(|f| f.limits.pids = false, Severity::Error, "limits");
        check(|f| f.limits.swap = false, Severity::Warning, "limits");
        check(
            |f| f.runc = Some("1.1.5+ds1-1".into()),
            Severity::Warning,
            "runtime",
        );
        check(
            |f| f.storage_driver = "vfs".into(),
            Severity::Warning,
            "storage",
        );
        check(
            |f| f.cgroup_version = None,
            Severity::Warning,
            "control groups",
        );
        check(
            |f| f.cgroup_version = Some(1),
            Severity::Warning,
            "control groups",
        );
        check(
            |f| f.unlimited_runtimes = vec!["runsc".into()],
            Severity::Warning,
            "runtime",
        );
        check(|f| f.clock_ahead_s = Some(-90), Severity::Warning, "clock");
        check(|f| f.live_restore = true, Severity::Warning, "live restore");
        check(|f| f.memory_bytes = 512 << 20, Severity::Warning, "machine");
        check(
            |f| f.core_pattern = Some("|/usr/bin/x %p".into()),
            Severity::Warning,
            "core dumps",
        );
        check(
            |f| f.engine = "Podman Engine 5".into(),
            Severity::Warning,
            "engine",
        );
    }

    #[test]
    fn versions_of_runc_with_the_fixes_are_known() {
        let check = |version: &str, expected: bool| {
            assert_eq!(fixed(version), expected, "{version}");
        };
        check("1.1.5+ds1-1+deb12u1", false);
        check("1.1.15", false);
        check("1.2.7", false);
        check("1.2.8", true);
        check("1.3.0", false);
        check("1.3.2-0ubuntu1", false);
        check("1.3.3", true);
        check("v1.3.10", true);
        check("1.4.0-rc.1", false);
        check("1.4.0-rc.2+dev", false);
        check("1.4.0-rc.3", true);
        check("1.4.0-rc.10", true);
        check("1.4.0", true);
        check("1.10.0", true);
        check("2.0.0", true);
        check("unknown", false);
        check("", false);
    }
}
