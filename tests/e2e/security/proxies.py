"""Attempts: to use a proxy that was not granted: those of the environment, the usual ports, the harness's own.
Seen from outside: nothing listens, and no variable names one.
Kind: network
Expect: {"outcome": {"kind": "completed"}, "answer": "variables [], open []"}
Except runsc: so many attempts to connect take longer there than the run may.
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
