"""Attempts: to watch and change the code that reads its result, with trace, profile and monitoring hooks.
Seen from outside: a claim from its own process, judged by how that process ends.
Kind: results
Expect: {"outcome": {"kind": "exited", "status": 6}, "answer": ""}
"""
import os
import sys


def main(query):
    def trace(frame, event, argument):
        if frame.f_code.co_name == "release":
            os._exit(6)
        return trace

    sys.settrace(trace)
    sys.setprofile(trace)
    frame = sys._getframe().f_back
    while frame is not None:
        frame.f_trace = trace
        frame = frame.f_back
    return {"answer": "traced"}
