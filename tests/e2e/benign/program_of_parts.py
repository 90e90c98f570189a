"""Uses: siblings and packages, importlib, unittest, logging, argparse, dataclasses, enums, contextlib, functools, inspect, ast, warnings, plug-ins.
Expect: {"answer": "helper 42, package deep, plugin 9, tests 3 run 0 failed, logged 2, parsed 5, Point(x=1, y=2), RED, cached 1, signature (query), tree 3, warned 1, printed hello"}
"""
import argparse
import ast
import contextlib
import dataclasses
import enum
import functools
import importlib
import importlib.util
import inspect
import io
import logging
import logging.handlers
import os
import unittest
import unittest.mock
import warnings

from parts import helper
from parts.deep import inner


@dataclasses.dataclass(order=True, frozen=True)
class Point:
    x: int
    y: int = 2


class Colour(enum.Enum):
    RED = 1


class Tests(unittest.TestCase):
    def test_equal(self):
        self.assertEqual(helper.answer(), 42)

    def test_raises(self):
        with self.assertRaises(ZeroDivisionError):
            helper.divide(1, 0)

    @unittest.mock.patch("parts.helper.answer", return_value=7)
    def test_patched(self, patched):
        self.assertEqual(helper.answer(), 7)


def main(query):
    with open("plugin.py", "w") as file:
        file.write("def run(number):\n    return number * number\n")
    spec = importlib.util.spec_from_file_location("plugin", os.path.abspath("plugin.py"))
    plugin = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(plugin)
    assert importlib.reload(helper).answer() == 42
    suite = unittest.defaultTestLoader.loadTestsFromTestCase(Tests)
    result = unittest.TextTestRunner(stream=io.StringIO()).run(suite)
    logger = logging.getLogger("work")
    logger.setLevel(logging.INFO)
    logger.addHandler(logging.handlers.RotatingFileHandler("work.log", maxBytes=10_000, backupCount=1))
    for level in (logging.DEBUG, logging.INFO, logging.ERROR):
        logger.log(level, "message")
    with open("work.log") as file:
        logged = len(file.readlines())
    parser = argparse.ArgumentParser()
    parser.add_argument("--number", type=int)
    parsed = parser.parse_args(["--number", "5"]).number
    calls = []
    cached = functools.lru_cache(lambda value: calls.append(value))
    cached(1)
    cached(1)
    nodes = len(ast.parse("a = 1\nb = 2\nprint(a + b)").body)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warnings.warn("old", DeprecationWarning)
    with contextlib.redirect_stdout(io.StringIO()) as out:
        print("hello")
    return {"answer": f"helper {helper.answer()}, package {inner.NAME}, plugin {plugin.run(3)}, tests {result.testsRun} run {len(result.failures) + len(result.errors)} failed, "
            f"logged {logged}, parsed {parsed}, {Point(1)}, {Colour.RED.name}, cached {len(calls)}, signature {inspect.signature(main)}, tree {nodes}, "
            f"warned {len(caught)}, printed {out.getvalue().strip()}"}
