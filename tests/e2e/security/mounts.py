"""Attempts: to mount, bind, unmount, remount writable, change root, by the old calls and the new.
Seen from outside: each is refused, and what is masked stays masked.
Kind: escape
Expect: {"outcome": {"kind": "completed"}, "answer": "worked []"}
"""
import ctypes
import os

libc = ctypes.CDLL(None, use_errno=True)
# The same numbers on x86-64 and arm64.
NEW = {"open_tree": 428, "move_mount": 429, "fsopen": 430, "fsconfig": 431, "fsmount": 432, "fspick": 433, "mount_setattr": 442}
PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
MS_RDONLY, MS_REMOUNT, MS_BIND, MS_MOVE, MS_PRIVATE = 1, 32, 4096, 8192, 1 << 18


def main(query):
    worked = []
    os.mkdir("/tmp/m")
    for source, target, kind, flags in (
        (b"tmpfs", b"/tmp/m", b"tmpfs", 0),
        (b"proc", b"/tmp/m", b"proc", 0),
        (b"sysfs", b"/tmp/m", b"sysfs", 0),
        (b"/", b"/tmp/m", None, MS_BIND),
        (None, b"/", None, MS_REMOUNT),
        (None, b"/proc/sys", None, MS_REMOUNT | MS_BIND),
        (b"/proc/kcore", b"/tmp/m", None, MS_MOVE),
        (None, b"/", None, MS_PRIVATE),
        (b"/dev/vda", b"/tmp/m", b"ext4", 0),
        (b"overlay", b"/tmp/m", b"overlay", 0),
    ):
        if libc.mount(source, target, kind, flags, None) == 0:
            worked.append(f"mount {source} {target} {kind} {flags}")
    for path in (b"/proc/kcore", b"/proc/sys", b"/sys/firmware", b"/workspace", b"/tmp", b"/"):
        for flags in (0, 2):
            if libc.umount2(path, flags) == 0:
                worked.append(f"umount {path}")
    for name, number in NEW.items():
        ctypes.set_errno(0)
        if libc.syscall(number, -100, b"/", 1, 0, 0) >= 0 or ctypes.get_errno() not in (1, 38):
            worked.append(name)
    if libc.chroot(b"/tmp") == 0:
        worked.append("chroot")
    if libc.syscall(PIVOT_ROOT[os.uname().machine], b"/tmp", b"/tmp/m") == 0:
        worked.append("pivot_root")
    return {"answer": f"worked {worked}"}
