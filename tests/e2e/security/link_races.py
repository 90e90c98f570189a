"""Attempts: to have the collector read another file than it looked at, by swapping files, links and folders all the time.
Seen from outside: what comes back is what it wrote itself; nothing swaps any more when files are collected.
Kind: escape
Expect: {"outcome": {"kind": "completed"}, "answer": "swapping"}
"""
import json
import os
import threading
import time


def main(query):
    target = json.loads(query)["canary"]
    os.makedirs("folder")

    def swap(name):
        while True:
            try:
                with open(name + ".new", "w") as file:
                    file.write("plain")
                os.rename(name + ".new", name)
                os.symlink(target, name + ".new")
                os.rename(name + ".new", name)
            except OSError:
                pass

    def swap_folder():
        while True:
            try:
                os.rename("folder", "away")
                os.symlink("/proc/1/root", "folder")
                os.unlink("folder")
                os.rename("away", "folder")
            except OSError:
                pass

    for name in ("a", "b", "folder/c"):
        threading.Thread(target=swap, args=(name,), daemon=True).start()
    threading.Thread(target=swap_folder, daemon=True).start()
    if os.fork() == 0:
        os.setsid()
        swap("d")
    time.sleep(0.2)
    return {"answer": "swapping"}
