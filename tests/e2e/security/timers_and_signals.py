"""Attempts: to have so many timers and signals that nothing else of the sandbox runs.
Seen from outside: timed out; PID 1 had its turn.
Kind: time
Flags: --timeout 2s
Expect: {"outcome": {"kind": "timed_out"}, "answer": ""}
"""
import os
import signal


def main(query):
    for number in (signal.SIGALRM, signal.SIGVTALRM, signal.SIGPROF, signal.SIGCHLD):
        signal.signal(number, lambda *arguments: None)
    for which in (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF):
        signal.setitimer(which, 1e-6, 1e-6)
    while True:
        try:
            if os.fork() == 0:
                os._exit(0)
            os.waitpid(-1, os.WNOHANG)
        except OSError:
            pass
