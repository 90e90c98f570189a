"""Attempts: to wear the host out with output of one byte at a time.
Seen from outside: it is output like any other.
Kind: resources
Expect: {"outcome": {"kind": "completed"}, "answer": "dripped", "stdout": {"bytes": 20000}}
"""
import os


def main(query):
    for _ in range(20_000):
        os.write(1, b".")
    return {"answer": "dripped"}
