"""Attempts: to fill /tmp until nothing else of the machine has space.
Seen from outside: a full disk that is named.
Kind: resources
Expect: {"outcome": {"kind": "disk_limit", "scope": "tmp"}, "answer": ""}
"""


def main(query):
    with open("/tmp/large", "wb") as file:
        while True:
            file.write(bytes(1 << 20))
