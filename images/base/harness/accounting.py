"""What a run uses, and the limits that the harness itself holds it to."""

import ctypes
import os
import resource
import struct
import time

from .system import IS_GVISOR, LIBC

TICKS_S = os.sysconf("SC_CLK_TCK")
SYSINFO = ctypes.create_string_buffer(128)


class Accounting:
    """What the kernel counts for this sandbox, under either version of control groups."""

    ROOT = "/sys/fs/cgroup/"

    def __init__(self):
        self.files = {}  # Open ones, because opening takes longer than reading; None: not there.
        self.cpu_seen = 0
        self.counts_processes = False  # Nothing else counts their time.
        self.child_stat = None
        self.is_alone = False  # Whether the child was the only one beside this, when last looked.
        self.has_waited = False  # Whether this process has waited for another.
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
        """What the others that are there used, and those that were waited for."""
        try:
            self.is_alone = self.child_stat is not None and count_tasks() == 2
            if self.is_alone:
                ticks = ticks_of(os.pread(self.child_stat, 1 << 10, 0))
            else:
                ticks = self.ticks_of_all()
        except (OSError, ValueError):
            ticks = self.ticks_of_all()
        waited_s = sum(os.times()[2:4]) if self.has_waited else 0
        return int((ticks / TICKS_S + waited_s) * 1e9)

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

    def room(self):
        """Memory that is left, with what the kernel can give back; None where nothing counts it."""
        used = self.read("memory.current", "memory/memory.usage_in_bytes")
        most = self.read("memory.max", "memory/memory.limit_in_bytes")
        if not used or not most.strip().isdigit():
            return None
        room = int(most) - int(used)
        for line in self.read("memory.stat", "memory/memory.stat").splitlines():
            name, _, value = line.partition(b" ")
            if name in (b"active_file", b"inactive_file"):
                room += int(value)
        return room

    def report(self):
        cpu_ns = self.cpu_seen if self.counts_processes else self.cpu_ns()
        peak = self.read("memory.peak", "memory/memory.max_usage_in_bytes")
        return {
            "oom_kills": self.kills() - self.kills_before,
            "cpu_ns": cpu_ns,
            "memory_peak": int(peak or 0),
        }


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
    # The kernel of gVisor counts in this: of a shorter run it mostly says nothing.
    TICK_NS = 10_000_000

    def __init__(self, accounting):
        self.accounting = accounting
        self.limit = None
        self.before = self.used = self.next_ns = self.looked_ns = 0

    def begin(self, limit):
        """Returns the limit in seconds that the child is to set for itself and all it starts."""
        self.limit = limit
        # Where it takes a look at each process, that was taken while this waited.
        if not self.accounting.counts_processes:
            self.before = self.accounting.cpu_ns()
        self.next_ns = time.monotonic_ns() + self.PERIOD_NS
        # The kernel counts whole seconds, and what the child used before counts there.
        return min(limit // 1_000_000_000 + 2, (1 << 32) - 1)

    def look(self):
        if self.limit is not None:
            self.used = self.accounting.cpu_ns() - self.before
            self.looked_ns = time.monotonic_ns()

    def look_at_end(self, wall_ns):
        """Looks once more, unless it has just done so, or the run was shorter than what is counted in."""
        is_fresh = time.monotonic_ns() - self.looked_ns < 5_000_000
        if not (self.accounting.counts_processes and (is_fresh or wall_ns < self.TICK_NS)):
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
