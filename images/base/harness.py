"""PID 1 of a sandbox: restores files, runs one program in a child, collects what it left.

The host speaks frames on standard input and reads frames on standard output; nothing else enters or
leaves. A frame is `kind u8, length u32 LE, payload`. A control payload is `length u16 LE, JSON
header`, then the beginning of a body whose whole length the header names as `size`; DATA frames
carry the rest. After RUN, every frame to the host begins with the run's token, which the child
never sees. Standard library only, one thread, no signal handler.
"""

import ctypes
import json
import os
import resource
import select
import signal
import stat
import struct
import sys
import time

PROTOCOL = 1

# Host to sandbox.
FILE, DATA, RUN, REPLY, CANCEL = 1, 2, 3, 4, 5
STREAM, CLOSE, ABORT, WINDOW, ECHOED = 6, 7, 8, 9, 10
# Sandbox to host.
READY, STARTED, STDOUT, STDERR, REQUEST, ENDED = 16, 17, 18, 19, 20, 21
SENT_FILE, SENT_DATA, REMOVED, LEFT, DONE, FAILED = 22, 23, 24, 25, 26, 27
OPENED, SENT_STREAM, CLOSED, ABORTED, WIDENED, OVER, ECHO = 28, 29, 30, 31, 32, 33, 34
# Child to parent and back.
CHILD_READY, CHILD_REQUEST, CHILD_CLAIM, CHILD_START, CHILD_REPLY, CHILD_END = 1, 2, 3, 4, 5, 6
CHILD_ECHO = 7

FRAME = struct.Struct("<BI")
HEADER = struct.Struct("<H")
MESSAGE = struct.Struct("<BII")  # kind, request, length
ID = struct.Struct("<I")
ID_BYTES = struct.Struct("<II")  # stream, bytes
PAYLOAD_MAX = 1 << 20
CHUNK = 1 << 18
INLINE_MAX = 1 << 16

WORKSPACE = b"/workspace"
CODE = b"/code"
HOME = "/tmp/home"
SHIMS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "shims")
# The distributions of an environment; a folder that only images of environments have.
PACKAGES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "env")
ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": HOME,
    # Each sandbox has a user number of its own, which has no entry in the image's list of users.
    "USER": "sandbox",
    "LOGNAME": "sandbox",
    "LANG": "C.UTF-8",
    "TZ": "UTC",
    "TMPDIR": "/tmp",
    "PYTHONHASHSEED": "0",
    "PYTHONDONTWRITEBYTECODE": "1",
}
PROXY_PORT = 3128
PROXY = f"http://127.0.0.1:{PROXY_PORT}"
CERTIFICATES = "/tmp/.agentfactory/ca.pem"
# What programs read where there is a proxy: curl, git, pip, requests, Node, the AWS tools, OpenSSL.
PROXY_ENVIRONMENT = {
    **dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"), PROXY),
    **dict.fromkeys(("http_proxy", "https_proxy", "all_proxy"), PROXY),
    **dict.fromkeys(("NO_PROXY", "no_proxy"), "localhost,127.0.0.1,::1"),
    **dict.fromkeys(("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"), CERTIFICATES),
    **dict.fromkeys(("PIP_CERT", "GIT_SSL_CAINFO", "NODE_EXTRA_CA_CERTS"), CERTIFICATES),
    "AWS_CA_BUNDLE": CERTIFICATES,
}
SHELLS = ("/bin/bash", "/usr/bin/bash", "/bin/sh")
# The kernel takes at most 128 KiB in one argument; a longer command becomes a file.
ARGUMENT_MAX = 120_000
PR_SET_DUMPABLE = 4
# A file may be as large as the largest file system: where that is full, one of the first two says so.
EFBIG, ENOSPC, EDQUOT = 27, 28, 122
# What PID 1 has no use for. Ignoring SIGCHLD would hide how the child ended.
WANTED = {signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD, signal.SIGPIPE, signal.SIGXFSZ}
UNWANTED = sorted(signal.valid_signals() - WANTED)
# Kept, because what runs in the child may replace the module's own.
EXIT, SLEEP = os._exit, time.sleep
LIBC = ctypes.CDLL(None, use_errno=True)
# How long a program that is over waits for its end.
LAST_WAIT_S = 0.05
GVISOR = "#1 SMP Sun Jan 10 15:06:54 PST 2016"  # What its kernel says of itself.
IS_GVISOR = os.uname().version == GVISOR
TOUCHED_MAX = 1 << 26  # A larger mapping is a reservation.
# How often a sandbox of gVisor goes the way of a run before it is ready.
ECHOES = 16
# How long a sandbox that waits may take to import what its run will want; below what the host waits.
IMPORTS_S = 50
# What a program's own imports are noted up to.
NOTED_MAX = 64


def write_all(fd, *parts):
    """Writes every byte; a pipe takes them in pieces."""
    views = [memoryview(part) for part in parts if len(part)]
    while views:
        written = os.writev(fd, views)
        while views and written >= len(views[0]):
            written -= len(views.pop(0))
        if written:
            views[0] = views[0][written:]


def set_dumpable(value):
    """Decides whether processes of the same user may look into this one."""
    if LIBC.prctl(PR_SET_DUMPABLE, value, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")


def touch_pages():
    """Writes every page of this process as it is. The kernel of gVisor maps each one when it is first
    used, and again after a fork, which takes it longer than anything else that a run does.
    """
    if not IS_GVISOR:
        return
    with open("/proc/self/maps") as file:
        lines = file.read().splitlines()
    copy = LIBC.memcpy
    for line in lines:
        span, mode, _, _, _, *name = line.split(None, 5)
        begin, end = (int(address, 16) for address in span.split("-"))
        if mode[0] != "r" or (name and name[0].startswith("[v")) or end - begin > TOUCHED_MAX:
            continue
        for page in range(begin, end, resource.getpagesize()):
            if mode[1] == "w":
                copy(ctypes.c_void_p(page), ctypes.c_void_p(page), 1)
            else:
                ctypes.string_at(page, 1)


def widen_pipe(fd):
    """Asks for a larger pipe; one that cannot grow works too."""
    try:
        import fcntl

        fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, 1 << 20)
    except OSError:
        pass


# ---------------------------------------------------------------------------------------------
# The parent: PID 1.


class Stop(Exception):
    """The child is to be stopped, with the reason that the host is told."""


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


class Restore:
    """Writes files as their frames arrive."""

    def __init__(self, folders):
        self.folders = folders
        self.made = set()
        self.snapshot = {}
        self.fd = None

    def begin(self, header):
        root, before = self.folders.roots[header["root"]]
        relative = before + bytes.fromhex(header["path"])
        self.make(root, os.path.dirname(relative))
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        mode = 0o755 if header["executable"] else 0o644
        self.fd = os.open(relative, flags, mode, dir_fd=root)
        self.relative = relative if root == self.folders.workspace else None

    def make(self, root, folder):
        if folder and (root, folder) not in self.made:
            self.make(root, os.path.dirname(folder))
            os.mkdir(folder, dir_fd=root)
            self.made.add((root, folder))

    def write(self, chunk):
        write_all(self.fd, chunk)

    def end(self):
        if self.relative is not None:
            self.snapshot[self.relative] = identity(os.fstat(self.fd))
        os.close(self.fd)
        self.fd = None


