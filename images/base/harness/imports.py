"""What is imported before a program begins, and what it imports itself."""

import os
import signal
import sys

from .system import CODE, PACKAGES

# How long a sandbox that waits may take to import what its run will want; below what the host waits.
IMPORTS_S = 50
# What a program's own imports are noted up to.
NOTED_MAX = 64
# The modules that were there before the program.
AHEAD = {}


def preload():
    """Imports what most subagents use, while files still arrive."""
    import atexit, datetime, importlib.util, linecache, pathlib, random, re, threading, traceback  # noqa: E401, F401

    # Kept, because the program may take the module away.
    global JOIN_THREADS
    JOIN_THREADS = threading._shutdown
    AHEAD.update(sys.modules)


def import_ahead(names):
    """Imports what the program is going to. One that is not there leaves no trace, and the program's own
    import says so; one that fails in another way may, so this process ends.
    """
    import importlib

    if not names:
        return
    signal.alarm(IMPORTS_S)
    wanted = {}
    for name in names:
        parts = name.split(".")
        wanted |= dict.fromkeys(".".join(parts[:count]) for count in range(1, len(parts) + 1))
    for name in wanted:
        before = len(sys.modules)
        parent, _, last = name.rpartition(".")
        package = sys.modules.get(parent)
        try:
            # A module of the same name would take the place of what is there.
            if parent and (package is None or hasattr(package, last)):
                continue
            importlib.import_module(name)
        except ImportError:
            if len(sys.modules) != before:
                raise
    signal.alarm(0)
    for file in (sys.stdout, sys.stderr):
        file.flush()
    AHEAD.update(sys.modules)


class Notes:
    """Notes what the program imports of its environment itself, as a finder that finds nothing: the
    sandboxes of runs that follow import it ahead.
    """

    def __init__(self):
        self.names = []

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in sys.stdlib_module_names or len(self.names) >= NOTED_MAX:
            return None
        # What a distribution imports while it is imported comes with it.
        frame = sys._getframe(1)
        while frame is not None:
            code = frame.f_code
            if code.co_name == "<module>" and code.co_filename.startswith(PACKAGES):
                return None
            frame = frame.f_back
        self.names.append(name)
        return None

    def imports(self):
        """Those that were found in the environment."""
        root, found = PACKAGES + "/", []
        for name in self.names:
            try:
                if sys.modules[name].__spec__.origin.startswith(root):
                    found.append(name)
            except Exception:
                continue  # It was not found, or the program has put something else in its place.
        return found


def join_threads():
    """Waits, as Python does at its end, for the threads that are not daemons.

    Not after an exception: it says more than the limit of time that a stuck thread would reach.
    """
    try:
        JOIN_THREADS()
    except BaseException:
        sys.excepthook(*sys.exc_info())


def release(module):
    """Drops what the subagent's modules hold, so that files left open are written."""
    root = os.fsdecode(CODE) + "/"
    modules = [
        found
        for name, found in list(sys.modules.items())
        if AHEAD.get(name) is not found
        and str(getattr(found, "__file__", None) or "").startswith(root)
    ]
    for found in modules + [module]:
        if found is not None:
            found.__dict__.clear()
