"""Reads back what the kernel enforces."""

import os
import resource


def read(*paths):
    for path in paths:
        try:
            with open(path) as file:
                return file.read().strip()
        except OSError:
            continue
    return ""


def mounts():
    with open("/proc/self/mountinfo") as file:
        for line in file:
            before, _, after = line.partition(" - ")
            words = before.split()
            yield words[4], words[5], after.split()[0], after.split()[2]


def folder(path, options, kind):
    state, status = os.statvfs(path), os.stat(path)
    kept = [option for option in options.split(",") if option not in ("relatime", "noatime")]
    return {
        "kind": kind, "options": ",".join(kept), "size": state.f_frsize * state.f_blocks, "inodes": state.f_files,
        "owner": [status.st_uid, status.st_gid], "mode": f"{status.st_mode & 0o7777:o}",
    }


def group():
    quota = read("/sys/fs/cgroup/cpu.max").split() or [
        read("/sys/fs/cgroup/cpu/cpu.cfs_quota_us"), read("/sys/fs/cgroup/cpu/cpu.cfs_period_us")]
    return {
        "memory": int(read("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")),
        "pids": int(read("/sys/fs/cgroup/pids.max", "/sys/fs/cgroup/pids/pids.max")),
        "cpus": int(quota[0]) / int(quota[1]),
    }


def lowered():
    try:
        with open("/proc/self/oom_score_adj", "w") as file:
            file.write("0")
        return True
    except OSError:
        return False


def main(query):
    status = dict(line.split(":", 1) for line in read("/proc/self/status").splitlines())
    found = {path: (options, kind) for path, options, kind, _ in mounts()}
    ours = ("/workspace", "/tmp", "/code", "/dev/shm")
    names = ("CORE", "NOFILE", "FSIZE", "SIGPENDING", "MSGQUEUE", "CPU")
    masked = ("/proc/kcore", "/proc/keys", "/proc/locks", "/proc/vmstat", "/proc/sys/kernel/random/boot_id", "/proc/interrupts")
    writable = []
    for path in found:
        if not path.startswith(("/proc", "/sys")) and os.path.isdir(path) and os.access(path, os.W_OK):
            writable.append(path)
    return {"answer": {
        "user": os.getuid(),
        "status": {name: status[name].strip() for name in ("NoNewPrivs", "Seccomp", "Umask")},
        "limits": {name: resource.getrlimit(getattr(resource, "RLIMIT_" + name)) for name in names},
        "root": found["/"][0].split(",")[0],
        "folders": {path: folder(path, *found[path]) for path in ours},
        "writable": sorted(writable),
        "group": group(),
        "score": int(read("/proc/self/oom_score_adj")),
        "lowered": lowered(),
        "buffers": [read(f"/proc/sys/net/ipv4/tcp_{way}mem") for way in "rw"],
        "masked": [path for path in masked if read(path)],
        "interfaces": [line.split(":")[0].strip() for line in read("/proc/net/dev").splitlines()[2:]],
        "descriptors": len(os.listdir("/proc/self/fd")) - 1,
        "input": os.readlink("/proc/self/fd/0"),
        "nice": os.getpriority(os.PRIO_PROCESS, 0),
        "session": os.getsid(0) == os.getpid(),
    }}
