"""Attempts: to break arithmetic on times and sizes: files of the years -292 billion and 292 billion, and changes that leave no trace.
Seen from outside: files are compared by what they hold.
Kind: workspace
Expect: {"outcome": {"kind": "completed"}, "answer": "dated", "files": [{"path": "future"}, {"path": "past"}]}
"""
import os


def main(query):
    for name, seconds in (("past", -(1 << 62)), ("future", (1 << 62))):
        with open(name, "w") as file:
            file.write(name)
        try:
            os.utime(name, (seconds, seconds))
        except OverflowError:
            os.utime(name, ns=(-(1 << 63), -(1 << 63)))
        except OSError:
            pass
    return {"answer": "dated"}
