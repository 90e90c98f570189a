"""Attempts: to end the stream's framing by writing frames to standard output.
Seen from outside: it is output.
Kind: protocol
Expect: {"outcome": {"kind": "completed"}, "answer": "still here"}
"""
import struct
import sys


def main(query):
    for kind in range(256):
        sys.stdout.buffer.write(bytes([kind]) + struct.pack("<I", 4) + b"null")
        sys.stdout.buffer.write(bytes([kind]) + b"\xff\xff\xff\xff")
    sys.stdout.flush()
    return {"answer": "still here", "summary": ""}
