"""Attempts: to take memory through connections to itself that nobody reads.
Seen from outside: little can be held, and the host's own connections are not touched.
Kind: resources
Flags: --timeout 30s
Expect: {"outcome": {"kind": "completed"}, "answer": "held little"}
Expect: {"outcome": {"kind": "out_of_memory"}, "answer": ""}
"""
import socket


def main(query):
    server = socket.create_server(("127.0.0.1", 0), backlog=1000)
    held, total = [], 0
    try:
        while len(held) < 400:
            client = socket.socket()
            for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
                client.setsockopt(socket.SOL_SOCKET, option, 1 << 30)
            client.connect(server.getsockname())
            other, _ = server.accept()
            client.setblocking(False)
            held += [client, other]
            try:
                while total < 4 << 30:
                    total += client.send(bytes(1 << 18))
            except BlockingIOError:
                pass
    except OSError:
        pass
    return {"answer": "held little" if total < 256 << 20 else f"held {total >> 20} MiB"}
