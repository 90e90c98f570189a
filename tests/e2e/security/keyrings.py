"""Attempts: to read keys of the user it runs as, which the kernel counts per user and not per container.
Seen from outside: refused.
Kind: theft
Expect: {"outcome": {"kind": "completed"}, "answer": "worked []"}
"""
import ctypes
import os

libc = ctypes.CDLL(None, use_errno=True)
NUMBERS = {"x86_64": (248, 249, 250), "aarch64": (217, 218, 219)}


def main(query):
    add_key, request_key, keyctl = NUMBERS[os.uname().machine]
    worked = []
    for ring in range(-8, 0):
        if libc.syscall(add_key, b"user", b"left", b"secret", 6, ring) >= 0:
            worked.append(f"add {ring}")
        for action in (0, 6, 11):
            if libc.syscall(keyctl, action, ring, 0, 0, 0) >= 0:
                worked.append(f"keyctl {action} {ring}")
    if libc.syscall(request_key, b"user", b"left", None, 0) >= 0:
        worked.append("request")
    return {"answer": f"worked {worked}"}
