"""Attempts: to take all memory through files. Seen from outside: the file system is full at its limit."""


def main(query):
    with open("hoard", "wb") as file:
        while True:
            file.write(b"x" * (1 << 20))
