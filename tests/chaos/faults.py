"""The faults: what each does, and when.

A fault takes the lab and a random.Random, does its damage, undoes it, and returns a few words about
it. Each runs in a thread of its own, so that faults of different targets overlap; those of one
target wait for each other.
"""
import contextlib
import random
import signal
import sqlite3
import subprocess
import threading
import time
import traceback

import redis

from load import DOMAINS
from proxy import FORMS
from servers import DRAIN_S, QUEUES, RIGHTS, USER, WORKER_SETTINGS, wait_until

VISIBILITY_S = float(WORKER_SETTINGS["STILLHOUSE_VISIBILITY"][:-1])
WRITER_LEASE_S = 6  # after which another recorder may write


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
        for proxy in self.lab.proxies:
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

def kill_and_start(worker, chance, shortest):
    worker.kill()
    away = chance.uniform(shortest, 1.5)
    time.sleep(away)
    worker.start()
    return f"{worker.name}, started again after {away:.1f} s"


def worker_killed(faults, chance):
    with faults.some_worker(chance) as worker:
        return kill_and_start(worker, chance, 0.1)


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


def worker_with_another_model(faults, chance):
    """A deployment that is taken back: what this one takes meanwhile waits."""
    with faults.some_worker(chance) as worker:
        good = worker.environment
        worker.environment = {**good, "STILLHOUSE_EMBED_MODEL": "letters"}
        length = chance.uniform(1, 4)
        try:
            worker.kill()
            worker.start()
            time.sleep(length)
        finally:
            worker.environment = good
            worker.kill()
            worker.start()
        return f"{worker.name}, for {length:.1f} s"


def worker_clock_moved(faults, chance):
    """Its jobs' deadlines, delays and leases are Redis' affair."""
    with faults.some_worker(chance) as worker:
        offset_s = chance.choice((-1, 1)) * chance.choice((5, 3600, 400 * 86400))
        with faults.lab.clocks[worker.name].moved(offset_s * 1000):
            time.sleep(chance.uniform(0.5, 4))
        return f"{worker.name}, by {offset_s} s"


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
            wait_until(lambda: tried(lambda: lab.direct.config_set("maxmemory", 0)), 30)
        return f"for {length:.1f} s, {used // 1024} KiB in use"


def tried(command):
    try:
        command()
        return True
    except redis.RedisError:
        return False


def redis_clock_moved(faults, chance):
    """By less than a visibility timeout: what is in flight may be taken over, not lost."""
    lab = faults.lab
    with lab.redis.lock, lab.weather:
        offset_s = chance.choice((-1, 1)) * chance.uniform(1, VISIBILITY_S)
        with lab.clocks["redis"].moved(int(offset_s * 1000)):
            time.sleep(chance.uniform(0.5, 3))
        time.sleep(max(0.0, offset_s))  # it was ahead: leases and ids from then end later
        return f"by {offset_s:.1f} s"


