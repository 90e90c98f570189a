"""Attempts: to have the host hold many long names: paths of thousands of bytes, thousands of times.
Seen from outside: the names have a budget of their own, and what is beyond it stays behind.
Kind: resources
Flags: --timeout 60s
Expect: {"outcome": {"kind": "completed"}, "answer": "left"}
"""
import os


def main(query):
    for number in range(14):
        os.mkdir("n" * 255)
        os.chdir("n" * 255)
    for number in range(10_000):
        os.close(os.open(f"{number:05}" + "x" * 250, os.O_CREAT | os.O_WRONLY))
    return {"answer": "left"}
