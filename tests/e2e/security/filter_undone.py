"""Attempts: to take off or get around its filter: a second filter, a supervisor of its own, 32-bit and x32 calls.
Seen from outside: the filter stays, and the other entries of the kernel are closed.
Kind: escape
Expect: {"outcome": {"kind": "completed"}, "answer": "worked []"}
Expect: {"outcome": {"kind": "signalled"}}
Except runsc: gVisor applies no filter of system calls.
"""
import ctypes
import mmap
import os

libc = ctypes.CDLL(None, use_errno=True)
PR_SET_SECCOMP = 22


def main(query):
    worked = []
    if libc.prctl(PR_SET_SECCOMP, 0, 0, 0, 0) == 0:
        worked.append("filter off")
    with open("/proc/self/status") as file:
        if not any(line.split() == ["Seccomp:", "2"] for line in file):
            worked.append("no filter")
    for path in ("/proc/self/seccomp_cache", "/proc/sys/kernel/seccomp/actions_logged"):
        try:
            os.close(os.open(path, os.O_WRONLY))
            worked.append(path)
        except OSError:
            pass
    if os.uname().machine == "x86_64":
        # x32: unshare (272) with the bit that selects the other table.
        if libc.syscall(0x40000000 | 272, 0x10000000) == 0:
            worked.append("x32")
        # mov eax, 310 (unshare); mov ebx, 0x10000000; int 0x80; ret
        code = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
        code.write(b"\x53\xb8\x36\x01\x00\x00\xbb\x00\x00\x00\x10\xcd\x80\x5b\xc3")
        address = ctypes.addressof(ctypes.c_char.from_buffer(code))
        if ctypes.CFUNCTYPE(ctypes.c_int)(address)() == 0:
            worked.append("32-bit")
    return {"answer": f"worked {worked}"}
