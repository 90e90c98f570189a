"""The child's side of the way to the host, through PID 1."""

import json
import os
import time

from .frames import CHILD_CLAIM, CHILD_ECHO, CHILD_END, CHILD_GO, CHILD_READY, CHILD_REQUEST
from .frames import CHILD_START, CHILD_STIR, ID, INLINE_MAX, MESSAGE
from .system import CODE, IS_GVISOR, SLEEP, write_all

# How long a program that is over waits for its end.
LAST_WAIT_S = 0.05


class Channel:
    """The child's side of the way to the host. Any thread may ask; a forked copy may not."""

    STOPPED = {"error": "the sandbox is stopping"}

    def __init__(self, fd_in, fd_out):
        self.fd_in, self.fd_out = fd_in, fd_out
        self.pid = os.getpid()
        self.limit = 1 << 22
        self.first = bytearray(INLINE_MAX)
        self.last = 0
        self.following = b""  # What came with the program, and comes after it.
        self.used_s = 0  # Processor time of this process before its program.
        self.replies = {}
        self.reading = False
        self.condition = None
        self.dumps, self.loads = json.dumps, json.loads

    def open_code(self):
        """Opens the folder of the source, as the parent does; nothing of it is left to the program."""
        self.code = os.open(CODE, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def read_source(self, path, source):
        """The source of the entry file, which may have come with the program."""
        code, self.code = self.code, None
        if code is None and not source:
            code = os.open(CODE, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fd = None if source else os.open(path, os.O_RDONLY, dir_fd=code)
        finally:
            if code is not None:
                os.close(code)
        if fd is None:
            return source
        parts = []
        try:
            while part := os.read(fd, INLINE_MAX):
                parts.append(part)
        finally:
            os.close(fd)
        return b"".join(parts)

    def start(self, stir):
        """Waits for the program, and does what is asked of who waits meanwhile."""
        import threading

        self.condition = threading.Condition()
        self.sending = threading.Lock()
        buffer, self.first = memoryview(self.first), None
        self.used_s = time.process_time()
        self.send(CHILD_READY, 0, b"")
        held = 0
        while True:
            count = os.readv(self.fd_in, [buffer[held:]])
            if not count:
                raise EOFError
            at, count = 0, held + count
            while count - at >= MESSAGE.size:
                kind, seconds, length = MESSAGE.unpack_from(buffer, at)
                at += MESSAGE.size
                if kind == CHILD_START:
                    return seconds, *self.program_of(bytes(buffer[at:count]), length)
                if kind == CHILD_STIR:
                    stir()
                    self.used_s = time.process_time()
                else:
                    self.send(CHILD_ECHO, 0, b"")
            held = count - at
            buffer[:held] = buffer[at:count]

    def program_of(self, body, length):
        """The source of the entry file, if it came along, and the program. Only GO may follow them yet."""
        body, self.following = body[:length], body[length:]
        body += read_exactly(self.fd_in, length - len(body))
        (size,) = ID.unpack_from(body)
        return body[ID.size : ID.size + size], body[ID.size + size :]

    def wait_for_go(self, source):
        """Waits until the file is there that the source, which came with the program, is the text of."""
        if IS_GVISOR and source:
            said = self.following
            said += read_exactly(self.fd_in, MESSAGE.size - len(said))
            kind, _, length = MESSAGE.unpack(said)
            if kind != CHILD_GO or length:
                raise ValueError("the program's file is not there")

    def send(self, kind, request, body):
        write_all(self.fd_out, MESSAGE.pack(kind, request, len(body)), body)

    def end(self, status, claim):
        """Says what the program claims, if that is not said, and the last word, and leaves the processor to
        PID 1, which ends this process. Ending by itself would keep the processor for longer than everything
        that is left to do. Where PID 1 does not get to read it, because requests that nobody waits for are
        before it, this process ends.
        """
        said = MESSAGE.pack(CHILD_CLAIM, 0, len(claim)) + claim if claim else b""
        write_all(self.fd_out, said + MESSAGE.pack(CHILD_END, status, 0))
        SLEEP(LAST_WAIT_S)

    def receive(self):
        _, request, length = MESSAGE.unpack(read_exactly(self.fd_in, MESSAGE.size))
        return request, read_exactly(self.fd_in, length)

    def request(self, tool, arguments):
        """Asks the host and returns its answer: {"ok": ...}, {"error": ...} or {"execute": true}."""
        if os.getpid() != self.pid:
            return {"error": "tools answer only in the process that runs main, not in a fork of it"}
        try:
            request = {"tool": tool, "arguments": arguments}
            body = self.dumps(request, ensure_ascii=False, allow_nan=False).encode()
        except (TypeError, ValueError, RecursionError) as error:
            return {"error": f"the arguments are not JSON: {error}"}
        if len(body) > self.limit:
            return {"error": f"the arguments are too long: {len(body)} bytes, at most {self.limit}"}
        try:
            with self.sending:
                self.last += 1
                request = self.last
                self.send(CHILD_REQUEST, request, body)
            return self.loads(self.wait(request))
        except (OSError, EOFError):
            return self.STOPPED

    def wait(self, request):
        """Waits for one reply. One waiting thread reads for all."""
        with self.condition:
            while request not in self.replies:
                if self.reading:
                    self.condition.wait()
                    continue
                self.reading = True
                self.condition.release()
                got = None
                try:
                    got = self.receive()
                finally:
                    self.condition.acquire()
                    self.reading = False
                    if got is not None:
                        self.replies[got[0]] = got[1]
                    self.condition.notify_all()
            return self.replies.pop(request)


def read_exactly(fd, count):
    parts = []
    while count:
        part = os.read(fd, min(count, 1 << 20))
        if not part:
            raise EOFError
        parts.append(part)
        count -= len(part)
    return b"".join(parts)
