"""Attempts: to send packets of its own making: raw, packet, ping and tunnel devices.
Seen from outside: none can be made.
Kind: network
Expect: {"outcome": {"kind": "completed"}, "answer": "worked []"}
Except runsc: its kernel makes such sockets for anybody; there is no interface behind them.
"""
import fcntl
import os
import socket
import struct


def main(query):
    worked = []
    for family, kind, protocol in ((socket.AF_INET, socket.SOCK_RAW, 255), (socket.AF_INET, socket.SOCK_RAW, 1),
                                   (socket.AF_INET6, socket.SOCK_RAW, 58), (socket.AF_PACKET, socket.SOCK_RAW, 0x300),
                                   (socket.AF_PACKET, socket.SOCK_DGRAM, 0x300), (socket.AF_INET, socket.SOCK_DGRAM, 1)):
        try:
            socket.socket(family, kind, protocol).close()
            worked.append(f"{family} {kind} {protocol}")
        except OSError:
            pass
    try:
        tunnel = os.open("/dev/net/tun", os.O_RDWR)
        fcntl.ioctl(tunnel, 0x400454CA, struct.pack("16sH", b"tun0", 1))
        worked.append("tun")
    except OSError:
        pass
    return {"answer": f"worked {worked}"}
