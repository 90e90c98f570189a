"""Attempts: to leave files that run as their owner for whoever uses the workspace next.
Seen from outside: the bits cannot be set by any call, and nothing that comes back has them.
Kind: escape
Expect: {"outcome": {"kind": "completed"}, "answer": "set []"}
Except runsc: its kernel has no filter for modes; the collector takes one bit, executable by the owner, and no other
"""
import ctypes
import os

libc = ctypes.CDLL(None, use_errno=True)
FCHMODAT2 = 452


def main(query):
    found = []
    for bits in (0o4000, 0o2000, 0o6000):
        mode = 0o755 | bits

        def attempt(name, action):
            open("file", "w").close()
            try:
                action()
            except OSError:
                pass
            if os.path.exists("made") and os.lstat("made").st_mode & 0o6000:
                found.append(f"{name} {bits:o}")
            if os.lstat("file").st_mode & 0o6000:
                found.append(f"{name} {bits:o}")
            for path in ("file", "made"):
                if os.path.exists(path):
                    os.unlink(path)

        attempt("chmod", lambda: os.chmod("file", mode))
        attempt("fchmod", lambda: os.fchmod(os.open("file", os.O_RDONLY), mode))
        attempt("fchmodat", lambda: os.chmod("file", mode, dir_fd=os.open(".", os.O_RDONLY)))
        attempt("fchmodat2", lambda: libc.syscall(FCHMODAT2, -100, b"file", mode, 0))
        attempt("open", lambda: os.open("made", os.O_CREAT | os.O_WRONLY, mode))
        attempt("creat", lambda: libc.creat(b"made", mode))
        attempt("mknod", lambda: os.mknod("made", 0o100000 | mode))
    return {"answer": f"set {sorted(set(found))}"}
