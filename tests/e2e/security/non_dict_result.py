"""Attempts: to return something else.
Seen from outside: a bad result.
Kind: results
Expect: {"outcome": {"kind": "bad_result"}, "answer": ""}
"""


def main(query):
    return ["answer", "summary"]
