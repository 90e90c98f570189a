"""Attempts: to leave names that are one on other file systems: other case, other composition, trailing dots and spaces.
Seen from outside: names are bytes; each is another file.
Kind: workspace
Expect: {"outcome": {"kind": "completed"}, "answer": "10 names"}
"""
import os


def main(query):
    for name in ("a", "A", "\u00e9", "e\u0301", "x.", "x ", "con", "aux.txt", "x:y", "\\"):
        with open(name, "w") as file:
            file.write("x")
    return {"answer": f"{len(os.listdir('.'))} names"}
