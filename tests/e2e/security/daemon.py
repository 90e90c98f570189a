"""Attempts: to leave a process behind that outlives main and keeps the output open.
Seen from outside: all are gone.
Kind: resources
Expect: {"outcome": {"kind": "completed"}, "answer": "left one behind"}
"""
import os
import time


def main(query):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            while True:
                try:
                    os.write(1, b"")
                    open("late.txt", "w").write("late")
                except OSError:
                    pass
                time.sleep(0.01)
        os._exit(0)
    return {"answer": "left one behind", "summary": ""}
