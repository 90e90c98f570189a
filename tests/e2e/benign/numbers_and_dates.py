"""Uses: decimal, fractions, statistics, math, random, datetime, zoneinfo, calendar, locale, itertools, heapq, bisect, array, ctypes.
Expect: {"answer": "decimal 0.3, fraction 5/6, median 3, random 11, zone True, leap 366, heap [1, 2, 3], primes 25, sqrt 1.4142, libc 42, hash stable"}
"""
import array
import bisect
import calendar
import ctypes
import datetime
import fractions
import heapq
import itertools
import locale
import math
import random
import statistics
import zoneinfo
from decimal import Decimal, localcontext


def main(query):
    with localcontext() as context:
        context.prec = 50
        decimal = Decimal("0.1") + Decimal("0.2")
    fraction = fractions.Fraction(1, 2) + fractions.Fraction(1, 3)
    median = statistics.median([1, 3, 2, 5, 4])
    chosen = random.Random(7).randint(1, 20)
    names = zoneinfo.available_timezones()
    moment = datetime.datetime(2024, 2, 29, 12, tzinfo=datetime.timezone.utc)
    zone = not names or moment.astimezone(zoneinfo.ZoneInfo("UTC")).hour == 12
    days = 366 if calendar.isleap(2024) and (moment + datetime.timedelta(days=366)).year == 2025 else 365
    heap = heapq.nsmallest(3, [5, 1, 4, 2, 3])
    primes = sum(all(number % divisor for divisor in range(2, math.isqrt(number) + 1)) for number in range(2, 100))
    packed = array.array("d", itertools.accumulate([0.5] * 4))
    assert bisect.bisect(packed, 1.0) == 2
    locale.setlocale(locale.LC_ALL, "C.UTF-8")
    libc = ctypes.CDLL(None)
    callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_int), ctypes.POINTER(ctypes.c_int))
    values = (ctypes.c_int * 3)(43, 42, 44)
    libc.qsort(values, 3, ctypes.sizeof(ctypes.c_int), callback(lambda one, two: one[0] - two[0]))
    stable = "stable" if hash("a") == hash("a") and {"b", "a"} == {"a", "b"} else "unstable"
    return {"answer": f"decimal {decimal}, fraction {fraction}, median {median}, random {chosen}, zone {zone}, leap {days}, heap {heap}, primes {primes}, "
            f"sqrt {Decimal(2).sqrt():.4f}, libc {values[0]}, hash {stable}"}
