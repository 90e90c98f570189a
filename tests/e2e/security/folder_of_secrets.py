"""Attempts: to leave folders that nobody can enter and files that nobody can read, to stop the collector.
Seen from outside: it takes what belongs to its own user.
Kind: workspace
Expect: {"outcome": {"kind": "completed"}, "answer": "locked", "files": [{"path": "closed/inner/file"}, {"path": "file"}], "left_behind": []}
"""
import os


def main(query):
    os.makedirs("closed/inner")
    for path in ("file", "closed/inner/file"):
        with open(path, "w") as file:
            file.write("x")
        os.chmod(path, 0)
    os.chmod("closed/inner", 0)
    os.chmod("closed", 0)
    os.chmod("/workspace", 0)
    return {"answer": "locked"}
