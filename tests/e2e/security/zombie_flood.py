"""Attempts: to fill the process table with processes that have ended and that nobody waits for.
Seen from outside: the limit holds; PID 1 buries what is orphaned.
Kind: resources
Flags: --pids 64
Expect: {"outcome": {"kind": "completed"}, "answer": "fewer than 64"}
"""
import os


def main(query):
    count = 0
    try:
        while count < 100_000:
            if os.fork() == 0:
                os._exit(0)
            count += 1
    except OSError:
        pass
    return {"answer": "fewer than 64" if count < 64 else str(count)}