def identity(status):
    return (status.st_ino, status.st_size, status.st_ctime_ns, status.st_mtime_ns, status.st_mode)


class Accounting:
    """What the kernel counts for this sandbox, under either version of control groups."""

    ROOT = "/sys/fs/cgroup/"

    def __init__(self):
        self.files = {}  # Open ones, because opening takes longer than reading; None: not there.
        self.cpu_seen = 0
        self.counts_processes = False  # Nothing else counts their time.
        self.child_stat = None
        self.kills_before = self.kills()

    def read(self, *names):
        if names not in self.files:
            self.files[names] = self.open(names)
        fd = self.files[names]
        return b"" if fd is None else os.pread(fd, 1 << 14, 0)

    def open(self, names):
        for name in names:
            try:
                return os.open(self.ROOT + name, os.O_RDONLY)
            except OSError:
                continue
        return None

    def kills(self):
        text = self.read("memory.events", "memory/memory.oom_control")
        for line in text.splitlines():
            name, _, value = line.partition(b" ")
            if name == b"oom_kill":
                return int(value)
        return 0

    def cpu_ns(self):
        """Processor time of everything in the sandbox so far."""
        for line in self.read("cpu.stat").splitlines():
            name, _, value = line.partition(b" ")
            if name == b"usage_usec":
                return int(value) * 1000
        used = int(self.read("cpuacct/cpuacct.usage", "cpu,cpuacct/cpuacct.usage") or 0)
        if not used:
            # Processes come and go, and what nobody waited for goes with its time.
            self.counts_processes = True
            used = self.cpu_seen = max(self.cpu_seen, self.cpu_of_processes())
        return used

    def watch(self, child):
        """Names the process that is mostly the only one beside this."""
        if not self.counts_processes:
            return
        if self.child_stat is not None:
            os.close(self.child_stat)
        self.child_stat = os.open(f"/proc/{child}/stat", os.O_RDONLY)

    def cpu_of_processes(self):
        """What those that are there used, and those that they waited for."""
        try:
            if self.child_stat is not None and count_tasks() == 2:
                ticks = ticks_of(os.pread(self.child_stat, 1 << 10, 0))
            else:
                ticks = self.ticks_of_all()
        except (OSError, ValueError):
            ticks = self.ticks_of_all()
        return int((ticks / TICKS_S + sum(os.times()[:4])) * 1e9)

    @staticmethod
    def ticks_of_all():
        ticks = 0
        for name in os.listdir("/proc"):
            if name.isdigit() and name != "1":
                try:
                    fd = os.open(f"/proc/{name}/stat", os.O_RDONLY)
                    try:
                        ticks += ticks_of(os.read(fd, 1 << 10))
                    finally:
                        os.close(fd)
                except (OSError, ValueError):
                    continue  # It has just ended.
        return ticks

    def report(self):
        cpu_ns = self.cpu_seen if self.counts_processes else self.cpu_ns()
        peak = self.read("memory.peak", "memory/memory.max_usage_in_bytes")
        return {
            "oom_kills": self.kills() - self.kills_before,
            "cpu_ns": cpu_ns,
            "memory_peak": int(peak or 0),
        }


TICKS_S = os.sysconf("SC_CLK_TCK")
SYSINFO = ctypes.create_string_buffer(128)


def ticks_of(status):
    """Of a process and of those that it waited for, from /proc/PID/stat."""
    return sum(map(int, status[status.rindex(b")") + 2 :].split()[11:15]))


def count_tasks():
    """Threads of all processes. Source: `sysinfo(2)`."""
    LIBC.sysinfo(SYSINFO)
    return struct.unpack_from("H", SYSINFO, 10 * ctypes.sizeof(ctypes.c_long))[0]


class Meter:
    """Limits the sandbox where its runtime does not: gVisor without control groups.

    The kernel in there is the sandbox's own, so what it counts is the sandbox's and nothing else.
    """

    PERIOD_NS = 20_000_000
    STACKS = 1 << 30  # What threads may reserve beyond the limit, and mostly never touch.

    def __init__(self, accounting):
        limited = accounting.read("memory.max", "memory/memory.limit_in_bytes")
        self.is_needed = not limited and IS_GVISOR
        self.meminfo = os.open("/proc/meminfo", os.O_RDONLY) if self.is_needed else None
        self.limit = None
        self.last_ns = self.peak = self.kills = 0

    def limit_process(self, child):
        """Limits one and what it starts, before it knows what it will run."""
        if not self.is_needed:
            return
        # The limits of a sandbox are known when it is made; the host says the same again with its run.
        most = int(os.environ["AGENTFACTORY_MEMORY"]) + self.STACKS
        # Counted per user of this one kernel, and PID 1 is the same user.
        pids = max(2, int(os.environ["AGENTFACTORY_PIDS"]))
        try:
            resource.prlimit(child, resource.RLIMIT_NPROC, (pids, pids))
            resource.prlimit(child, resource.RLIMIT_AS, (most, most))
        except OSError:
            pass  # A filter of system calls is on there: memory is counted all the same.

    def begin(self, limits):
        """Counts from now on."""
        if self.is_needed:
            self.limit, self.last_ns = limits["memory"], time.monotonic_ns()

    def used(self):
        """Anonymous memory and files in memory, in bytes."""
        for line in os.pread(self.meminfo, 1 << 14, 0).splitlines():
            if line.startswith(b"AnonPages:"):
                used = int(line.split()[1]) << 10
                self.peak = max(self.peak, used)
                return used
        return 0

    def is_exceeded(self):
        """Whether more is used than allowed; looks once in a while."""
        if self.limit is None:
            return False
        now = time.monotonic_ns()
        if now - self.last_ns < self.PERIOD_NS:
            return False
        self.last_ns = now
        return self.used() > self.limit


