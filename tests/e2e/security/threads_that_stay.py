"""Attempts: to go on after main in a thread that never ends.
Seen from outside: the run is not over while it works, and ends on time.
Kind: results
Flags: --timeout 2s
Expect: {"outcome": {"kind": "timed_out"}, "answer": ""}
"""
import threading
import time


def main(query):
    def forever():
        while True:
            time.sleep(0.01)

    threading.Thread(target=forever).start()
    return {"answer": "returned"}
