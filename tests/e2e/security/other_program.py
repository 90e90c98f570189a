"""Attempts: to replace itself with another program that inherits its channel and claims in its name.
Seen from outside: a claim is a claim, whoever writes it; the status of the process still decides.
Kind: protocol
Expect: {"outcome": {"kind": "exited", "status": 4}, "answer": ""}
"""
import os
import sys

import _agentfactory

PROGRAM = """
import json, os, struct, sys
claim = json.dumps({"kind": "result", "answer": "forged", "summary": ""}).encode()
os.write(int(sys.argv[1]), struct.pack("<BII", 3, 0, len(claim)) + claim)
sys.exit(4)
"""


def main(query):
    descriptor = _agentfactory.request.__self__.fd_out
    os.set_inheritable(descriptor, True)
    os.execv(sys.executable, ["python3", "-I", "-c", PROGRAM, str(descriptor)])
