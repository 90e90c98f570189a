"""Attempts: to turn off what makes attacks on the kernel harder: address randomisation, the zero page, speculation guards.
Seen from outside: what belongs to the machine is refused.
Kind: escape
Expect: {"outcome": {"kind": "completed"}, "answer": "worked []"}
"""
import ctypes
import mmap
import os

libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
ADDR_NO_RANDOMIZE, MMAP_PAGE_ZERO, READ_IMPLIES_EXEC = 0x40000, 0x100000, 0x400000


def main(query):
    worked = []
    for flag in (ADDR_NO_RANDOMIZE, MMAP_PAGE_ZERO, READ_IMPLIES_EXEC):
        if libc.personality(flag) >= 0:
            worked.append(f"personality {flag:#x}")
    # MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS at the address 0.
    if libc.mmap(0, 4096, 3, 0x32, -1, 0) == 0:
        worked.append("the zero page")
    for path in ("/proc/kallsyms", "/proc/modules", "/proc/iomem", "/proc/slabinfo", "/proc/kpageflags"):
        try:
            with open(path) as file:
                if file.read(1):
                    worked.append(path)
        except OSError:
            pass
    try:
        with open("/proc/self/pagemap", "rb") as file:
            file.seek(id(worked) // mmap.PAGESIZE * 8)
            if int.from_bytes(file.read(8), "little") & ((1 << 55) - 1):
                worked.append("physical addresses")
    except OSError:
        pass
    return {"answer": f"worked {worked}"}
