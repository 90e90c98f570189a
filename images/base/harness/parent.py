"""The parent: PID 1. It never trusts what the child says."""

import gc
import os
import select
import signal
import sys
import time

from .accounting import Accounting, Clock, Meter, Sockets
from .child import run_child
from .collector import Collector
from .folders import Folders, Restore, has_no_names, is_full
from .frames import (
    CANCEL,
    CHILD_CLAIM,
    CHILD_ECHO,
    CHILD_END,
    CHILD_GO,
    CHILD_READY,
    CHILD_REPLY,
    CHILD_REQUEST,
    CHILD_START,
    CHILD_STIR,
    CHUNK,
    DATA,
    DONE,
    ECHO,
    ECHOED,
    ENDED,
    FILE,
    FRAME,
    ID,
    INLINE_MAX,
    MESSAGE,
    PROTOCOL,
    READY,
    REPLY,
    REQUEST,
    RUN,
    STARTED,
    STDERR,
    STDOUT,
    STIR,
    STREAM,
    WINDOW,
    Frames,
    control,
    split_control,
)
from .relay import Relay
from .shell import WaitingShell
from .system import HOME, IS_GVISOR, touch_pages, widen_pipe

# What a process may have a pipe hold. Source: `pipe(7)`.
PIPE_MAX = 1 << 20
# How often a sandbox of gVisor goes the way of a run before it is ready.
ECHOES = 16
# How long one that was stirred stays awake there, how often it looks around meanwhile, and each so many
# times it stirs the child.
AWAKE_NS, AWAKE_MS, AWAKE_LOOKS = 150_000_000, 4, 6
# A run of a good end within this has filled no file system; there, asking takes a twentieth of the run.
SHORT_NS = 20_000_000

# Memory that the collection takes: for itself, and for each file at most, with its name twice.
COLLECT_ROOM, NAME_ROOM = 16 << 20, 640


class Stop(Exception):
    """The child is to be stopped, with the reason that the host is told."""


class Output:
    """One of the child's output streams."""

    def __init__(self, name, kind, fd):
        self.name, self.kind, self.fd = name, kind, fd
        self.seen = 0


