"""Attempts: to use a proxy that was not granted: those of the environment, the usual ports, the harness's own.
Seen from outside: nothing listens, and no variable names one.
Kind: network
Flags: --timeout 60s
Expect: {"outcome": {"kind": "completed"}, "answer": "variables [], open []"}
"""
import os
import socket


def main(query):
    variables = [name for name in os.environ if "proxy" in name.lower()]
    found = []
    for port in range(1, 65536):
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as connection:
            if connection.connect_ex(("127.0.0.1", port)) == 0 and connection.getsockname() != connection.getpeername():
                found.append(port)
    return {"answer": f"variables {variables}, open {found}"}
