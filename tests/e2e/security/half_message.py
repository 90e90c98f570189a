"""Attempts: to hold the host with a message that never ends.
Seen from outside: the time runs out, and the program is ended like any other.
Kind: protocol
Flags: --timeout 1s
Expect: {"outcome": {"kind": "timed_out"}, "answer": ""}
"""
import os
import struct
import time

import _agentfactory


def main(query):
    os.write(_agentfactory.request.__self__.fd_out, struct.pack("<BII", 3, 0, 1000) + b"{")
    while True:
        time.sleep(60)
