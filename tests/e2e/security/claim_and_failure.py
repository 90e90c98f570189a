"""Attempts: to claim success and then to end with another status.
Seen from outside: the status counts.
Kind: protocol
Expect: {"outcome": {"kind": "exited", "status": 3}, "answer": ""}
"""
import json
import os
import struct

import _agentfactory


def main(query):
    claim = json.dumps({"kind": "result", "answer": "forged", "summary": ""}).encode()
    os.write(_agentfactory.request.__self__.fd_out, struct.pack("<BII", 3, 0, len(claim)) + claim)
    os._exit(3)
