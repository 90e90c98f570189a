"""Attempts: to write each file of the kernel's settings below /proc and /sys.
Seen from outside: none can be opened.
Kind: escape
Expect: {"outcome": {"kind": "completed"}, "answer": "opened []"}
"""
import os


def main(query):
    opened = []
    for top in ("/proc/sys", "/proc/irq", "/proc/bus", "/proc/fs", "/proc/acpi", "/sys"):
        for folder, _, files in os.walk(top):
            for name in files:
                path = os.path.join(folder, name)
                try:
                    os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK))
                    opened.append(path)
                except OSError:
                    pass
    for name in os.listdir("/proc"):
        path = "/proc/" + name
        if not name.isdigit() and os.path.isfile(path):
            try:
                os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK))
                opened.append(path)
            except OSError:
                pass
    return {"answer": f"opened {opened}"}
