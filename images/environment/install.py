"""Unpacks wheels into one folder and sends it as a tar archive. Runs in a sandbox without a network.

What differs between two installs is left out; bytecode is compiled so that it never does. The host
writes the layer from the archive anew, and takes nothing from it but names, modes and content.
"""

import csv
import json
import os
import py_compile
import re
import shutil
import subprocess
import sys
import tarfile
import warnings
import zipfile

PIP = "pip.whl"
WHEELS = "wheels"
TARGET = "env"
ARCHIVE = "env.tar"
COMPILERS = 2  # A fixed number: what one process compiles together is the same everywhere.


def install():
    """Returns nothing, or why a wheel cannot be installed."""
    os.makedirs("tmp", exist_ok=True)
    command = [sys.executable, os.path.join(PIP, "pip"), "install", "--no-input"]
    command += ["--disable-pip-version-check", "--no-cache-dir", "--no-index", "--find-links", WHEELS]
    command += ["--no-deps", "--no-compile", "--no-warn-script-location", "--only-binary", ":all:"]
    command += ["--target", TARGET, "--require-hashes", "-r", "locked.txt"]
    environment = dict(os.environ, TMPDIR="tmp", PIP_CONFIG_FILE=os.devnull)
    ended = subprocess.run(
        command,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    if ended.returncode == 0:
        return None
    errors = [line for line in ended.stdout.splitlines() if line.startswith("ERROR: ")]
    return (errors[-1].removeprefix("ERROR: ") if errors else ended.stdout.strip()[-500:])[:2000]


def name_wheels(lock):
    """Gives wheels that are called by their hashes the names that pip reads: whose they are the lock
    says, and what they are for they say themselves. Source: the wheel format, version 1.0."""
    owners = {digest: one for one in lock for digest in one["wheels"]}
    for file in sorted(os.listdir(WHEELS)):
        if file.endswith(".whl"):
            continue
        path, owner = os.path.join(WHEELS, file), owners[file]
        with zipfile.ZipFile(path) as wheel:
            about = [name for name in wheel.namelist() if re.fullmatch(r"[^/]+\.dist-info/WHEEL", name)]
            said = wheel.read(about[0]).decode()
        tags = [tag.split("-") for tag in re.findall(r"(?mi)^Tag:[ \t]*(\S+)[ \t]*\r?$", said)]
        parts = [".".join(sorted({tag[at] for tag in tags})) for at in range(3)]
        name = re.sub(r"[-_.]+", "_", owner["name"])
        os.rename(path, os.path.join(WHEELS, "-".join([name, owner["version"], *parts]) + ".whl"))


def sources():
    """Every Python file below the target, in a fixed order."""
    for folder, names, files in os.walk(TARGET):
        names.sort()
        for name in sorted(files):
            if name.endswith(".py"):
                yield os.path.join(folder, name)


def compile_some(paths, root, scratch):
    for path in paths:
        cached = os.path.join(
            os.path.dirname(path),
            "__pycache__",
            f"{os.path.basename(path)[:-3]}.{sys.implementation.cache_tag}.pyc",
        )
        try:
            py_compile.compile(
                path,
                cfile=scratch,
                dfile=root + path[len(TARGET) :],
                doraise=True,
                optimize=0,
                invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
            )
        except (py_compile.PyCompileError, ValueError, RecursionError, UnicodeError):
            continue  # Templates and data of tests; importing one says what is wrong.
        os.makedirs(os.path.dirname(cached), exist_ok=True)
        os.replace(scratch, cached)


def compile_all(root):
    warnings.simplefilter("ignore")
    paths = list(sources())
    children = []
    for number in range(COMPILERS):
        child = os.fork()
        if child == 0:
            status = 1
            try:
                compile_some(paths[number::COMPILERS], root, f"tmp/{number}.pyc")
                status = 0
            finally:
                os._exit(status)
        children.append(child)
    return all(os.waitpid(child, 0)[1] == 0 for child in children)


def modules():
    """The importable names of each distribution."""
    found = {}
    for folder in sorted(os.listdir(TARGET)):
        if not folder.endswith(".dist-info"):
            continue
        names = set()
        with open(os.path.join(TARGET, folder, "RECORD"), newline="") as file:
            for row in csv.reader(file):
                first, _, rest = row[0].partition("/") if row else ("", "", "")
                if not rest and not first.endswith((".py", ".so")):
                    continue
                stem = first.partition(".")[0]
                is_folder = rest and "." not in first
                if stem.isidentifier() and (is_folder or not rest) and not stem.startswith("_"):
                    names.add(stem)
        name = re.sub(r"[-_.]+", "-", folder.rsplit("-", 2)[0]).lower()
        found[name] = sorted(names)[:20]
    return found


def pack():
    """Writes the archive and returns how many files are in it."""
    count = 0
    with tarfile.open(ARCHIVE, "w", format=tarfile.PAX_FORMAT) as out:
        for folder, names, files in os.walk(TARGET):
            names.sort()
            for name in sorted(files):
                path = os.path.join(folder, name)
                member = tarfile.TarInfo(os.path.relpath(path, TARGET))
                if os.path.islink(path) or not os.path.isfile(path):
                    continue
                state = os.stat(path)
                member.size, member.mode = state.st_size, state.st_mode & 0o777
                with open(path, "rb") as file:
                    out.addfile(member, file)
                count += 1
    return count


def main(query):
    request = json.loads(query)
    shutil.rmtree(TARGET, ignore_errors=True)
    with open("locked.txt", "w") as out:
        for one in request["lock"]:
            hashes = "".join(f" --hash=sha256:{digest}" for digest in one["wheels"])
            out.write(f"{one['name']}=={one['version']}{hashes}\n")
    try:
        name_wheels(request["lock"])
        refused = install()
    except (zipfile.BadZipFile, LookupError, UnicodeError) as error:
        refused = f"a file is no wheel: {error!r}"[:500]
    if refused is None:
        shutil.rmtree(WHEELS)
        shutil.rmtree(os.path.join(TARGET, "bin"), ignore_errors=True)
        for folder, names, _ in os.walk(TARGET):
            if "__pycache__" in names:
                shutil.rmtree(os.path.join(folder, "__pycache__"))
                names.remove("__pycache__")
        if not compile_all(request["root"]):
            refused = "its bytecode could not be compiled"
    if refused is not None:
        return {"answer": json.dumps({"refused": refused}), "summary": ""}
    answer = {"files": pack(), "modules": modules()}
    for folder in (TARGET, "tmp"):
        shutil.rmtree(folder)
    for file in (PIP, "locked.txt"):
        os.unlink(file)
    return {"answer": json.dumps(answer, sort_keys=True), "summary": ""}
