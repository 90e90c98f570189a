"""Attempts: to end the program that runs it.
Seen from outside: exited with its status.
Kind: results
Expect: {"outcome": {"kind": "exited", "status": 7}, "answer": ""}
"""
import sys


def main(query):
    sys.exit(7)
