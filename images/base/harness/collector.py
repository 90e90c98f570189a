"""What a run left in its workspace."""

import os
import stat
import zlib

from .folders import identity
from .frames import CHUNK, INLINE_MAX, LEFT, REMOVED, SENT_DATA, SENT_FILE, control

KINDS = {
    stat.S_IFLNK: "symbolic link",
    stat.S_IFIFO: "named pipe",
    stat.S_IFSOCK: "socket",
    stat.S_IFCHR: "device",
    stat.S_IFBLK: "device",
}


class Collector:
    """Sends the workspace's regular files that are new or changed, and names what is gone."""

    def __init__(self, frames, workspace, snapshot, limits):
        self.frames, self.snapshot, self.limits = frames, snapshot, limits
        self.workspace = workspace
        self.bytes_left = limits["workspace"]
        self.files_left = limits["files"]
        self.reports_left = limits["left"]
        self.names_left = limits["names"]
        self.unreported = 0

    def run(self):
        gone = set(self.snapshot)
        self.walk(gone)
        for relative in sorted(gone):
            self.frames.send_later(REMOVED, control({"path": relative.hex(), "size": 0}))
        if self.unreported:
            header = {"path": b"...".hex(), "why": f"and {self.unreported} more", "size": 0}
            self.frames.send_later(LEFT, control(header))

    def walk(self, gone):
        """Visits everything in a fixed order, and takes what is still there out of `gone`.

        Where something else has replaced a file, that is left behind and the file counts as there;
        a folder in its place can be collected, so then it is gone.
        """
        folders = [b""]
        while folders:
            folder = folders.pop()
            below = []
            for name in self.names(folder, gone):
                relative = folder + b"/" + name if folder else name
                if len(relative) > self.limits["path"]:
                    self.leave(relative, "path too long")
                    continue
                if relative.count(b"/") >= self.limits["depth"]:
                    self.leave(relative, "too deep")
                    continue
                status = os.lstat(relative, dir_fd=self.workspace)
                if stat.S_ISDIR(status.st_mode):
                    below.append(relative)
                    continue
                gone.discard(relative)
                if not stat.S_ISREG(status.st_mode):
                    self.leave(relative, KINDS.get(stat.S_IFMT(status.st_mode), "not a file"))
                elif self.is_changed(relative, status):
                    self.take(relative, status)
            folders.extend(reversed(below))

    def is_changed(self, relative, status):
        """Whether a file is not as it was restored. What is written through a map of a file leaves no
        trace but its content, where the page was read before.
        """
        known, sum_before = self.snapshot.get(relative, (None, 0))
        if known != identity(status):
            return True
        fd = os.open(relative, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=self.workspace)
        try:
            sum_now = 0
            while chunk := os.read(fd, CHUNK):
                sum_now = zlib.crc32(chunk, sum_now)
            return sum_now != sum_before
        finally:
            os.close(fd)

    def names(self, folder, gone):
        root = self.workspace
        try:
            # Reading names takes one permission, looking at what they name another. The folder
            # belongs to the same user, who may have both.
            status = os.lstat(folder, dir_fd=root) if folder else os.fstat(root)
            if status.st_mode & stat.S_IRWXU != stat.S_IRWXU:
                # Through a folder that is closed, not even itself can be named.
                os.chmod(folder, stat.S_IRWXU, dir_fd=root) if folder else os.fchmod(root, stat.S_IRWXU)
            fd = os.open(folder or b".", os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=root)
            try:
                return sorted(os.fsencode(name) for name in os.listdir(fd))
            finally:
                os.close(fd)
        except OSError:
            self.leave(folder, "unreadable")
            inside = folder + b"/"
            gone.difference_update([known for known in gone if known.startswith(inside)])
            return []

    def take(self, relative, status):
        if relative.count(b"/") >= self.limits["collect_depth"]:
            return self.leave(relative, "too deep")
        if self.files_left == 0:
            return self.leave(relative, "too many files")
        if len(relative) > self.names_left:
            return self.leave(relative, "too many long names")
        if status.st_size > self.bytes_left:
            return self.leave(relative, "too large")
        try:
            if not status.st_mode & stat.S_IRUSR:
                mode = stat.S_IMODE(status.st_mode) | stat.S_IRUSR
                os.chmod(relative, mode, dir_fd=self.workspace)
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
            fd = os.open(relative, flags, dir_fd=self.workspace)
        except OSError:
            return self.leave(relative, "unreadable")
        self.files_left -= 1
        self.names_left -= len(relative)
        self.bytes_left -= status.st_size
        head = control(
            {
                "path": relative.hex(),
                "size": status.st_size,
                "executable": bool(status.st_mode & stat.S_IXUSR),
            }
        )
        left = status.st_size
        first = self.read(fd, min(left, INLINE_MAX))
        left -= len(first)
        self.frames.send_later(SENT_FILE, head, first)
        while left:
            chunk = self.read(fd, min(left, CHUNK))
            left -= len(chunk)
            self.frames.send(SENT_DATA, chunk)
        os.close(fd)

    @staticmethod
    def read(fd, count):
        chunk = os.read(fd, count) if count else b""
        if count and not chunk:
            raise OSError("a file shrank while nothing ran")
        return chunk

    def leave(self, relative, why):
        if self.reports_left == 0 or len(relative) > self.names_left:
            self.unreported += 1
            return
        self.reports_left -= 1
        self.names_left -= len(relative)
        self.frames.send_later(LEFT, control({"path": relative.hex(), "why": why, "size": 0}))
