"""Attempts: system calls that widen the kernel's surface.
Seen from outside: each is refused.
Kind: escape
Expect: {"outcome": {"kind": "completed"}, "answer": "worked: []"}
Except runsc: gVisor applies no filter of system calls; they reach its own kernel and not the machine's.
"""
import ctypes
import os
import socket

libc = ctypes.CDLL(None, use_errno=True)
# Source: the x86-64 and the generic (arm64) system call tables.
NUMBERS = {
    "x86_64": {"ptrace": 101, "mount": 165, "unshare": 272, "setns": 308, "process_vm_readv": 310, "kexec_load": 246,
               "userfaultfd": 323, "bpf": 321, "perf_event_open": 298, "io_uring_setup": 425, "keyctl": 250,
               "add_key": 248, "pidfd_getfd": 438, "open_by_handle_at": 304, "init_module": 175, "clone3": 435},
    "aarch64": {"ptrace": 117, "mount": 40, "unshare": 97, "setns": 268, "process_vm_readv": 270, "kexec_load": 104,
                "userfaultfd": 282, "bpf": 280, "perf_event_open": 241, "io_uring_setup": 425, "keyctl": 219,
                "add_key": 217, "pidfd_getfd": 438, "open_by_handle_at": 265, "init_module": 105, "clone3": 435},
}


def main(query):
    worked = []
    for name, number in NUMBERS[os.uname().machine].items():
        ctypes.set_errno(0)
        result = libc.syscall(number, 0, 0, 0, 0, 0, 0)
        # EPERM and ENOSYS are refusals; anything else means that the kernel looked at the arguments.
        if result >= 0 or ctypes.get_errno() not in (1, 38):
            worked.append(f"{name}={result}/{ctypes.get_errno()}")
    for family in (getattr(socket, "AF_VSOCK", 40), getattr(socket, "AF_PACKET", 17), 38):
        try:
            socket.socket(family, socket.SOCK_DGRAM).close()
            worked.append(f"socket family {family}")
        except OSError:
            pass
    for flag in (0x10000000, 0x00020000, 0x40000000):  # user, mount and network namespaces
        if libc.unshare(flag) == 0:
            worked.append(f"unshare {flag:#x}")
    return {"answer": f"worked: {worked}", "summary": ""}
