"""Attempts: to gain time by setting clocks back: the machine's, its own, the steps they go in.
Seen from outside: refused, and timed out as if it had not tried.
Kind: time
Flags: --timeout 2s
Expect: {"outcome": {"kind": "timed_out"}, "answer": "", "stdout": {"text": "worked []\n"}}
"""
import ctypes
import os
import time

libc = ctypes.CDLL(None, use_errno=True)


def main(query):
    worked = []
    moment = (ctypes.c_long * 2)(1, 1)
    for clock in (time.CLOCK_REALTIME, time.CLOCK_MONOTONIC, time.CLOCK_BOOTTIME):
        if libc.clock_settime(clock, moment) == 0:
            worked.append(clock)
    if libc.settimeofday(moment, None) == 0:
        worked.append("settimeofday")
    block = ctypes.create_string_buffer(512)
    block[0] = 2  # ADJ_FREQUENCY
    if libc.adjtimex(block) >= 0:
        worked.append("adjtimex")
    for path in ("/proc/self/timens_offsets", "/dev/rtc0"):
        try:
            os.close(os.open(path, os.O_WRONLY))
            worked.append(path)
        except OSError:
            pass
    print("worked", [work for work in worked if work != "/proc/self/timens_offsets"], flush=True)
    time.sleep = time.monotonic = time.time = lambda *arguments: 0
    while True:
        pass
