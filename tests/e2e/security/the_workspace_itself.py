"""Attempts: to remove, rename, hide or replace the workspace under the collector.
Seen from outside: it is a mount; it stays where it is.
Kind: workspace
Expect: {"outcome": {"kind": "completed"}, "answer": "worked []", "files": [{"path": "file"}]}
"""
import os


def main(query):
    worked = []
    with open("file", "w") as file:
        file.write("x")
    for action in (lambda: os.rmdir("/workspace"), lambda: os.rename("/workspace", "/tmp/w"), lambda: os.rename("/tmp", "/workspace"),
                   lambda: os.symlink("/etc", "/workspace/../workspace"), lambda: os.unlink("/workspace"), lambda: os.chown("/workspace", 0, 0)):
        try:
            action()
            worked.append(len(worked))
        except OSError:
            pass
    os.chdir("/tmp")
    return {"answer": f"worked {worked}"}