class Clock:
    """Watches the processor time of everything in the sandbox, from the beginning of its program."""

    PERIOD_NS = 100_000_000

    def __init__(self, accounting):
        self.accounting = accounting
        self.limit = None
        self.before = self.used = self.next_ns = self.looked_ns = 0

    def begin(self, limit):
        """Returns the limit in seconds that the child is to set for itself and all it starts."""
        self.limit = limit
        # Where it takes a look at each process, what they used while they got ready counts too.
        if not self.accounting.counts_processes:
            self.before = self.accounting.cpu_ns()
        self.next_ns = time.monotonic_ns() + self.PERIOD_NS
        # The kernel counts whole seconds, and what the child used before counts there.
        return min(limit // 1_000_000_000 + 2, (1 << 32) - 1)

    def look(self):
        if self.limit is not None:
            self.used = self.accounting.cpu_ns() - self.before
            self.looked_ns = time.monotonic_ns()

    def look_at_end(self):
        """Looks once more, unless it has just done so and what it asks counts in longer steps."""
        is_fresh = time.monotonic_ns() - self.looked_ns < 5_000_000
        if not (self.accounting.counts_processes and is_fresh):
            self.look()

    def is_over(self):
        """Whether the time is used up; looks ten times a second, less often where that is dear."""
        now = time.monotonic_ns()
        if self.limit is None or now < self.next_ns:
            return False
        self.look()
        took = time.monotonic_ns() - now
        self.next_ns = now + max(self.PERIOD_NS, 20 * took)
        return self.used > self.limit


class Sockets:
    """Counts the sandbox's sockets. What waits in them is memory of the kernel, and the first version
    of control groups does not count it as the sandbox's; each has a bound, and so must their number.
    """

    # As many as one process may have, and half as many again that nobody has accepted yet.
    MOST = 1536
    PERIOD_NS = 50_000_000

    def __init__(self):
        self.next_ns = 0

    def begin(self):
        self.next_ns = time.monotonic_ns() + self.PERIOD_NS

    def are_too_many(self):
        """Whether there are more than any run needs; looks once in a while."""
        now = time.monotonic_ns()
        if now < self.next_ns:
            return False
        self.next_ns = now + self.PERIOD_NS
        try:
            with open("/proc/net/sockstat", "rb") as file:
                words = file.read(4096).split()
            # `sockets: used N TCP: inuse N orphan N ...`: closed ones that still hold data are among
            # those used; the number of orphans is the whole machine's.
            return int(words[2]) > self.MOST
        except (OSError, ValueError, IndexError):
            return False  # Not every kernel has it; gVisor's holds the buffers itself.


def is_full(state):
    return state is not None and (state.f_bavail == 0 or has_no_names(state))


def has_no_names(state):
    """Whether no file can be made, whatever room there is."""
    return state is not None and state.f_files > 0 and state.f_ffree == 0


class Output:
    """One of the child's output streams."""

    def __init__(self, name, kind, fd):
        self.name, self.kind, self.fd = name, kind, fd
        self.seen = 0


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


def wait_for(pid):
    """Waits for the end of a process that was killed."""
    try:
        os.waitpid(pid, 0)
    except ChildProcessError:
        pass  # Others have seen it.


class WaitingShell:
    """A shell that was started ahead of need. One that is started at the command takes longer than
    everything else of a run.

    It waits for a line with the limit of its processor time and whether there is a proxy, then
    evaluates the command in a file. What was for that is gone before the command begins.
    """

    PATH = "/bin/bash"
    COMMAND = "command"  # In the folder of the source.
    # A longer one is left to the child, and so is one that no shell can take.
    LONGEST = 1 << 16
    PREFIX = b'{"command":'
    SCRIPT = (
        "IFS=' ' read -r -u 3 __s __p; exec 3<&-; ulimit -S -t $__s; ulimit -H -t $((__s + 1)); "
        f"IFS= read -r -d '' __c < {os.fsdecode(CODE)}/{COMMAND}; [ $__p = 0 ] || export "
        + " ".join(f"{name}='{value}'" for name, value in PROXY_ENVIRONMENT.items())
        + '; BASH_EXECUTION_STRING=$__c; eval "unset __s __p __c; $__c"'
    )

    def __init__(self, pid, line):
        self.pid, self.line = pid, line
        self.has_proxy = False

    @classmethod
    def start(cls, out, err):
        """Starts one; None where there is no such shell."""
        if not os.path.exists(cls.PATH):
            return None
        reads, writes = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                prepare(reads, reads, out, err)
                default_signals()
                os.dup2(reads, 3)
                os.set_inheritable(3, True)
                os.execv(cls.PATH, ["bash", "-c", cls.SCRIPT])
            finally:
                EXIT(70)
        os.close(reads)
        return cls(pid, writes)

    def takes(self, program, folders):
        """Whether it can run this program; then its command is in the file."""
        if self.line is None or len(program) > self.LONGEST:
            return False
        if not program.startswith(self.PREFIX):
            return False
        program = json.loads(program)
        if "\0" in program["command"]:
            return False
        self.has_proxy = bool(program.get("proxy"))
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        fd = os.open(self.COMMAND, flags, 0o644, dir_fd=folders.code)
        write_all(fd, program["command"].encode())
        os.close(fd)
        return True

    def begin(self, seconds):
        os.write(self.line, b"%d %d\n" % (seconds, self.has_proxy))
        os.close(self.line)

    def discard(self):
        """Has it end; it may take a moment."""
        if self.line is not None:
            os.kill(self.pid, signal.SIGKILL)
            os.close(self.line)
            self.line = None


class Parent:
    REAP_NS = 50_000_000

    def __init__(self):
        self.frames = Frames()
        self.folders = Folders()
        self.restore = Restore(self.folders)
        self.accounting = Accounting()
        self.clock = Clock(self.accounting)
        self.meter = Meter(self.accounting)
        self.sockets = Sockets()
        self.poll = select.poll()
        self.body = None  # (kind, header, chunks, bytes still to come)
        self.program = None
        self.limits = None
        self.child_ready = False
        self.leaves_nothing = False  # Known when nothing runs any more.
        self.discarded = None  # What ends when the child does that another process replaced.
        self.started = None
        self.status = None
        self.claim = None
        self.has_said_end = False  # The child has, and need not have ended yet.
        self.from_child = bytearray()
        self.to_child = bytearray()
        self.requests = set()
        self.relay = None  # Only where there is a proxy.
        self.early = []  # What the child wrote before it began: why it could not.
        # The entry file, where it is the only one: the child need not read it again.
        self.sources, self.source = 0, b""
        # One buffer for all reads of what the child says, as for those of the host's frames.
        self.buffer = memoryview(bytearray(INLINE_MAX))
        self.reaped_ns = 0
        self.echoes = ECHOES if IS_GVISOR else 0

    def main(self):
        os.umask(0o022)
        os.mkdir(HOME, 0o700)
        for fd in (0, 1):
            widen_pipe(fd)
        self.fork()
        self.rehearse()
        stopped = None
        try:
            self.serve()
        except Stop as stop:
            stopped = str(stop)
        wall_ns = time.monotonic_ns() - self.started if self.started else 0
        self.clock.look_at_end()
        self.end_all()
        if self.relay is not None:
            self.relay.end()
        if self.started is None:
            early = b"".join(self.early).decode("utf-8", "replace")
            raise RuntimeError(f"the child ended before it began ({self.status}): {early}")
        missed = self.drain()
        stopped = stopped or missed
        # Where nothing is to be collected, the last words are one.
        self.report(stopped, wall_ns, later=self.leaves_nothing)
        if stopped != "cancel" and not self.leaves_nothing:
            workspace, snapshot = self.folders.workspace, self.restore.snapshot
            Collector(self.frames, workspace, snapshot, self.limits).run()
        self.frames.message(DONE, {})

    def fork(self):
        child_reads, self.child_in = os.pipe()
        self.child_out, child_writes = os.pipe()
        out, out_writes = os.pipe()
        err, err_writes = os.pipe()
        # Both from the environment that the host chose; the child has one of its own.
        self.imports = [name for name in os.environ.get("AGENTFACTORY_IMPORTS", "").split(",") if name]
        self.child = os.fork()
        if self.child == 0:
            run_child(child_reads, child_writes, out_writes, err_writes, self.imports)
        wants_shell = os.environ.get("AGENTFACTORY_SHELL") == "1"
        self.shell = WaitingShell.start(out_writes, err_writes) if wants_shell else None
        for pid in (self.child, self.shell and self.shell.pid):
            if pid:
                self.meter.limit_process(pid)
        for fd in (child_reads, child_writes, out_writes, err_writes):
            os.close(fd)
        for fd in (self.child_in, self.child_out, out, err):
            os.set_blocking(fd, False)
        self.outputs = {
            out: Output("stdout", STDOUT, out),
            err: Output("stderr", STDERR, err),
        }
        for fd in (0, self.child_out, out, err):
            self.poll.register(fd, select.POLLIN)
        self.watch()

    def watch(self):
        """Has the child's end wake this process."""
        try:
            self.pidfd = os.pidfd_open(self.child)
            self.poll.register(self.pidfd, select.POLLIN)
        except OSError:  # A kernel without it: the tick below finds the end.
            self.pidfd = None

    def rehearse(self):
        """Goes once through what each run does: what is touched now costs no run its time."""
        frames, restore = Frames(), Restore(self.folders)
        header = {"root": "code", "path": b"rehearsal".hex(), "size": 1, "executable": False}
        head = control(header)
        frames.incoming += FRAME.pack(FILE, len(head) + 1) + head + b"\n"
        for _, payload in frames.take():
            header, rest = split_control(payload)
            restore.begin(header)
            restore.write(rest)
            restore.end()
        os.unlink(b"rehearsal", dir_fd=self.folders.code)
        full = [is_full(state) for state in self.folders.states(is_untouched=False)]
        report = self.accounting.report() | {"full": full, "stopped": None}
        frames.message(ENDED, report, b"", later=True)
        limits = {"workspace": 0, "files": 0, "left": 0, "names": 0, "path": 0, "depth": 0}
        Collector(frames, self.folders.workspace, {}, limits).run()
        frames.outgoing.clear()
        touch_pages()

    def serve(self):
        """Returns when the child has ended; raises Stop when it is to be stopped."""
        tick_ms = 100 if self.pidfd is not None else 5
        while self.status is None:
            # One that waits for its run costs no processor time.
            is_waiting = self.pidfd is not None and self.started is None
            events = self.poll.poll(None if is_waiting else tick_ms)
            for fd, mask in events:
                if fd == 0:
                    self.on_host()
                elif fd == self.child_out:
                    self.on_child()
                elif fd == self.child_in:
                    self.push()
                elif fd in self.outputs:
                    self.on_output(self.outputs[fd])
                elif fd == self.discarded:
                    self.poll.unregister(fd)
                    os.close(fd)
                    self.discarded = None
                elif self.relay is not None and fd != self.pidfd:
                    self.on_relay(fd, mask)
            self.reap_if(len(events) == 0 or any(fd == self.pidfd for fd, _ in events))
            if self.status is None and self.clock.is_over():
                raise Stop("cpu")
            if self.started is not None and self.status is None and self.sockets.are_too_many():
                raise Stop("sockets")
            if self.status is None and self.meter.is_exceeded():
                # As the kernel would: what is killed does not come to its end.
                self.meter.kills = 1
                self.kill_all()

    def on_relay(self, fd, mask):
        if fd in self.relay.listeners:
            self.relay.accept(fd)
        elif fd in self.relay.by_fd:
            self.relay.by_fd[fd].on_event(mask)

    def reap_if(self, is_due):
        """Looks for the dead when one may be there, and now and then for those that nobody named."""
        now = time.monotonic_ns()
        if is_due or self.pidfd is None or now - self.reaped_ns > self.REAP_NS:
            self.reaped_ns = now
            self.reap()

    def reap(self):
        """Takes in what ended, orphans included: each counts against the limit of processes."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid == self.child and not self.has_said_end:
                self.status = status

    # The host.

    def on_host(self):
        frames = self.frames.receive()
        if frames is None:
            os._exit(0)  # The host is gone, and with PID 1 everything else.
        for kind, payload in frames:
            if STREAM <= kind <= WINDOW:
                self.relay.on_frame(kind, payload)
                continue
            if self.body is not None:
                if kind == DATA:
                    self.on_body(payload)
                    continue
                if kind != CANCEL:
                    raise ValueError(f"frame {kind} in the middle of a body")
            if kind == CANCEL:
                raise Stop("cancel")
            if kind == ECHOED:
                self.tell(CHILD_ECHO, 0, b"")
                continue
            header, rest = split_control(payload)
            if kind == FILE:
                self.restore.begin(header)
                if header["root"] == "code":
                    self.sources += 1
                    whole = len(rest) == header["size"] <= INLINE_MAX
                    self.source = rest if whole and self.sources == 1 else b""
                    if self.shell is not None:
                        self.shell.discard()  # Only subagents have code.
            elif kind not in (RUN, REPLY):
                raise ValueError(f"unknown frame {kind}")
            self.body = (kind, header, [], header["size"])
            self.on_body(rest)

    def on_body(self, chunk):
        kind, header, chunks, left = self.body
        left -= len(chunk)
        if left < 0:
            raise ValueError("a body is longer than announced")
        if kind == FILE:
            self.restore.write(chunk)
        else:
            chunks.append(chunk)
        self.body = (kind, header, chunks, left)
        if left:
            return
        self.body = None
        if kind == FILE:
            self.restore.end()
        elif kind == RUN:
            self.token = bytes.fromhex(header["token"])
            self.limits = header["limits"]
            self.proxy = header.get("proxy")
            self.program = b"".join(chunks)
            self.start()
        elif header["id"] in self.requests:
            self.requests.discard(header["id"])
            self.tell(CHILD_REPLY, header["id"], b"".join(chunks))
            self.take_messages()
            if not self.is_busy():
                self.poll.register(self.child_out, select.POLLIN)

    def start(self):
        if self.child_ready and self.program is not None:
            self.frames.token = self.token
            if self.proxy is not None:
                self.relay = Relay(self.frames, self.poll, self.proxy)
            seconds = self.clock.begin(self.limits["cpu_ns"])
            self.sockets.begin()
            self.started = time.monotonic_ns()
            # What is not needed is gone before the program begins: it sees nobody else.
            if self.shell is not None and self.shell.takes(self.program, self.folders):
                self.become(self.shell.pid)
                self.meter.begin(self.limits)
                self.shell.begin(seconds)
            else:
                if self.shell is not None:
                    self.shell.discard()
                    wait_for(self.shell.pid)
                self.meter.begin(self.limits)
                self.tell(CHILD_START, seconds, ID.pack(len(self.source)) + self.source + self.program)
            # The program is on its way meanwhile; what it says comes after this.
            self.frames.message(STARTED, {})
            self.program = None

    # The child.

    def become(self, pid):
        """Has another process run the program instead of the child that waited for it."""
        # It runs no instruction any more. Its end wakes this process, which then takes it in.
        os.kill(self.child, signal.SIGKILL)
        self.discarded = self.pidfd
        self.child = pid
        self.accounting.watch(pid)
        self.watch()

    def tell(self, kind, request, body):
        self.to_child += MESSAGE.pack(kind, request, len(body)) + body
        self.push()

    def push(self):
        try:
            while self.to_child:
                written = os.write(self.child_in, memoryview(self.to_child)[:CHUNK])
                del self.to_child[:written]
        except BlockingIOError:
            self.poll.register(self.child_in, select.POLLOUT)
            return
        except BrokenPipeError:
            self.to_child.clear()
        try:
            self.poll.unregister(self.child_in)
        except KeyError:
            pass

    def on_child(self):
        """Reads the child's messages, and stops reading while too many requests are open."""
        try:
            count = os.readv(self.child_out, [self.buffer])
        except BlockingIOError:
            return False
        if not count:
            self.poll.unregister(self.child_out)
            return False
        self.from_child += self.buffer[:count]
        self.take_messages()
        if self.is_busy():
            self.poll.unregister(self.child_out)
        return True

    def is_busy(self):
        """Whether as many requests are open as may be."""
        return self.limits is not None and len(self.requests) >= self.limits["requests"]

    def take_messages(self):
        while len(self.from_child) >= MESSAGE.size and not self.is_busy():
            kind, request, length = MESSAGE.unpack_from(self.from_child)
            if self.started is None:
                if kind not in (CHILD_READY, CHILD_ECHO) or length:
                    raise Stop("channel: not ready")
            elif kind == CHILD_END and length == 0:
                # Its last word: it has nothing left to do but to exit, and is not waited for.
                if self.status is None:
                    self.status = (request & 0xFF) << 8
                    self.has_said_end = True
                return
            elif kind not in (CHILD_REQUEST, CHILD_CLAIM):
                raise Stop("channel: unknown message")
            elif length > self.limits["message"]:
                raise Stop("channel: a message is too long")
            end = MESSAGE.size + length
            if len(self.from_child) < end:
                return
            body = bytes(self.from_child[MESSAGE.size : end])
            del self.from_child[:end]
            if kind in (CHILD_READY, CHILD_ECHO):
                self.on_ready()
            elif kind == CHILD_CLAIM:
                if self.claim is not None:
                    raise Stop("channel: two results")
                self.claim = body
                if self.accounting.counts_processes:
                    self.clock.look()  # While the child comes to its end.
            else:
                if request in self.requests:
                    raise Stop("channel: a request id is used twice")
                self.requests.add(request)
                if self.status is None:
                    self.frames.message(REQUEST, {"id": request}, body)

    def on_ready(self):
        """Says that the child is ready; under gVisor, the host is asked first to answer a few times.

        Its kernel lends each process one thread of the machine for each of its own that runs it, and
        makes a new one whenever two of them meet for the first time, which takes as long as ten calls.
        On the way of a run to the host and back they meet before the run.
        """
        if self.accounting.child_stat is None:
            self.accounting.watch(self.child)
        if self.echoes:
            self.echoes -= 1
            self.accounting.cpu_ns()
            self.frames.send(ECHO, bytes(64))
            return
        if self.imports:
            self.check_imports()
        self.child_ready = True
        self.frames.message(READY, {"protocol": PROTOCOL, "python": sys.version.split()[0]})
        self.start()

    def check_imports(self):
        """Refuses to get ready where what was imported ahead left more than modules: the program would
        notice. The host then starts a sandbox that imports nothing.
        """
        for output in self.outputs.values():
            self.on_output(output)
        if self.early:
            said = b"".join(self.early).decode("utf-8", "replace")
            raise RuntimeError(f"what was imported ahead wrote: {said}")
        if not self.folders.is_workspace_untouched() or os.listdir(self.folders.code):
            raise RuntimeError("what was imported ahead made files")
        known = {"1", str(self.child), str(self.shell and self.shell.pid)}
        if any(name.isdigit() and name not in known for name in os.listdir("/proc")):
            raise RuntimeError("what was imported ahead left processes")
        used = self.accounting.cpu_ns()
        if self.accounting.counts_processes:
            self.clock.before = used  # The run is not to pay for it.

    def on_output(self, output):
        """Passes output on up to the limit. Returns whether there may be more."""
        try:
            count = os.readv(output.fd, [self.buffer])
        except BlockingIOError:
            return False
        if not count:
            self.poll.unregister(output.fd)
            return False
        data = bytes(self.buffer[:count])
        if self.started is None:
            self.early.append(data[:1000])
            return True
        room = self.limits["output"] - output.seen
        output.seen += len(data)
        if room > 0:
            self.frames.send(output.kind, data[:room])
        if len(data) > room:
            raise Stop(output.name)
        return True

    # The end.

    def end_all(self):
        """Ends every other process. One that was killed runs no instruction of its own any more, but
        giving its memory back takes it longer than all that is left to do: where nothing is collected,
        nobody waits for that. The kernel of gVisor gives it back beside this process and slows it down;
        there they stand still until this process ends, and all others with it.
        """
        if self.status is not None:
            try:
                os.kill(-1, signal.SIGSTOP if IS_GVISOR else signal.SIGKILL)
            except ProcessLookupError:
                pass
            self.look_around()
            if self.leaves_nothing:
                return
        self.kill_all()
        self.look_around()

    def look_around(self):
        self.leaves_nothing = not self.restore.snapshot and self.folders.is_workspace_untouched()

    def kill_all(self):
        """Ends every other process of the sandbox; none can appear meanwhile."""
        while True:
            try:
                os.kill(-1, signal.SIGKILL)
            except ProcessLookupError:
                pass
            try:
                while True:
                    pid, status = os.waitpid(-1, 0)
                    if pid == self.child and self.status is None:
                        self.status = status
            except ChildProcessError:
                return

    def drain(self):
        """Takes what the dead still had in their pipes. Returns why they would have been stopped."""
        stopped = None
        try:
            self.limits["requests"] = 1 << 30  # They are read, to find the claim.
            self.poll = select.poll()
            for fd in (self.child_out, *self.outputs):
                self.poll.register(fd, select.POLLIN)
            held = {fd for fd, _ in self.poll.poll(0)}
            self.take_messages()
            while self.child_out in held and self.on_child():
                pass
        except Stop as stop:
            stopped = str(stop)
        for output in self.outputs.values():
            try:
                while output.fd in held and self.on_output(output):
                    pass
            except Stop as stop:
                stopped = str(stop)
        return stopped

    def report(self, stopped, wall_ns, later):
        workspace, tmp, code, shm = self.folders.states(self.leaves_nothing)
        header = {
            "stopped": stopped,
            "wall_ns": wall_ns,
            "stdout_bytes": 0,
            "stderr_bytes": 0,
            "cpu_run_ns": self.clock.used,
            "workspace_full": is_full(workspace),
            "workspace_files_full": has_no_names(workspace),
            "tmp_full": is_full(tmp),
            "code_full": is_full(code),
            "shm_full": is_full(shm),
        }
        for output in self.outputs.values():
            header[output.name + "_bytes"] = output.seen
        if os.WIFSIGNALED(self.status):
            header["signal"] = os.WTERMSIG(self.status)
        else:
            header["status"] = os.WEXITSTATUS(self.status)
        header |= self.accounting.report()
        header["oom_kills"] += self.meter.kills
        header["memory_peak"] = header["memory_peak"] or self.meter.peak
        header["claimed"] = self.claim is not None
        self.frames.message(ENDED, header, self.claim or b"", later)


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
                elif self.snapshot.get(relative) != identity(status):
                    self.take(relative, status)
            folders.extend(reversed(below))

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


KINDS = {
    stat.S_IFLNK: "symbolic link",
    stat.S_IFIFO: "named pipe",
    stat.S_IFSOCK: "socket",
    stat.S_IFCHR: "device",
    stat.S_IFBLK: "device",
}


# ---------------------------------------------------------------------------------------------
# The child. From here on, the subagent's code shares the process: nothing here is trusted.


def run_child(channel_in, channel_out, out, err, imports):
    """Becomes the child and never returns."""
    status = 70
    try:
        channel = prepare(channel_in, channel_out, out, err)
        resolve_localhost()
        preload()
        import_ahead(imports)
        channel.open_code()
        rehearse(channel)
        seconds, source, program = channel.start()
        if imports:
            seconds += int(time.process_time())
        # Nobody may limit another process here, PID 1 included; nobody can raise a hard limit.
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))
        program = json.loads(program)
        if program.get("proxy"):
            os.environ.update(PROXY_ENVIRONMENT)
        if "command" in program:
            run_shell(program["command"])
        else:
            status = run_subagent(program, source, channel)
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        EXIT(status)


