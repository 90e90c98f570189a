"""Attempts: to use descriptors that somebody left open for it.
Seen from outside: it has its three streams and its channel, and no other.
Kind: escape
Expect: {"outcome": {"kind": "completed"}, "answer": "0:/dev/null 1:pipe 2:pipe channel:pipe channel:pipe"}
"""
import os

import _agentfactory


def main(query):
    channel = _agentfactory.request.__self__
    seen = []
    for number in sorted(int(name) for name in os.listdir("/proc/self/fd")):
        try:
            target = os.readlink(f"/proc/self/fd/{number}").split(":")[0]
        except OSError:
            continue  # What listed them.
        seen.append(f"{'channel' if number in (channel.fd_in, channel.fd_out) else number}:{target}")
    return {"answer": " ".join(seen)}
