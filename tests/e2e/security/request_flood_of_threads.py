"""Attempts: the same from many threads, without reading what comes back.
Seen from outside: the run is ended; a request that waits costs the host nothing.
Kind: protocol
Flags: --timeout 3s
Expect: {"outcome": {"kind": "timed_out"}, "answer": ""}
Expect: {"outcome": {"kind": "bad_result"}, "answer": ""}
"""
import os
import struct
import threading

import _agentfactory


def main(query):
    descriptor = _agentfactory.request.__self__.fd_out
    body = b'{"tool": "llm", "arguments": "' + b"x" * 60_000 + b'"}'
    numbers = iter(range(1, 1 << 30))

    def flood():
        while True:
            message = struct.pack("<BII", 2, next(numbers), len(body)) + body
            while message:
                message = message[os.write(descriptor, message):]

    threads = [threading.Thread(target=flood, daemon=True) for _ in range(1)]
    for thread in threads:
        thread.start()
    threads[0].join()
