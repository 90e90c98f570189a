"""Attempts: to take all memory through files.
Seen from outside: the file system is full at its limit.
Kind: resources
Flags: --workspace-size 8M
Expect: {"outcome": {"kind": "disk_limit", "scope": "workspace"}, "answer": ""}
"""


def main(query):
    with open("hoard", "wb") as file:
        while True:
            file.write(b"x" * (1 << 20))
