"""Attempts: to take memory of the kernel by touching one page in each stretch of an enormous mapping.
Seen from outside: the tables count as the sandbox's memory.
Kind: resources
Flags: --memory 128M --workspace-size 16M
Expect: {"outcome": {"kind": "out_of_memory"}, "answer": ""}
Expect: {"outcome": {"kind": "raised"}, "answer": ""}
"""
import mmap


def main(query):
    held = []
    while True:
        # MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE
        area = mmap.mmap(-1, 1 << 36, flags=0x02 | 0x20 | 0x4000)
        held.append(area)
        for at in range(0, 1 << 36, 2 << 20):
            area[at]  # The page of zeros: no memory of its own, but a table for it.
