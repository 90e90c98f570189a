"""Commands, and the shell that waits for one."""

import json
import os
import signal

from .prepare import prepare
from .system import CODE, EXIT, PROXY_ENVIRONMENT, default_signals, write_all

SHELLS = ("/bin/bash", "/usr/bin/bash", "/bin/sh")
# The kernel takes at most 128 KiB in one argument; a longer command becomes a file.
ARGUMENT_MAX = 120_000


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
