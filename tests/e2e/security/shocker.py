"""Attempts: to open files of the host by their handle instead of their path.
Seen from outside: refused.
Kind: escape
Expect: {"outcome": {"kind": "completed"}, "answer": "worked []"}
"""
import ctypes

libc = ctypes.CDLL(None, use_errno=True)


class Handle(ctypes.Structure):
    _fields_ = [("bytes", ctypes.c_uint), ("kind", ctypes.c_int), ("handle", ctypes.c_uint64)]


def main(query):
    worked = []
    mount = ctypes.c_int()
    handle = Handle(8, 1, 0)
    if libc.name_to_handle_at(-100, b"/", ctypes.byref(handle), ctypes.byref(mount), 0) == 0:
        worked.append("named")
    for inode in (2, 128, 256):
        handle = Handle(8, 1, inode)
        if libc.open_by_handle_at(-100, ctypes.byref(handle), 0) >= 0:
            worked.append(f"opened {inode}")
    return {"answer": f"worked {worked}"}
