"""Attempts: to be taken for a run that ran out of memory.
Seen from outside: a signal, nothing else.
Kind: results
Expect: {"outcome": {"kind": "signalled", "signal": 9}, "answer": ""}
"""
import os
import signal


def main(query):
    os.kill(os.getpid(), signal.SIGKILL)
