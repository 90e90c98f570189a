"""Attempts: to take memory of the kernel with locks on single bytes, which no control group counts.
Seen from outside: the run ends; what it locked is freed with it.
Kind: resources
Flags: --timeout 5s
Expect: {"outcome": {"kind": "timed_out"}, "answer": ""}
Expect: {"outcome": {"kind": "raised"}, "answer": ""}
Expect: {"outcome": {"kind": "bad_result"}, "answer": ""}
"""
import fcntl


def main(query):
    number = 0
    while True:
        with open(f"locked-{number}", "w") as file:
            kept = open(f"locked-{number}", "w")
            globals()[f"kept{number}"] = kept
            for at in range(0, 4_000, 2):
                fcntl.lockf(kept, fcntl.LOCK_EX, 1, at)
        number += 1
        if number == 900:
            while True:
                pass
