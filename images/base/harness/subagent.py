"""Runs a subagent. Its code shares the process: nothing here is trusted."""

import os
import sys

from .determinism import fix_clock, fix_seed
from .frames import CHILD_CLAIM
from .imports import Notes, join_threads, release
from .results import BadResult, describe, exit_status, printable, result_of
from .shell import SHELLS
from .system import CODE, IS_GVISOR, PACKAGES, SHIMS


def run_subagent(program, source, channel):
    """Runs main(query), sends the claim and returns the exit status."""
    import atexit
    import gc
    import threading

    limits = program["limits"]
    counts = threading.active_count, atexit._ncallbacks
    channel.limit = limits["message"]
    status, claim, module, notes = 0, None, None, None
    if PACKAGES in sys.path:
        notes = Notes()
        sys.meta_path.insert(0, notes)
    try:
        if "clock" in program:
            fix_clock(program["clock"])
        if "seed" in program:
            fix_seed(program["seed"])
        module = load(program["entry"], source, channel, limits)
        claim = result_of(module, program["query"], limits["result"])
    except BadResult as error:
        status, claim = 1, {"kind": "bad_result", "why": printable(str(error))[:2000]}
    except SystemExit as error:
        status = exit_status(error.code)
    except BaseException as error:
        status, claim = 1, describe(error, limits["traceback"])
    if os.getpid() != channel.pid:
        # main forked and both returned: only the first process speaks for the run.
        if claim and claim["kind"] == "raised":
            sys.stderr.write(claim["traceback"])
        claim = None
    if claim is not None and notes is not None and (imports := notes.imports()):
        claim["imports"] = imports
    said = b"" if claim is None else channel.dumps(claim).encode()
    if said and not (IS_GVISOR and is_all_over(counts)):
        channel.send(CHILD_CLAIM, 0, said)
        said = b""
    if claim is None or claim["kind"] == "result":
        join_threads()
    atexit._run_exitfuncs()
    release(module)
    gc.collect()
    for file in (sys.stdout, sys.__stdout__, sys.stderr, sys.__stderr__):
        try:
            file.flush()
        except BaseException:
            pass
    if os.getpid() == channel.pid:
        channel.end(status, said)
    return status


def is_all_over(counts):
    """Whether nothing of the program is left to run: then one message says it all."""
    threads, callbacks = counts
    try:
        return threads() == 1 and callbacks() == 0
    except BaseException:
        return False  # What counts them is the program's, too.


def load(entry, source, channel, limits):
    """Imports the entry file; its folder, the source's root and the shims are importable."""
    import types
    from importlib.machinery import ModuleSpec, SourceFileLoader

    root, entry = os.fsdecode(CODE), os.fsdecode(bytes.fromhex(entry))
    path = os.path.join(root, entry)
    name = os.path.basename(path).removesuffix(".py")
    if name in sys.modules or name in sys.stdlib_module_names or not name.isidentifier():
        name = "subagent"
    folders = dict.fromkeys((os.path.dirname(path), root, SHIMS))
    sys.path[:0] = folders
    sys.argv[:] = [path]
    bridge = types.ModuleType("_agentfactory")
    bridge.request = channel.request
    bridge.shell_output_chars = limits["shell_chars"]
    bridge.shells = SHELLS
    sys.modules["_agentfactory"] = bridge
    # What the import system would make of it, without looking for bytecode that cannot be there.
    module = types.ModuleType(name)
    module.__spec__ = ModuleSpec(name, SourceFileLoader(name, path), origin=path)
    module.__spec__.has_location = True
    module.__loader__ = module.__spec__.loader
    module.__file__, module.__package__ = path, ""
    sys.modules[name] = sys.modules["__main__"] = module
    text = channel.read_source(entry, source)
    try:
        code = compile(text, path, "exec", dont_inherit=True)
    finally:
        channel.wait_for_go(source)
    exec(code, module.__dict__)
    return module
