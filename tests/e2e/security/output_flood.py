"""Attempts: to fill the host's disk or memory with output. Seen from outside: the output limit ends it."""
import sys


def main(query):
    while True:
        sys.stdout.write("x" * 65536)
