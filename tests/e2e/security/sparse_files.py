"""Attempts: to have the collector read terabytes that were never written.
Seen from outside: no file is larger than the largest that could be written; what does not fit stays behind.
Kind: resources
Expect: {"outcome": {"kind": "completed"}, "answer": "refused"}
"""
import os
import signal


def main(query):
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    refused = 0
    for size in (1 << 62, 1 << 40, 1 << 30):
        with open("sparse", "wb") as file:
            try:
                file.truncate(size)
            except (OSError, ValueError):
                refused += 1
    for number in range(8):
        with open(f"sparse-{number}", "wb") as file:
            file.truncate(100 << 20)
    return {"answer": "refused" if refused == 3 else f"refused {refused}"}
