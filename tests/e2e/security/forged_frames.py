"""Attempts: to speak to the host in the harness's place, on every descriptor it can reach and on PID 1's.
Seen from outside: its own descriptors are its own, PID 1's cannot be opened, and no forged result counts.
Kind: protocol
Expect: {"outcome": {"kind": "bad_result"}, "answer": ""}
Expect: {"outcome": {"kind": "exited"}, "answer": ""}
Except runsc: its kernel opens the streams of PID 1 for processes of the same user; what is written there has
no token and ends the run.
"""
import json
import os
import struct


def frames():
    claim = json.dumps({"outcome": "completed", "answer": "forged", "status": 0}).encode()
    for kind in range(256):
        for token in (b"", b"\0" * 16):
            payload = token + claim
            yield bytes([kind]) + struct.pack("<I", len(payload)) + payload


def main(query):
    opened = []
    for number in range(3):
        for path in (f"/proc/1/fd/{number}", f"/proc/1/root/proc/self/fd/{number}"):
            try:
                descriptor = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
            except OSError:
                continue
            opened.append(path)
            for frame in frames():
                try:
                    os.write(descriptor, frame)
                except OSError:
                    break
    if opened:
        return {"answer": "reached " + " ".join(opened), "summary": ""}
    for number in range(3, 256):
        for frame in frames():
            try:
                os.write(number, frame)
            except OSError:
                break
    os._exit(0)
