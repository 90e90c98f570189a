"""Runs once in a base image: says which Python it is and sends bytecode as a tar archive.

It reads one JSON object from standard input: our sources by path, where they will be, and which
folders of the standard library to leave out. The syntax is that of old Pythons on purpose: they must
get as far as saying how old they are.
"""

import sys

sys.path = [path for path in sys.path if path]

import importlib.util
import io
import json
import os
import py_compile
import tarfile

SCRATCH = "/tmp/scratch.pyc"


def bytecode(path, name):
    """The bytecode of the file at `path`, never checked against a source again; errors name `name`."""
    py_compile.compile(
        path,
        cfile=SCRATCH,
        dfile=name,
        doraise=True,
        optimize=0,
        invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
    )
    with open(SCRATCH, "rb") as file:
        return file.read()


def standard_library(skip):
    """Pairs of a module's path and where Python looks for its bytecode, where there is none yet."""
    top = os.path.realpath(os.path.dirname(os.__file__))
    for folder, names, files in os.walk(top):
        names[:] = sorted(name for name in names if name not in skip)
        for name in sorted(files):
            if name.endswith(".py"):
                path = os.path.join(folder, name)
                cached = importlib.util.cache_from_source(path, optimization="")
                if not os.path.exists(cached):
                    yield path, cached


def main():
    request = json.load(sys.stdin)
    out = tarfile.open(mode="w|", fileobj=sys.stdout.buffer, format=tarfile.PAX_FORMAT)
    folders = set()

    def send(path, content):
        member = tarfile.TarInfo(path.lstrip("/"))
        member.size = len(content)
        out.addfile(member, io.BytesIO(content))

    def send_folders(folder):
        """Sends the folders above a file as they are, because a layer that omits them changes them."""
        while folder not in folders and folder != "/":
            folders.add(folder)
            if os.path.isdir(folder):
                member = tarfile.TarInfo(folder.lstrip("/"))
                state = os.stat(folder)
                member.type = tarfile.DIRTYPE
                member.mode, member.uid, member.gid = state.st_mode & 0o7777, state.st_uid, state.st_gid
                out.addfile(member)
            folder = os.path.dirname(folder)

    facts = {"executable": sys.executable, "version": list(sys.version_info[:3])}
    send("facts.json", json.dumps(facts).encode())
    if sys.version_info >= (3, 11):
        for name, source in sorted(request["sources"].items()):
            path = request["root"] + "/" + name
            with open("/tmp/source.py", "w", encoding="utf-8", newline="") as file:
                file.write(source)
            content = bytecode("/tmp/source.py", path)
            send(importlib.util.cache_from_source(path, optimization=""), content)
            if name == request["entry"]:
                send(path + "c", content)
        for path, cached in standard_library(frozenset(request["skip"])):
            try:
                content = bytecode(path, path)
            except (py_compile.PyCompileError, ValueError, RecursionError):
                continue
            send_folders(os.path.dirname(cached))
            send(cached, content)
    send("complete", b"")
    out.close()


main()
