"""Attempts: to use up kernel memory with empty files.
Seen from outside: the number of files has a limit.
Kind: resources
Flags: --timeout 60s
Expect: {"outcome": {"kind": "disk_limit", "scope": "workspace"}, "answer": ""}
Except runsc: its tmpfs has no limit on inodes; time and memory end the run instead.
"""


def main(query):
    number = 0
    while True:
        open(f"file-{number}", "w").close()
        number += 1
