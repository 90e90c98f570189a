"""Attempts: to talk past the network to the machine below: VSOCK to the hypervisor, NETLINK to the kernel, its cryptography.
Seen from outside: there are no such sockets.
Kind: network
Expect: {"outcome": {"kind": "completed"}, "answer": "worked []"}
Except runsc: its kernel answers netlink for its own interfaces, of which there are none of the machine.
"""
import socket


def main(query):
    worked = []
    for name, family, kinds in (("vsock", 40, (1, 2, 5)), ("netlink", 16, (2, 3)), ("alg", 38, (5,)), ("xdp", 44, (3,)), ("can", 29, (3,)),
                                ("bluetooth", 31, (1, 3, 5)), ("tipc", 30, (1, 2, 4, 5)), ("rds", 21, (5,)), ("key", 15, (3,)),
                                ("llc", 26, (1, 2)), ("smc", 43, (1,)), ("qipcrtr", 42, (2,)), ("kcm", 41, (2, 5))):
        for kind in kinds:
            for protocol in range(24):
                try:
                    socket.socket(family, kind, protocol).close()
                    worked.append(f"{name} {kind} {protocol}")
                except OSError:
                    pass
        try:
            socket.socketpair(family, 1)
            worked.append(f"pair of {name}")
        except (OSError, ValueError):
            pass
    return {"answer": f"worked {worked}"}
