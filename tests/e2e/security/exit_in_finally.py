"""Attempts: to leave at once, in a finally, with a status that says success.
Seen from outside: exited, without a result.
Kind: results
Expect: {"outcome": {"kind": "exited", "status": 0}, "answer": ""}
"""
import os


def main(query):
    try:
        return {"answer": "returned"}
    finally:
        os._exit(0)
