//! What one sandbox is, in the engine's words. Every line denies something by default.

use std::collections::HashMap;

use bollard::models::{
    ContainerCreateBody, HealthConfig, HostConfig, HostConfigCgroupnsModeEnum, HostConfigLogConfig,
    Mount as EngineMount, MountBindOptions, MountBindOptionsPropagationEnum, MountType,
    ResourcesUlimits,
};
use serde_json::json;
use spec::{ByteSize, Imports, Limits, limits};

use super::pool::Warm;
use crate::ImageId;
use crate::mount::Granted;

/// The system calls that a sandbox may make; `seccomp.md` beside it gives the reasons.
const SECCOMP: &str = include_str!("seccomp.json");
/// Source: `bits/socket.h`.
const AF_UNIX: u32 = 1;
/// `/dev/shm`: semaphores of `multiprocessing` fit, large data does not.
pub(super) const SHM: ByteSize = ByteSize::mib(8);
/// Files in it, each of which takes memory of the kernel however small it is.
const SHM_INODES: u64 = 1_024;
/// What one connection may hold, in each direction: the least, the usual and the most bytes. The
/// first version of control groups does not count it as the sandbox's memory.
const SOCKET_BUFFER: &str = "4096 65536 262144";
/// Files of the source folder, each with as many folders as it can have.
const CODE_INODES: u64 = (limits::SOURCE_FILES * (limits::PATH_DEPTH + 1)) as u64;
/// Files in `/tmp`: as in the workspace.
const TMP_INODES: u64 = limits::WORKSPACE_INODES;
/// Queued real-time signals and POSIX timers. The kernel counts them per user of the host, so one
/// sandbox must not take them all.
const SIGNALS_PENDING: i64 = 128;

/// What the kernel says of the machine and not of the sandbox. The engine's own list, and more.
const MASKED: &[&str] = &[
    "/proc/acpi",
    "/proc/asound",
    "/proc/bootconfig",
    "/proc/buddyinfo",
    "/proc/cmdline",
    "/proc/config.gz",
    "/proc/crypto",
    "/proc/diskstats",
    "/proc/dynamic_debug",
    "/proc/interrupts",
    "/proc/iomem",
    "/proc/ioports",
    "/proc/kallsyms",
    "/proc/kcore",
    "/proc/key-users",
    "/proc/keys",
    "/proc/kmsg",
    "/proc/kpagecgroup",
    "/proc/kpagecount",
    "/proc/kpageflags",
    "/proc/latency_stats",
    "/proc/locks",
    "/proc/mdstat",
    "/proc/modules",
    "/proc/mtrr",
    "/proc/pagetypeinfo",
    "/proc/partitions",
    "/proc/pressure",
    "/proc/sched_debug",
    "/proc/schedstat",
    "/proc/scsi",
    "/proc/slabinfo",
    "/proc/softirqs",
    "/proc/swaps",
    // The same in every run until the machine restarts: a name for it.
    "/proc/sys/kernel/random/boot_id",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/vmallocinfo",
    "/proc/vmstat",
    "/proc/zoneinfo",
    "/sys/block",
    "/sys/class",
    "/sys/dev",
    "/sys/devices/pci0000:00",
    "/sys/devices/virtual",
    "/sys/firmware",
    "/sys/kernel",
    "/sys/module",
];

/// The engine's own list.
const READ_ONLY: &[&str] = &[
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/sys",
    "/proc/sysrq-trigger",
    // What crun mounts there can be written by any user.
    "/sys/fs/cgroup",
];

/// What the engine is asked to create.
pub(super) fn body(
    image: &ImageId,
    warm: Warm,
    imports: &Imports,
    limits: &Limits,
    granted: &Granted,
    runtime: Option<&str>,
    labels: HashMap<String, String>,
) -> ContainerCreateBody {
    ContainerCreateBody {
        image: Some(image.0.to_string()),
        labels: Some(labels),
        // The default is the container's id: it would differ in every run.
        hostname: Some("sandbox".to_owned()),
        user: Some(format!("{}:{}", granted.uid, granted.gid)),
        working_dir: Some("/".to_owned()),
        // The interpreter reads these at its start; the harness sets the child's whole environment.
        env: Some(environment(warm, imports, limits)),
        attach_stdin: Some(true),
        attach_stdout: Some(true),
        attach_stderr: Some(true),
        open_stdin: Some(true),
        stdin_once: Some(true),
        tty: Some(false),
        // Halves the start-up against a network mode of `none`; loopback still works.
        network_disabled: Some(true),
        healthcheck: Some(HealthConfig {
            test: Some(vec!["NONE".to_owned()]),
            ..HealthConfig::default()
        }),
        host_config: Some(host_config(limits, granted, runtime)),
        ..ContainerCreateBody::default()
    }
}

/// The interpreter reads these at its start; the harness sets the child's whole environment.
fn environment(warm: Warm, imports: &Imports, limits: &Limits) -> Vec<String> {
    let mut variables = vec![
        "PYTHONHASHSEED=0".to_owned(),
        "PYTHONDONTWRITEBYTECODE=1".to_owned(),
        "LANG=C.UTF-8".to_owned(),
        "TZ=UTC".to_owned(),
        format!("AGENTFACTORY_SHELL={}", u8::from(warm == Warm::Shell)),
        // Where the runtime enforces none, the harness does, from its child's first moment on.
        format!("AGENTFACTORY_MEMORY={}", limits.memory.get()),
        format!("AGENTFACTORY_PIDS={}", limits.pids),
    ];
    if !imports.is_empty() {
        let names: Vec<_> = imports.names().collect();
        variables.push(format!("AGENTFACTORY_IMPORTS={}", names.join(",")));
    }
    variables
}

