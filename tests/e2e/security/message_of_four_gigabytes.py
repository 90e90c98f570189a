"""Attempts: to have PID 1 or the host wait for, or make room for, a message of 4 GiB.
Seen from outside: a bad result at once.
Kind: protocol
Expect: {"outcome": {"kind": "bad_result"}, "answer": ""}
"""
import os
import struct
import time

import _agentfactory


def main(query):
    descriptor = _agentfactory.request.__self__.fd_out
    os.write(descriptor, struct.pack("<BII", 2, 1, 0xFFFFFFFF))
    while True:
        time.sleep(60)
