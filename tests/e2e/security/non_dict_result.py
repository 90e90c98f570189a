"""Attempts: to return something else. Seen from outside: a bad result."""


def main(query):
    return ["answer", "summary"]
