"""Attempts: to reach a program that listens on the host, at every address the host may have, by TCP and UDP.
Seen from outside: the listener counts no connection.
Kind: network
Expect: {"outcome": {"kind": "completed"}, "answer": "reached []"}
"""
import json
import socket


def main(query):
    port = json.loads(query)["port"]
    reached = []
    hosts = ["127.0.0.1", "127.1.2.3", "0.0.0.0", "localhost", "172.17.0.1", "172.18.0.1", "10.0.2.2", "192.168.65.2",
             "169.254.169.254", "192.168.0.1", "::1", "::ffff:127.0.0.1", "fe80::1", "64:ff9b::7f00:1", "::", "::ffff:172.17.0.1"]
    for host in hosts:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
            try:
                with socket.socket(family, kind) as connection:
                    connection.settimeout(0.5)
                    connection.connect((host, port))
                    connection.send(b"hello")
                    if connection.recv(1):
                        reached.append(host)
            except OSError:
                pass
    return {"answer": f"reached {reached}"}
