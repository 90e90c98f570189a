"""Attempts: to deliver a result and fail afterwards.
Seen from outside: the end of the process counts.
Kind: results
Expect: {"outcome": {"kind": "exited", "status": 9}, "answer": ""}
"""
import atexit
import os


def main(query):
    atexit.register(os._exit, 9)
    return {"answer": "delivered", "summary": ""}
