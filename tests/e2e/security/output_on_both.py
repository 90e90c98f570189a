"""Attempts: to flood both streams at once, from several processes, with colours, clear-screen codes and broken UTF-8.
Seen from outside: the limit ends it, and what was kept is text that names no control.
Kind: resources
Flags: --output-size 64K
Expect: {"outcome": {"kind": "output_limit"}, "answer": "", "stdout": {"truncated": true}}
Expect: {"outcome": {"kind": "output_limit"}, "answer": "", "stderr": {"truncated": true}}
"""
import os


def main(query):
    for _ in range(2):
        os.fork()
    noise = b"\x1b[2J\x1b]0;owned\x07\x00\xff\xfe\xed\xa0\x80\xf4\x90\x80\x80\x9b31m\r\n\x08" * 512
    while True:
        os.write(1, noise)
        os.write(2, noise)
