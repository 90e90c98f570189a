"""Attempts: to end with a status that is none: text, an object, a number beyond all bounds.
Seen from outside: a status between 0 and 255.
Kind: results
Expect: {"outcome": {"kind": "exited", "status": 255}, "answer": ""}
"""


def main(query):
    raise SystemExit((1 << 200) - 1)
