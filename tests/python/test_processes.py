"""One client over threads, fork, spawn, and the end of the interpreter."""

import multiprocessing
import os
import pickle
import subprocess
import sys
import threading
import time

import pytest
from conftest import PATIENT
from stillhouse import AsyncStillhouse, Status, Stillhouse


def in_threads(count, work):
    failures = []

    def guarded(i):
        try:
            work(i)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=guarded, args=(i,)) for i in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not failures


def test_eight_threads_use_one_client(redis):
    with Stillhouse(**PATIENT, redis_url=redis.url) as sh:

        def work(i):
            for n in range(100):
                assert sh.prompt("legal", f"q {i} {n}", "base") == "base"
                sh.distill("legal", task_id=f"{i} {n}", prompt="p", result="r")

        in_threads(8, work)
        stats = sh.stats()
        assert (stats.fallback, stats.jobs) == (800, 800)
        assert stats.clients <= 8
        assert redis.waiting("distill") == 800


def test_threads_share_one_memory(fleet):
    with Stillhouse(**PATIENT, redis_url=fleet.redis.url) as sh:
        domain = fleet.domain()
        sh.distill(domain, task_id="1", prompt="notice period", result="three months")
        fleet.settle()
        assert sh.prompt(domain, "notice periods", "base", wait_ms=5000).kind == "enriched"
        before = fleet.redis.db.info("commandstats")["cmdstat_get"]["calls"]

        def work(i):
            for _ in range(100):
                assert sh.prompt(domain, "notice periods", "base").kind == "enriched"

        in_threads(8, work)
        assert fleet.redis.db.info("commandstats")["cmdstat_get"]["calls"] == before


def test_threads_that_end_leave_no_connection_behind(redis):
    with Stillhouse(**PATIENT, redis_url=redis.url) as sh:
        before = redis.db.info("clients")["connected_clients"]
        for n in range(20):
            in_threads(1, lambda i, n=n: sh.prompt("legal", f"q {n}", "base"))
        assert redis.db.info("clients")["connected_clients"] <= before + 1
    assert redis.db.info("clients")["connected_clients"] <= before


def test_a_client_closed_while_threads_use_it_ends_them_cleanly(redis):
    sh = Stillhouse(**PATIENT, redis_url=redis.url)
    ended = []

    def work(i):
        try:
            for n in range(100000):
                sh.prompt("legal", f"q {i} {n}", "base")
        except RuntimeError as error:
            ended.append(str(error))

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    time.sleep(0.1)
    sh.close()
    for thread in threads:
        thread.join(10)
    assert ended == ["the client is closed: expected one that is open"] * 4


def child_of(sh, queue):
    queue.put((sh.prompt("legal", "child", "base").status, sh.stats().fallback))


@pytest.mark.parametrize("way", ["fork", "spawn", "forkserver"])
def test_a_client_works_in_a_process_of_multiprocessing(redis, way):
    context = multiprocessing.get_context(way)
    with Stillhouse(**PATIENT, redis_url=redis.url) as sh:
        sh.prompt("legal", "parent", "base")
        queue = context.Queue()
        process = context.Process(target=child_of, args=(sh, queue))
        process.start()
        assert queue.get(timeout=30) == (Status.NOT_FOUND, 1)
        process.join(30)
        assert process.exitcode == 0
        assert sh.prompt("legal", "parent again", "base").status == Status.NOT_FOUND


def test_a_child_forked_while_threads_are_in_calls_works_on(redis):
    with Stillhouse(**PATIENT, redis_url=redis.url) as sh:
        ended = threading.Event()

        def work():
            n = 0
            while not ended.is_set():
                n += 1
                sh.prompt("legal", f"q {n}", "base")

        threads = [threading.Thread(target=work) for _ in range(3)]
        for thread in threads:
            thread.start()
        try:
            for n in range(20):
                child = os.fork()
                if child == 0:
                    good = all(sh.prompt("legal", f"c {n} {i}", "b").status == Status.NOT_FOUND for i in range(3))
                    os._exit(0 if good else 1)
                assert os.waitpid(child, 0)[1] == 0
        finally:
            ended.set()
            for thread in threads:
                thread.join(10)


