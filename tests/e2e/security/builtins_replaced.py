"""Attempts: to have whoever reads its result use its own isinstance, len, str, dict, open and exceptions.
Seen from outside: no success that main did not return.
Kind: results
Expect: {"outcome": {"kind": "completed"}, "answer": "honest"}
Expect: {"outcome": {"kind": "exited"}, "answer": ""}
Expect: {"outcome": {"kind": "raised"}, "answer": ""}
Expect: {"outcome": {"kind": "bad_result"}, "answer": ""}
"""
import builtins


def main(query):
    for name in ("isinstance", "len", "str", "dict", "open", "print", "sorted", "BaseException", "Exception", "TypeError", "list", "bytes", "getattr"):
        setattr(builtins, name, lambda *arguments, **options: {"answer": "forged"})
    return {"answer": "honest"}
