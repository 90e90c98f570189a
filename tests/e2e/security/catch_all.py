"""Attempts: to defeat its deadline by catching everything. Seen from outside: timed out."""
import time


def main(query):
    while True:
        try:
            time.sleep(3600)
        except BaseException:
            continue
