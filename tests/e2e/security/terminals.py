"""Attempts: to type into the terminal of whoever started it, through TIOCSTI and its kin, on each terminal there is.
Seen from outside: there is no terminal but what it makes itself, and none takes injected input.
Kind: escape
Expect: {"outcome": {"kind": "completed"}, "answer": "worked []"}
"""
import fcntl
import glob
import os

TIOCSTI, TIOCLINUX, TIOCSETD, TIOCCONS, TIOCSCTTY = 0x5412, 0x541C, 0x5423, 0x541D, 0x540E


def main(query):
    worked = []
    paths = ["/dev/tty", "/dev/console", "/dev/tty0", *glob.glob("/dev/pts/*"), *glob.glob("/proc/*/fd/*")]
    for path in paths:
        if path == "/dev/pts/ptmx":
            continue
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_NOCTTY)
        except OSError:
            continue
        if os.isatty(descriptor):
            worked.append(path)
        os.close(descriptor)
    try:
        ours, theirs = os.openpty()
    except OSError:
        ours = theirs = None
    if theirs is not None:
        for name, request in (("TIOCSTI", TIOCSTI), ("TIOCLINUX", TIOCLINUX), ("TIOCSETD", TIOCSETD), ("TIOCCONS", TIOCCONS)):
            try:
                fcntl.ioctl(theirs, request, b"\x0f\0\0\0")
                worked.append(name)
            except OSError:
                pass
    return {"answer": f"worked {worked}"}
