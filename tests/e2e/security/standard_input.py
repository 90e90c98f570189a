"""Attempts: to read what somebody types to the host, or the harness's frames.
Seen from outside: standard input is empty.
Kind: results
Expect: {"outcome": {"kind": "completed"}, "answer": "b''"}
"""
import os
import sys


def main(query):
    got = os.read(0, 100) + sys.stdin.buffer.read()
    try:
        got += input().encode()
    except EOFError:
        pass
    return {"answer": str(got)}
