"""Makes saved subagents importable in the sandbox of one that depends on them.

Each version is a folder beside this file. Its modules import each other by the names that they have
at home, and what it depends on by module name, whatever files of the same names others have: each
version has an `__import__` of its own, which looks there first.
"""

import builtins
import importlib.util
import json
import os
import sys
import types
from importlib.machinery import PathFinder, SourceFileLoader

HERE = os.path.dirname(os.path.abspath(__file__))
with open(os.path.join(HERE, "versions.json"), encoding="utf-8") as file:
    VERSIONS = json.load(file)
FACADES = {}
BUILTINS = {}


def facade(version):
    """The module that stands for a version: its `main`, and what else its entry file defines."""
    if version not in FACADES:
        about = VERSIONS[version]
        entry = load_entry(version)
        if not callable(getattr(entry, "main", None)):
            raise ImportError(f"the subagent {about['name']} defines no main(query)")
        module = types.ModuleType(about["module"], about["description"])
        module.__path__ = []
        module.__version__ = f"{about['name']}@{about['digest']}"
        module.__file__ = entry.__file__
        module.main = entry.main

        def missing(name):
            if name.startswith("__") or name not in vars(entry):
                raise AttributeError(f"module {about['module']!r} has no attribute {name!r}")
            return vars(entry)[name]

        module.__getattr__ = missing
        FACADES[version] = module
    return FACADES[version]


def load_entry(version):
    """Runs the entry file of a version, as a module of the package that its folder is."""
    folder = os.path.join(HERE, version)
    path = os.path.join(folder, *VERSIONS[version]["entry"].split("/"))
    package = types.ModuleType(f"{__name__}.{version}")
    package.__path__ = list(dict.fromkeys([os.path.dirname(path), folder]))
    sys.modules[package.__name__] = package
    BUILTINS[package.__name__] = {
        **vars(builtins),
        "__import__": importer(package, VERSIONS[version]["depends"]),
    }
    stem = os.path.splitext(os.path.basename(path))[0]
    name = f"{package.__name__}.{stem if stem.isidentifier() else 'subagent'}"
    loader = Loader(name, path)
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(name, loader))
    sys.modules[name] = module
    try:
        loader.exec_module(module)
    except BaseException:
        sys.modules.pop(name, None)
        raise
    return module


def importer(package, depends):
    """What `import` means in the files of one version."""
    own = set()
    for folder in package.__path__:
        for name in os.listdir(folder):
            stem, extension = os.path.splitext(name)
            path = os.path.join(folder, name)
            if extension == ".py":
                own.add(stem)
            elif os.path.isfile(os.path.join(path, "__init__.py")):
                own.add(name)
            elif os.path.isdir(path) and name not in sys.stdlib_module_names:
                own.add(name)

    def load(name, globals=None, locals=None, fromlist=(), level=0):
        top, _, rest = name.partition(".")
        if level == 0 and top in own:
            full = f"{package.__name__}.{name}"
            if fromlist:
                return builtins.__import__(full, globals, locals, fromlist, 0)
            importlib.import_module(full)
            return sys.modules[f"{package.__name__}.{top}"]
        if level == 0 and top in depends:
            if rest:
                raise ModuleNotFoundError(f"no module named {name!r}: {top!r} is a subagent", name=name)
            return facade(depends[top])
        return builtins.__import__(name, globals, locals, fromlist, level)

    return load


class Loader(SourceFileLoader):
    """Runs a file with the `__import__` of its version."""

    def exec_module(self, module):
        parts = module.__name__.split(".")
        module.__builtins__ = BUILTINS[".".join(parts[:2])]
        super().exec_module(module)


class Finder:
    """Finds the modules of versions, and says who loads them."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        if not name.startswith(f"{__name__}."):
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and isinstance(spec.loader, SourceFileLoader):
            spec.loader = Loader(spec.loader.name, spec.loader.path)
        return spec


sys.meta_path.insert(0, Finder)
