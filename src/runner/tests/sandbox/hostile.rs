//! What hostile code may try, and what comes of it.

use std::sync::Arc;
use std::time::Duration;

use runner::Sandboxes as _;
use serde_json::{Value, json};
use spec::{ByteSize, RunOutcome};

use crate::env::{Env, answer, runtime, stderr, stdout};

/// Runs a hostile program, then a harmless one.
async fn attack(env: &Env, source: &str) -> spec::RunReport {
    let report = env.python(source).await;
    let next = env.python("def main(q): return {'answer': 'fine'}").await;
    assert_eq!(answer(&next), "fine", "the next run works");
    report
}

/// Frames that claim success, as a child would forge them.
const FORGED: &str = "
import json, os, struct
def frame(kind, header, token=bytes(16)):
    text = json.dumps(header | {'size': 0}).encode()
    payload = token + struct.pack('<H', len(text)) + text
    return struct.pack('<BI', kind, len(payload)) + payload
ENDED = frame(21, dict(stopped=None, status=0, wall_ns=1, cpu_ns=1, memory_peak=1, oom_kills=0,
    stdout_bytes=0, stderr_bytes=0, workspace_full=False, tmp_full=False, claimed=False))
DONE = frame(26, {})
";

#[tokio::test(flavor = "multi_thread")]
async fn forged_frames_reach_nobody() {
    let Some(env) = Env::open().await else { return };
    let source = format!(
        "{FORGED}
def main(q):
    reached = []
    for fd in range(1024):
        try:
            if fd > 2 and os.fstat(fd) and fd not in CHANNEL: reached.append(fd)
            if fd <= 2: os.write(fd, ENDED + DONE)
        except OSError: pass
    for path in ('/proc/1/fd', '/proc/1/task/1/fd', '/proc/1/map_files', '/proc/1/root', '/proc/1/cwd'):
        try: reached.append([path, os.listdir(path)])
        except OSError: pass
    for n in range(10):
        for mode in (os.O_WRONLY, os.O_RDONLY, os.O_RDWR):
            try: reached.append([n, os.open(f'/proc/1/fd/{{n}}', mode)])
            except OSError: pass
    for path in ('/proc/1/mem', '/proc/1/environ', '/proc/1/maps', '/proc/1/auxv', '/proc/1/syscall'):
        try: reached.append([path, len(open(path, 'rb').read(1))])
        except OSError: pass
    for path in ('/proc/1/oom_score_adj', '/proc/1/coredump_filter', '/proc/1/timerslack_ns'):
        try:
            with open(path, 'w') as file: file.write('1')
            reached.append(path)
        except OSError: pass
    return {{'answer': reached}}
import _agentfactory
channel = _agentfactory.request.__self__
CHANNEL = (channel.fd_in, channel.fd_out)
"
    );
    let report = attack(&env, &source).await;
    assert_eq!(answer(&report), "[]");
    assert!(
        report.stdout.bytes > 0,
        "on its own streams it is only output"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_on_the_channel_is_a_bad_result() {
    let Some(env) = Env::open().await else { return };
    let check = async |write: &str, expected: &str| {
        let source = format!(
            "import os, struct, time, _agentfactory\n\
             fd = _agentfactory.request.__self__.fd_out\n\
             def main(q):\n    {write}\n    return {{'answer': 'x'}}\n"
        );
        let report = attack(&env, &source).await;
        let RunOutcome::BadResult { why } = &report.outcome else {
            panic!("{report:#?}");
        };
        assert!(why.contains(expected), "{why}");
    };
    check(
        "os.write(fd, b'garbage that is long enough')",
        "unknown message",
    )
    .await;
    check(
        "os.write(fd, struct.pack('<BII', 2, 1, 1 << 31)); time.sleep(60)",
        "too long",
    )
    .await;
    check(
        "os.write(fd, struct.pack('<BII', 2, 1, 3) + b'{]}'); time.sleep(60)",
        "a request",
    )
    .await;
    check(
        "os.write(fd, struct.pack('<BII', 3, 0, 2) + b'{}')",
        "two results",
    )
    .await;
    check(
        "os.write(fd, struct.pack('<BII', 3, 0, 2) + b'{}'); os._exit(0)",
        "cannot be read",
    )
    .await;
    check(
        "os.write(fd, struct.pack('<BII', 1, 0, 0)); time.sleep(60)",
        "unknown message",
    )
    .await;
    let twice =
        "for _ in (1, 2): os.write(fd, struct.pack('<BII', 2, 7, 2) + b'{}'); time.sleep(60)";
    check(twice, "").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_that_does_not_read_its_replies_stops_nobody() {
    let Some(mut env) = Env::open().await else {
        return;
    };
    env.broker = Arc::new(crate::tools::Large);
    env.limits.wall = Duration::from_secs(2);
    let source = "import struct, os, time, _agentfactory\n\
        fd = _agentfactory.request.__self__.fd_out\n\
        body = b'{\"tool\": \"x\", \"arguments\": 1}'\n\
        def main(q):\n    \
            for n in range(1000): os.write(fd, struct.pack('<BII', 2, n, len(body)) + body)\n";
    let report = attack(&env, &format!("{source}    time.sleep(60)")).await;
    let limit = env.limits.wall;
    assert_eq!(
        report.outcome,
        RunOutcome::TimedOut {
            clock: spec::Clock::Wall,
            limit
        }
    );
    let gently = report.usage.memory_peak_bytes > 0;
    assert!(gently, "{report:#?}");
    // Its result is found behind all that.
    let report = attack(&env, &format!("{source}    return {{}}")).await;
    assert_eq!(answer(&report), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn signals_do_not_reach_the_harness() {
    let Some(env) = Env::open().await else { return };
    let source = "
import os
def main(q):
    for n in range(1, 65):
        try: os.kill(1, n)
        except OSError: pass
    return {'answer': 'still here'}
";
    assert_eq!(answer(&attack(&env, source).await), "still here");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fork_bomb_ends_with_its_run() {
    let Some(mut env) = Env::open().await else {
        return;
    };
    env.limits.wall = Duration::from_secs(2);
    let limit = env.limits.wall;
    let endless = "
import os
def main(q):
    while True:
        try: os.fork()
        except OSError: pass
";
    assert_eq!(
        attack(&env, endless).await.outcome,
        RunOutcome::TimedOut {
            clock: spec::Clock::Wall,
            limit
        }
    );
    let left_running = "
import os, time
def main(q):
    me = os.getpid()
    try:
        while True:
            if os.fork() == 0: time.sleep(600)
    except OSError as error:
        return {'answer': str(error)}
";
    let report = attack(&env, left_running).await;
    assert_eq!(
        answer(&report),
        "[Errno 11] Resource temporarily unavailable"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn orphans_are_reaped_while_the_run_goes_on() {
    let Some(mut env) = Env::open().await else {
        return;
    };
    env.limits.pids = 16;
    let source = "
import os, time
def main(q):
    for n in range(200):
        if os.fork() == 0:
            if os.fork() == 0: os._exit(0)
            os._exit(0)
        os.wait()
        time.sleep(0.01)
    return {'answer': n}
";
    assert_eq!(answer(&env.python(source).await), "199");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_does_not_outlive_main() {
    let Some(env) = Env::open().await else { return };
    let source = "
import os, signal, time
def main(q):
    if os.fork() == 0:
        os.setsid()
        for n in range(1, 65):
            try: signal.signal(n, signal.SIG_IGN)
            except (OSError, ValueError): pass
        while True:
            open('tick', 'a').write('x')
            print('tick')
            time.sleep(0.001)
    time.sleep(0.1)
    return {'answer': 'done'}
";
    assert_eq!(answer(&attack(&env, source).await), "done");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_memory_bomb_of_many_processes_ends() {
    let Some(mut env) = Env::open().await else {
        return;
    };
    env.limits.memory = ByteSize::mib(128);
    env.limits.workspace = ByteSize::mib(16);
    env.limits.wall = Duration::from_secs(5);
    let source = "
import os, time
def main(q):
    open('/proc/self/oom_score_adj', 'w').write('0')
    for _ in range(100):
        try: os.fork()
        except OSError: pass
        hold = bytearray(8 << 20)
    time.sleep(60)
";
    let report = attack(&env, source).await;
    let expected = matches!(
        report.outcome,
        RunOutcome::OutOfMemory { .. } | RunOutcome::TimedOut { .. } | RunOutcome::Raised { .. }
    );
    assert!(expected, "{report:#?}");
}

/// Whether a user is one of those that only sandboxes have.
fn is_a_slots(user: u64) -> bool {
    (60_578..60_578 + u64::from(runner::SANDBOXES_MAX)).contains(&user)
}

/// What is there inside, read by the subagent itself.
const LOOK: &str = include_str!("programs/look.py");

#[tokio::test(flavor = "multi_thread")]
#[cfg(target_arch = "x86_64")] // The numbers of system calls are this architecture's.
async fn nothing_is_allowed_that_is_not_needed() {
    let Some(env) = Env::open().await else { return };
    let report = env.python(LOOK).await;
    let seen: Value = serde_json::from_str(answer(&report)).unwrap();
    let zero = "0000000000000000";
    let user = seen["uid"][0].as_u64().unwrap();
    assert!(is_a_slots(user), "{user}");
    let expected = json!({
        "uid": [user, user, user],
        "groups": [user],
        "capabilities": [zero, zero, zero, zero, zero],
        "no_new_privs": "1",
        "seccomp": "2",
        "interfaces": ["lo"],
        "environment": {
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": "/tmp/home", "USER": "sandbox", "LOGNAME": "sandbox", "LANG": "C.UTF-8", "TZ": "UTC", "TMPDIR": "/tmp",
            "PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1"
        },
        "hosts": "sandbox",
        "limits": {"CORE": 0, "NOFILE": 1024, "SIGPENDING": 128, "MSGQUEUE": 0},
        "calls": seen["calls"],
        "sockets": {
            "inet": "allowed", "inet6": "allowed", "unix": "allowed", "vsock": "EPERM",
            "alg": "EPERM", "packet": "EPERM", "netlink": "EPERM", "bluetooth": "EPERM"
        },
        "raw": "EPERM",
        "connect": "ENETUNREACH",
        "masked": [],
        "device": "EPERM",
        "writable": seen["writable"],
        "parent": ["EACCES", "EPERM"],
        "kernel": "EACCES",
    });
    assert_eq!(seen, expected);
    for (name, result) in seen["calls"].as_object().unwrap() {
        let expected = if name == "clone3" { "ENOSYS" } else { "EPERM" };
        assert_eq!(result, expected, "{name}");
    }
    for path in seen["writable"].as_array().unwrap() {
        let path = path.as_str().unwrap();
        let ours = ["/workspace", "/tmp", "/code", "/dev/"];
        assert!(ours.iter().any(|ours| path.starts_with(ours)), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_programs_need_works() {
    let Some(env) = Env::open().await else { return };
    let source = include_str!("programs/needs.py");
    let report = env.python(source).await;
    let seen: Value = serde_json::from_str(answer(&report)).unwrap();
    let expected = json!({
        "asyncio": ["sub\n", ""], "pool": [0, 1, 4, 9], "executor": [0, 1, 4], "spawn": [25],
        "semaphore": true, "sqlite": [[7]], "subprocess": "2\n", "thread": true, "temporary": true,
        "home": "/tmp/home", "hash": seen["hash"], "cores": true, "script": "ran\n"
    });
    assert_eq!(seen, expected, "{}", stderr(&report));
    let again = env.python(source).await;
    let again: Value = serde_json::from_str(answer(&again)).unwrap();
    assert_eq!(
        again["hash"], seen["hash"],
        "hashes are the same in every run"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_engine_confirms_what_was_asked_for() {
    let Some(env) = Env::open().await else { return };
    let spec = env.spec(crate::env::subagent(
        &[(
            "main.py",
            "import time\nprint('begun')\ndef main(q): time.sleep(600)",
        )],
        "",
    ));
    let name = format!("agentfactory-{}", spec.run);
    let run = env.sandboxes.run(spec, env.host(), env.cancel.clone());
    let (report, inspected) = tokio::join!(run, async {
        env.observer.first.notified().await;
        let mut docker = tokio::process::Command::new("docker");
        let output = docker.args(["inspect", &name]).output().await.unwrap();
        env.cancel.cancel();
        serde_json::from_slice::<Value>(&output.stdout).unwrap()
    });
    assert_eq!(report.unwrap().outcome, RunOutcome::Cancelled);
    is_locked_down(&inspected[0]["HostConfig"]);
    has_its_limits(&inspected[0]["HostConfig"]);
    is_plain(&inspected[0]["Config"]);
    assert_eq!(inspected[0]["Mounts"], json!([]));
}

/// What the engine says of the walls: capabilities, namespaces, paths and the filter of system calls.
fn is_locked_down(host: &Value) {
    let check = |pointer: &str, expected: Value| {
        assert_eq!(host.pointer(pointer), Some(&expected), "{pointer}");
    };
    check("/AutoRemove", json!(true));
    check("/CapAdd", json!(null));
    check("/CapDrop", json!(["ALL"]));
    check("/CgroupnsMode", json!("private"));
    check("/IpcMode", json!("private"));
    check("/LogConfig/Type", json!("none"));
    check("/Memory", json!(512 << 20));
    check("/MemorySwap", json!(512 << 20));
    check("/NanoCpus", json!(1_000_000_000));
    check("/OomScoreAdj", json!(0));
    check("/PidMode", json!(""));
    check("/PidsLimit", json!(128));
    check("/Privileged", json!(false));
    check("/ReadonlyRootfs", json!(true));
    check("/SecurityOpt/0", json!("no-new-privileges"));
    check("/UsernsMode", json!(""));
    check("/Init", json!(false));
    for pointer in [
        "/Binds",
        "/Devices",
        "/PortBindings",
        "/VolumesFrom",
        "/Links",
    ] {
        let given = host.pointer(pointer);
        let is_nothing = [json!(null), json!([]), json!({})]
            .iter()
            .any(|nothing| given == Some(nothing));
        assert!(given.is_none() || is_nothing, "{pointer}: {given:?}");
    }
    let buffers = "4096 65536 262144";
    check(
        "/Sysctls",
        json!({"net.ipv4.tcp_rmem": buffers, "net.ipv4.tcp_wmem": buffers}),
    );
    let masked = host["MaskedPaths"].as_array().unwrap();
    for path in ["/proc/kcore", "/proc/keys", "/sys/firmware", "/sys/kernel"] {
        assert!(masked.contains(&json!(path)), "{path}");
    }
    assert!(
        host["ReadonlyPaths"]
            .as_array()
            .unwrap()
            .contains(&json!("/proc/sys"))
    );
    let profile = host["SecurityOpt"][1].as_str().unwrap();
    let profile = profile.strip_prefix("seccomp=").unwrap();
    let profile: Value = serde_json::from_str(profile).unwrap();
    assert_eq!(profile["defaultAction"], "SCMP_ACT_ERRNO");
}

/// The limits of processes and of file systems.
fn has_its_limits(host: &Value) {
    let ulimits = host["Ulimits"].as_array().unwrap().iter();
    let ulimits: Vec<(&str, i64, i64)> = ulimits
        .map(|limit| {
            let number = |field: &str| limit[field].as_i64().unwrap();
            (
                limit["Name"].as_str().unwrap(),
                number("Soft"),
                number("Hard"),
            )
        })
        .collect();
    let (largest, pending) = (128 << 20, 128);
    let expected = [
        ("core", 0, 0),
        ("nofile", 1024, 1024),
        ("fsize", largest, largest),
        ("sigpending", pending, pending),
        ("msgqueue", 0, 0),
    ];
    assert_eq!(ulimits, expected);
    let tmpfs = host["Tmpfs"].as_object().unwrap();
    let folders: Vec<&String> = tmpfs.keys().collect();
    assert_eq!(folders, ["/code", "/dev/shm", "/tmp", "/workspace"]);
    for (folder, options) in tmpfs {
        let options: Vec<&str> = options.as_str().unwrap().split(',').collect();
        for option in ["nosuid", "nodev", "mode=0700"] {
            assert!(options.contains(&option), "{folder}: {options:?}");
        }
        let has = |name: &str| options.iter().any(|option| option.starts_with(name));
        assert!(has("size=") && has("nr_inodes="), "{folder}: {options:?}");
    }
}

/// What a process is started with.
fn is_plain(config: &Value) {
    let environment = json!([
        "PYTHONHASHSEED=0",
        "PYTHONDONTWRITEBYTECODE=1",
        "LANG=C.UTF-8",
        "TZ=UTC",
        "AGENTFACTORY_SHELL=0",
        "AGENTFACTORY_MEMORY=536870912",
        "AGENTFACTORY_PIDS=128"
    ]);
    let given = config["Env"].as_array().unwrap();
    for variable in environment.as_array().unwrap() {
        assert!(given.contains(variable), "{variable}");
    }
    let path = given
        .iter()
        .filter(|variable| variable.as_str().unwrap().starts_with("PATH="));
    assert_eq!(given.len(), 7 + path.count(), "{given:?}");
    assert_eq!(config["Hostname"], "sandbox");
    assert_eq!(config["Healthcheck"]["Test"], json!(["NONE"]));
    assert_eq!(config["ExposedPorts"], json!(null));
    assert_eq!(config["NetworkDisabled"], json!(true));
    let user = config["User"].as_str().unwrap();
    let (user, group) = user.split_once(':').unwrap();
    assert!(user == group && is_a_slots(user.parse().unwrap()), "{user}");
    assert_eq!(config["Tty"], json!(false));
    assert_eq!(config["StdinOnce"], json!(true));
}

/// The parameters as the kernel has them, read by the subagent itself.
const READ_BACK: &str = include_str!("programs/read_back.py");

#[tokio::test(flavor = "multi_thread")]
async fn the_kernel_confirms_what_was_asked_for() {
    let Some(env) = Env::open().await else { return };
    let report = env.python(READ_BACK).await;
    let seen: Value = serde_json::from_str(answer(&report)).unwrap();
    let user = seen["user"].clone();
    // Where the mount point exists, the engine takes its mode; each is its user's alone all the same.
    let folder = |size: u64, inodes: u64, more: &str, mode: &str| {
        // crun takes the mode that was asked for.
        let mode = if runtime().as_deref() == Some("crun") {
            "700"
        } else {
            mode
        };
        json!({
            "kind": "tmpfs",
            "options": format!("rw,nosuid,nodev{more}"),
            "size": size,
            "inodes": inodes,
            "owner": [user, user],
            "mode": mode,
        })
    };
    let expected = json!({
        "user": user,
        "status": {"NoNewPrivs": "1", "Seccomp": "2", "Umask": "0022"},
        "limits": {
            "CORE": [0, 0], "NOFILE": [1024, 1024], "FSIZE": [128 << 20, 128 << 20],
            "SIGPENDING": [128, 128], "MSGQUEUE": [0, 0], "CPU": seen["limits"]["CPU"],
        },
        "root": "ro",
        "folders": {
            "/workspace": folder(128 << 20, seen["folders"]["/workspace"]["inodes"].as_u64().unwrap(), "", "755"),
            "/tmp": folder(64 << 20, 65_536, "", "1777"),
            "/code": folder(16 << 20, seen["folders"]["/code"]["inodes"].as_u64().unwrap(), "", "755"),
            "/dev/shm": folder(8 << 20, 1_024, ",noexec", "700"),
        },
        // No queue can be made in that of the engine: the limit of their bytes is 0.
        "writable": ["/code", "/dev/mqueue", "/dev/shm", "/tmp", "/workspace"],
        "group": {"memory": 512 << 20, "pids": 128, "cpus": 1.0},
        "score": 1000,
        "lowered": false,
        "buffers": ["4096\t65536\t262144", "4096\t65536\t262144"],
        "masked": [],
        "interfaces": ["lo"],
        "descriptors": 5,
        "input": "/dev/null",
        "nice": 10,
        "session": true,
    });
    assert_eq!(seen, expected, "{seen:#}");
    let cpu: Vec<u64> = serde_json::from_value(seen["limits"]["CPU"].clone()).unwrap();
    assert!(cpu[0] < cpu[1] && cpu[1] < 3600, "{cpu:?}");
    assert!(is_a_slots(user.as_u64().unwrap()));
}

#[tokio::test(flavor = "multi_thread")]
async fn output_that_looks_like_anything_is_only_output() {
    let Some(env) = Env::open().await else { return };
    let report = env
        .python("import os\ndef main(q):\n    os.write(1, bytes(range(256)) * 10)\n    return {}")
        .await;
    assert_eq!(answer(&report), "");
    assert_eq!(
        report.stdout.content,
        (0..=255).collect::<Vec<u8>>().repeat(10)
    );
    assert!(stdout(&report).len() > 2560);
}
