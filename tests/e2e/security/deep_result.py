"""Attempts: to exhaust the stack of whoever parses the result.
Seen from outside: a bad result.
Kind: results
Expect: {"outcome": {"kind": "bad_result"}, "answer": ""}
"""


def main(query):
    value = []
    for _ in range(200_000):
        value = [value]
    return {"answer": value, "summary": ""}
