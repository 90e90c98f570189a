"""Attempts: to be asked for each module that is imported after it, and to give its own.
Seen from outside: its own process imports its own modules; PID 1 does not.
Kind: results
Expect: {"outcome": {"kind": "completed"}, "answer": "hooked"}
Expect: {"outcome": {"kind": "raised"}, "answer": ""}
"""
import sys
import types


class Finder:
    @staticmethod
    def find_spec(name, path=None, target=None):
        import importlib.machinery

        return importlib.machinery.ModuleSpec(name, Finder)

    @staticmethod
    def create_module(spec):
        return types.ModuleType(spec.name)

    @staticmethod
    def exec_module(module):
        module.dumps = lambda *arguments, **options: "forged"


def main(query):
    sys.meta_path.insert(0, Finder)
    for name in ("json", "atexit", "gc", "traceback", "select", "stat"):
        sys.modules.pop(name, None)
    return {"answer": "hooked"}
