"""Attempts: to use up what the kernel counts per user and not per container: watches, timers, signals, queues, event descriptors.
Seen from outside: each has an end, far below what the machine has.
Kind: resources
Expect: {"outcome": {"kind": "completed"}, "answer": "bounded"}
Except runsc: its kernel has no limit on timers and queues; their memory is the sandbox's own.
"""
import ctypes
import os
import signal

libc = ctypes.CDLL(None, use_errno=True)


def main(query):
    unbounded = []
    timer = ctypes.c_void_p()
    count = 0
    while count < 100_000 and libc.timer_create(1, None, ctypes.byref(timer)) == 0:
        count += 1
    if count > 10_000:
        unbounded.append(f"timers {count}")
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGRTMIN + 5})
    count = 0
    value = ctypes.c_long(1)
    while count < 100_000 and libc.sigqueue(os.getpid(), signal.SIGRTMIN + 5, value) == 0:
        count += 1
    if count > 10_000:
        unbounded.append(f"signals {count}")
    for name, make in {"inotify": lambda: libc.inotify_init1(0), "epoll": lambda: libc.epoll_create1(0), "eventfd": lambda: libc.eventfd(0, 0),
                       "timerfd": lambda: libc.timerfd_create(1, 0), "memfd": lambda: libc.memfd_create(b"x", 0)}.items():
        made = []
        while len(made) < 5_000 and (descriptor := make()) >= 0:
            made.append(descriptor)
        if len(made) >= 5_000:
            unbounded.append(name)
        for descriptor in made:
            os.close(descriptor)
    for name in ("semget", "msgget"):
        if getattr(libc, name)(0, 1, 0o1600) >= 0:
            unbounded.append(name)
    if ctypes.CDLL("librt.so.1", use_errno=True).mq_open(b"/x", os.O_CREAT | os.O_RDWR, 0o600, None) >= 0:
        unbounded.append("message queue")
    return {"answer": f"not bounded: {unbounded}" if unbounded else "bounded"}
