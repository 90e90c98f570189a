"""Imports what was asked for, in the image that runs will have."""

import importlib
import json


def main(query):
    """Names what cannot be imported at all: a distribution of which not one module can."""
    failed = {}
    for name, modules in json.loads(query).items():
        errors = []
        for module in modules:
            try:
                importlib.import_module(module)
            except BaseException as error:
                errors.append(f"{type(error).__name__}: {error}"[:500])
        if errors and len(errors) == len(modules):
            failed[name] = errors[0]
    return {"answer": json.dumps(failed, sort_keys=True), "summary": ""}
