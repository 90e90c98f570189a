"""Attempts: to return a number with more digits than anyone writes out.
Seen from outside: a bad result at once.
Kind: results
Expect: {"outcome": {"kind": "bad_result"}, "answer": ""}
"""


def main(query):
    return {"answer": 1 << 10_000_000}
