"""Attempts: every family, kind and protocol of sockets.
Seen from outside: TCP and UDP on loopback and Unix sockets are all there is.
Kind: network
Expect: {"outcome": {"kind": "completed"}, "answer": "made [(1, 1, 0), (1, 2, 0), (1, 3, 0), (1, 5, 0), (2, 1, 0), (2, 1, 6), (2, 2, 0), (2, 2, 17), (10, 1, 0), (10, 1, 6), (10, 2, 0), (10, 2, 17)]"}
Except runsc: its own network stack decides, and has ICMP sockets for nobody and neither SCTP nor MPTCP
"""
import socket


def main(query):
    made = []
    for family in range(64):
        for kind in range(1, 11):
            for protocol in (0, 1, 2, 6, 17, 33, 58, 132, 136, 255, 262, 263):
                # A protocol of a family that has none is ignored: 0 stands for all.
                if family == 1 and protocol:
                    continue
                try:
                    socket.socket(family, kind, protocol).close()
                    made.append((family, kind, protocol))
                except OSError:
                    pass
    return {"answer": f"made {made}"}
