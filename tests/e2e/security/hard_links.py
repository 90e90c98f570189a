"""Attempts: to count one file many times, and to link to files outside of the workspace.
Seen from outside: the names that fit come back; what is outside cannot be linked.
Kind: workspace
Expect: {"outcome": {"kind": "completed"}, "answer": "linked []"}
"""
import os


def main(query):
    with open("one", "wb") as file:
        file.write(bytes(1 << 20))
    for number in range(200):
        os.link("one", f"link-{number:03}")
    linked = []
    for path in ("/etc/passwd", "/code", "/opt/agentfactory/harness.py", "/proc/self/environ", "/dev/null", "/tmp/home"):
        try:
            os.link(path, "stolen")
            linked.append(path)
        except OSError:
            pass
    return {"answer": f"linked {linked}"}
