"""Attempts: to read a file of the host whose path it knows, by every way that leads out of a folder.
Seen from outside: what the file holds is nowhere in the run.
Kind: theft
Expect: {"outcome": {"kind": "completed"}, "answer": "read []"}
"""
import json
import os


def main(query):
    path = json.loads(query)["canary"]
    read = []
    for prefix in ("", "/workspace/../../../../..", "/proc/1/root", "/proc/self/root", "/proc/1/cwd/../../..", "/mnt", "/host", "/proc/self/cwd/../..",
                   "/proc/thread-self/root", "/dev/fd/0/../../..", "/rootfs", "//"):
        try:
            with open(prefix + path) as file:
                read.append([prefix, file.read()])
        except OSError:
            pass
        try:
            os.link(prefix + path, "/workspace/stolen")
            read.append([prefix, "linked"])
        except OSError:
            pass
    os.symlink(path, "/workspace/link")
    os.makedirs("/workspace/" + os.path.dirname(path))
    os.symlink(path, "/workspace/" + path + ".link")
    return {"answer": f"read {read}"}
