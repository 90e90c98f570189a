"""Attempts: to leave daemons behind that change their names, sessions and groups, ignore signals and start each other anew.
Seen from outside: when main has returned they are all gone, on the host too.
Kind: resources
Expect: {"outcome": {"kind": "completed"}, "answer": "left behind"}
"""
import json
import os
import signal
import sys
import time

AGAIN = "import os,sys,time\nwhile True:\n    os.fork() or os.execv(sys.executable, ['{0}', '-c', 'import time; time.sleep(600)', '{0}'])\n    time.sleep(0.05)"


def main(query):
    mark = json.loads(query)["mark"]
    for _ in range(4):
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                for number in range(1, signal.NSIG):
                    try:
                        signal.signal(number, signal.SIG_IGN)
                    except (OSError, ValueError):
                        pass
                os.execv(sys.executable, [mark, "-c", AGAIN.format(mark), mark])
            os._exit(0)
    time.sleep(0.3)
    return {"answer": "left behind"}
