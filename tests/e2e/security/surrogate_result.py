"""Attempts: to return text that is no Unicode.
Seen from outside: a bad result.
Kind: results
Expect: {"outcome": {"kind": "bad_result"}, "answer": ""}
"""


def main(query):
    return {"answer": "\ud800", "summary": "\udfff"}
