#!/usr/bin/env python3
"""Runs the subagent of this folder, outside AgentFactory.

    python3 run.py QUERY
    python3 run.py - < FILE_WITH_THE_QUERY
    python3 run.py --version

Prints {"answer": ..., "summary": ...} as JSON on standard output; whatever the subagent prints goes to
standard error. Paths that the subagent uses are relative to the current directory.

Exit status: 0 it completed, 1 it raised or returned something else than a result, 2 wrong usage.
"""

import importlib.util
import json
import os
import sys
import traceback

HERE = os.path.dirname(os.path.realpath(__file__))
SOURCE = os.path.join(HERE, "subagent")


class BadResult(Exception):
    """What main returned is not a result."""


def read_query(arguments):
    """The query, or None when the usage is wrong."""
    if arguments[:1] == ["--"]:
        arguments = arguments[1:]
    elif arguments == ["-"]:
        arguments = []
    if len(arguments) == 1:
        return arguments[0]
    if arguments or sys.stdin is None or sys.stdin.isatty():
        return None
    return sys.stdin.buffer.read().decode("utf-8-sig", "replace").rstrip("\r\n") or None


def keep_stdout():
    """Sends everything that is printed from now on to standard error; returns the real standard output."""
    real = os.dup(1)
    try:
        os.dup2(2, 1)
    except OSError:  # Standard error is closed.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    return real


def load(entry, packages):
    """Imports the entry file; its folder, the source's root and the shims `llm` and `tools` are importable.

    `packages` is a folder with what it requires, or None; like any other, it comes after the standard library.
    """
    if packages is not None and os.path.isdir(packages):
        sys.path.append(packages)
    path = os.path.join(SOURCE, *entry.split("/"))
    first = list(dict.fromkeys([os.path.dirname(path), SOURCE, HERE]))
    sys.path[:] = first + [folder for folder in sys.path if folder not in first]
    sys.argv = [path]
    name = os.path.splitext(os.path.basename(path))[0]
    if name in sys.modules or not name.isidentifier():
        name = "subagent"
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    if not callable(getattr(module, "main", None)):
        raise BadResult(f"{entry} has no function main(query)")
    return module.main


def as_text(key, value):
    """A string as it is, None as nothing, anything else as its JSON text."""
    if value is None:
        return ""
    try:
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, allow_nan=False)
        text.encode("utf-8")
    except (TypeError, ValueError, RecursionError) as error:
        raise BadResult(f"{key} cannot be written as JSON: {error}") from error
    return text


def checked(result):
    """The result with exactly its two keys."""
    if not isinstance(result, dict):
        raise BadResult(f"main returned {type(result).__name__} instead of a dict")
    return {key: as_text(key, result.get(key)) for key in ("answer", "summary")}


def main():
    if sys.version_info < (3, 9):
        print("this needs Python 3.9 or newer", file=sys.stderr)
        return 2
    if sys.argv[1:] in (["-h"], ["--help"]):
        print(__doc__.strip())
        return 0
    with open(os.path.join(HERE, "subagent.json"), encoding="utf-8") as file:
        version = json.load(file)
    if sys.argv[1:] == ["--version"]:
        print(f"{version['name']}@{version['version']}")
        return 0
    query = read_query(sys.argv[1:])
    if query is None:
        print(f"usage: python3 {sys.argv[0]} QUERY   (`-`: the query is on standard input)", file=sys.stderr)
        return 2

    sys.dont_write_bytecode = True
    output = keep_stdout()
    try:
        result = checked(load(version["entry"], version.get("packages"))(query))
    except BadResult as error:
        print(f"bad result: {error}", file=sys.stderr)
        return 1
    except SystemExit as error:
        print(f"the subagent ended without a result: SystemExit({error.code!r})", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except BaseException:
        traceback.print_exc()
        return 1
    with os.fdopen(output, "w", encoding="utf-8", newline="\n") as stream:
        stream.write(json.dumps(result, ensure_ascii=False) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
