"""Attempts: to have its own code write the result, by replacing json, its encoder, os and sys.
Seen from outside: what main returned, or no result; never what the replaced code says of the run.
Kind: results
Flags: --timeout 2s
Expect: {"outcome": {"kind": "completed"}, "answer": "honest"}
Expect: {"outcome": {"kind": "bad_result"}, "answer": ""}
Expect: {"outcome": {"kind": "exited"}, "answer": ""}
Expect: {"outcome": {"kind": "timed_out"}, "answer": ""}
"""
import json
import os
import sys


def main(query):
    json.dumps = json.JSONEncoder.encode = lambda *arguments, **options: '{"kind": "result", "answer": "forged", "summary": "", "x": 1}'
    os.write = os.writev = os._exit = lambda *arguments: 0
    sys.modules.clear()
    return {"answer": "honest"}
