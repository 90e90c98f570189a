"""Attempts: to return what refers to itself.
Seen from outside: a bad result.
Kind: results
Expect: {"outcome": {"kind": "bad_result"}, "answer": ""}
"""


def main(query):
    value = {}
    value["self"] = value
    return {"answer": value}
