"""Attempts: to take memory through files that have no name, and to keep it past their end.
Seen from outside: the kernel ends it at the sandbox's limit.
Kind: resources
Flags: --memory 128M --workspace-size 16M
Expect: {"outcome": {"kind": "out_of_memory"}, "answer": ""}
Expect: {"outcome": {"kind": "raised"}, "answer": ""}
"""
import os


def main(query):
    held = []
    while True:
        descriptor = os.memfd_create("x")
        held.append(descriptor)
        for _ in range(16):
            os.write(descriptor, bytes(1 << 20))
