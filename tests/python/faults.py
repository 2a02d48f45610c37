"""What C programs, Python and asyncio see of each fault, side by side:  PYTHON tests/python/faults.py

The three run at the same time against the same server, each with an outbox; after the fault each sends
what it kept. Prints a table; checks that no call took longer than its bound, that each job was taken or
kept, and that nothing is left. PYTHON has the package, redis and pytest; STILLHOUSE_TEST_BIN and
STILLHOUSE_TEST_CHROMA as for the tests. Last line: "N passed, N failed".
"""

import contextlib
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time

from conftest import BIN, PATIENT, Fleet, Program, RedisServer, free_port, until
from stillhouse import FullError, Status, Stillhouse

HERE = pathlib.Path(__file__).parent
C = "C"
CLIENTS = {
    C: [BIN.parent / "tests" / "fault_calls"],
    "Python": [sys.executable, HERE / "fault_calls.py", "sync"],
    "asyncio": [sys.executable, HERE / "fault_calls.py", "asyncio"],
}
# To connect, and two round trips of which each is sent and answered: stillhouse.h. An outbox adds what
# the disk takes, and a busy machine what the processor does.
BOUND_MS, DISK_AND_PROCESSOR_MS = 300, 250
RUN_MS = 1200


class User:
    """One of the clients, in a process of its own."""

    def __init__(self, folder, name, url, max_backlog):
        environment = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
        command = [*CLIENTS[name], url, folder / f"outbox-{name}", str(max_backlog)]
        self.name = name
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )

    def begin(self, command):
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()

    def answer(self):
        return json.loads(self.process.stdout.readline())

    def end(self):
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait(10)


class State:
    """A server, what is done to it, and what mends it. `prompts`, `jobs`: what calls may come to."""

    name = ""
    prompts: frozenset = frozenset({Status.UNREACHABLE})
    jobs: frozenset = frozenset({Status.KEPT})
    max_backlog = 10**6  # of clients, a queue
    run_ms = RUN_MS

    def __init__(self, folder):
        self.folder = folder
        self.redis = RedisServer(folder)
        self.url = self.redis.url

    def spoil(self):
        raise NotImplementedError

    def mend(self):
        pass

    def end(self):
        self.redis.end()


class Healthy(State):
    name = "nothing is wrong"
    prompts, jobs = frozenset({Status.NOT_FOUND}), frozenset({Status.OK})

    def spoil(self):
        pass


class Dead(State):
    name = "Redis dead"

    def spoil(self):
        self.redis.end()

    def mend(self):
        self.redis.start()


class Hung(State):
    name = "Redis hung"

    def spoil(self):
        self.redis.stop()

    def mend(self):
        self.redis.go_on()


class OutOfMemory(State):
    name = "Redis full (maxmemory, noeviction)"
    prompts = frozenset({Status.FAILED})

    def spoil(self):
        self.redis.db.config_set("maxmemory", 1)

    def mend(self):
        self.redis.db.config_set("maxmemory", 0)


class Backlog(State):
    name = "queues full (backlog)"
    prompts = frozenset({Status.FULL, Status.NOT_FOUND})  # found: the same enrichment of the warm-up
    max_backlog = 1000

    def spoil(self):
        with Stillhouse(redis_url=self.url, max_backlog=self.max_backlog, **PATIENT) as sh:
            for i in range(self.max_backlog):
                with contextlib.suppress(FullError):
                    sh.enrich("other", f"q {i}")
                    sh.distill("other", task_id=f"t {i}", prompt="p", result="r")

    def mend(self):
        self.redis.db.flushall()


class ReadOnly(State):
    name = "Redis a read-only replica"
    prompts = frozenset({Status.FAILED, Status.UNREACHABLE})

    def spoil(self):
        self.redis.db.replicaof("127.0.0.1", 1)

    def mend(self):
        self.redis.db.replicaof("NO", "ONE")


class FailingOver(State):
    name = "failing over (Sentinel promotes the replica)"
    prompts = frozenset({Status.UNREACHABLE, Status.FAILED, Status.NOT_FOUND})
    jobs = frozenset({Status.KEPT, Status.OK})
    run_ms = 6000

    def __init__(self, folder):
        self.redis = RedisServer(folder)
        second = folder / "replica"
        second.mkdir()
        self.replica = RedisServer(second)
        self.replica.db.replicaof("127.0.0.1", self.redis.port)
        until(lambda: self.replica.db.info("replication").get("master_link_status") == "up", "the replica")
        port = free_port()
        (folder / "sentinel.conf").write_text(
            f"port {port}\nbind 127.0.0.1\ndir {folder}\nsentinel monitor main 127.0.0.1 {self.redis.port} 1\n"
            "sentinel down-after-milliseconds main 300\nsentinel failover-timeout main 2000\n"
        )
        self.sentinel = Program(folder, "sentinel", "redis-server", str(folder / "sentinel.conf"), "--sentinel")
        until(lambda: "+slave" in self.sentinel.log.read_text(), "Sentinel")
        self.url = f"redis+sentinel://127.0.0.1:{port}/main/0"

    def spoil(self):
        self.redis.program.signal(signal.SIGKILL)

    def end(self):
        self.sentinel.end()
        self.replica.end()
        self.redis.end()


