"""Attempts: to break the parser behind its own channel with bytes that are no message.
Seen from outside: a bad result, and nothing else.
Kind: protocol
Expect: {"outcome": {"kind": "bad_result"}, "answer": ""}
"""
import os
import time

import _agentfactory


def main(query):
    os.write(_agentfactory.request.__self__.fd_out, bytes(range(256)) * 16)
    time.sleep(60)
