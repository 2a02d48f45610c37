"""8 threads and 200 tasks of asyncio on one client:  PYTHON tests/python/race.py SECONDS

For a library that is built with ThreadSanitizer and named by STILLHOUSE_LIBRARY, with libtsan
preloaded, under `setarch -R`; it reports by itself. STILLHOUSE_TEST_BIN as for the tests.
"""

import asyncio
import pathlib
import sys
import tempfile
import threading
import time

from conftest import PATIENT, Fleet
from stillhouse import AsyncStillhouse

KNOWN = "notice periods"


def both(sh, name, n):
    """A prompt from memory, one that is not there, and a lesson, as calls to be made."""
    return (
        lambda: sh.prompt("legal", KNOWN, "base"),
        lambda: sh.messages("legal", KNOWN),
        lambda: sh.prompt("legal", f"{name} {n % 50}", "base"),
        lambda: sh.distill("other", task_id=f"{name} {n}", prompt="p", result="r"),
    )


def use(client, until, counted):
    def in_thread(name):
        n = 0
        while time.monotonic() < until:
            for call in both(client.sync, name, n):
                call()
            n += 1
        counted.append(n)

    async def in_task(name):
        n = 0
        while time.monotonic() < until:
            for call in both(client, name, n):
                await call()
            n += 1
        counted.append(n)

    async def main():
        await asyncio.gather(*(in_task(f"task {i}") for i in range(200)))

    threads = [threading.Thread(target=in_thread, args=(f"thread {i}",)) for i in range(8)]
    for thread in threads:
        thread.start()
    asyncio.run(main())
    for thread in threads:
        thread.join()
    asyncio.run(client.close())


def main():
    with tempfile.TemporaryDirectory() as folder:
        fleet = Fleet(pathlib.Path(folder))
        try:
            client, counted = AsyncStillhouse(**PATIENT, redis_url=fleet.redis.url, max_backlog=10**8), []
            client.sync.distill("legal", task_id="1", prompt="notice period", result="three months")
            fleet.settle()
            assert client.sync.prompt("legal", KNOWN, "base", wait_ms=10000).kind == "enriched"
            use(client, time.monotonic() + float(sys.argv[1]), counted)
            assert len(counted) == 208, "a thread or a task ended early"
            print(f"{4 * sum(counted)} calls, {client.stats()}")
        finally:
            fleet.end()


main()