def prepare(channel_in, channel_out, out, err):
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(out, 1)
    os.dup2(err, 2)
    kept = sorted((channel_in, channel_out))
    os.closerange(3, kept[0])
    os.closerange(kept[0] + 1, kept[1])
    os.closerange(kept[1] + 1, 1 << 16)
    os.setsid()
    for number in UNWANTED:
        signal.signal(number, signal.SIG_DFL)
    set_dumpable(1)
    try:
        with open("/proc/self/oom_score_adj", "w") as file:
            file.write("1000")
    except OSError:
        pass  # Not every runtime has it.
    keep_proc()
    # Whatever this sandbox starts, PID 1 gets its turn.
    os.nice(10)
    os.environ.clear()
    os.environ.update(ENVIRONMENT)
    if os.path.isdir(PACKAGES):
        sys.path.append(PACKAGES)
        os.environ["PYTHONPATH"] = PACKAGES  # For a Python that the program starts.
    os.chdir(WORKSPACE)
    # Lines reach the observer as they are written, and survive a crash.
    sys.stdout.reconfigure(line_buffering=True)
    return Channel(channel_in, channel_out)


def keep_proc():
    """Gives up writing to /proc, for good and with all that it starts: with it the child could take
    its score back, and have the kernel end PID 1 in its place when memory is short.

    Where the kernel has no Landlock, or its first version, nothing changes. The numbers are the same on all machines.
    """
    create, add, restrict = 444, 445, 446
    # Any rule at all forbids to move a file to another folder, unless another rule allows it, which
    # the first version cannot say.
    write_file, move, beneath, which_version = 1 << 1, 1 << 13, 1, 1
    call = ctypes.CDLL(None, use_errno=True).syscall
    if call(create, None, 0, which_version) < 2:
        return
    handled = struct.pack("<Q", write_file | move)
    rules = call(create, handled, len(handled), 0)
    if rules < 0:
        return
    for folder in ("/workspace", "/tmp", "/code", "/dev", "/mnt"):
        try:
            fd = os.open(folder, os.O_PATH)
        except OSError:
            continue
        call(add, rules, beneath, struct.pack("<Qi", write_file | move, fd), 0)
        os.close(fd)
    call(restrict, rules, 0)
    os.close(rules)


