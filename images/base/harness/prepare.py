"""What a process of the sandbox is before it runs anything: it gives up what it must not have."""

import ctypes
import os
import signal
import struct
import sys

from .channel import Channel
from .system import ENVIRONMENT, PACKAGES, UNWANTED, WORKSPACE, set_dumpable


def prepare(channel_in, channel_out, out, err):
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(out, 1)
    os.dup2(err, 2)
    kept = sorted((channel_in, channel_out))
    os.closerange(3, kept[0])
    os.closerange(kept[0] + 1, kept[1])
    os.closerange(kept[1] + 1, 1 << 16)
    os.setsid()
    for number in UNWANTED:
        signal.signal(number, signal.SIG_DFL)
    set_dumpable(1)
    try:
        with open("/proc/self/oom_score_adj", "w") as file:
            file.write("1000")
    except OSError:
        pass  # Not every runtime has it.
    keep_proc()
    # Whatever this sandbox starts, PID 1 gets its turn.
    os.nice(10)
    os.environ.clear()
    os.environ.update(ENVIRONMENT)
    if os.path.isdir(PACKAGES):
        sys.path.append(PACKAGES)
        os.environ["PYTHONPATH"] = PACKAGES  # For a Python that the program starts.
    os.chdir(WORKSPACE)
    # Lines reach the observer as they are written, and survive a crash.
    sys.stdout.reconfigure(line_buffering=True)
    return Channel(channel_in, channel_out)


def keep_proc():
    """Gives up writing to /proc, for good and with all that it starts: with it the child could take
    its score back, and have the kernel end PID 1 in its place when memory is short.

    Where the kernel has no Landlock, or its first version, nothing changes. The numbers are the same on all machines.
    """
    create, add, restrict = 444, 445, 446
    # Any rule at all forbids to move a file to another folder, unless another rule allows it, which
    # the first version cannot say.
    write_file, move, beneath, which_version = 1 << 1, 1 << 13, 1, 1
    call = ctypes.CDLL(None, use_errno=True).syscall
    if call(create, None, 0, which_version) < 2:
        return
    handled = struct.pack("<Q", write_file | move)
    rules = call(create, handled, len(handled), 0)
    if rules < 0:
        return
    for folder in ("/workspace", "/tmp", "/code", "/dev", "/mnt"):
        try:
            fd = os.open(folder, os.O_PATH)
        except OSError:
            continue
        call(add, rules, beneath, struct.pack("<Qi", write_file | move, fd), 0)
        os.close(fd)
    call(restrict, rules, 0)
    os.close(rules)
