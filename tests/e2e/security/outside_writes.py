"""Attempts: to write outside the workspace.
Seen from outside: the root is read-only, and the source is not collected.
Kind: escape
Expect: {"outcome": {"kind": "completed"}, "answer": "wrote []", "files": []}
"""
import os


def main(query):
    written = []
    for path in ("/etc/passwd", "/opt/agentfactory/harness.py", "/usr/bin/python3", "/x", "/var/x", "/mnt/x", "/dev/x",
                 "/proc/sys/kernel/core_pattern", "/sys/kernel/x", "/proc/sysrq-trigger", "/proc/1/oom_score_adj"):
        try:
            with open(path, "ab") as file:
                file.write(b"x")
            written.append(path)
        except OSError:
            pass
    for path in ("../escaped.txt", "/workspace/../tmp/escaped.txt"):
        try:
            open(path, "w").write("x")
        except OSError:
            pass
    return {"answer": f"wrote {written}", "summary": ""}
