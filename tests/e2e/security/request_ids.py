"""Attempts: to confuse requests by using one number twice.
Seen from outside: a bad result.
Kind: protocol
Expect: {"outcome": {"kind": "bad_result"}, "answer": ""}
Expect: {"outcome": {"kind": "timed_out"}, "answer": ""}
Flags: --timeout 2s
"""
import os
import struct
import time

import _agentfactory


def main(query):
    body = b'{"tool": "llm", "arguments": {}}'
    message = struct.pack("<BII", 2, 7, len(body)) + body
    while True:
        os.write(_agentfactory.request.__self__.fd_out, message * 8)
        time.sleep(0.001)
