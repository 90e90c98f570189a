"""Attempts: to exhaust whoever walks its folders, with a nesting of thousands.
Seen from outside: the walk ends at its depth, and what is below is said to be left behind.
Kind: resources
Expect: {"outcome": {"kind": "completed"}, "answer": "nested", "files": []}
"""
import os


def main(query):
    for _ in range(5_000):
        os.mkdir("d")
        os.chdir("d")
    with open("deep", "w") as file:
        file.write("x")
    return {"answer": "nested"}
