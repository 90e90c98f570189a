"""Attempts: to take memory through pipes, which no limit on files counts.
Seen from outside: what pipes hold counts as the sandbox's memory, or is refused.
Kind: resources
Flags: --memory 128M --workspace-size 16M --pids 32
Expect: {"outcome": {"kind": "out_of_memory"}, "answer": ""}
Expect: {"outcome": {"kind": "completed"}, "answer": "refused"}
"""
import fcntl
import os


def main(query):
    held = []
    for _ in range(4):
        os.fork()
    try:
        while True:
            pipe = os.pipe()
            held.append(pipe)
            os.set_blocking(pipe[1], False)
            try:
                fcntl.fcntl(pipe[1], fcntl.F_SETPIPE_SZ, 1 << 20)
            except OSError:
                pass
            try:
                while True:
                    os.write(pipe[1], bytes(1 << 16))
            except BlockingIOError:
                pass
    except OSError:
        pass
    return {"answer": "refused"}
