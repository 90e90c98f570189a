"""Attempts: to starve PID 1 by slowing it, moving it, or limiting what it may open.
Seen from outside: none of it works, and the run reports as ever.
Kind: resources
Expect: {"outcome": {"kind": "completed"}, "answer": "worked []"}
Except runsc: gVisor applies no filter: a program may lower the limits of PID 1, which ends its own run as
lost.
"""
import os
import resource


def main(query):
    worked = []
    for name, action in {
        "priority": lambda: os.setpriority(os.PRIO_PROCESS, 1, 19),
        "priority of all": lambda: os.setpriority(os.PRIO_USER, os.getuid(), 19),
        "affinity": lambda: os.sched_setaffinity(1, {0}),
        "scheduler": lambda: os.sched_setscheduler(1, os.SCHED_IDLE, os.sched_param(0)),
        "files": lambda: resource.prlimit(1, resource.RLIMIT_NOFILE, (0, 0)),
        "memory": lambda: resource.prlimit(1, resource.RLIMIT_AS, (0, 0)),
        "size of files": lambda: resource.prlimit(1, resource.RLIMIT_FSIZE, (0, 0)),
    }.items():
        try:
            action()
            worked.append(name)
        except OSError:
            pass
    return {"answer": f"worked {worked}"}
