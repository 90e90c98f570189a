"""Uses: signal handlers, interval timers, alarms, wakeup descriptors, signal masks, resource limits, resource use, pipes, select.
Expect: {"answer": "alarm True, ticks True, user ['one', 'two'], waited SIGUSR1, woke True, limit 64, used True, child 3"}
"""
import os
import resource
import select
import signal
import time


def main(query):
    seen = []
    signal.signal(signal.SIGALRM, lambda *arguments: seen.append("alarm"))
    signal.alarm(1)
    signal.pause()
    alarmed = seen == ["alarm"]
    ticks = []
    signal.signal(signal.SIGALRM, lambda *arguments: ticks.append(time.monotonic()))
    signal.setitimer(signal.ITIMER_REAL, 0.01, 0.01)
    while len(ticks) < 5:
        time.sleep(1)
    signal.setitimer(signal.ITIMER_REAL, 0)
    user = []
    signal.signal(signal.SIGUSR1, lambda *arguments: user.append("one"))
    signal.signal(signal.SIGUSR2, lambda *arguments: user.append("two"))
    os.kill(os.getpid(), signal.SIGUSR1)
    signal.raise_signal(signal.SIGUSR2)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
    os.kill(os.getpid(), signal.SIGUSR1)
    waited = signal.Signals(signal.sigtimedwait({signal.SIGUSR1}, 5).si_signo).name
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGUSR1})
    reads, writes = os.pipe()
    os.set_blocking(writes, False)
    signal.set_wakeup_fd(writes)
    os.kill(os.getpid(), signal.SIGUSR2)
    woke = bool(select.select([reads], [], [], 5)[0]) and os.read(reads, 1) == bytes([signal.SIGUSR2])
    signal.set_wakeup_fd(-1)
    user.pop()
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss > 0
    child = os.fork()
    if child == 0:
        os._exit(3)
    _, status = os.waitpid(child, 0)
    return {"answer": f"alarm {alarmed}, ticks {len(ticks) >= 5}, user {user}, waited {waited}, woke {woke}, limit {limit}, used {used}, child {os.waitstatus_to_exitcode(status)}"}