def resolve_localhost():
    """Keeps `localhost` a name: without a network, the engine empties the hosts file."""
    import _socket

    names = {"localhost", b"localhost", os.uname().nodename}

    def wrap(function):
        def resolve(host, *arguments, **options):
            if isinstance(host, (str, bytes)) and host in names:
                family = arguments[1] if len(arguments) > 1 else options.get("family", 0)
                host = "::1" if family == _socket.AF_INET6 else "127.0.0.1"
            return function(host, *arguments, **options)

        resolve.__name__ = resolve.__qualname__ = function.__name__
        resolve.__doc__ = function.__doc__
        return resolve

    for name in ("getaddrinfo", "gethostbyname", "gethostbyname_ex"):
        setattr(_socket, name, wrap(getattr(_socket, name)))


def preload():
    """Imports what most subagents use, while files still arrive."""
    import atexit, datetime, importlib.util, linecache, pathlib, random, re, threading, traceback  # noqa: E401, F401

    # Kept, because the program may take the module away.
    global JOIN_THREADS, AHEAD
    JOIN_THREADS, AHEAD = threading._shutdown, dict(sys.modules)


def import_ahead(names):
    """Imports what the program is going to. One that is not there leaves no trace, and the program's own
    import says so; one that fails in another way may, so this process ends.
    """
    import importlib

    if not names:
        return
    signal.alarm(IMPORTS_S)
    wanted = {}
    for name in names:
        parts = name.split(".")
        wanted |= dict.fromkeys(".".join(parts[:count]) for count in range(1, len(parts) + 1))
    for name in wanted:
        before = len(sys.modules)
        parent, _, last = name.rpartition(".")
        package = sys.modules.get(parent)
        try:
            # A module of the same name would take the place of what is there.
            if parent and (package is None or hasattr(package, last)):
                continue
            importlib.import_module(name)
        except ImportError:
            if len(sys.modules) != before:
                raise
    signal.alarm(0)
    for file in (sys.stdout, sys.stderr):
        file.flush()
    AHEAD.update(sys.modules)


