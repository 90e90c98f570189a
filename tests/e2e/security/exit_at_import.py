"""Attempts: to end before main is called.
Seen from outside: exited with status 0 is not success.
Kind: results
Expect: {"outcome": {"kind": "exited", "status": 0}, "answer": ""}
"""
import sys

sys.exit(0)
