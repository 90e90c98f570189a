"""Attempts: to fill each place that takes files, all at once.
Seen from outside: their sum is below the memory limit, the program goes on, and what is in the workspace comes back.
Kind: resources
Expect: {"outcome": {"kind": "completed"}, "answer": "within the limit"}
"""
import os


def main(query):
    total = 0
    for folder, folders, _ in os.walk("/"):
        if folder in ("/proc", "/sys"):
            folders.clear()
            continue
        if not os.access(folder, os.W_OK):
            continue
        try:
            with open(folder + "/filler", "wb", buffering=0) as file:
                while total < 2 << 30:
                    total += file.write(bytes(1 << 20))
        except OSError:
            pass
    os.unlink("/workspace/filler")
    return {"answer": "within the limit" if total < 512 << 20 else str(total)}
