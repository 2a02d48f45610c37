"""The faults: what each does, and when.

A fault takes the lab and a random.Random, does its damage, undoes it, and returns a few words about
it. Each runs in a thread of its own, so that faults of different targets overlap; those of one
target wait for each other.
"""
import contextlib
import random
import signal
import subprocess
import threading
import time
import traceback

import redis

from servers import DRAIN_S, WORKER_SETTINGS, wait_until

VISIBILITY_S = float(WORKER_SETTINGS["STILLHOUSE_VISIBILITY"][:-1])


class Faults:
    """Spreads `count` faults over `seconds`: each kind once, then at random."""

    def __init__(self, lab, seed, kinds, count, seconds, log):
        self.lab, self.log = lab, log
        self.chance = random.Random(f"faults {seed}")
        self.counts = dict.fromkeys(kinds, 0)
        self.problems = []
        self.lock = threading.Lock()
        # One worker always goes on, where there are several.
        self.healthy = threading.Semaphore(max(1, len(lab.workers) - 1))
        order = list(kinds) + [self.chance.choice(list(kinds)) for _ in range(count - len(kinds))]
        self.chance.shuffle(order)
        self.plan = [((i + self.chance.uniform(0.1, 0.9)) * seconds / count, kind)
                     for i, kind in enumerate(order[:count])]

    def run(self):
        """In the caller's thread, until the last fault is over."""
        began = time.monotonic()
        threads = []
        for at, kind in self.plan:
            if self.lab.stopping.wait(max(0.0, began + at - time.monotonic())):
                break
            thread = threading.Thread(target=self.one, args=(kind, self.chance.random()),
                                      daemon=True)
            thread.start()
            threads.append(thread)
        for thread in threads:
            thread.join()
        for proxy in (self.lab.redis_proxy, self.lab.chroma_proxy):
            with proxy.lock:
                proxy.tell("calm")

    def one(self, kind, seed):
        try:
            done = KINDS[kind](self, random.Random(seed))
            self.log(f"{kind}: {done}")
            with self.lock:
                self.counts[kind] += 1
        except Exception as error:  # a fault that cannot be undone must end the run, not hang it
            if not self.lab.stopping.is_set():
                self.log(f"{kind}: {traceback.format_exc()}")
                self.problems.append(f"{kind}: {error!r}")

    @contextlib.contextmanager
    def some_worker(self, chance):
        with self.healthy:
            workers = list(self.lab.workers)
            chance.shuffle(workers)
            while not self.lab.stopping.is_set():
                for worker in workers:
                    if worker.lock.acquire(blocking=False):
                        break
                else:
                    time.sleep(0.05)
                    continue
                break
            try:
                with self.all_down():
                    yield worker
            finally:
                worker.lock.release()

    def all_down(self):
        return self.lab.weather if len(self.lab.workers) == 1 else contextlib.nullcontext()


# ---- workers ----

def worker_killed(faults, chance):
    with faults.some_worker(chance) as worker:
        worker.kill()
        away = chance.uniform(0.1, 1.5)
        time.sleep(away)
        worker.start()
        return f"{worker.name}, started again after {away:.1f} s"


def worker_terminated(faults, chance):
    with faults.some_worker(chance) as worker:
        began = time.monotonic()
        worker.send(signal.SIGTERM)
        try:
            code = worker.process.wait(DRAIN_S + 15)
        except subprocess.TimeoutExpired:
            faults.problems.append(f"{worker.name} did not end on SIGTERM within {DRAIN_S + 15} s")
            worker.kill()
            code = "none, killed"
        took = time.monotonic() - began
        worker.start()
        return f"{worker.name}, ended after {took:.1f} s, exit code {code}, started again"


