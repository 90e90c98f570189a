"""Attempts: to find the run's token, which only PID 1 has, in its own memory and in what it was told.
Seen from outside: frames that it forges stay on its own streams.
Kind: protocol
Expect: {"outcome": {"kind": "completed"}, "answer": "found []"}
"""
import gc
import sys


def main(query):
    found = []
    frame = sys._getframe()
    while frame is not None:
        for name, value in {**frame.f_globals, **frame.f_locals}.items():
            if "token" in name.lower():
                found.append(name)
            if isinstance(value, dict) and "token" in value:
                found.append(name + "[token]")
        frame = frame.f_back
    for thing in gc.get_objects():
        if type(thing).__name__ in ("Frames", "Parent") and getattr(thing, "token", b""):
            found.append(type(thing).__name__)
    return {"answer": f"found {found}"}
