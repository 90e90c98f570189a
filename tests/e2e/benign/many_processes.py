"""Uses: multiprocessing: pools by fork and spawn, queues, shared memory, values, barriers, managers; concurrent.futures.
Expect: {"answer": "pool 285, spawned 14, queue 10, shared 499500, counted 400, futures 2640, managed ['a', 'b']"}
"""
import concurrent.futures
import multiprocessing
from multiprocessing import shared_memory


def square(number):
    return number * number


def produce(queue, number):
    queue.put(number)


def count(value, barrier):
    barrier.wait(10)
    for _ in range(100):
        with value.get_lock():
            value.value += 1


def fill(name):
    memory = shared_memory.SharedMemory(name=name)
    view = memory.buf.cast("q")
    for at in range(1000):
        view[at] = at
    view.release()
    memory.close()


def main(query):
    fork = multiprocessing.get_context("fork")
    with fork.Pool(3) as pool:
        pooled = sum(pool.imap_unordered(square, range(10), chunksize=2))
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        spawned = sum(pool.map(square, range(4)))
    queue = fork.Queue()
    workers = [fork.Process(target=produce, args=(queue, number)) for number in range(5)]
    for worker in workers:
        worker.start()
    queued = sum(queue.get(timeout=10) for _ in workers)
    for worker in workers:
        worker.join()
    memory = shared_memory.SharedMemory(create=True, size=8000)
    filler = fork.Process(target=fill, args=(memory.name,))
    filler.start()
    filler.join()
    view = memory.buf.cast("q")
    shared = sum(view[:1000])
    view.release()
    memory.close()
    memory.unlink()
    value, barrier = fork.Value("i", 0), fork.Barrier(4)
    counters = [fork.Process(target=count, args=(value, barrier)) for _ in range(4)]
    for counter in counters:
        counter.start()
    for counter in counters:
        counter.join()
    with concurrent.futures.ProcessPoolExecutor(2, mp_context=fork) as processes, concurrent.futures.ThreadPoolExecutor(4) as threads:
        futures = [pool.submit(square, number) for pool in (processes, threads) for number in range(20)]
        futures = sum(future.result() for future in concurrent.futures.as_completed(futures)) - 2 * 1150
    with fork.Manager() as manager:
        things = manager.list(["a"])
        things.append("b")
        managed = list(things)
    return {"answer": f"pool {pooled}, spawned {spawned}, queue {queued}, shared {shared}, counted {value.value}, futures {futures}, managed {managed}"}
