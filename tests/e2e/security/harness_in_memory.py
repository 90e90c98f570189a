"""Attempts: to rewrite the code that runs it: the channel, the writer of the claim, the exit, all found in memory.
Seen from outside: what it does to itself is its own; no forged success survives the status that it says.
Kind: protocol
Expect: {"outcome": {"kind": "exited", "status": 1}, "answer": ""}
"""
import gc
import os
import sys


def main(query):
    frame = sys._getframe()
    while frame.f_back is not None:
        frame = frame.f_back
    harness = frame.f_globals
    for name in ("result_of", "describe", "release", "shorten"):
        harness[name] = lambda *arguments: {"kind": "result", "answer": "forged", "summary": ""}
    harness["EXIT"] = lambda status: os._exit(5)
    for thing in gc.get_objects():
        if type(thing).__name__ == "Channel":
            thing.dumps = lambda claim: '{"kind": "result", "answer": "forged", "summary": ""}'
    raise ValueError("and this is a success")