def worker_stopped(faults, chance):
    with faults.some_worker(chance) as worker:
        if chance.random() < 0.5:
            length = VISIBILITY_S + chance.uniform(0.5, 2.5)
        else:
            length = chance.uniform(0.3, 2.5)
        worker.send(signal.SIGSTOP)
        time.sleep(length)
        worker.send(signal.SIGCONT)
        return f"{worker.name}, for {length:.1f} s"


# ---- servers ----

def stop_for(program, length):
    program.send(signal.SIGSTOP)
    try:
        time.sleep(length)
    finally:
        program.send(signal.SIGCONT)


def stopped(lab, server, length):
    with server.lock, lab.weather:
        stop_for(server, length)
        return f"for {length:.1f} s"


def killed(lab, server, start, chance):
    with server.lock, lab.weather:
        began = time.monotonic()
        server.kill()
        time.sleep(chance.uniform(0, 1.5))
        start()
        return f"answers again after {time.monotonic() - began:.1f} s"


def redis_stopped(faults, chance):
    length = chance.choice([chance.uniform(0.3, 2), chance.uniform(2, 6)])
    return stopped(faults.lab, faults.lab.redis, length)


def redis_killed(faults, chance):
    return killed(faults.lab, faults.lab.redis, faults.lab.start_redis, chance)


def chroma_stopped(faults, chance):
    length = chance.choice([chance.uniform(0.3, 2), chance.uniform(3.5, 6)])
    return stopped(faults.lab, faults.lab.chroma, length)


def chroma_killed(faults, chance):
    return killed(faults.lab, faults.lab.chroma, faults.lab.start_chroma, chance)


def out_of_memory(faults, chance):
    """Under what it uses: enqueueing is refused, finishing is not."""
    lab = faults.lab
    with lab.redis.lock, lab.weather:
        length = chance.uniform(0.5, 3)
        used = lab.direct.info("memory")["used_memory"]
        lab.direct.config_set("maxmemory", max(1, used // 2))
        try:
            time.sleep(length)
        finally:
            wait_until(lambda: raise_memory(lab), 30)
        return f"for {length:.1f} s, {used // 1024} KiB in use"


def raise_memory(lab):
    try:
        return lab.direct.config_set("maxmemory", 0)
    except redis.RedisError:
        return False


def functions_flushed(faults, _chance):
    lab = faults.lab
    with lab.redis.lock:
        lab.direct.execute_command("FUNCTION", "FLUSH")
        return "done"


# ---- connections ----

def reset(proxy):
    with proxy.lock:
        return f"{proxy.tell('reset')} connections"


def cut(proxy, chance):
    replies = chance.randint(1, 12)
    with proxy.lock:
        return f"the next {replies} replies, {proxy.tell(f'cut {replies}')} connections"


def stall(lab, proxy, chance):
    length = chance.choice([chance.uniform(0.3, 2), chance.uniform(2, 6)])
    with proxy.lock, lab.weather:
        connections = proxy.tell("hold")
        time.sleep(length)
        proxy.tell("release")
    return f"for {length:.1f} s, {connections} connections"


KINDS = {
    "worker killed": worker_killed,
    "worker terminated": worker_terminated,
    "worker stopped": worker_stopped,
    "redis killed": redis_killed,
    "redis stopped": redis_stopped,
    "redis out of memory": out_of_memory,
    "redis functions flushed": functions_flushed,
    "redis connections reset": lambda faults, chance: reset(faults.lab.redis_proxy),
    "redis replies cut": lambda faults, chance: cut(faults.lab.redis_proxy, chance),
    "redis stalled": lambda faults, chance: stall(faults.lab, faults.lab.redis_proxy, chance),
    "chroma killed": chroma_killed,
    "chroma stopped": chroma_stopped,
    "chroma connections reset": lambda faults, chance: reset(faults.lab.chroma_proxy),
    "chroma replies cut": lambda faults, chance: cut(faults.lab.chroma_proxy, chance),
    "chroma stalled": lambda faults, chance: stall(faults.lab, faults.lab.chroma_proxy, chance),
}
