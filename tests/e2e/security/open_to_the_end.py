"""Attempts: to change files while they are collected, from processes and mappings that outlive main.
Seen from outside: nothing runs any more when files are read; each has one content.
Kind: workspace
Expect: {"outcome": {"kind": "completed"}, "answer": "mapped", "files": [{"path": "mapped", "size": 4096}]}
"""
import mmap
import os


def main(query):
    with open("mapped", "wb") as file:
        file.write(bytes(4096))
    descriptor = os.open("mapped", os.O_RDWR)
    area = mmap.mmap(descriptor, 4096)
    if os.fork() == 0:
        os.setsid()
        while True:
            area[0:8] = os.urandom(8)
    return {"answer": "mapped"}
