"""Attempts: to return twice, once in each of two processes.
Seen from outside: the process that was started speaks for the run, the other is ended.
Kind: protocol
Expect: {"outcome": {"kind": "completed"}, "answer": "parent"}
"""
import os
import time


def main(query):
    if os.fork() == 0:
        return {"answer": "child"}
    time.sleep(0.1)
    return {"answer": "parent"}
