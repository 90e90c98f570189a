"""Runs a deployed version in its own image, with the files and the answers of a recorded run.

Reads {"run", "shims", "query", "files", "answers", "shell_chars"} from standard input. Ends as the version
does, and with status 3 when it asked for something that its record does not hold.
"""

import base64
import importlib.util
import json
import os
import runpy
import sys
import types

ASKED_MORE = 3


def restore(files):
    """Writes the workspace; names are bytes."""
    for path, content, executable in files:
        path = base64.b64decode(path)
        folder = os.path.dirname(path)
        if folder:
            os.makedirs(folder, exist_ok=True)
        with open(path, "wb") as file:
            file.write(base64.b64decode(content))
        os.chmod(path, 0o755 if executable else 0o644)


class Record:
    """Answers each recorded request once, in the order in which equal ones were made."""

    def __init__(self, answers):
        self.left = answers
        self.missing = []

    def request(self, tool, arguments):
        asked = json.loads(json.dumps(arguments))
        for index, (known, request, response) in enumerate(self.left):
            # Of what was refused, the record holds no more than that it was.
            refused = isinstance(request, dict) and set(request) == {"refused"}
            if known == tool and (refused or request == asked):
                del self.left[index]
                return response
        self.missing.append(tool)
        return {"error": f"the record of this run holds no such call of {tool}"}


def shim(folder, name):
    """The module that a sandbox has, in place of the one that asks the world."""
    spec = importlib.util.spec_from_file_location(name, os.path.join(folder, f"{name}.py"))
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)


def main():
    case = json.load(sys.stdin)
    restore(case["files"])
    record = Record(case["answers"])
    bridge = types.ModuleType("_agentfactory")
    bridge.request = record.request
    bridge.shell_output_chars = case["shell_chars"]
    bridge.shells = ("/bin/bash", "/usr/bin/bash", "/bin/sh")
    sys.modules["_agentfactory"] = bridge
    for name in ("tools", "llm"):
        shim(case["shims"], name)
    sys.argv[:] = [case["run"], "--", case["query"]]
    try:
        runpy.run_path(case["run"], run_name="__main__")
        status = 0
    except SystemExit as end:
        status = end.code
    if record.missing:
        asked = ", ".join(sorted(set(record.missing)))
        print(f"it asked for what its record does not hold: {asked}", file=sys.stderr)
        status = ASKED_MORE
    sys.exit(status)


main()