def rehearse(channel):
    """Goes once through what each run does: what is loaded and touched now costs no run its time."""
    import gc

    path, argv, main = sys.path[:], sys.argv[:], sys.modules["__main__"]
    file = os.path.join(os.fsdecode(CODE), "rehearsal.py")
    with open(file, "w") as out:
        out.write("import json\ndef main(query):\n    return {'answer': query, 'summary': ''}\n")
    try:
        module = load(b"rehearsal.py".hex(), b"", channel, {"shell_chars": 0})
        channel.dumps(result_of(module, json.loads('"ping"'), 1 << 10)).encode()
        release(module)
    finally:
        os.unlink(file)
        sys.path[:], sys.argv[:], sys.modules["__main__"] = path, argv, main
        for name in ("rehearsal", "_agentfactory"):
            sys.modules.pop(name, None)
    channel.open_code()
    gc.collect()
    gc.freeze()
    touch_pages()


def read_exactly(fd, count):
    parts = []
    while count:
        part = os.read(fd, min(count, 1 << 20))
        if not part:
            raise EOFError
        parts.append(part)
        count -= len(part)
    return b"".join(parts)


class Channel:
    """The child's side of the way to the host. Any thread may ask; a forked copy may not."""

    STOPPED = {"error": "the sandbox is stopping"}

    def __init__(self, fd_in, fd_out):
        self.fd_in, self.fd_out = fd_in, fd_out
        self.pid = os.getpid()
        self.limit = 1 << 22
        self.first = bytearray(INLINE_MAX)
        self.last = 0
        self.replies = {}
        self.reading = False
        self.condition = None
        self.dumps, self.loads = json.dumps, json.loads

    def open_code(self):
        """Opens the folder of the source, as the parent does; nothing of it is left to the program."""
        self.code = os.open(CODE, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def read_source(self, path, source):
        """The source of the entry file, which may have come with the program."""
        try:
            fd = None if source else os.open(path, os.O_RDONLY, dir_fd=self.code)
        finally:
            os.close(self.code)
        if fd is None:
            return source
        parts = []
        try:
            while part := os.read(fd, INLINE_MAX):
                parts.append(part)
        finally:
            os.close(fd)
        return b"".join(parts)

    def start(self):
        import threading

        self.condition = threading.Condition()
        self.sending = threading.Lock()
        first, self.first = self.first, None
        kind = CHILD_READY
        while True:
            self.send(kind, 0, b"")
            # Nothing follows until it is answered, so that one read takes all of it that is there.
            count = os.readv(self.fd_in, [first])
            if count < MESSAGE.size:
                raise EOFError
            kind, seconds, length = MESSAGE.unpack_from(first)
            if kind == CHILD_START:
                break
        body = bytes(first[MESSAGE.size : count])
        body += read_exactly(self.fd_in, length - len(body))
        (size,) = ID.unpack_from(body)
        source = body[ID.size : ID.size + size]
        return seconds, source, body[ID.size + size :]

    def send(self, kind, request, body):
        write_all(self.fd_out, MESSAGE.pack(kind, request, len(body)), body)

    def end(self, status):
        """Says the last word, and leaves the processor to PID 1, which ends this process. Ending by
        itself would keep the processor for longer than everything that is left to do. Where PID 1 does
        not get to read it, because requests that nobody waits for are before it, this process ends.
        """
        self.send(CHILD_END, status, b"")
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


def default_signals():
    """Undoes what Python ignores, for programs that are not Python's."""
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)