def wait_for(pid):
    """Waits for the end of a process that was killed."""
    try:
        os.waitpid(pid, 0)
    except ChildProcessError:
        pass  # Others have seen it.


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
        self.child_is_silent = False  # Its end of the pipe is closed: mostly it has ended.
        self.awake_until_ns = self.looks = 0
        self.deferred = None  # The header of the first source, while that is not written.
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
        self.clock.look_at_end(wall_ns)
        self.end_all(wall_ns)
        if self.relay is not None:
            self.relay.end()
        if self.started is None:
            early = b"".join(self.early).decode("utf-8", "replace")
            raise RuntimeError(f"the child ended before it began ({self.status}): {early}")
        missed = self.drain()
        stopped = stopped or missed
        if stopped is None and not self.leaves_nothing and not self.can_collect():
            stopped = "memory"
        # Where nothing is to be collected, the last words are one.
        self.report(stopped, wall_ns, later=self.leaves_nothing)
        if stopped not in ("cancel", "memory") and not self.leaves_nothing:
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
        # Looking for cycles writes to each object, and what is written is not shared any more.
        gc.freeze()
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
            events = self.poll.poll(self.waiting_ms() if self.started is None else tick_ms)
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
            if not events and self.started is None:
                self.look_awake()
            is_late = not events and self.started is not None
            self.reap_if(is_late or self.child_is_silent or any(fd == self.pidfd for fd, _ in events))
            if self.status is None and self.clock.is_over():
                raise Stop("cpu")
            if self.started is not None and self.status is None and self.sockets.are_too_many():
                raise Stop("sockets")
            if self.status is None and self.meter.is_exceeded():
                # As the kernel would: what is killed does not come to its end.
                self.meter.kills = 1
                self.kill_all()

    def waiting_ms(self):
        """How long one that waits for its run sleeps: it costs no processor time, unless it is awake."""
        if self.pidfd is None and self.child_is_silent:
            return 5  # The child's end is near, and nothing else tells of it.
        return AWAKE_MS if time.monotonic_ns() < self.awake_until_ns else None

    def on_relay(self, fd, mask):
        if fd in self.relay.listeners:
            self.relay.accept(fd)
        elif fd in self.relay.by_fd:
            self.relay.by_fd[fd].on_event(mask)

    def reap_if(self, is_due):
        """Looks for the dead when one may be there, and now and then for those that nobody named."""
        now = time.monotonic_ns()
        if is_due or now - self.reaped_ns > self.REAP_NS:
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
            self.accounting.has_waited = True
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
            if kind == STIR:
                self.stir()
                continue
            header, rest = split_control(payload)
            if kind == FILE:
                self.restore_deferred()
                if header["root"] == "code":
                    self.sources += 1
                    whole = len(rest) == header["size"] <= INLINE_MAX
                    self.source = rest if whole and self.sources == 1 else b""
                    if self.shell is not None:
                        self.shell.discard()  # Only subagents have code.
                    if IS_GVISOR and self.source:
                        self.deferred = header
                        continue
                self.restore.begin(header)
            elif kind not in (RUN, REPLY):
                raise ValueError(f"unknown frame {kind}")
            self.body = (kind, header, [], header["size"])
            self.on_body(rest)

    def restore_deferred(self):
        """Writes the source that came first; where there is no other, its text is with the child by now."""
        if self.deferred is not None:
            header, self.deferred = self.deferred, None
            self.restore.begin(header)
            self.restore.write(self.source)
            self.restore.end()

    def look_awake(self):
        """Uses what a run uses, and now and then has the child do so."""
        self.looks += 1
        if self.child_ready and self.looks % AWAKE_LOOKS == 0 and not self.to_child:
            self.tell(CHILD_STIR, 0, b"")
            split_control(control(self.accounting.report()))

    def stir(self):
        """Uses what a run uses, because one may come any moment: memory that nobody has used for a while
        takes machines longer than the run takes itself. Under gVisor each system call has two threads wait
        for one another, and processors that sleep take long to wake up: there it stays awake instead.
        """
        if not self.child_ready or self.started is not None or self.to_child:
            return
        if IS_GVISOR:
            self.awake_until_ns = time.monotonic_ns() + AWAKE_NS
            self.look_at_clock()
            return
        self.tell(CHILD_STIR, 0, b"")
        full = [is_full(state) for state in self.folders.states(is_untouched=False)]
        split_control(control(self.accounting.report() | {"full": full}))

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
                if IS_GVISOR and self.source:
                    self.restore_deferred()
                    self.tell(CHILD_GO, 0, b"")
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
            self.child_is_silent = True
            self.poll.unregister(self.child_out)
            return False
        had_claim = self.claim is not None
        self.from_child += self.buffer[:count]
        self.take_messages()
        if self.is_busy():
            self.poll.unregister(self.child_out)
        elif IS_GVISOR and self.claim is not None and not had_claim and self.status is None:
            return self.on_child()  # Its last word is mostly there by now.
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
                wall_ns = time.monotonic_ns() - self.started
                if self.accounting.counts_processes and wall_ns >= self.clock.TICK_NS:
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
        if IS_GVISOR or self.imports:
            self.look_at_clock()
        header = {"protocol": PROTOCOL, "python": sys.version.split()[0]}
        # Where processes are counted, a run would pay for it, unless that is looked at each time.
        header["stir"] = IS_GVISOR or not self.accounting.counts_processes
        self.frames.message(READY, header)
        self.start()

    def look_at_clock(self):
        """Takes what was used so far, where that takes too long for a run, which is not to pay for it."""
        used_ns = self.accounting.cpu_ns()
        if self.accounting.counts_processes:
            self.clock.before = used_ns

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

    def end_all(self, wall_ns):
        """Ends every other process. One that was killed runs no instruction of its own any more, but
        giving its memory back takes it longer than all that is left to do: where nothing is collected,
        nobody waits for that. The kernel of gVisor gives it back beside this process and slows it down;
        there they stand still until this process ends, and all others with it. A child that has said
        its last word sleeps already; what it left behind in a short run has a moment more.
        """
        if self.status is not None:
            is_known = self.accounting.is_alone or wall_ns < self.clock.TICK_NS
            sleeps = self.has_said_end and is_known
            try:
                if not (IS_GVISOR and sleeps):
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

    def can_collect(self):
        """Whether there is memory to look at what was left: where hardly any is, the kernel takes away the
        pages that this program runs from, again and again, and it goes on for minutes.
        """
        room = self.accounting.room()
        state = os.fstatvfs(self.folders.workspace)
        return room is None or room >= COLLECT_ROOM + (state.f_files - state.f_ffree) * NAME_ROOM

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
                # No more than a pipe holds: somebody may still write.
                reads = range(PIPE_MAX // INLINE_MAX + 1 if output.fd in held else 0)
                all(self.on_output(output) for _ in reads)
            except Stop as stop:
                stopped = str(stop)
        return stopped

    def report(self, stopped, wall_ns, later):
        is_well = self.has_said_end and self.status == 0 and self.claim is not None
        if IS_GVISOR and is_well and self.leaves_nothing and wall_ns < SHORT_NS:
            workspace = tmp = code = shm = None
        else:
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
