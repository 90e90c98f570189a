"""A clock and random numbers that a run asked for."""

import ctypes
import sys
import time


def fix_clock(start_ms):
    """Has Python's clock begin at a time. Each reading is a millisecond after the one before, so that
    what divides by a duration or waits for an end works; sleeping moves it by what was asked for.
    """
    import itertools

    plain = dict(vars(time))
    readings, slept = itertools.count(start_ms * 1_000_000, 1_000_000), 0

    def time_ns():
        return next(readings) + slept

    def now():
        return time_ns() // 1_000_000_000

    def sleep(seconds, /):
        nonlocal slept
        plain["sleep"](seconds)
        slept += int(seconds * 1_000_000_000)

    def clock_gettime_ns(clock, /):
        return time_ns() if clock == time.CLOCK_REALTIME else plain["clock_gettime_ns"](clock)

    def clock_gettime(clock, /):
        return time_ns() / 1e9 if clock == time.CLOCK_REALTIME else plain["clock_gettime"](clock)

    def or_now(name):
        return lambda seconds=None, /: plain[name](now() if seconds is None else seconds)

    functions = {
        "time": lambda: time_ns() / 1e9,
        "time_ns": time_ns,
        "sleep": sleep,
        "clock_gettime": clock_gettime,
        "clock_gettime_ns": clock_gettime_ns,
        "localtime": or_now("localtime"),
        "gmtime": or_now("gmtime"),
        "ctime": or_now("ctime"),
        "asctime": lambda *at: plain["asctime"](*(at or [time.localtime()])),
        "strftime": lambda how, *at: plain["strftime"](how, *(at or [time.localtime()])),
    }
    for name, function in functions.items():
        function.__name__ = function.__qualname__ = name
        function.__doc__ = plain[name].__doc__
        setattr(time, name, function)
    fix_dates(time_ns)


def fix_dates(time_ns):
    """Has dates ask this clock. The types stay the ones that they are: what checks for them, pickles
    them or makes them in C goes on as ever.
    """
    import datetime
    import gc

    def reading(cls, zone):
        seconds, rest = divmod(time_ns(), 1_000_000_000)
        return cls.fromtimestamp(seconds, zone).replace(microsecond=rest // 1000)

    def now(cls, tz=None):
        return reading(cls, tz)

    def utcnow(cls):
        return reading(cls, datetime.timezone.utc).replace(tzinfo=None)

    def today(cls):
        return cls.fromtimestamp(time_ns() / 1e9)

    changed = ctypes.pythonapi.PyType_Modified
    changed.argtypes, changed.restype = [ctypes.py_object], None
    methods = {datetime.date: [today], datetime.datetime: [now, utcnow]}
    for kind, functions in methods.items():
        (names,) = gc.get_referents(kind.__dict__)
        for function in functions:
            name = function.__name__
            function.__qualname__ = f"{kind.__name__}.{name}"
            names[name] = classmethod(function)
            changed(kind)
            if getattr(getattr(kind, name), "__func__", None) is not function:
                raise RuntimeError(f"this Python lets nobody set the clock of {name}")


def fix_seed(seed):
    """Seeds the generators of `random` and `numpy.random`: the common ones with the number itself, and
    each one that is made without a seed with another that follows from it.
    """
    import itertools
    import random

    plain, made = random.Random.seed, itertools.count()

    def seed_one(self, a=None, version=2):
        plain(self, f"{seed} {next(made)}" if a is None else a, version)

    def bits(count):
        generator = random.Random.__new__(random.Random)
        generator.seed()
        return generator.getrandbits(count)

    def seed_numpy(module):
        # Where generators of numpy take their seed from when they are given none.
        sys.modules["numpy.random.bit_generator"].randbits = bits
        module.seed(seed)

    random.Random.seed = seed_one
    random.seed(seed)
    if "numpy.random" in sys.modules:
        seed_numpy(sys.modules["numpy.random"])
    else:
        sys.meta_path.insert(0, AfterImport("numpy.random", seed_numpy))


class AfterImport:
    """Does something to a module when it has been imported, once."""

    def __init__(self, name, action):
        from importlib.machinery import PathFinder

        self.name, self.action, self.finder = name, action, PathFinder

    def find_spec(self, name, path=None, target=None):
        if name != self.name:
            return None
        sys.meta_path.remove(self)
        spec = self.finder.find_spec(name, path, target)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def exec_module(module):
                execute(module)
                self.action(module)

            spec.loader.exec_module = exec_module
        return spec
