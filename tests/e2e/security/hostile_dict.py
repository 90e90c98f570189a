"""Attempts: to run code while its result is being read.
Seen from outside: what it returned, or an error of its own.
Kind: results
Expect: {"outcome": {"kind": "completed"}, "answer": "sly"}
"""


class Sly(dict):
    def get(self, *arguments):
        raise SystemExit(0)

    def __getitem__(self, key):
        raise SystemExit(0)


def main(query):
    return Sly(answer="sly")
