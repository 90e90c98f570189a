"""Attempts: to blame its limits for its own failure: a claim of a full disk where there is space.
Seen from outside: a failure of its own, and no success.
Kind: protocol
Expect: {"outcome": {"kind": "raised"}, "answer": ""}
Expect: {"outcome": {"kind": "disk_limit"}, "answer": ""}
"""
import errno


def main(query):
    raise OSError(errno.ENOSPC, "No space left on device", "/workspace/x")
