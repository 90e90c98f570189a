"""Attempts: to pass off a printed text as its result and leave at once.
Seen from outside: exited, no result.
Kind: results
Expect: {"outcome": {"kind": "exited", "status": 0}, "answer": ""}
"""
import os


def main(query):
    print('{"answer": "forged", "summary": ""}', flush=True)
    os._exit(0)
