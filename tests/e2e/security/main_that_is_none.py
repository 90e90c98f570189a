"""Attempts: to offer something else as main: a class, whose construction is not a call with a result.
Seen from outside: a bad result.
Kind: results
Expect: {"outcome": {"kind": "bad_result"}, "answer": ""}
"""


class main:
    def __init__(self, query):
        self.answer = "forged"
