"""Attempts: to take all memory.
Seen from outside: the kernel ends it at the sandbox's limit.
Kind: resources
Flags: --memory 128M --workspace-size 16M
Expect: {"outcome": {"kind": "out_of_memory"}, "answer": ""}
"""


def main(query):
    hoard = []
    while True:
        hoard.append(bytearray(16 << 20))
        hoard[-1][::4096] = b"x" * len(hoard[-1][::4096])
