"""Attempts: to hold the run open after its result: at exit, in a destructor, in a thread that is joined.
Seen from outside: the end of the process counts, and it comes on time.
Kind: time
Flags: --timeout 2s
Expect: {"outcome": {"kind": "timed_out"}, "answer": ""}
"""
import atexit
import time


class Slow:
    def __del__(self):
        while True:
            time.sleep(60)


def main(query):
    atexit.register(time.sleep, 3600)
    globals()["kept"] = Slow()
    return {"answer": "delivered"}
