"""Attempts: to take every processor, with many busy processes that raise their own priority as far as they can.
Seen from outside: the run ends on time; it had its share and no more.
Kind: resources
Flags: --timeout 2s --pids 64
Expect: {"outcome": {"kind": "timed_out"}, "answer": ""}
"""
import os


def main(query):
    for _ in range(5):
        os.fork()
    for priority in (-20, 0):
        try:
            os.setpriority(os.PRIO_PROCESS, 0, priority)
        except OSError:
            pass
    try:
        os.sched_setaffinity(0, range(os.cpu_count()))
    except OSError:
        pass
    while True:
        pass
