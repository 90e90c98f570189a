"""Attempts: to return what JSON cannot express. Seen from outside: a bad result."""


def main(query):
    return {"answer": {"ratio": float("nan")}, "summary": ""}
