"""Attempts: to run code when everything else has ended: in __del__, in callbacks of the collector, in weak references.
Seen from outside: the status of the process counts.
Kind: results
Expect: {"outcome": {"kind": "exited", "status": 8}, "answer": ""}
"""
import os


class Last:
    def __del__(self, leave=os._exit):
        leave(8)


def main(query):
    globals()["kept"] = cycle = [Last()]
    cycle.append(cycle)
    return {"answer": "returned"}
