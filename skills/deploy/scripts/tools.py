"""The tools of a subagent, outside AgentFactory.

Inside AgentFactory a shell command runs in a locked-down sandbox. Here it would run on THIS MACHINE, with
your rights and your files: it is refused unless AGENTFACTORY_ALLOW_SHELL=1 is set. Tools that need a service
are refused here; every refusal is an answer that the subagent can read.
"""

import json
import os
import select
import signal
import subprocess
import time

#: Says what the version was granted.
VERSION = os.path.join(os.path.dirname(os.path.realpath(__file__)), "subagent.json")
SHELLS = ("/bin/bash", "/usr/bin/bash", "/bin/sh")
OUTPUT_MAX = 5000  # characters of each stream
TIMEOUT = 600.0  # seconds


def execute_shell_command(command):
    """Runs a command on this machine, in the current directory, and returns what it printed.

    Standard output is cut at 5000 characters; standard error follows after `[Stderr]:`. An error is a text
    that begins with `Error:`.
    """
    if not isinstance(command, str):
        return "Error: refused: a command is a string"
    with open(VERSION, encoding="utf-8") as file:
        if "shell_command" not in json.load(file)["skills"]:
            return "Error: refused: this subagent was not granted the skill `shell_command`"
    if os.environ.get("AGENTFACTORY_ALLOW_SHELL") != "1":
        return (
            "Error: refused: outside AgentFactory there is no sandbox, and this command would run on the machine "
            "itself. Set AGENTFACTORY_ALLOW_SHELL=1 to allow that"
        )
    try:
        status, out, err = _execute(command)
    except (OSError, ValueError) as error:
        return f"Error: the command could not be started: {error}"
    if status is None:
        return f"Error: the command ran longer than {TIMEOUT:.0f} seconds and was killed"
    text = out + (f"\n[Stderr]:\n{err}" if err else "")
    if text.strip():
        return text
    if status == 0:
        return "[The command succeeded without output]"
    return f"[The command ended with status {status} without output]"


def search_serper(query, topk=10):
    """Not available here; the answer says so."""
    return [{"error": "refused: web search is not available outside AgentFactory"}]


def read_url_jina(url):
    """Not available here; the answer says so."""
    return "Error: refused: reading web pages is not available outside AgentFactory"


google_search = web_search = search_serper
jina_reader = web_reading = read_url_jina
shell_command = execute_shell_command


def _execute(command):
    """Waits for the command to end, not for what it left running in the background."""
    shell = next(path for path in SHELLS if os.path.exists(path))
    process = subprocess.Popen(
        [shell, "-c", command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    streams = {process.stdout.fileno(): _Head(), process.stderr.fileno(): _Head()}
    poll = select.poll()
    for fd in streams:
        os.set_blocking(fd, False)
        poll.register(fd, select.POLLIN)
    deadline = time.monotonic() + TIMEOUT
    try:
        while process.poll() is None and time.monotonic() < deadline:
            if all(head.ended for head in streams.values()):
                time.sleep(0.01)
            for fd, _ in poll.poll(20):
                if streams[fd].read(fd) == 0:
                    poll.unregister(fd)
        if process.poll() is None:
            return None, "", ""
        deadline = time.monotonic() + 1
        for fd, head in streams.items():
            while head.read(fd) and time.monotonic() < deadline:
                pass
        return process.returncode, *(head.text() for head in streams.values())
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        process.stdout.close()
        process.stderr.close()


class _Head:
    """The beginning of a stream; the rest is read and dropped."""

    def __init__(self):
        self.kept = bytearray()
        self.dropped = False
        self.ended = False

    def read(self, fd):
        """Reads once; the number of bytes, 0 at the end, None when there is nothing now."""
        try:
            data = os.read(fd, 65536)
        except BlockingIOError:
            return None
        self.ended = not data
        room = 4 * OUTPUT_MAX - len(self.kept)
        self.kept += data[:room]
        self.dropped = self.dropped or len(data) > room
        return len(data)

    def text(self):
        """What was kept, cut to the limit."""
        text = self.kept.decode("utf-8", "replace")
        if len(text) > OUTPUT_MAX or self.dropped:
            text = text[:OUTPUT_MAX] + f"\n... (cut: only the first {OUTPUT_MAX} characters are shown)"
        return text
