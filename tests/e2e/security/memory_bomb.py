"""Attempts: to take all memory. Seen from outside: the kernel ends it at the sandbox's limit."""


def main(query):
    hoard = []
    while True:
        hoard.append(bytearray(16 << 20))
        hoard[-1][::4096] = b"x" * len(hoard[-1][::4096])
