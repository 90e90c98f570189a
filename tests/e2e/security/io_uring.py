"""Attempts: to make system calls through io_uring and the older asynchronous calls, which no filter sees.
Seen from outside: there is no such call.
Kind: escape
Expect: {"outcome": {"kind": "completed"}, "answer": "worked []"}
Except runsc: gVisor applies no filter; its own kernel answers these calls, not the machine's.
"""
import ctypes
import os

libc = ctypes.CDLL(None, use_errno=True)
NUMBERS = {"io_uring_setup": 425, "io_uring_enter": 426, "io_uring_register": 427}
OLD = {"x86_64": {"io_setup": 206, "vmsplice": 278, "remap_file_pages": 216}, "aarch64": {"io_setup": 0, "vmsplice": 75, "remap_file_pages": 234}}


def main(query):
    worked = []
    for name, number in (NUMBERS | OLD[os.uname().machine]).items():
        block = ctypes.create_string_buffer(4096)
        ctypes.set_errno(0)
        if libc.syscall(number, 8, block, 0, 0, 0, 0) >= 0 or ctypes.get_errno() not in (1, 38):
            worked.append(f"{name} {ctypes.get_errno()}")
    return {"answer": f"worked {worked}"}
