"""Attempts: to fill the workspace with files that have no name any more, so that nothing explains why it is full.
Seen from outside: a full disk.
Kind: workspace
Flags: --workspace-size 8M
Expect: {"outcome": {"kind": "disk_limit", "scope": "workspace"}, "answer": "", "files": []}
"""
import os


def main(query):
    held = []
    while True:
        file = open("x", "wb")
        os.unlink("x")
        held.append(file)
        file.write(bytes(1 << 20))
        file.flush()
