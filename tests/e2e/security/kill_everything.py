"""Attempts: to end every process of the sandbox.
Seen from outside: only its own can end.
Kind: escape
Expect: {"outcome": {"kind": "completed"}, "answer": "alive"}
Except runsc: its kernel delivers SIGKILL to PID 1, which ends the sandbox; the run counts as lost.
"""
import os
import signal


def main(query):
    for target in (-1, 1):
        try:
            os.kill(target, signal.SIGKILL)
        except ProcessLookupError:
            pass  # There is nobody else.
    return {"answer": "alive", "summary": ""}
