"""Attempts: to exhaust the memory of whoever reads the result.
Seen from outside: a bad result.
Kind: results
Expect: {"outcome": {"kind": "bad_result"}, "answer": ""}
"""


def main(query):
    return {"answer": "x" * (64 << 20), "summary": ""}
