"""How late an event loop is while 200 tasks and 8 threads use one client:  PYTHON tests/python/lateness.py [SECONDS]

Beside the same program with calls that do nothing, by turns, SECONDS of each (60), with a Redis that
answers and with one that is stopped. The probe is a timer of 5 ms. PYTHON has the package, redis and
pytest; STILLHOUSE_TEST_BIN and STILLHOUSE_TEST_CHROMA as for the tests. Judges nothing.
"""

import asyncio
import contextlib
import pathlib
import random
import sys
import tempfile
import threading
import time

from conftest import Fleet
from stillhouse import AsyncStillhouse, StillhouseError

TASKS, THREADS, TURNS = 200, 8, 6
TASK_PAUSE, THREAD_PAUSE, PROBE = 0.5, 0.01, 0.005
KNOWN = "notice periods"


class Nothing:
    """A client whose calls do nothing."""

    def prompt(self, *given):
        return given[-1]

    def messages(self, *given):
        return []

    def distill(self, *given, **keywords):
        return ""


class AsyncNothing:
    def __init__(self):
        self.sync = Nothing()

    async def prompt(self, *given):
        return given[-1]

    async def messages(self, *given):
        return []

    async def distill(self, *given, **keywords):
        return ""


def calls(client, name, n):
    """Two answers from memory, one that is not there, and a lesson."""
    return (
        lambda: client.prompt("legal", KNOWN, "base"),
        lambda: client.messages("legal", KNOWN),
        lambda: client.prompt("legal", f"{name} {n % 50}", "base"),
        lambda: client.distill("other", task_id=f"{name} {n}", prompt="p", result="r"),
    )


class Turn:
    """`late`: how late the probe was, in ms, each time. `made`: how many calls each made."""

    def __init__(self, client, seconds):
        self.client, self.end = client, time.monotonic() + seconds
        self.late, self.made = [], []
        threads = [threading.Thread(target=self.in_thread, args=(f"thread {i}",)) for i in range(THREADS)]
        for thread in threads:
            thread.start()
        asyncio.run(self.in_tasks())
        for thread in threads:
            thread.join()

    def in_thread(self, name):
        n = 0
        while time.monotonic() < self.end:
            for call in calls(self.client.sync, name, n):
                with contextlib.suppress(StillhouseError):  # a stopped Redis takes no lesson
                    call()
            n += 1
            time.sleep(THREAD_PAUSE)
        self.made.append(4 * n)

    async def in_tasks(self):
        await asyncio.gather(self.probe(), *(self.in_task(f"task {i}") for i in range(TASKS)))

    async def in_task(self, name):
        n = 0
        await asyncio.sleep(random.random() * TASK_PAUSE)
        while time.monotonic() < self.end:
            for call in calls(self.client, name, n):
                with contextlib.suppress(StillhouseError):
                    await call()
            n += 1
            await asyncio.sleep(TASK_PAUSE)
        self.made.append(4 * n)

    async def probe(self):
        while time.monotonic() < self.end:
            begin = time.perf_counter()
            await asyncio.sleep(PROBE)
            self.late.append((time.perf_counter() - begin - PROBE) * 1000)


def compare(state, client, seconds):
    turns = [(Turn(AsyncNothing(), seconds / TURNS), Turn(client, seconds / TURNS)) for _ in range(TURNS)]
    row, p99 = [state], []
    for each in zip(*turns):
        late = sorted(ms for turn in each for ms in turn.late)
        p99.append(late[len(late) * 99 // 100])
        rate = sum(sum(turn.made) for turn in each) / seconds
        row += [f"{late[len(late) // 2]:.2f}", f"{p99[-1]:.2f}", f"{late[-1]:.1f}", f"{rate:.0f}"]
    print("| " + " | ".join([*row, f"{p99[1] - p99[0]:+.2f}"]) + " |", flush=True)


def main():
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 60
    with tempfile.TemporaryDirectory() as folder:
        fleet = Fleet(pathlib.Path(folder))
        client = AsyncStillhouse(redis_url=fleet.redis.url, max_backlog=10**8, memory_ttl_ms=3600000)
        try:
            client.sync.distill("legal", task_id="1", prompt="notice period", result="three months")
            fleet.settle()
            assert client.sync.prompt("legal", KNOWN, "base", wait_ms=10000).kind == "enriched"
            for program in (fleet.worker, fleet.chroma):
                program.end()  # they are to have other processors than the client
            print("| Redis | nothing: p50 ms | p99 | max | calls/s | client: p50 ms | p99 | max | calls/s | p99 over |")
            print("| --- |" + " ---: |" * 9)
            compare("answers", client, seconds)
            fleet.redis.stop()
            compare("is stopped", client, seconds)
            fleet.redis.go_on()
            asyncio.run(client.close())
        finally:
            fleet.end()


main()
