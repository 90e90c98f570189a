"""Attempts: to have the collector wait for ever at a pipe, a socket or a terminal that looks like a file.
Seen from outside: they are named and left behind.
Kind: workspace
Expect: {"outcome": {"kind": "completed"}, "answer": "left", "files": [{"path": "z-last"}]}
"""
import os
import socket


def main(query):
    os.mkfifo("a-pipe")
    os.mkfifo("report.csv")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind("b-socket")
    listener.listen()
    for name in ("/dev/zero", "/dev/stdin", "/proc/self/mem", "/proc/kmsg", "/dev/ptmx", "a-pipe"):
        os.symlink(name, "link-to-" + name.replace("/", "-"))
    open("z-last", "w").close()
    return {"answer": "left"}
