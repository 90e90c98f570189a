"""The way from the program's loopback to the host's proxy."""

import os
import select

from .frames import ABORT, ABORTED, CHUNK, CLOSED, ID, ID_BYTES, INLINE_MAX, OPENED, OVER
from .frames import SENT_STREAM, STREAM, WIDENED, WINDOW
from .system import PROXY_PORT


class Relay:
    """The way from the program's loopback to the host: it carries bytes and knows none of them.

    Both ends of a connection may send a window ahead of what the other has passed on. CLOSED says
    that nothing more comes from the one who says it, ABORTED that it takes nothing more either. When
    both ends have said one of them, OVER is the last word on the connection.
    """

    def __init__(self, frames, poll, rules):
        self.frames, self.poll, self.rules = frames, poll, rules
        self.listeners = {}
        self.by_fd = {}
        self.by_id = {}
        self.last = 0
        self.is_listening = False
        self.listen()

    def listen(self):
        import _socket

        self.socket = _socket.socket
        self.no_delay = (_socket.IPPROTO_TCP, _socket.TCP_NODELAY)
        kind = _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC | _socket.SOCK_NONBLOCK
        for family, address in ((_socket.AF_INET, "127.0.0.1"), (_socket.AF_INET6, "::1")):
            try:
                listener = self.socket(family, kind)
                listener.bind((address, PROXY_PORT))
                listener.listen(128)
            except OSError:
                if family == _socket.AF_INET:
                    raise
                continue  # Without the newer protocol, the older one is enough.
            self.listeners[listener.fileno()] = listener
        self.heed()

    def heed(self):
        """Listens while one more connection may be open; the kernel keeps the others waiting."""
        wanted = len(self.by_id) < self.rules["streams"] and self.last < self.rules["connections"]
        if wanted == self.is_listening:
            return
        self.is_listening = wanted
        for fd in self.listeners:
            if wanted:
                self.poll.register(fd, select.POLLIN)
            else:
                self.poll.unregister(fd)
        if self.last >= self.rules["connections"]:
            for listener in self.listeners.values():
                listener.close()  # The next connection is refused and not left waiting.
            self.listeners = {}

    def accept(self, fd):
        try:
            accepted, _ = self.listeners[fd]._accept()
        except OSError:
            return  # It has gone again.
        os.set_blocking(accepted, False)
        self.last += 1
        connection = Connection(self, self.last, self.socket(fileno=accepted))
        # What comes in pieces is passed on in pieces, and does not wait for an acknowledgement.
        connection.socket.setsockopt(*self.no_delay, 1)
        self.by_fd[accepted] = self.by_id[self.last] = connection
        self.frames.send(OPENED, ID.pack(self.last))
        connection.heed()
        self.heed()

    def on_frame(self, kind, payload):
        """Takes what the host says of one connection, which may be over already."""
        (number,) = ID.unpack_from(payload)
        connection = self.by_id.get(number)
        if connection is None:
            return
        if kind == STREAM:
            connection.take(payload[ID.size :])
        elif kind == WINDOW:
            connection.credit += ID.unpack_from(payload, ID.size)[0]
        else:
            connection.host_ends(kind == ABORT)
        connection.heed()

    def forget(self, connection):
        del self.by_id[connection.number]
        self.frames.send(OVER, ID.pack(connection.number))
        self.heed()

    def end(self):
        """Closes everything."""
        for connection in list(self.by_id.values()):
            connection.close()
        for listener in self.listeners.values():
            listener.close()
        self.listeners, self.by_id = {}, {}


class Connection:
    """One connection of the program to its proxy."""

    def __init__(self, relay, number, socket):
        self.relay, self.number, self.socket = relay, number, socket
        self.fd = socket.fileno()
        self.credit = relay.rules["window"]
        self.outgoing = bytearray()  # From the host, at most a window.
        self.passed_on = 0  # Bytes that the host does not know of yet.
        self.events = 0
        self.has_ended = False  # CLOSED or ABORTED was sent.
        self.host_has_ended = False
        self.host_takes = True

    def say(self, kind):
        if not self.has_ended or kind == ABORTED:
            self.has_ended = True
            self.relay.frames.send(kind, ID.pack(self.number))

    def heed(self):
        """Waits for what can be done next, and ends what is over."""
        if self.socket is not None:
            self.push()
        if self.has_ended and self.host_has_ended and (self.socket is None or not self.outgoing):
            self.close()
            self.relay.forget(self)
            return
        if self.socket is None:
            return
        events = select.POLLOUT if self.outgoing else 0
        if not self.has_ended and self.credit > 0:
            events |= select.POLLIN
        if events != self.events:
            poll = self.relay.poll
            # With nothing to wait for, a connection that was reset would be reported for ever.
            poll.register(self.fd, events) if events else poll.unregister(self.fd)
            self.events = events

    def on_event(self, mask):
        if mask & ~select.POLLOUT and not self.has_ended and self.credit > 0:
            self.pull()
        self.heed()

    def pull(self):
        """Passes on what the program has written."""
        try:
            data = self.socket.recv(min(self.credit, INLINE_MAX))
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self.fail()
            return
        if not data:
            self.say(CLOSED)
            return
        self.credit -= len(data)
        self.relay.frames.send(SENT_STREAM, ID.pack(self.number), data)

    def take(self, data):
        if self.socket is not None:
            self.outgoing += data

    def push(self):
        """Gives the program what has come for it, and the host its window back."""
        try:
            while self.outgoing:
                sent = self.socket.send(memoryview(self.outgoing)[:CHUNK])
                del self.outgoing[:sent]
                self.passed_on += sent
        except (BlockingIOError, InterruptedError):
            pass
        except OSError:
            self.fail()
            return
        if self.host_has_ended:
            if not self.outgoing and not self.has_ended:
                self.shut()
        elif self.passed_on and (not self.outgoing or self.passed_on >= INLINE_MAX):
            self.relay.frames.send(WIDENED, ID_BYTES.pack(self.number, self.passed_on))
            self.passed_on = 0

    def shut(self):
        """Tells the program that nothing more comes; it may go on writing if that is taken."""
        if not self.host_takes:
            self.say(CLOSED)
            return
        try:
            self.socket.shutdown(1)
        except OSError:
            self.fail()

    def host_ends(self, is_abort):
        self.host_has_ended = True
        if is_abort:
            self.host_takes = False

    def fail(self):
        """The program has closed its end, or it broke: nothing can reach it any more."""
        if not (self.has_ended and self.host_has_ended):
            self.say(ABORTED)
        self.close()

    def close(self):
        if self.socket is None:
            return
        if self.events:
            self.relay.poll.unregister(self.fd)
            self.events = 0
        self.relay.by_fd.pop(self.fd, None)
        self.socket.close()
        self.socket = None
        self.outgoing.clear()
