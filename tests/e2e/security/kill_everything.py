"""Attempts: to end every process of the sandbox. Seen from outside: only its own can end."""
import os
import signal


def main(query):
    os.kill(-1, signal.SIGKILL)
    return {"answer": "alive", "summary": ""}
