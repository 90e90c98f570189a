"""Attempts: to reach PID 1 through what /proc shows of it: memory, descriptors, root, environment, its score.
Seen from outside: nothing of PID 1 opens.
Kind: escape
Expect: {"outcome": {"kind": "completed"}, "answer": "reached []"}
Except runsc: its kernel shows the environment, the open files and the layout of PID 1 to processes of the same user;
its memory, where the token is, stays closed.
"""
import os


def main(query):
    reached = []
    for name in ("fd", "fdinfo", "map_files", "task/1/fd", "root", "cwd", "ns"):
        try:
            reached.append([name, os.listdir(f"/proc/1/{name}")])
        except OSError:
            pass
    for name in ("mem", "environ", "maps", "smaps", "auxv", "syscall", "stack", "pagemap", "personality"):
        try:
            with open(f"/proc/1/{name}", "rb") as file:
                if file.read(1):
                    reached.append(name)
        except OSError:
            pass
    for name in ("oom_score_adj", "oom_adj", "coredump_filter", "timerslack_ns", "comm", "attr/current", "clear_refs"):
        try:
            with open(f"/proc/1/{name}", "w") as file:
                file.write("1")
            reached.append("wrote " + name)
        except OSError:
            pass
    for name in ("exe", "cwd", "root"):
        try:
            reached.append(os.readlink(f"/proc/1/{name}"))
        except OSError:
            pass
    return {"answer": f"reached {reached}"}
