"""Attempts: to fill the host's disk or memory through the other stream, past Python's buffers.
Seen from outside: the output limit ends it.
Kind: resources
Expect: {"outcome": {"kind": "output_limit", "stream": "stderr"}, "stderr": {"truncated": true}}
"""
import os


def main(query):
    while True:
        os.write(2, b"\x00\xff\x1b[2J" * 8192)
