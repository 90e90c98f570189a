"""Attempts: to have two entries that cannot exist together: a file where a folder was, a folder where a file was.
Seen from outside: a tree that could be written as it is.
Kind: workspace
Expect: {"outcome": {"kind": "completed"}, "answer": "swapped", "files": [{"path": "one"}, {"path": "two/inner"}]}
"""
import os


def main(query):
    for _ in range(50):
        os.mkdir("one")
        open("one/inner", "w").close()
        open("two", "w").close()
        os.unlink("one/inner")
        os.rmdir("one")
        os.unlink("two")
    open("one", "w").close()
    os.mkdir("two")
    open("two/inner", "w").close()
    return {"answer": "swapped"}
