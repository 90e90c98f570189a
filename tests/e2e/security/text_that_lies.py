"""Attempts: to return a text that is another each time it is looked at, and that runs code when it is.
Seen from outside: the characters it was made of.
Kind: results
Expect: {"outcome": {"kind": "completed"}, "answer": "plain", "summary": "7"}
"""


class Text(str):
    def __str__(self):
        raise SystemExit(3)

    def __len__(self):
        return 0

    def encode(self, *arguments):
        raise SystemExit(3)

    __repr__ = __format__ = __str__


class Number(int):
    def __repr__(self):
        return "forged"


def main(query):
    return {"answer": Text("plain"), "summary": Number(7)}
