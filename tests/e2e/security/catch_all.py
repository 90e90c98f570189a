"""Attempts: to defeat its deadline by catching everything.
Seen from outside: timed out.
Kind: time
Flags: --timeout 2s
Expect: {"outcome": {"kind": "timed_out"}, "answer": ""}
"""
import time


def main(query):
    while True:
        try:
            time.sleep(3600)
        except BaseException:
            continue