@pytest.mark.parametrize("kind", [Stillhouse, AsyncStillhouse])
def test_a_pickled_client_carries_its_settings(redis, kind):
    sh = kind(redis_url=redis.url, retry_ms=5, examples="messages")
    again = pickle.loads(pickle.dumps(sh))
    assert again._settings == sh._settings
    assert again.stats().clients == 1


ENDS = {
    "open": "sh.prompt('legal', 'q', 'b')",
    "in a daemon thread": (
        "import threading, time\n"
        "def work():\n"
        "    while True: sh.prompt('legal', str(time.time()), 'b')\n"
        "threading.Thread(target=work, daemon=True).start(); time.sleep(.2)"
    ),
    "in a daemon thread's loop": (
        "import asyncio, threading, time\nfrom stillhouse import AsyncStillhouse\n"
        "a = AsyncStillhouse(**PATIENT)\n"
        "async def work():\n"
        "    while True: await a.prompt('legal', str(time.time()), 'b')\n"
        "threading.Thread(target=lambda: asyncio.run(work()), daemon=True).start(); time.sleep(.2)"
    ),
    "in a circle": "sh.myself = [sh]; sh.prompt('legal', 'q', 'b'); del sh",
    "in a child": (
        "import os\n"
        "sh.prompt('legal', 'q', 'b')\n"
        "child = os.fork()\n"
        "sh.prompt('legal', 'q2', 'b')\n"
        "if child: assert os.waitpid(child, 0)[1] == 0"
    ),
    "in asyncio": (
        "import asyncio\nfrom stillhouse import AsyncStillhouse\n"
        "a = AsyncStillhouse(**PATIENT)\n"
        "async def main():\n"
        "    await asyncio.gather(*(a.prompt('legal', str(i), 'b') for i in range(50)))\n"
        "asyncio.run(main())"
    ),
    "with a call under way in asyncio": (
        "import asyncio\nfrom stillhouse import AsyncStillhouse\n"
        "a = AsyncStillhouse(**PATIENT)\n"
        "async def main():\n"
        "    asyncio.ensure_future(a.prompt('legal', 'q', 'b', wait_ms=300))\n"
        "    await asyncio.sleep(.05)\n"
        "asyncio.run(main())"
    ),
    "with calls that wait for ten minutes": (
        "import asyncio\nfrom stillhouse import AsyncStillhouse\n"
        "a = AsyncStillhouse(**PATIENT)\n"
        "async def main():\n"
        "    for i in range(20): asyncio.ensure_future(a.await_result(f'no-job-{i}', wait_ms=600000))\n"
        "    await asyncio.sleep(.05)\n"
        "asyncio.run(main())"
    ),
}


# Registered first, it runs last: what the client's end leaves running has time to say something.
LINGER = "import atexit, time\natexit.register(time.sleep, .2)\n"
# With -X dev asyncio says which step took longer than 0.1 s: on a busy machine, any.
BUSY = "import logging\nlogging.getLogger('asyncio').addFilter(lambda said: not said.msg.startswith('Executing'))\n"


@pytest.mark.parametrize("how", ENDS)
def test_the_interpreter_ends_without_a_word(redis, how):
    client = f"from stillhouse import Stillhouse\nPATIENT = {PATIENT}\nsh = Stillhouse(**PATIENT)\n"
    program = f"{LINGER}{BUSY}{client}{ENDS[how]}\n"
    environment = {**os.environ, "STILLHOUSE_REDIS_URL": redis.url}
    command = [sys.executable, "-X", "dev", "-c", program]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    if how == "open":
        counted = redis.db.hgetall("sh:prompts")
        assert counted[b"fallback"] == b"1"


def test_clients_come_and_go_without_a_leak(redis):
    def once():
        with Stillhouse(**PATIENT, redis_url=redis.url) as sh:
            for i in range(5):
                sh.prompt("legal", f"q {i}", "base" * 1000)
                sh.messages("legal", f"q {i}")
                sh.distill("legal", task_id="t", prompt="p", result="r" * 1000, metadata={"a": "b" * 1000})

    def resident_kib():
        with open("/proc/self/statm") as statm:
            return int(statm.read().split()[1]) * 4

    for _ in range(20):
        once()
    files, before = len(os.listdir("/proc/self/fd")), resident_kib()
    for _ in range(100):
        once()
    assert len(os.listdir("/proc/self/fd")) == files
    assert resident_kib() - before < 4096
