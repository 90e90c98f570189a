"""Attempts: to crash the interpreter.
Seen from outside: a signal.
Kind: results
Expect: {"outcome": {"kind": "signalled", "signal": 11}, "answer": ""}
"""
import ctypes


def main(query):
    ctypes.string_at(0)
