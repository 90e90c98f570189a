"""Attempts: to make device files and to open those of the host: memory, disks, the log, virtual machines, FUSE.
Seen from outside: only the harmless devices are there.
Kind: escape
Expect: {"outcome": {"kind": "completed"}, "answer": "worked []", "files": [], "left_behind": []}
Except runsc: its kernel lets any user make device files, which open nothing.
"""
import os
import stat


def main(query):
    worked = []
    for kind, major, minor in ((stat.S_IFBLK, 8, 0), (stat.S_IFBLK, 254, 0), (stat.S_IFBLK, 7, 0), (stat.S_IFCHR, 1, 1),
                               (stat.S_IFCHR, 1, 11), (stat.S_IFCHR, 10, 232), (stat.S_IFCHR, 10, 229), (stat.S_IFCHR, 1, 3),
                               (stat.S_IFCHR, 0, 0)):
        for folder in ("/workspace", "/tmp", "/dev", "/dev/shm"):
            path = f"{folder}/device"
            try:
                os.mknod(path, kind | 0o600, os.makedev(major, minor))
                worked.append(f"{path} {major}:{minor}")
                os.unlink(path)
            except OSError:
                pass
    usual = {"null", "zero", "full", "random", "urandom", "tty", "ptmx", "core", "console", "stdin", "stdout", "stderr"}
    for folder, _, files in os.walk("/dev"):
        for name in files:
            path = os.path.join(folder, name)
            if name in usual or not (stat.S_ISCHR(os.lstat(path).st_mode) or stat.S_ISBLK(os.lstat(path).st_mode)):
                continue
            worked.append(path)
    for path in ("/dev/mem", "/dev/kmem", "/dev/port", "/dev/kmsg", "/dev/sda", "/dev/vda", "/dev/loop0", "/dev/kvm",
                 "/dev/fuse", "/dev/net/tun", "/dev/vhost-vsock", "/dev/uinput", "/dev/snapshot", "/dev/cpu/0/msr", "/proc/kcore"):
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
            if os.read(descriptor, 1):
                worked.append(path)
        except OSError:
            pass
    return {"answer": f"worked {worked}"}