fn host_config(limits: &Limits, granted: &Granted, runtime: Option<&str>) -> HostConfig {
    let tmpfs = |size: ByteSize, inodes: u64| {
        format!(
            "rw,exec,nosuid,nodev,mode=0700,size={},nr_inodes={inodes},uid={},gid={}",
            size.get(),
            granted.uid,
            granted.gid
        )
    };
    let owned = |paths: &[&str]| paths.iter().map(|path| (*path).to_owned()).collect();
    HostConfig {
        auto_remove: Some(true),
        runtime: runtime.map(str::to_owned),
        // PID 1 is the harness, whatever the engine's default.
        init: Some(false),
        privileged: Some(false),
        readonly_rootfs: Some(true),
        cap_drop: Some(vec!["ALL".to_owned()]),
        security_opt: Some(vec![
            "no-new-privileges".to_owned(),
            format!("seccomp={}", seccomp(granted)),
        ]),
        masked_paths: Some(owned(MASKED)),
        readonly_paths: Some(owned(READ_ONLY)),
        ipc_mode: Some("private".to_owned()),
        cgroupns_mode: Some(HostConfigCgroupnsModeEnum::PRIVATE),
        shm_size: Some(signed(SHM.get())),
        sysctls: Some(HashMap::from([
            ("net.ipv4.tcp_rmem".to_owned(), SOCKET_BUFFER.to_owned()),
            ("net.ipv4.tcp_wmem".to_owned(), SOCKET_BUFFER.to_owned()),
        ])),
        memory: Some(signed(limits.memory.get())),
        // As much as memory: no swap.
        memory_swap: Some(signed(limits.memory.get())),
        pids_limit: Some(i64::from(limits.pids)),
        nano_cpus: Some(i64::from(limits.cpu_millis) * 1_000_000),
        oom_score_adj: Some(0),
        ulimits: Some(ulimits(limits, granted)),
        // A flood must not fill the host's disk; nobody but us reads the stream.
        log_config: Some(HostConfigLogConfig {
            typ: Some("none".to_owned()),
            config: None,
        }),
        tmpfs: Some(HashMap::from([
            (
                "/workspace".to_owned(),
                tmpfs(limits.workspace, limits.workspace_files),
            ),
            ("/tmp".to_owned(), tmpfs(limits.tmp(), TMP_INODES)),
            ("/code".to_owned(), tmpfs(limits.code(), CODE_INODES)),
            // The engine's own would have no limit of files.
            (
                "/dev/shm".to_owned(),
                tmpfs(SHM, SHM_INODES).replace("exec", "noexec"),
            ),
        ])),
        mounts: Some(granted.mounts.iter().map(bind).collect()),
        ..HostConfig::default()
    }
}

/// The profile of one sandbox. A read-only mount still passes the sockets in it, so a sandbox with
/// mounts cannot make the sockets that connect to them; socket pairs work.
fn seccomp(granted: &Granted) -> String {
    if granted.mounts.is_empty() {
        return SECCOMP.to_owned();
    }
    let mut profile: serde_json::Value =
        serde_json::from_str(SECCOMP).expect("a test reads the profile");
    let unix = json!({ "index": 0, "value": AF_UNIX, "op": "SCMP_CMP_EQ" });
    let makes_unix = |rule: &serde_json::Value| {
        let arguments = rule["args"].as_array();
        rule["names"] == json!(["socket"]) && arguments.is_some_and(|args| args.contains(&unix))
    };
    if let Some(rules) = profile["syscalls"].as_array_mut() {
        rules.retain(|rule| !makes_unix(rule));
    }
    profile.to_string()
}

fn bind(mount: &crate::Mount) -> EngineMount {
    EngineMount {
        typ: Some(MountType::BIND),
        source: Some(mount.source.to_string_lossy().into_owned()),
        target: Some(format!("/mnt/{}", mount.name)),
        read_only: Some(!mount.writable),
        bind_options: Some(MountBindOptions {
            propagation: Some(MountBindOptionsPropagationEnum::RPRIVATE),
            // Other file systems mounted below it would stay writable.
            non_recursive: Some(true),
            ..MountBindOptions::default()
        }),
        ..EngineMount::default()
    }
}

/// Never `nproc`: it counts across all sandboxes of a user.
fn ulimits(limits: &Limits, granted: &Granted) -> Vec<ResourcesUlimits> {
    let largest = limits.workspace.max(limits.tmp()).max(limits.code());
    // What is too large for them belongs in a directory of the host.
    let has_room = granted.mounts.iter().any(|mount| mount.writable);
    let largest = if has_room { -1 } else { signed(largest.get()) };
    let set = |name: &str, value: i64| ResourcesUlimits {
        name: Some(name.to_owned()),
        soft: Some(value),
        hard: Some(value),
    };
    vec![
        set("core", 0),
        set("nofile", signed(limits::OPEN_FILES)),
        set("fsize", largest),
        set("sigpending", SIGNALS_PENDING),
        set("msgqueue", 0),
    ]
}

/// The engine counts bytes in signed numbers; more than it can say is no limit anyone set.
fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sandbox_with_mounts_makes_no_sockets_of_the_file_system() {
        let granted = |mounts| Granted {
            uid: 1,
            gid: 1,
            mounts,
        };
        let mount = crate::Mount {
            source: "/x".into(),
            name: "x".to_owned(),
            writable: false,
        };
        let (without, with) = (granted(Vec::new()), granted(vec![mount]));
        let rules = |granted: &Granted| {
            let profile: serde_json::Value = serde_json::from_str(&seccomp(granted)).unwrap();
            profile["syscalls"].as_array().unwrap().len()
        };
        assert_eq!(rules(&without), rules(&with) + 1);
    }
}
