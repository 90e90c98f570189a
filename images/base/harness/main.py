"""PID 1 of a sandbox: restores files, runs one program in a child, collects what it left.

The host speaks frames on standard input and reads frames on standard output; nothing else enters or
leaves. A frame is `kind u8, length u32 LE, payload`. A control payload is `length u16 LE, JSON
header`, then the beginning of a body whose whole length the header names as `size`; DATA frames
carry the rest. After RUN, every frame to the host begins with the run's token, which the child
never sees. Standard library only, one thread, no signal handler.
"""

import signal

from .frames import FAILED
from .parent import Parent
from .system import EXIT, UNWANTED, set_dumpable


def harden():
    """Closes PID 1 to the child: no look into it, no signal reaches it."""
    set_dumpable(0)
    # The kernel of Linux drops what PID 1 does not handle; that of gVisor wants to be told.
    for number in UNWANTED:
        signal.signal(number, signal.SIG_IGN)


def serve():
    parent = Parent()
    try:
        parent.main()
    except Exception as error:
        parent.frames.message(FAILED, {"why": f"{type(error).__name__}: {error}"[:2000]})
        raise
    EXIT(0)  # The interpreter's own end takes milliseconds, and frees what ends with it.


if __name__ == "__main__":
    harden()
    serve()
