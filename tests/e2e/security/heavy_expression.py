"""Attempts: to hang in one call that never looks at signals: a regular expression that tries everything.
Seen from outside: it is ended from outside of its process.
Kind: resources
Flags: --timeout 1s
Expect: {"outcome": {"kind": "timed_out"}, "answer": ""}
"""
import re


def main(query):
    re.match(r"(a+)+$", "a" * 64 + "b")
