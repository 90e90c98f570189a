"""What is said to and by the host, and between PID 1 and its child."""

import json
import os
import struct

from .system import write_all

PROTOCOL = 1

# Host to sandbox.
FILE, DATA, RUN, REPLY, CANCEL = 1, 2, 3, 4, 5
STREAM, CLOSE, ABORT, WINDOW, ECHOED, STIR = 6, 7, 8, 9, 10, 11
# Sandbox to host.
READY, STARTED, STDOUT, STDERR, REQUEST, ENDED = 16, 17, 18, 19, 20, 21
SENT_FILE, SENT_DATA, REMOVED, LEFT, DONE, FAILED = 22, 23, 24, 25, 26, 27
OPENED, SENT_STREAM, CLOSED, ABORTED, WIDENED, OVER, ECHO = 28, 29, 30, 31, 32, 33, 34
# Child to parent and back.
CHILD_READY, CHILD_REQUEST, CHILD_CLAIM, CHILD_START, CHILD_REPLY, CHILD_END = 1, 2, 3, 4, 5, 6
CHILD_ECHO, CHILD_STIR, CHILD_GO = 7, 8, 9

FRAME = struct.Struct("<BI")
HEADER = struct.Struct("<H")
MESSAGE = struct.Struct("<BII")  # kind, request, length
ID = struct.Struct("<I")
ID_BYTES = struct.Struct("<II")  # stream, bytes
PAYLOAD_MAX = 1 << 20
CHUNK = 1 << 18
INLINE_MAX = 1 << 16


class Frames:
    """Frames to and from the host."""

    def __init__(self):
        # One buffer for all reads: a new one each time costs more than the read.
        self.buffer = memoryview(bytearray(PAYLOAD_MAX))
        self.incoming = bytearray()
        self.outgoing = []
        self.waiting = 0
        self.token = b""

    def receive(self):
        """Reads what is there and returns the frames that are complete; None at the end."""
        count = os.readv(0, [self.buffer])
        if not count:
            return None
        self.incoming += self.buffer[:count]
        return self.take()

    def take(self):
        frames = []
        at = 0
        while len(self.incoming) - at >= FRAME.size:
            kind, length = FRAME.unpack_from(self.incoming, at)
            if length > PAYLOAD_MAX:
                raise ValueError("a frame of the host is too long")
            end = at + FRAME.size + length
            if len(self.incoming) < end:
                break
            frames.append((kind, bytes(self.incoming[at + FRAME.size : end])))
            at = end
        if at:
            del self.incoming[:at]
        return frames

    def send(self, kind, *parts):
        """Sends a frame at once, after what is buffered."""
        length = len(self.token) + sum(len(part) for part in parts)
        self.outgoing += [FRAME.pack(kind, length), self.token, *parts]
        self.flush()

    def send_later(self, kind, *parts):
        """Sends a frame together with others."""
        length = len(self.token) + sum(len(part) for part in parts)
        self.outgoing.append(b"".join((FRAME.pack(kind, length), self.token, *parts)))
        self.waiting += FRAME.size + length
        if self.waiting > CHUNK:
            self.flush()

    def flush(self):
        parts, self.outgoing, self.waiting = self.outgoing, [], 0
        for start in range(0, len(parts), 512):  # Below IOV_MAX.
            write_all(1, *parts[start : start + 512])

    def message(self, kind, header, body=b"", later=False):
        """Sends a control frame and its body; the frame may wait for others."""
        head = control(header | {"size": len(body)})
        first = PAYLOAD_MAX - 16 - len(head)
        send = self.send_later if later else self.send
        send(kind, head, body[:first])
        for start in range(first, len(body), CHUNK):
            self.send(SENT_DATA, body[start : start + CHUNK])


def control(header):
    text = json.dumps(header).encode()
    return HEADER.pack(len(text)) + text


def split_control(payload):
    (length,) = HEADER.unpack_from(payload)
    header = json.loads(payload[HEADER.size : HEADER.size + length])
    return header, payload[HEADER.size + length :]
