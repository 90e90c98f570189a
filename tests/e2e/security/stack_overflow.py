"""Attempts: to overrun the stack of the interpreter.
Seen from outside: an exception or a signal, and no more.
Kind: results
Expect: {"outcome": {"kind": "raised"}, "answer": ""}
Expect: {"outcome": {"kind": "signalled", "signal": 11}, "answer": ""}
Expect: {"outcome": {"kind": "out_of_memory"}, "answer": ""}
Flags: --memory 256M --workspace-size 32M
"""
import sys


class Deep:
    def __getattr__(self, name):
        return getattr(self, name + "x")


def main(query):
    sys.setrecursionlimit(1 << 30)
    return {"answer": Deep().x}
