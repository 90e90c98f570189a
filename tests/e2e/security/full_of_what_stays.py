"""Attempts: to have the collector work for minutes in the last memory there is: what fills it outlives the program.
Seen from outside: the run is over soon after the program; it used up its memory, or what it left is collected.
Kind: resources
Flags: --memory 256M --timeout 15s
Expect: {"outcome": {"kind": "out_of_memory"}}
Expect: {"outcome": {"kind": "completed"}}
Expect: {"outcome": {"kind": "timed_out"}}
"""
import os


def number(*paths):
    for path in paths:
        try:
            with open("/sys/fs/cgroup/" + path) as file:
                return int(file.read())
        except (OSError, ValueError):
            continue
    return None


def used():
    return number("memory.current", "memory/memory.usage_in_bytes")


def main(query):
    most = number("memory.max", "memory/memory.limit_in_bytes")
    if most is None or used() is None:
        return {"answer": "nothing is counted here"}
    most -= 2 << 20
    try:
        for count in range(20_000):
            os.mkdir(f"/workspace/{count:05}" + "d" * 200)
    except OSError:
        pass
    for base in ("/workspace", "/tmp", "/code", "/dev/shm"):
        try:
            for count in range(10_000):
                if used() >= most:
                    break
                with open(f"{base}/f{count}", "wb") as file:
                    file.write(b"x" * 262_144)
        except OSError:
            pass
        try:
            for count in range(100_000):
                if used() >= most:
                    break
                os.mkdir(f"{base}/{count:06}" + "e" * 200)
        except OSError:
            pass
    return {"answer": "full"}
