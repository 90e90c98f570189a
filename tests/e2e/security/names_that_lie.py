"""Attempts: to write lines of its own into listings and logs: newlines, escapes, bidirectional marks, percent codes, broken bytes.
Seen from outside: each name is one line, and it can be told from every other.
Kind: workspace
Expect: {"outcome": {"kind": "completed"}, "answer": "named"}
"""
import os


def main(query):
    for name in (b"x\nerror: all is well", b"\x1b]8;;http:\\\\x\x07link", "\u202etxt.exe".encode(), b"%2e%2e%2fpasswd", b"%", b"\xc0\xaf", b"\xff", b"-rf", b"..."):
        os.close(os.open(name, os.O_CREAT | os.O_WRONLY))
        os.mkdir(b"folder " + name)
        os.symlink(b"/", b"folder " + name + b"/link")
    return {"answer": "named"}
