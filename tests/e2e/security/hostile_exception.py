"""Attempts: to harm whoever prints its exception: a class that raises when named, endless causes, megabytes of notes.
Seen from outside: an exception of bounded length.
Kind: results
Expect: {"outcome": {"kind": "raised"}, "answer": ""}
"""


class Evil(Exception):
    def __str__(self):
        raise SystemExit(0)

    __repr__ = __str__


def main(query):
    error = Evil()
    error.__cause__ = inner = Evil()
    inner.__cause__ = error
    for _ in range(100):
        error.add_note("\x1b[2J\ud800" * 10_000)
    Evil.__qualname__ = "x" * 1_000_000
    Evil.__module__ = "y" * 1_000_000
    raise error
