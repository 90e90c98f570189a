"""Attempts: to sleep past its limit, in the longest way there is.
Seen from outside: timed out.
Kind: time
Flags: --timeout 1s
Expect: {"outcome": {"kind": "timed_out", "limit_ms": 1000}, "answer": ""}
"""
import threading
import time


def main(query):
    threading.Event().wait(threading.TIMEOUT_MAX)
    time.sleep(1 << 30)
