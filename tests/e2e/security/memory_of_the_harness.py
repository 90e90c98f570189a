"""Attempts: to have the kernel end PID 1 in its place when memory runs out, by making itself look better.
Seen from outside: out of memory, whichever process the kernel chose.
Kind: resources
Flags: --memory 128M --workspace-size 16M
Expect: {"outcome": {"kind": "out_of_memory"}, "answer": ""}
"""
import os


def main(query):
    for value in ("-1000", "-999", "0"):
        try:
            with open("/proc/self/oom_score_adj", "w") as file:
                file.write(value)
            break
        except OSError:
            pass
    # Many small processes: PID 1 may be the largest of all.
    for _ in range(6):
        try:
            os.fork()
        except OSError:
            pass
    held = []
    while True:
        held.append(bytearray(256 << 10))
