"""Attempts: to reach a program of the host by the abstract name of its socket, and another run by one of its own.
Seen from outside: names belong to the sandbox; the listener counts nothing.
Kind: network
Twice: yes
Expect: {"outcome": {"kind": "completed"}, "answer": "reached []"}
"""
import json
import os
import socket


def main(query):
    mark = json.loads(query)["mark"]
    reached = []
    for name in (f"\0{mark}", "\0agentfactory-left"):
        with socket.socket(socket.AF_UNIX) as connection:
            try:
                connection.connect(name)
                reached.append(name)
            except OSError:
                pass
    left = socket.socket(socket.AF_UNIX)
    left.bind("\0agentfactory-left")
    left.listen()
    if os.fork() == 0:
        os.setsid()
        while True:
            left.accept()
    return {"answer": f"reached {reached}"}
