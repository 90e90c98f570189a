"""Attempts: to pin memory so that the kernel cannot take it back.
Seen from outside: what it pins is its own, within its limit.
Kind: resources
Flags: --memory 128M --workspace-size 16M
Expect: {"outcome": {"kind": "out_of_memory"}, "answer": ""}
Expect: {"outcome": {"kind": "completed"}, "answer": "refused"}
"""
import ctypes
import mmap

libc = ctypes.CDLL(None, use_errno=True)


def main(query):
    held = []
    while True:
        area = mmap.mmap(-1, 8 << 20)
        held.append(area)
        if libc.mlock(ctypes.addressof(ctypes.c_char.from_buffer(area)), 8 << 20) != 0:
            return {"answer": "refused"}