def run_shell(command):
    """Becomes the shell."""
    default_signals()
    shell = next(path for path in SHELLS if os.path.exists(path))
    arguments = [os.path.basename(shell), "-c", command]
    if "\0" in command:
        os.write(2, b"the command contains a NUL byte\n")
        os._exit(126)
    if len(command.encode()) > ARGUMENT_MAX:
        path = os.path.join(os.fsdecode(CODE), "command.sh")
        with open(path, "w") as file:
            file.write(command)
        arguments[1:] = [path]
    os.execv(shell, arguments)


class BadResult(Exception):
    """What main returned cannot be taken."""


def run_subagent(program, source, channel):
    """Runs main(query), sends the claim and returns the exit status."""
    import atexit
    import gc

    limits = program["limits"]
    channel.limit = limits["message"]
    status, claim, module, notes = 0, None, None, None
    if PACKAGES in sys.path:
        notes = Notes()
        sys.meta_path.insert(0, notes)
    try:
        if "clock" in program:
            fix_clock(program["clock"])
        if "seed" in program:
            fix_seed(program["seed"])
        module = load(program["entry"], source, channel, limits)
        claim = result_of(module, program["query"], limits["result"])
    except BadResult as error:
        status, claim = 1, {"kind": "bad_result", "why": printable(str(error))[:2000]}
    except SystemExit as error:
        status = exit_status(error.code)
    except BaseException as error:
        status, claim = 1, describe(error, limits["traceback"])
    if os.getpid() != channel.pid:
        # main forked and both returned: only the first process speaks for the run.
        if claim and claim["kind"] == "raised":
            sys.stderr.write(claim["traceback"])
        claim = None
    if claim is not None and notes is not None and (imports := notes.imports()):
        claim["imports"] = imports
    if claim is not None:
        channel.send(CHILD_CLAIM, 0, channel.dumps(claim).encode())
    if claim is None or claim["kind"] == "result":
        join_threads()
    atexit._run_exitfuncs()
    release(module)
    gc.collect()
    for file in (sys.stdout, sys.__stdout__, sys.stderr, sys.__stderr__):
        try:
            file.flush()
        except BaseException:
            pass
    if os.getpid() == channel.pid:
        channel.end(status)
    return status


def fix_clock(start_ms):
    """Has Python's clock begin at a time. Each reading is a millisecond after the one before, so that
    what divides by a duration or waits for an end works; sleeping moves it by what was asked for.
    """
    import itertools

    plain = dict(vars(time))
    readings, slept = itertools.count(start_ms * 1_000_000, 1_000_000), 0

    def time_ns():
        return next(readings) + slept

    def now():
        return time_ns() // 1_000_000_000

    def sleep(seconds, /):
        nonlocal slept
        plain["sleep"](seconds)
        slept += int(seconds * 1_000_000_000)

    def clock_gettime_ns(clock, /):
        return time_ns() if clock == time.CLOCK_REALTIME else plain["clock_gettime_ns"](clock)

    def clock_gettime(clock, /):
        return time_ns() / 1e9 if clock == time.CLOCK_REALTIME else plain["clock_gettime"](clock)

    def or_now(name):
        return lambda seconds=None, /: plain[name](now() if seconds is None else seconds)

    functions = {
        "time": lambda: time_ns() / 1e9,
        "time_ns": time_ns,
        "sleep": sleep,
        "clock_gettime": clock_gettime,
        "clock_gettime_ns": clock_gettime_ns,
        "localtime": or_now("localtime"),
        "gmtime": or_now("gmtime"),
        "ctime": or_now("ctime"),
        "asctime": lambda *at: plain["asctime"](*(at or [time.localtime()])),
        "strftime": lambda how, *at: plain["strftime"](how, *(at or [time.localtime()])),
    }
    for name, function in functions.items():
        function.__name__ = function.__qualname__ = name
        function.__doc__ = plain[name].__doc__
        setattr(time, name, function)
    fix_dates(time_ns)


