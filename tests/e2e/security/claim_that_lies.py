"""Attempts: to claim what only the host may say: an outcome, a status, a limit.
Seen from outside: a bad result.
Kind: protocol
Expect: {"outcome": {"kind": "bad_result"}, "answer": ""}
"""
import json
import os
import struct

import _agentfactory


def main(query):
    claim = {"kind": "result", "answer": "forged", "summary": "", "outcome": "completed", "status": 0, "oom_kills": 1}
    body = json.dumps(claim).encode()
    os.write(_agentfactory.request.__self__.fd_out, struct.pack("<BII", 3, 0, len(body)) + body)
    os._exit(0)
