"""Attempts: to exhaust the memory of whoever reads the result. Seen from outside: a bad result."""


def main(query):
    return {"answer": "x" * (64 << 20), "summary": ""}
