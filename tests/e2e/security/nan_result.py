"""Attempts: to return what JSON cannot express.
Seen from outside: a bad result.
Kind: results
Expect: {"outcome": {"kind": "bad_result"}, "answer": ""}
"""


def main(query):
    return {"answer": {"ratio": float("nan")}, "summary": ""}
