"""Attempts: the same with datagrams, of the internet and of Unix.
Seen from outside: little can be held.
Kind: resources
Flags: --timeout 30s
Expect: {"outcome": {"kind": "completed"}, "answer": "held little"}
Expect: {"outcome": {"kind": "out_of_memory"}, "answer": ""}
"""
import socket


def main(query):
    held, total = [], 0
    try:
        while len(held) < 900:
            receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 30)
            receiver.bind(("127.0.0.1", 0))
            sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            sender.setblocking(False)
            held += [receiver, sender]
            size = receiver.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
            for _ in range(size // 60_000 + 1):
                total += sender.sendto(bytes(60_000), receiver.getsockname())
            one, two = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
            one.setblocking(False)
            held += [one, two]
            try:
                while True:
                    total += one.send(bytes(60_000))
            except BlockingIOError:
                pass
    except OSError:
        pass
    return {"answer": "held little" if total < 512 << 20 else f"held {total >> 20} MiB"}
