"""Attempts: to attach capabilities, labels and access lists to files.
Seen from outside: only what has no meaning can be attached, and none of it comes back.
Kind: workspace
Expect: {"outcome": {"kind": "completed"}, "answer": "worked []", "files": [{"path": "file"}]}
"""
import os
import struct


def main(query):
    open("file", "w").close()
    worked = []
    capability = struct.pack("<5I", 0x02000001, 0xFFFFFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0xFFFFFFFF)
    for name in ("security.capability", "trusted.overlay.opaque", "system.posix_acl_access", "security.ima"):
        try:
            os.setxattr("file", name, capability)
            worked.append(name)
        except OSError:
            pass
    for number in range(1000):
        try:
            os.setxattr("file", f"user.{number}", b"x" * 60_000)
        except OSError:
            break
    return {"answer": f"worked {worked}"}
