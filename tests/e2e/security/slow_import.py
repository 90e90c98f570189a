"""Attempts: to work before main is called, where no clock might run.
Seen from outside: timed out.
Kind: time
Flags: --timeout 1s
Expect: {"outcome": {"kind": "timed_out"}, "answer": ""}
"""
import time

while True:
    time.sleep(1)
