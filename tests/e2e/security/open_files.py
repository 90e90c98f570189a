"""Attempts: to use up the open files of the machine, in many processes.
Seen from outside: each process has its limit, and there are few processes.
Kind: resources
Flags: --pids 32
Expect: {"outcome": {"kind": "completed"}, "answer": "at most 1024 in each"}
"""
import os
import resource


def main(query):
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (1 << 20, 1 << 20))
        return {"answer": "the limit was raised"}
    except (OSError, ValueError):
        pass
    for _ in range(4):
        os.fork()
    count = 3
    try:
        while True:
            os.open("/dev/null", os.O_RDONLY)
            count += 1
    except OSError:
        pass
    return {"answer": "at most 1024 in each" if count <= 1024 else str(count)}