def fix_dates(time_ns):
    """Has dates ask this clock. The types stay the ones that they are: what checks for them, pickles
    them or makes them in C goes on as ever.
    """
    import datetime
    import gc

    def reading(cls, zone):
        seconds, rest = divmod(time_ns(), 1_000_000_000)
        return cls.fromtimestamp(seconds, zone).replace(microsecond=rest // 1000)

    def now(cls, tz=None):
        return reading(cls, tz)

    def utcnow(cls):
        return reading(cls, datetime.timezone.utc).replace(tzinfo=None)

    def today(cls):
        return cls.fromtimestamp(time_ns() / 1e9)

    changed = ctypes.pythonapi.PyType_Modified
    changed.argtypes, changed.restype = [ctypes.py_object], None
    methods = {datetime.date: [today], datetime.datetime: [now, utcnow]}
    for kind, functions in methods.items():
        (names,) = gc.get_referents(kind.__dict__)
        for function in functions:
            name = function.__name__
            function.__qualname__ = f"{kind.__name__}.{name}"
            names[name] = classmethod(function)
            changed(kind)
            if getattr(getattr(kind, name), "__func__", None) is not function:
                raise RuntimeError(f"this Python lets nobody set the clock of {name}")


def fix_seed(seed):
    """Seeds the generators of `random` and `numpy.random`: the common ones with the number itself, and
    each one that is made without a seed with another that follows from it.
    """
    import itertools
    import random

    plain, made = random.Random.seed, itertools.count()

    def seed_one(self, a=None, version=2):
        plain(self, f"{seed} {next(made)}" if a is None else a, version)

    def bits(count):
        generator = random.Random.__new__(random.Random)
        generator.seed()
        return generator.getrandbits(count)

    def seed_numpy(module):
        # Where generators of numpy take their seed from when they are given none.
        sys.modules["numpy.random.bit_generator"].randbits = bits
        module.seed(seed)

    random.Random.seed = seed_one
    random.seed(seed)
    if "numpy.random" in sys.modules:
        seed_numpy(sys.modules["numpy.random"])
    else:
        sys.meta_path.insert(0, AfterImport("numpy.random", seed_numpy))


class AfterImport:
    """Does something to a module when it has been imported, once."""

    def __init__(self, name, action):
        from importlib.machinery import PathFinder

        self.name, self.action, self.finder = name, action, PathFinder

    def find_spec(self, name, path=None, target=None):
        if name != self.name:
            return None
        sys.meta_path.remove(self)
        spec = self.finder.find_spec(name, path, target)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def exec_module(module):
                execute(module)
                self.action(module)

            spec.loader.exec_module = exec_module
        return spec


class Notes:
    """Notes what the program imports of its environment itself, as a finder that finds nothing: the
    sandboxes of runs that follow import it ahead.
    """

    def __init__(self):
        self.names = []

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in sys.stdlib_module_names or len(self.names) >= NOTED_MAX:
            return None
        # What a distribution imports while it is imported comes with it.
        frame = sys._getframe(1)
        while frame is not None:
            code = frame.f_code
            if code.co_name == "<module>" and code.co_filename.startswith(PACKAGES):
                return None
            frame = frame.f_back
        self.names.append(name)
        return None

    def imports(self):
        """Those that were found in the environment."""
        root, found = PACKAGES + "/", []
        for name in self.names:
            try:
                if sys.modules[name].__spec__.origin.startswith(root):
                    found.append(name)
            except Exception:
                continue  # It was not found, or the program has put something else in its place.
        return found


def join_threads():
    """Waits, as Python does at its end, for the threads that are not daemons.

    Not after an exception: it says more than the limit of time that a stuck thread would reach.
    """
    try:
        JOIN_THREADS()
    except BaseException:
        sys.excepthook(*sys.exc_info())


def load(entry, source, channel, limits):
    """Imports the entry file; its folder, the source's root and the shims are importable."""
    import types
    from importlib.machinery import ModuleSpec, SourceFileLoader

    root, entry = os.fsdecode(CODE), os.fsdecode(bytes.fromhex(entry))
    path = os.path.join(root, entry)
    name = os.path.basename(path).removesuffix(".py")
    if name in sys.modules or name in sys.stdlib_module_names or not name.isidentifier():
        name = "subagent"
    folders = dict.fromkeys((os.path.dirname(path), root, SHIMS))
    sys.path[:0] = folders
    sys.argv[:] = [path]
    bridge = types.ModuleType("_agentfactory")
    bridge.request = channel.request
    bridge.shell_output_chars = limits["shell_chars"]
    bridge.shells = SHELLS
    sys.modules["_agentfactory"] = bridge
    # What the import system would make of it, without looking for bytecode that cannot be there.
    module = types.ModuleType(name)
    module.__spec__ = ModuleSpec(name, SourceFileLoader(name, path), origin=path)
    module.__spec__.has_location = True
    module.__loader__ = module.__spec__.loader
    module.__file__, module.__package__ = path, ""
    sys.modules[name] = sys.modules["__main__"] = module
    source = channel.read_source(entry, source)
    exec(compile(source, path, "exec", dont_inherit=True), module.__dict__)
    return module


def result_of(module, query, limit):
    main = getattr(module, "main", None)
    if main is None:
        raise BadResult("the entry file defines no main(query)")
    if not callable(main):
        raise BadResult(f"main is not a function but {kind_of(main)}")
    value = main(query)
    if not isinstance(value, dict):
        if type(value).__name__ == "coroutine":
            value.close()
            raise BadResult("main returned a coroutine: define it with def, not async def")
        raise BadResult(f"main returned {kind_of(value)}, not a dict")
    claim = {"kind": "result"}
    for key in ("answer", "summary"):
        claim[key] = text_of(key, dict.get(value, key))
    size = len(json.dumps([claim["answer"], claim["summary"]], ensure_ascii=False).encode())
    if size > limit:
        raise BadResult(f"answer and summary have {size} bytes, at most {limit} are taken")
    return claim


def kind_of(value):
    name = type(value).__name__
    if name == "NoneType":
        return "None"
    return ("an " if name[:1].lower() in "aeiou" else "a ") + name


def text_of(key, value):
    """A string as it is, None as nothing, anything else as its JSON text."""
    if value is None:
        return ""
    if isinstance(value, str):
        text = str.__str__(value)
    else:
        try:
            text = json.dumps(value, ensure_ascii=False, allow_nan=False)
        except RecursionError:
            raise BadResult(f"{key} is nested too deep") from None
        except MemoryError:
            raise
        except Exception as error:
            raise BadResult(f"{key} cannot be written as JSON: {error}") from None
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise BadResult(f"{key} is not valid Unicode: {error.reason}") from None
    return text


def exit_status(code):
    if code is None:
        return 0
    if isinstance(code, int):
        return code & 0xFF
    print(code, file=sys.stderr)
    return 1


def describe(error, limit):
    """What an exception says, without the frames of this file."""
    import traceback

    kind = type(error)
    name = kind.__qualname__
    if kind.__module__ not in ("builtins", "__main__"):
        name = f"{kind.__module__}.{name}"
    here = describe.__code__.co_filename
    frame = error.__traceback__
    while frame is not None:
        file = frame.tb_frame.f_code.co_filename
        if file != here and not file.startswith("<frozen importlib"):
            break
        frame = frame.tb_next
    try:
        text = "".join(traceback.format_exception(kind, error, frame))
    except BaseException as failure:
        text = f"{name}: its traceback could not be written ({type(failure).__name__})\n"
    try:
        message = str(error)
    except BaseException as failure:
        message = f"its message could not be read ({type(failure).__name__})"
    claim = {
        "kind": "raised",
        "exception": shorten(printable(name), 200),
        "message": shorten(printable(message), limit),
        "traceback": shorten(printable(text), limit),
        "no_space": False,
        "path": "",
    }
    full = no_space_of(error)
    if full is not None:
        claim["no_space"] = True
        if isinstance(full.filename, str):
            claim["path"] = printable(full.filename)[:4096]
    traceback.clear_frames(error.__traceback__)
    return claim


def no_space_of(error):
    """The error of a full file system that an exception is, or that it came from."""
    for _ in range(16):
        if isinstance(error, OSError) and error.errno in (EFBIG, ENOSPC, EDQUOT):
            return error
        error = error.__cause__ or error.__context__
        if error is None:
            break
    return None


def printable(text):
    """Text that can be sent: what is not Unicode is escaped."""
    return text.encode("utf-8", "backslashreplace").decode()


def shorten(text, limit):
    """Keeps the beginning and the end, at most `limit` bytes."""
    raw = text.encode()
    if len(raw) <= limit:
        return text
    mark = f"\n... {len(raw) - limit} bytes left out ...\n".encode()
    half = max(0, limit - len(mark) - 8) // 2
    kept = raw[:half].decode("utf-8", "ignore") + mark.decode()
    return kept + raw[len(raw) - half :].decode("utf-8", "ignore")


def release(module):
    """Drops what the subagent's modules hold, so that files left open are written."""
    root = os.fsdecode(CODE) + "/"
    modules = [
        found
        for name, found in list(sys.modules.items())
        if AHEAD.get(name) is not found
        and str(getattr(found, "__file__", None) or "").startswith(root)
    ]
    for found in modules + [module]:
        if found is not None:
            found.__dict__.clear()


def harden():
    """Closes PID 1 to the child: no look into it, no signal reaches it."""
    set_dumpable(0)
    # The kernel of Linux drops what PID 1 does not handle; that of gVisor wants to be told.
    for number in UNWANTED:
        signal.signal(number, signal.SIG_IGN)


def serve():
    parent = Parent()
    try:
        parent.main()
    except Exception as error:
        parent.frames.message(FAILED, {"why": f"{type(error).__name__}: {error}"[:2000]})
        raise
    EXIT(0)  # The interpreter's own end takes milliseconds, and frees what ends with it.


if __name__ == "__main__":
    harden()
    serve()
