"""Attempts: to have the kernel start a program on the host when it crashes, and to leave a core file.
Seen from outside: the pattern cannot be written, the crash is a signal, no core is there.
Kind: escape
Expect: {"outcome": {"kind": "signalled", "signal": 11}, "stdout": {"text": "not written\n"}, "files": []}
"""
import ctypes
import os
import resource


def main(query):
    try:
        with open("/proc/sys/kernel/core_pattern", "w") as file:
            file.write("|/workspace/escape")
        print("written")
    except OSError:
        print("not written")
    try:
        resource.setrlimit(resource.RLIMIT_CORE, (1 << 30, 1 << 30))
        print("a core may be large")
    except (OSError, ValueError):
        pass
    os.chdir("/workspace")
    ctypes.string_at(0)
