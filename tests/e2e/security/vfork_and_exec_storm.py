"""Attempts: to keep the kernel busy with programs that start programs with the largest arguments.
Seen from outside: it ends on time.
Kind: resources
Flags: --timeout 2s --pids 32
Expect: {"outcome": {"kind": "timed_out"}, "answer": ""}
"""
import os


def main(query):
    for _ in range(3):
        os.fork()
    large = ["x" * 100_000] * 15
    while True:
        try:
            os.posix_spawn("/bin/true", ["true", *large], {})
        except OSError:
            pass
