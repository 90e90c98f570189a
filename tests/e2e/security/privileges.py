"""Attempts: to become another user or gain capabilities: setuid, groups, ambient capabilities, securebits, su.
Seen from outside: it is who it was, with no capability.
Kind: escape
Expect: {"outcome": {"kind": "completed"}, "answer": "worked []"}
Except runsc: gVisor applies no filter, so a program may raise its own priority among those of its sandbox.
"""
import ctypes
import os
import stat
import subprocess

libc = ctypes.CDLL(None, use_errno=True)
PR_SET_KEEPCAPS, PR_CAPBSET_READ, PR_SET_SECUREBITS, PR_SET_NO_NEW_PRIVS, PR_CAP_AMBIENT = 8, 23, 28, 38, 47


def main(query):
    worked = []
    for name, action in {
        "setuid": lambda: os.setuid(0),
        "setgid": lambda: os.setgid(0),
        "setreuid": lambda: os.setreuid(-1, 0),
        "setresuid": lambda: os.setresuid(-1, 0, -1),
        "setgroups": lambda: os.setgroups([0]),
        "chown": lambda: os.chown("/workspace", 0, 0),
        "chroot": lambda: os.chroot("/tmp"),
        "nice": lambda: os.setpriority(os.PRIO_PROCESS, 0, -20),
        "real time": lambda: os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1)),
        "host name": lambda: open("/proc/sys/kernel/hostname", "w").write("x"),
        "low port": lambda: __import__("resource").setrlimit(7, (1 << 20, 1 << 20)),
    }.items():
        try:
            action()
            worked.append(name)
        except (OSError, ValueError):
            pass
    if libc.prctl(PR_SET_SECUREBITS, 1, 0, 0, 0) == 0:
        worked.append("securebits")
    if libc.prctl(PR_SET_NO_NEW_PRIVS, 0, 0, 0, 0) == 0:
        worked.append("new privileges")
    for capability in range(64):
        if libc.prctl(PR_CAPBSET_READ, capability, 0, 0, 0) == 1:
            worked.append(f"bounding {capability}")
        if libc.prctl(PR_CAP_AMBIENT, 2, capability, 0, 0) == 0:
            worked.append(f"ambient {capability}")
    for folder in ("/bin", "/sbin", "/usr/lib"):
        for path, _, files in os.walk(folder):
            for file in files:
                status = os.lstat(os.path.join(path, file))
                if stat.S_ISREG(status.st_mode) and status.st_mode & 0o6000:
                    worked.append(f"setuid file {path}/{file}")
    if subprocess.run(["su", "-c", "true"], stdin=subprocess.DEVNULL, capture_output=True).returncode == 0:
        worked.append("su")
    with open("/proc/self/status") as file:
        worked += [line.strip() for line in file if line.startswith("Cap") and int(line.split()[1], 16)]
    if os.getresuid()[0] == 0 or len(set(os.getresuid())) != 1:
        worked.append("another user")
    return {"answer": f"worked {worked}"}
