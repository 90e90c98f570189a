"""The writable folders, and the files that are restored in them."""

import os
import zlib

from .system import CODE, WORKSPACE, write_all

# When restored files were last changed, as far as programs see, whenever they run: 2000-01-01.
RESTORED_NS = 946_684_800_000_000_000


class Folders:
    """The writable folders, open: finding one by its path asks the image's file system, which may be a
    process of the host.
    """

    def __init__(self):
        self.workspace, self.tmp, self.code, self.shm = (
            os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            for path in (WORKSPACE, b"/tmp", CODE, b"/dev/shm")
        )
        self.made_ns = os.fstat(self.workspace).st_ctime_ns
        # Where files are restored: the folder, and what is before the path in it.
        self.roots = {
            "workspace": (self.workspace, b""),
            "code": (self.code, b""),
            "proxy": (self.tmp, b".agentfactory/"),
        }

    def states(self, is_untouched):
        """What the file systems say: of the workspace, temporary files, source and shared memory. A
        workspace in which nothing was made is not asked.
        """
        workspace = None if is_untouched else os.fstatvfs(self.workspace)
        return [workspace] + [os.fstatvfs(fd) for fd in (self.tmp, self.code, self.shm)]

    def is_workspace_untouched(self):
        """Whether nothing was ever made in it: the kernel gives a folder the time of that, and nobody
        can give it another.
        """
        return os.fstat(self.workspace).st_ctime_ns == self.made_ns


def is_full(state):
    return state is not None and (state.f_bavail == 0 or has_no_names(state))


def has_no_names(state):
    """Whether no file can be made, whatever room there is."""
    return state is not None and state.f_files > 0 and state.f_ffree == 0


class Restore:
    """Writes files as their frames arrive."""

    def __init__(self, folders):
        self.folders = folders
        self.made = set()
        # What identifies each file of the workspace, and a checksum of its content.
        self.snapshot = {}
        self.fd = None
        self.sum = 0

    def begin(self, header):
        root, before = self.folders.roots[header["root"]]
        relative = before + bytes.fromhex(header["path"])
        self.make(root, os.path.dirname(relative))
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        mode = 0o755 if header["executable"] else 0o644
        self.fd = os.open(relative, flags, mode, dir_fd=root)
        self.relative = relative if root == self.folders.workspace else None
        self.sum = 0

    def make(self, root, folder):
        if folder and (root, folder) not in self.made:
            self.make(root, os.path.dirname(folder))
            os.mkdir(folder, dir_fd=root)
            self.made.add((root, folder))

    def write(self, chunk):
        write_all(self.fd, chunk)
        if self.relative is not None:
            self.sum = zlib.crc32(chunk, self.sum)

    def end(self):
        if self.relative is not None:
            # Kernels before 6.13 give files the time of their last tick, in which a program that
            # rewrites one may begin and end: each write moves it from a time long ago.
            os.utime(self.fd, ns=(RESTORED_NS, RESTORED_NS))
            self.snapshot[self.relative] = identity(os.fstat(self.fd)), self.sum
        os.close(self.fd)
        self.fd = None


def identity(status):
    return (status.st_ino, status.st_size, status.st_ctime_ns, status.st_mtime_ns, status.st_mode)
