"""Attempts: to attach to PID 1 as a debugger, to read and write its memory, to take its descriptors.
Seen from outside: the calls are refused, for PID 1 and for the program's own children.
Kind: escape
Expect: {"outcome": {"kind": "completed"}, "answer": "worked []"}
Except runsc: gVisor applies no filter, so a program may trace its own children; PID 1 cannot be traced.
"""
import ctypes
import os
import signal

libc = ctypes.CDLL(None, use_errno=True)
PTRACE_ATTACH, PTRACE_SEIZE = 16, 0x4206
PIDFD_GETFD = 438


class Vector(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("length", ctypes.c_size_t)]


def main(query):
    worked = []
    child = os.fork()
    if child == 0:
        signal.pause()
    buffer = ctypes.create_string_buffer(64)
    here = Vector(ctypes.addressof(buffer), 64)
    for target in (1, child):
        for request in (PTRACE_ATTACH, PTRACE_SEIZE):
            if libc.ptrace(request, target, None, None) == 0:
                worked.append(f"ptrace {request:#x} {target}")
        for call in ("process_vm_readv", "process_vm_writev"):
            if getattr(libc, call)(target, ctypes.byref(here), 1, ctypes.byref(here), 1, 0) > 0:
                worked.append(f"{call} {target}")
        try:
            descriptor = os.pidfd_open(target)
        except OSError:
            continue
        for number in range(4):
            if libc.syscall(PIDFD_GETFD, descriptor, number, 0) >= 0:
                worked.append(f"pidfd_getfd {target} {number}")
    os.kill(child, signal.SIGKILL)
    return {"answer": f"worked {worked}"}
