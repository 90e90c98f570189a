"""Uses: threads, locks, conditions, events, semaphores, barriers, timers, thread-local data, queues; a thread that ends after main.
Expect: {"answer": "locked 8000, queue 4950, barrier 4, local [0, 1, 2, 3], timer True, most at once 2", "files": [{"path": "late.txt", "size": 4}]}
"""
import queue
import threading
import time


def main(query):
    total, lock = 0, threading.RLock()

    def add():
        nonlocal total
        for _ in range(1000):
            with lock, lock:
                total += 1

    threads = [threading.Thread(target=add) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    work, done = queue.Queue(maxsize=8), queue.SimpleQueue()

    def worker():
        while (item := work.get()) is not None:
            done.put(item)
            work.task_done()
        work.task_done()

    workers = [threading.Thread(target=worker) for _ in range(3)]
    for thread in workers:
        thread.start()
    for number in range(100):
        work.put(number)
    for _ in workers:
        work.put(None)
    work.join()
    queued = sum(done.get() for _ in range(100))
    barrier, passed = threading.Barrier(4), []
    local, seen = threading.local(), [None] * 4
    semaphore, inside, most = threading.Semaphore(2), [0], [0]

    def meet(number):
        local.value = number
        passed.append(barrier.wait(10))
        seen[number] = local.value
        with semaphore:
            with lock:
                inside[0] += 1
                most[0] = max(most[0], inside[0])
            time.sleep(0.02)
            with lock:
                inside[0] -= 1

    meeting = [threading.Thread(target=meet, args=(number,)) for number in range(4)]
    for thread in meeting:
        thread.start()
    for thread in meeting:
        thread.join()
    fired = threading.Event()
    threading.Timer(0.01, fired.set).start()
    rang = fired.wait(10)

    def late():
        time.sleep(0.2)
        with open("late.txt", "w") as file:
            file.write("late")

    threading.Thread(target=late).start()
    return {"answer": f"locked {total}, queue {queued}, barrier {len(passed)}, local {seen}, timer {rang}, most at once {most[0]}"}
