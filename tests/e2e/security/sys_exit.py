"""Attempts: to end the program that runs it. Seen from outside: exited with its status."""
import sys


def main(query):
    sys.exit(7)
