"""Attempts: to stop or end PID 1.
Seen from outside: it lives, collects and reports.
Kind: escape
Expect: {"outcome": {"kind": "completed"}, "answer": "limits of PID 1 changed: []", "files": [{"path": "alive.txt"}]}
Except runsc: its kernel delivers SIGKILL to PID 1, which ends the sandbox; the run counts as lost.
"""
import os
import signal


def main(query):
    for number in range(1, signal.NSIG):
        try:
            os.kill(1, number)
        except OSError:
            pass
    import resource

    reached = []
    for limit in (resource.RLIMIT_CPU, resource.RLIMIT_NOFILE, resource.RLIMIT_AS):
        try:
            resource.prlimit(1, limit, (0, 0))
            reached.append(limit)
        except OSError:
            pass
    open("alive.txt", "w").write("written")
    return {"answer": f"limits of PID 1 changed: {reached}", "summary": ""}
