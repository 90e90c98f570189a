"""The tools of a subagent, outside AgentFactory.

Inside AgentFactory a shell command runs in a locked-down sandbox. Here it would run on THIS MACHINE, with
your rights and your files: it is refused unless AGENTFACTORY_ALLOW_SHELL=1 is set. Tools that need a service
are refused here; every refusal is an answer that the subagent can read.
"""

import os
import signal
import subprocess

#: Set by run.py from what the version was granted.
granted = True

OUTPUT_MAX = 5000  # characters of standard output
TIMEOUT = 600.0  # seconds


def execute_shell_command(command):
    """Runs one command on this machine; returns its output, or a string that starts with `Error:`."""
    if not granted:
        return "Error: refused: this subagent was not granted the skill `shell_command`"
    if not isinstance(command, str):
        return "Error: refused: a command is a string"
    if os.environ.get("AGENTFACTORY_ALLOW_SHELL") != "1":
        return (
            "Error: refused: outside AgentFactory there is no sandbox, and this command would run on the machine "
            "itself. Set AGENTFACTORY_ALLOW_SHELL=1 to allow that"
        )
    try:
        shell = subprocess.Popen(
            ["/bin/sh", "-c", command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        return f"Error: the command could not be started: {error}"
    with shell:
        try:
            output, errors = shell.communicate(timeout=TIMEOUT)
        except subprocess.TimeoutExpired:
            os.killpg(shell.pid, signal.SIGKILL)
            return f"Error: the command ran longer than {TIMEOUT:.0f} seconds and was killed"
        except BaseException:
            os.killpg(shell.pid, signal.SIGKILL)
            raise
    output = output.decode("utf-8", "replace")
    if len(output) > OUTPUT_MAX:
        output = (
            output[:OUTPUT_MAX]
            + f"\n... (Output truncated: showing first {OUTPUT_MAX} characters. "
            + "Use 'head', 'tail' or 'grep' to read specific parts.)"
        )
    errors = errors.decode("utf-8", "replace")
    return f"{output}\n[Stderr]:\n{errors}" if errors else output


def search_serper(query, topk=10):
    """Not available here; the answer says so."""
    return [{"error": "refused: web search is not available outside AgentFactory"}]


def read_url_jina(url):
    """Not available here; the answer says so."""
    return "Error: refused: reading web pages is not available outside AgentFactory"


web_search = google_search = search_serper
web_reading = jina_reader = read_url_jina
shell_command = execute_shell_command
