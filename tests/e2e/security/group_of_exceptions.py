"""Attempts: to fill memory with a tree of exceptions that holds itself many times.
Seen from outside: an exception of bounded length, soon.
Kind: results
Expect: {"outcome": {"kind": "raised"}, "answer": ""}
Expect: {"outcome": {"kind": "out_of_memory"}, "answer": ""}
Expect: {"outcome": {"kind": "timed_out"}, "answer": ""}
Flags: --timeout 10s --memory 256M --workspace-size 32M
"""


def main(query):
    error = ValueError("x" * 1000)
    for _ in range(24):
        error = ExceptionGroup("group", [error, error])
    raise error