class HalfAnswers(State):
    name = "half an answer, then the connection is cut"

    def __init__(self, folder):
        super().__init__(folder)
        port = free_port()
        command = [sys.executable, HERE.parent / "chaos" / "proxy.py", str(port), str(self.redis.port)]
        self.proxy = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.proxy.stdout.readline() == "ok 0\n"
        self.url = f"redis://127.0.0.1:{port}/0"

    def say(self, command):
        self.proxy.stdin.write(command + "\n")
        self.proxy.stdin.flush()
        assert self.proxy.stdout.readline().startswith("ok")

    def spoil(self):
        self.say("cut 1000000")

    def mend(self):
        self.say("calm")

    def end(self):
        self.proxy.stdin.close()
        self.proxy.stdout.close()
        self.proxy.wait(10)
        super().end()


class WithFleet(State):
    """What is asked for half of the time is in the cache."""

    prompts, jobs = frozenset({Status.OK, Status.NOT_FOUND}), frozenset({Status.OK})

    def __init__(self, folder):
        self.fleet = Fleet(folder)
        self.redis, self.url = self.fleet.redis, self.fleet.redis.url
        with Stillhouse(redis_url=self.url, **PATIENT) as sh:
            sh.distill("legal", task_id="1", prompt="notice period", result="three months")
            self.fleet.settle()
            assert sh.prompt("legal", "notice periods", "base", wait_ms=10000).kind == "enriched"

    def end(self):
        self.fleet.end()


class ChromaAway(WithFleet):
    name = "Chroma away"

    def spoil(self):
        self.fleet.chroma.signal(signal.SIGKILL)


class ChromaHung(WithFleet):
    name = "Chroma hung"

    def spoil(self):
        self.fleet.chroma.signal(signal.SIGSTOP)


class EmbedderAway(WithFleet):
    name = "embedder away"

    def spoil(self):
        """Another worker takes the place of the first: its embedder's port is closed."""
        self.fleet.worker.end()
        self.fleet.start_worker(
            {
                "STILLHOUSE_EMBEDDER": "ollama",
                "STILLHOUSE_EMBED_URL": "http://127.0.0.1:1",
                "STILLHOUSE_EMBED_MODEL": "m",
            }
        )


STATES = (
    Healthy,
    Dead,
    Hung,
    OutOfMemory,
    Backlog,
    ReadOnly,
    FailingOver,
    HalfAnswers,
    ChromaAway,
    ChromaHung,
    EmbedderAway,
)


def words(counts):
    each = {Status(int(status)): count for status, count in counts.items()}
    return ", ".join(f"{status.name} {count}" for status, count in sorted(each.items()))


def faults_of(state, report, flushed):
    """What is not as it should be."""
    for what, allowed in (("prompts", state.prompts), ("jobs", state.jobs)):
        took = report[what]["longest_ms"]
        if took > BOUND_MS + DISK_AND_PROCESSOR_MS:
            yield f"{what}: {took:.0f} ms, the bound is {BOUND_MS}"
        if not {int(status) for status in report[what]["counts"]} <= set(allowed):
            yield f"{what}: {words(report[what]['counts'])}, expected {[status.name for status in allowed]}"
    if not flushed:
        yield "something is left in the outbox"


def all_do(users, command):
    for user in users:
        user.begin(command)
    return [user.answer() for user in users]


def flushed(users):
    """Whether each sent all that it kept; who was sure a moment ago that Redis is away is asked again."""
    end = time.monotonic() + 10
    while True:
        answers = all_do(users, "flush 2000")
        if all(answers) or time.monotonic() > end:
            return answers
        time.sleep(0.1)


def try_out(state, users):
    all_do(users, "run 100")
    state.spoil()
    reports = all_do(users, f"run {state.run_ms}")
    state.mend()
    return zip(users, reports, flushed(users))


def judge(kind, folder):
    """Prints the state's rows; returns how many are good."""
    state, users, good = kind(folder), [], 0
    try:
        users.extend(User(folder, name, state.url, state.max_backlog) for name in CLIENTS)
        for user, report, is_flushed in try_out(state, users):
            prompts, jobs = report["prompts"], report["jobs"]
            cells = [f"{prompts['longest_ms']:.1f}", words(prompts["counts"])]
            cells += [f"{jobs['longest_ms']:.1f}", words(jobs["counts"]), str(report["kept"])]
            print("| " + " | ".join([state.name if user.name == C else "", user.name, *cells]) + " |", flush=True)
            faults = list(faults_of(state, report, is_flushed))
            for fault in faults:
                print(f"{state.name}, {user.name}: {fault}")
            good += not faults
    finally:
        with contextlib.ExitStack() as ends:
            for one in (state, *users):
                ends.callback(one.end)
    return good


def main():
    print("| state | client | prompt: longest, ms | came to | job: longest, ms | came to | kept |")
    print("| --- | --- | ---: | --- | ---: | --- | ---: |")
    good = 0
    for kind in STATES:
        with tempfile.TemporaryDirectory() as folder:
            good += judge(kind, pathlib.Path(folder))
    bad = len(STATES) * len(CLIENTS) - good
    print(f"{good} passed, {bad} failed")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
