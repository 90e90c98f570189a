"""Attempts: to be neither running nor ended: it stops itself and everything else.
Seen from outside: timed out.
Kind: time
Flags: --timeout 1s
Expect: {"outcome": {"kind": "timed_out"}, "answer": ""}
"""
import os
import signal


def main(query):
    if os.fork() == 0:
        while True:
            os.kill(-1, signal.SIGSTOP)
    os.kill(0, signal.SIGSTOP)
    while True:
        os.kill(os.getpid(), signal.SIGSTOP)
