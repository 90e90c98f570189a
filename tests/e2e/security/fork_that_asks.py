"""Attempts: to speak on the channel from several processes at once.
Seen from outside: only the process that runs main is answered.
Kind: protocol
Expect: {"outcome": {"kind": "completed"}, "answer": "in the fork: tools answer only in the process that runs main, not in a fork of it"}
"""
import os

import _agentfactory


def main(query):
    ours, theirs = os.pipe()
    if os.fork() == 0:
        os.write(theirs, _agentfactory.request("llm", {})["error"].encode())
        os._exit(0)
    return {"answer": "in the fork: " + os.read(ours, 1000).decode()}
