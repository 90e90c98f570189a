"""Attempts: to deliver a result and fail afterwards. Seen from outside: the end of the process counts."""
import atexit
import os


def main(query):
    atexit.register(os._exit, 9)
    return {"answer": "delivered", "summary": ""}
