"""Attempts: to confuse the host with file names.
Seen from outside: names are bytes, and nothing more.
Kind: workspace
Expect: {"outcome": {"kind": "completed"}}
"""
import os


def main(query):
    for name in (b"-rf", b"a\nb", b"\x1b[2J", b"\xff\xfe", b"%2e%2e", b"..hidden", b"a" * 255, "\u202eexe.txt".encode()):
        with open(name, "wb") as file:
            file.write(name)
    deep = b"/".join([b"d"] * 100)
    os.makedirs(deep)
    open(deep + b"/too-deep", "w").write("x")
    return {"answer": "named", "summary": ""}
