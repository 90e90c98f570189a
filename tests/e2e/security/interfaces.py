"""Attempts: to bring an interface up, give it an address, add a route, by ioctl.
Seen from outside: refused.
Kind: network
Expect: {"outcome": {"kind": "completed"}, "answer": "worked []"}
"""
import fcntl
import socket
import struct

SIOCSIFADDR, SIOCSIFFLAGS, SIOCADDRT, SIOCSIFHWADDR, SIOCBRADDBR = 0x8916, 0x8914, 0x890B, 0x8924, 0x89A0


def main(query):
    worked = []
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as connection:
        address = struct.pack("16sH2s4s8s", b"tunl0", socket.AF_INET, b"", b"\x0a\0\0\1", b"")
        for name, request, argument in (
            ("address", SIOCSIFADDR, address),
            ("up", SIOCSIFFLAGS, struct.pack("16sH14s", b"tunl0", 1, b"")),
            ("down", SIOCSIFFLAGS, struct.pack("16sH14s", b"lo", 0, b"")),
            ("hardware address", SIOCSIFHWADDR, address),
            ("bridge", SIOCBRADDBR, b"br0\0"),
            ("route", SIOCADDRT, bytes(120)),
        ):
            try:
                fcntl.ioctl(connection, request, argument)
                worked.append(name)
            except OSError:
                pass
    return {"answer": f"worked {worked}"}
