"""Attempts: to find what another run left: files, shared memory, queues, keys, processes, sockets.
Seen from outside: a second run finds nothing of the first.
Kind: theft
Twice: yes
Expect: {"outcome": {"kind": "completed"}, "answer": "found []", "files": []}
"""
import ctypes
import os

libc = ctypes.CDLL(None, use_errno=True)


def main(query):
    found = []
    for folder in ("/workspace", "/tmp", "/tmp/home", "/dev/shm", "/dev/mqueue", "/run", "/var/tmp", "/mnt", "/media", "/home", "/srv"):
        try:
            names = set(os.listdir(folder)) - {"home", "lock", "shm", "mount", "adduser"}
        except OSError:
            continue
        found += [f"{folder}/{name}" for name in names]
    for kind in ("shm", "sem", "msg"):
        try:
            with open(f"/proc/sysvipc/{kind}") as file:
                found += file.read().splitlines()[1:]
        except OSError:
            pass
    if libc.shmget(0x5EC2E7, 4096, 0) >= 0:
        found.append("shared memory")
    libc.shmget(0x5EC2E7, 4096, 0o1666)
    libc.msgget(0x5EC2E7, 0o1666)
    for path in ("/tmp/left", "/tmp/home/left", "/dev/shm/left"):
        with open(path, "w") as file:
            file.write("left")
    return {"answer": f"found {found}"}
