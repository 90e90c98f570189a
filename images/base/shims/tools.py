"""Tools of a subagent. The host carries out what the subagent is granted; a refusal is readable."""

import os
import select
import subprocess
import time

import _agentfactory


def search_serper(query, topk=10):
    """Searches the web: [{"title", "link", "snippet"}, ...], or [{"error": ...}]."""
    answer = _agentfactory.request("web_search", {"query": query, "topk": topk})
    if isinstance(answer, dict) and isinstance(answer.get("ok"), list):
        return answer["ok"]
    return [{"error": _refusal(answer)}]


def read_url_jina(url):
    """Reads a web page as text, at most 8000 characters; an error begins with `Error:`."""
    answer = _agentfactory.request("web_reading", {"url": url})
    if isinstance(answer, dict) and isinstance(answer.get("ok"), str):
        return answer["ok"][:8000]
    return f"Error: {_refusal(answer)}"


def execute_shell_command(command):
    """Runs a command in the workspace and returns what it printed.

    Standard output is cut at 5000 characters; standard error follows after `[Stderr]:`.
    """
    answer = _agentfactory.request("shell_command", {"command": command})
    if not (isinstance(answer, dict) and answer.get("execute") is True):
        if isinstance(answer, dict) and isinstance(answer.get("ok"), str):
            return answer["ok"]
        return f"Error: {_refusal(answer)}"
    try:
        status, out, err = _execute(command)
    except (OSError, ValueError) as error:
        return f"Error: the command could not be started: {error}"
    text = out + (f"\n[Stderr]:\n{err}" if err else "")
    if text.strip():
        return text
    if status == 0:
        return "[The command succeeded without output]"
    return f"[The command ended with status {status} without output]"


google_search = web_search = search_serper
jina_reader = web_reading = read_url_jina
shell_command = execute_shell_command


def _refusal(answer):
    if isinstance(answer, dict) and "error" in answer:
        return str(answer["error"])
    return "the answer cannot be read"


def _execute(command):
    """Waits for the command to end, not for what it left running in the background."""
    shell = next(path for path in _agentfactory.shells if os.path.exists(path))
    process = subprocess.Popen(
        [shell, "-c", command],
        cwd="/workspace",
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    streams = {process.stdout.fileno(): _Head(), process.stderr.fileno(): _Head()}
    poll = select.poll()
    for fd in streams:
        os.set_blocking(fd, False)
        poll.register(fd, select.POLLIN)
    while process.poll() is None:
        for fd, _ in poll.poll(20):
            if streams[fd].read(fd) == 0:
                poll.unregister(fd)
        if all(head.ended for head in streams.values()):
            process.wait()
    deadline = time.monotonic() + 1
    for fd, head in streams.items():
        while head.read(fd) and time.monotonic() < deadline:
            pass
    out, err = (head.text() for head in streams.values())
    process.stdout.close()
    process.stderr.close()
    return process.returncode, out, err


class _Head:
    """The beginning of a stream; the rest is read and dropped."""

    def __init__(self):
        self.kept = bytearray()
        self.dropped = False
        self.ended = False

    def read(self, fd):
        try:
            data = os.read(fd, 65536)
        except BlockingIOError:
            return None
        self.ended = not data
        room = 4 * _agentfactory.shell_output_chars - len(self.kept)
        self.kept += data[:room]
        self.dropped = self.dropped or len(data) > room
        return len(data)

    def text(self):
        limit = _agentfactory.shell_output_chars
        text = self.kept.decode("utf-8", "replace")
        if len(text) > limit or self.dropped:
            text = text[:limit] + f"\n... (cut: only the first {limit} characters are shown)"
        return text
