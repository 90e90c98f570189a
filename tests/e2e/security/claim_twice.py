"""Attempts: to claim one result and then another.
Seen from outside: a bad result; neither counts.
Kind: protocol
Expect: {"outcome": {"kind": "bad_result"}, "answer": "", "summary": ""}
"""
import json
import os
import struct

import _agentfactory


def main(query):
    claim = json.dumps({"kind": "result", "answer": "forged", "summary": ""}).encode()
    os.write(_agentfactory.request.__self__.fd_out, struct.pack("<BII", 3, 0, len(claim)) + claim)
    return {"answer": "returned"}
