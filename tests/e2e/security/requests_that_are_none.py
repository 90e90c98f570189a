"""Attempts: requests that are lists, numbers, deep, without a tool, with a tool of another type, with extra fields.
Seen from outside: a bad result; nothing is answered as a tool.
Kind: protocol
Expect: {"outcome": {"kind": "bad_result"}, "answer": ""}
"""
import os
import struct
import time

import _agentfactory


def main(query):
    bodies = [b"[]", b"1", b'{"tool": 1, "arguments": {}}', b'{"arguments": {}}', b'{"tool": "llm", "arguments": {}, "granted": true}']
    for number, body in enumerate(bodies):
        os.write(_agentfactory.request.__self__.fd_out, struct.pack("<BII", 2, number + 1, len(body)) + body)
    time.sleep(60)
