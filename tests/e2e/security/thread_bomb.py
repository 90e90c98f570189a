"""Attempts: to fill the process table with threads.
Seen from outside: the limit holds, and the program is told so.
Kind: resources
Flags: --pids 64
Expect: {"outcome": {"kind": "completed"}, "answer": "fewer than 64"}
"""
import threading


def main(query):
    stop = threading.Event()
    count = 0
    try:
        while count < 100_000:
            threading.Thread(target=stop.wait, daemon=True).start()
            count += 1
    except RuntimeError:
        pass
    return {"answer": "fewer than 64" if count < 64 else str(count)}
