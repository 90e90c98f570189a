"""Attempts: to leave its control group, to raise its limits, and to have the kernel call a release agent on the host.
Seen from outside: control groups are read-only and cannot be mounted again.
Kind: escape
Expect: {"outcome": {"kind": "completed"}, "answer": "worked []"}
"""
import ctypes
import os

libc = ctypes.CDLL(None, use_errno=True)


def main(query):
    worked = []
    names = ("cgroup.procs", "tasks", "release_agent", "notify_on_release", "devices.allow", "memory.limit_in_bytes",
             "memory.max", "pids.max", "cpu.max", "cpu.cfs_quota_us", "memory.oom_control", "freezer.state")
    for folder, folders, _ in os.walk("/sys/fs/cgroup"):
        for name in names:
            path = os.path.join(folder, name)
            try:
                os.close(os.open(path, os.O_WRONLY))
                worked.append(path)
            except OSError:
                pass
        try:
            os.mkdir(os.path.join(folder, "mine"))
            worked.append("mkdir " + folder)
        except OSError:
            pass
    os.mkdir("/tmp/group")
    for kind, options in ((b"cgroup", b"memory"), (b"cgroup", b"rdma"), (b"cgroup2", None)):
        if libc.mount(b"x", b"/tmp/group", kind, 0, options) == 0:
            worked.append(f"mounted {kind}")
    return {"answer": f"worked {worked}"}
