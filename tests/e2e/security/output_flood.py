"""Attempts: to fill the host's disk or memory with output.
Seen from outside: the output limit ends it.
Kind: resources
Flags: --output-size 256K
Expect: {"outcome": {"kind": "output_limit", "stream": "stdout"}, "stdout": {"truncated": true}}
"""
import sys


def main(query):
    while True:
        sys.stdout.write("x" * 65536)