def full_of_clients(faults, chance):
    """Who is connected goes on, whoever comes is refused; half of the fleet must come again."""
    lab = faults.lab
    with lab.redis.lock, lab.redis_proxy.lock, lab.weather:
        operator = lab.connect(lab.redis_port, single_connection_client=True)
        usual = operator.config_get("maxclients")["maxclients"]
        places = max(2, operator.info("clients")["connected_clients"] // 2)
        length = chance.uniform(1, 4)
        operator.config_set("maxclients", places)
        try:
            lab.redis_proxy.tell("reset")
            time.sleep(length)
        finally:
            wait_until(lambda: tried(lambda: operator.config_set("maxclients", usual)), 30)
            operator.close()
        return f"{places} places for {length:.1f} s"


# A right whose lack is met in the middle of what a function does, or before it.
RIGHTS_TAKEN = ("xack", "xdel", "xadd", "zadd", "zrem", "hincrby", "set", "get", "del", "xclaim",
                "xreadgroup", "fcall", "mget", "incr")


def right_taken(faults, chance):
    lab = faults.lab
    with lab.redis.lock, lab.weather:
        right, length = chance.choice(RIGHTS_TAKEN), chance.uniform(0.5, 3)
        lab.direct.execute_command("ACL", "SETUSER", USER, f"-{right}")
        try:
            time.sleep(length)
        finally:
            wait_until(lambda: tried(
                lambda: lab.direct.execute_command("ACL", "SETUSER", USER, *RIGHTS)), 30)
        return f"{right} for {length:.1f} s"


def junk_in_keys(faults, chance):
    """Values of a wrong type, or none that the fleet can read, where it keeps its own; and entries
    that no producer made, which `verify --repair` puts into the books."""
    lab = faults.lab
    domain = chance.choice(DOMAINS)
    queue = chance.choice(QUEUES)
    keys = (f"sh:epoch:{{{domain}}}", "sh:lease:chroma:0", f"sh:lease:{{{queue}}}",
            f"sh:{{{queue}}}:wake", f"sh:{{{queue}}}:limits", "sh:upstream:chroma:write",
            "sh:upstream:embedder:embed", "sh:prompts", "sh:workers", "sh:lease:learn",
            "sh:{record}:events", f"sh:learn:{{{domain}}}")
    with lab.redis.lock:
        key, kind = chance.choice(keys), chance.choice(("string", "list", "hash", "entry"))
        if kind == "entry":
            key = f"sh:{{{queue}}}:jobs"
            lab.strangers[queue] += 1
            lab.direct.xadd(key, chance.choice(STRANGERS))
            return f"an entry in {key}"
        with lab.direct.pipeline(transaction=True) as pipe:
            pipe.delete(key)
            if kind == "string":
                pipe.set(key, chance.choice(("junk", "9223372036854775807", "-1", "inf")))
            elif kind == "list":
                pipe.rpush(key, "junk", "")
            else:
                pipe.hset(key, mapping={"opened_at": "junk", "state": "9" * 30, "junk": ""})
            pipe.execute()
        return f"a {kind} in {key}"


STRANGERS = ({"a": "b"}, {"id": "x" * 70, "domain": "legal", "attempt": "0", "options": "",
                          "body": ""},
             {"id": "stranger", "domain": "LEGAL", "attempt": "-1", "options": "x" * 40000,
              "body": "\x80"})


def functions_flushed(faults, _chance):
    lab = faults.lab
    with lab.redis.lock:
        lab.direct.execute_command("FUNCTION", "FLUSH")
        return "done"


# ---- the learning store and who writes to it ----

@contextlib.contextmanager
def some_recorder(faults, chance):
    recorder = chance.choice(faults.lab.recorders)
    with recorder.lock, faults.lab.store_weather:
        yield recorder


def recorder_killed(faults, chance):
    with some_recorder(faults, chance) as recorder:
        return kill_and_start(recorder, chance, 0)


def recorder_stopped(faults, chance):
    with some_recorder(faults, chance) as recorder:
        length = chance.choice((chance.uniform(0.3, 2.5), WRITER_LEASE_S + chance.uniform(0.5, 2)))
        stop_for(recorder, length)
        return f"{recorder.name}, for {length:.1f} s"


@contextlib.contextmanager
def no_recorder_touched(faults):
    """What befalls the store befalls each of them."""
    with contextlib.ExitStack() as locks:
        for recorder in faults.lab.recorders:
            locks.enter_context(recorder.lock)
        locks.enter_context(faults.lab.store_weather)
        yield faults.lab.recorders


def store_full(faults, chance):
    length = chance.uniform(1, 4)
    with no_recorder_touched(faults) as recorders, faults.lab.disk.full(recorders):
        time.sleep(length)
        return f"for {length:.1f} s, by {faults.lab.disk.what}"


def store_read_only(faults, chance):
    """As it is found by a recorder that starts: what is open stays open."""
    disk = faults.lab.disk
    at = chance.choice((disk.store, disk.folder))
    length = chance.uniform(1, 4)
    with no_recorder_touched(faults) as recorders:
        usual = at.stat().st_mode  # now that no other fault has changed it
        for recorder in recorders:
            recorder.kill()
        at.chmod(0o444 if at == disk.store else 0o555)
        try:
            for recorder in recorders:
                recorder.start()
            time.sleep(length)
        finally:
            at.chmod(usual)
        return f"{at.name} for {length:.1f} s"


def postgres_killed(faults, chance):
    lab = faults.lab
    with lab.disk.program.lock, lab.store_weather:
        began = time.monotonic()
        lab.disk.program.kill()
        time.sleep(chance.uniform(0, 1.5))
        lab.disk.start()
        return f"answers again after {time.monotonic() - began:.1f} s"


def postgres_away(lab, length, _chance):
    with lab.disk.program.lock, lab.store_weather:
        lab.disk.program.kill()
        time.sleep(length)
        lab.disk.start()


def store_locked(faults, chance):
    length = chance.uniform(1, 4)
    with no_recorder_touched(faults):
        other = sqlite3.connect(faults.lab.disk.store, timeout=10, isolation_level=None)
        try:
            other.execute("BEGIN IMMEDIATE")
            time.sleep(length)
        finally:
            other.close()
        return f"for {length:.1f} s"


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


# ---- what upstreams say ----

# Of Chroma's requests: all; what writes; what reads. A 404 of Chroma's own is no outage.
PARTS = ("", "upsert", "query")
CHROMA_SAYS = tuple(name for name in FORMS if name != "not-pulled")


def saying(lab, proxy, what, length):
    with proxy.lock, lab.weather:
        proxy.tell(f"say {what}")
        time.sleep(length)
        proxy.tell("calm")
        return f"{what} for {length:.1f} s"


def chroma_says(faults, chance):
    what = f"{chance.choice(CHROMA_SAYS)} {chance.choice(PARTS)}"
    return saying(faults.lab, faults.lab.chroma_proxy, what, chance.uniform(0.5, 4))


def embedder_says(faults, chance):
    what = chance.choice(tuple(FORMS))
    return saying(faults.lab, faults.lab.embedder_proxy, what, chance.uniform(0.5, 4))


def embedder_of_another_length(faults, chance):
    lab = faults.lab
    with lab.embedder.lock, lab.weather:
        length = chance.uniform(0.5, 3)
        lab.embedder.tell(f"length {chance.choice((1, 47, 384))}")
        time.sleep(length)
        lab.embedder.tell("calm")
        return f"for {length:.1f} s"


def embedder_killed(faults, chance):
    return killed(faults.lab, faults.lab.embedder, faults.lab.embedder.start, chance)


# ---- thin traffic: one job now and then, and outages that last ----

def away(start, program):
    def outage(lab, length, _chance):
        with program(lab).lock, lab.weather:
            program(lab).kill()
            time.sleep(length)
            start(lab)
    return outage


def hung(proxy):
    def outage(lab, length, _chance):
        with proxy(lab).lock, lab.weather:
            proxy(lab).tell("hold")
            time.sleep(length)
            proxy(lab).tell("release")
    return outage


def wrong_length(lab, length, _chance):
    with lab.embedder.lock, lab.weather:
        lab.embedder.tell("length 7")
        time.sleep(length)
        lab.embedder.tell("calm")


def disk_full(lab, length, _chance):
    with lab.recorders[0].lock, lab.store_weather, lab.disk.full(lab.recorders):
        time.sleep(length)


def said(proxy, forms, part=""):
    return lambda lab, length, chance: saying(lab, proxy(lab), f"{chance.choice(forms)} {part}",
                                              length)


OUTAGES = {
    "chroma away": away(lambda lab: lab.start_chroma(), lambda lab: lab.chroma),
    "chroma hung": hung(lambda lab: lab.chroma_proxy),
    "chroma's writes refused": said(lambda lab: lab.chroma_proxy, CHROMA_SAYS, "upsert"),
    "chroma's answers wrong": said(lambda lab: lab.chroma_proxy, CHROMA_SAYS),
    "embedder away": away(lambda lab: lab.embedder.start(), lambda lab: lab.embedder),
    "embedder hung": hung(lambda lab: lab.embedder_proxy),
    "embedder's answers wrong": said(lambda lab: lab.embedder_proxy, tuple(FORMS)),
    "embedder's vectors of another length": wrong_length,
    "the store's disk full": disk_full,
    "the store's server away": postgres_away,
}
OF_FILES = ("store's disk full", "store read-only", "store locked", "the store's disk full")
OF_SERVERS = ("store's server killed", "the store's server away")


def without(postgres):
    """The kinds that do not befall a store that stands there."""
    return OF_FILES if postgres else OF_SERVERS


class Thin:
    """`count` outages one after another over `seconds`, each as long as it can be."""

    def __init__(self, lab, seed, count, seconds, log):
        self.lab, self.log = lab, log
        self.chance = random.Random(f"thin {seed}")
        self.length = seconds / max(1, count) * 0.8
        self.gap = seconds / max(1, count) - self.length
        kinds = [kind for kind in OUTAGES if kind not in without(lab.options.postgres)]
        self.chance.shuffle(kinds)
        self.plan = [kinds[i % len(kinds)] for i in range(count)]
        self.counts = dict.fromkeys(kinds, 0)

    def run(self):
        for kind in self.plan:
            self.log(f"thin traffic, {kind}: for {self.length:.0f} s")
            done = OUTAGES[kind](self.lab, self.length, self.chance)
            self.log(f"thin traffic, {kind}: over {done or ''}")
            self.counts[kind] += 1
            if self.lab.stopping.wait(self.gap):
                return


KINDS = {
    "worker killed": worker_killed,
    "worker terminated": worker_terminated,
    "worker stopped": worker_stopped,
    "recorder killed": recorder_killed,
    "recorder stopped": recorder_stopped,
    "store's disk full": store_full,
    "store read-only": store_read_only,
    "store locked": store_locked,
    "store's server killed": postgres_killed,
    "redis killed": redis_killed,
    "redis stopped": redis_stopped,
    "redis out of memory": out_of_memory,
    "redis functions flushed": functions_flushed,
    "redis full of clients": full_of_clients,
    "redis right taken": right_taken,
    "redis clock moved": redis_clock_moved,
    "junk in keys": junk_in_keys,
    "worker clock moved": worker_clock_moved,
    "worker with another model": worker_with_another_model,
    "redis connections reset": lambda faults, chance: reset(faults.lab.redis_proxy),
    "redis replies cut": lambda faults, chance: cut(faults.lab.redis_proxy, chance),
    "redis stalled": lambda faults, chance: stall(faults.lab, faults.lab.redis_proxy, chance),
    "chroma killed": chroma_killed,
    "chroma stopped": chroma_stopped,
    "chroma connections reset": lambda faults, chance: reset(faults.lab.chroma_proxy),
    "chroma replies cut": lambda faults, chance: cut(faults.lab.chroma_proxy, chance),
    "chroma stalled": lambda faults, chance: stall(faults.lab, faults.lab.chroma_proxy, chance),
    "chroma says no": chroma_says,
    "embedder killed": embedder_killed,
    "embedder stalled": lambda faults, chance: stall(faults.lab, faults.lab.embedder_proxy, chance),
    "embedder replies cut": lambda faults, chance: cut(faults.lab.embedder_proxy, chance),
    "embedder says no": embedder_says,
    "embedder of another length": embedder_of_another_length,
}
