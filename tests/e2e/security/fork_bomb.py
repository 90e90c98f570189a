"""Attempts: to fill the process table.
Seen from outside: the limit on processes holds and the run ends.
Kind: resources
Flags: --timeout 3s --pids 64
Expect: {"outcome": {"kind": "timed_out"}, "answer": ""}
"""
import os


def main(query):
    children = 0
    while True:
        try:
            if os.fork() == 0:
                while True:
                    try:
                        os.fork()
                    except OSError:
                        pass
            children += 1
        except OSError:
            if children == 0:
                raise
