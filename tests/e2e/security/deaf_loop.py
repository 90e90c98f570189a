"""Attempts: to outlast its deadline by ignoring every signal.
Seen from outside: timed out, and gone.
Kind: time
Flags: --timeout 2s
Expect: {"outcome": {"kind": "timed_out"}, "answer": ""}
"""
import signal


def main(query):
    for number in range(1, signal.NSIG):
        try:
            signal.signal(number, signal.SIG_IGN)
        except (OSError, ValueError):
            pass
    while True:
        try:
            while True:
                pass
        except BaseException:
            pass
