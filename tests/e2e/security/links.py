"""Attempts: to have the host follow links out of the workspace.
Seen from outside: links and devices stay behind.
Kind: workspace
Expect: {"outcome": {"kind": "completed"}, "files": [{"path": "real.txt"}], "left_behind": [{"path": "passwd"}, {"path": "pipe"}, {"path": "root"}, {"path": "shadow"}, {"path": "socket"}, {"path": "folder/etc"}]}
"""
import os
import socket


def main(query):
    os.symlink("/etc/passwd", "passwd")
    os.symlink("/", "root")
    os.symlink("../../../../etc/shadow", "shadow")
    os.mkfifo("pipe")
    socket.socket(socket.AF_UNIX).bind("socket")
    os.makedirs("folder")
    os.symlink("/etc", "folder/etc")
    open("real.txt", "w").write("real")
    return {"answer": "linked", "summary": ""}
