"""Attempts: to become root in a user namespace of its own, and with it to enter every other kind.
Seen from outside: no namespace can be made or entered.
Kind: escape
Expect: {"outcome": {"kind": "completed"}, "answer": "worked []"}
Except runsc: gVisor applies no filter of system calls, and has namespaces of its own in its own kernel.
"""
import ctypes
import os
import subprocess

libc = ctypes.CDLL(None, use_errno=True)
FLAGS = {"time": 0x80, "mount": 0x20000, "cgroup": 0x2000000, "uts": 0x4000000, "ipc": 0x8000000, "user": 0x10000000,
         "pid": 0x20000000, "net": 0x40000000}
CLONE = {"x86_64": 56, "aarch64": 220}
CLONE3 = 435


def main(query):
    worked = []
    for name, flag in FLAGS.items():
        if libc.unshare(flag) == 0:
            worked.append("unshare " + name)
        if libc.unshare(flag | FLAGS["user"]) == 0:
            worked.append(f"unshare user and {name}")
        # The low byte of clone's flags is the signal at its end; a time namespace is only for unshare.
        if name != "time":
            result = libc.syscall(CLONE[os.uname().machine], flag | 17, None, None, None, None)
            if result == 0:
                os._exit(0)
            if result > 0:
                worked.append("clone " + name)
        arguments = (ctypes.c_uint64 * 11)(flag, 0, 0, 0, 17)
        result = libc.syscall(CLONE3, ctypes.byref(arguments), 88)
        if result == 0:
            os._exit(0)
        if result > 0:
            worked.append("clone3 " + name)
    for name in os.listdir("/proc/self/ns"):
        descriptor = os.open(f"/proc/self/ns/{name}", os.O_RDONLY)
        if libc.setns(descriptor, 0) == 0:
            worked.append("setns " + name)
    for command in (["unshare", "-r", "true"], ["nsenter", "-t", "1", "-a", "true"], ["setpriv", "--reuid", "0", "true"]):
        if subprocess.run(command, capture_output=True).returncode == 0:
            worked.append(command[0])
    return {"answer": f"worked {worked}"}
