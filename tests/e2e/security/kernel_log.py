"""Attempts: to read and clear the kernel's log, which speaks of every other container.
Seen from outside: refused.
Kind: theft
Expect: {"outcome": {"kind": "completed"}, "answer": "worked []"}
Except runsc: the log is that of its own kernel, and says nothing of the machine.
"""
import ctypes
import os

libc = ctypes.CDLL(None, use_errno=True)


def main(query):
    worked = []
    buffer = ctypes.create_string_buffer(1 << 16)
    for action in (2, 3, 4, 5, 6, 9, 10):
        if libc.klogctl(action, buffer, len(buffer)) >= 0:
            worked.append(action)
    for path in ("/dev/kmsg", "/proc/kmsg", "/sys/kernel/debug", "/sys/kernel/tracing", "/var/log/dmesg", "/var/log/syslog"):
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
            if os.path.isdir(path) and os.listdir(path) or not os.path.isdir(path) and os.read(descriptor, 1):
                worked.append(path)
        except OSError:
            pass
    return {"answer": f"worked {worked}"}
