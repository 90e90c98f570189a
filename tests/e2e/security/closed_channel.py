"""Attempts: to return without anyone hearing of it, by closing all its descriptors.
Seen from outside: no result, and an end all the same.
Kind: protocol
Expect: {"outcome": {"kind": "exited"}, "answer": ""}
"""
import os


def main(query):
    os.closerange(0, 1024)
    return {"answer": "never heard"}
