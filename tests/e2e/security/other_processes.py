"""Attempts: to see processes that are not its own, their arguments, and what they have open.
Seen from outside: PID 1 and itself, and of PID 1 only its public arguments.
Kind: theft
Expect: {"outcome": {"kind": "completed"}, "answer": "others []"}
"""
import json
import os


def main(query):
    mark = json.loads(query)["mark"]
    others = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        pid = int(name)
        if pid in (1, os.getpid()):
            continue
        others.append(pid)
    with open("/proc/1/cmdline", "rb") as file:
        text = file.read()
    if mark.encode() in text or b"harness" not in text:
        others.append(text)
    for target in range(2, 40_000):
        if target != os.getpid():
            try:
                os.kill(target, 0)
                others.append(target)
            except ProcessLookupError:
                pass
            except OSError:
                others.append(target)
    return {"answer": f"others {others}"}
