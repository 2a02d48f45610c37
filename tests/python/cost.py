"""What a call costs, beside bare redis-py and redis.asyncio, in one run:  PYTHON tests/python/cost.py

PYTHON has the package, redis and msgpack; STILLHOUSE_TEST_BIN and STILLHOUSE_TEST_CHROMA as for the
tests. Microseconds a call of wall time and of this process's processor time; the least of five rounds.
Judges nothing.
"""

import asyncio
import ctypes
import pathlib
import tempfile
import time
import uuid

import msgpack
import redis
import redis.asyncio
from conftest import Fleet
from stillhouse import AsyncStillhouse, Stillhouse
from stillhouse import _arguments as arguments
from stillhouse._library import lib

BASE = "Answer the tenant. " * 20
QUERY = "notice periods of tenants"
ROUNDS = 5


def row(name, calls, once):
    rounds = []
    for _ in range(ROUNDS):
        wall, cpu = time.perf_counter(), time.process_time()
        once(calls)
        rounds.append(((time.perf_counter() - wall) / calls * 1e6, (time.process_time() - cpu) / calls * 1e6))
    print(f"| {name} | {min(wall for wall, _ in rounds):.1f} | {min(cpu for _, cpu in rounds):.1f} |", flush=True)


def repeat(call):
    def once(calls):
        for i in range(calls):
            call(i)

    return once


def repeat_on(loop, call):
    def once(calls):
        async def main():
            for i in range(calls):
                await call(i)

        loop.run_until_complete(main())

    return once


def resident_kib():
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * 4


def enqueue(db, i):
    """As the recipe of README.md does it."""
    body = msgpack.packb({"task_id": str(i), "prompt": "p", "result": "r", "success": True})
    return db.fcall("sh_enqueue", 1, "sh:{distill}", 100000000, str(uuid.uuid4()), "cost", "", body)


def measure(fleet):
    url, loop = fleet.redis.url, asyncio.new_event_loop()
    sh, ash = Stillhouse(redis_url=url, max_backlog=10**8), AsyncStillhouse(redis_url=url, max_backlog=10**8)
    forgetful = Stillhouse(redis_url=url, memory_ttl_ms=1)
    db, adb = redis.Redis.from_url(url), redis.asyncio.Redis.from_url(url)
    for i in range(3):
        sh.distill("cost", task_id=str(i), prompt=f"notice period {i}", result="three months " * 20)
    fleet.settle()
    assert sh.prompt("cost", QUERY, BASE, wait_ms=5000).kind == "enriched"
    key = next(iter(db.scan_iter("sh:cache:{cost}*")))
    fleet.worker.end()

    print("| a call | wall us | processor us |\n| --- | --- | --- |")
    row("prompt from memory", 20000, repeat(lambda i: sh.prompt("cost", QUERY, BASE)))
    row("the same, asyncio", 20000, repeat_on(loop, lambda i: ash.prompt("cost", QUERY, BASE)))
    row("prompt from Redis", 2000, repeat(lambda i: (forgetful.prompt("cost", QUERY, BASE), time.sleep(0.0015))))
    row("a sleep of 1.5 ms, which the row above has inside", 2000, repeat(lambda i: time.sleep(0.0015)))
    row("redis-py: GET", 2000, repeat(lambda i: db.get(key)))
    row("redis.asyncio: GET", 2000, repeat_on(loop, lambda i: adb.get(key)))
    row("distill", 2000, repeat(lambda i: sh.distill("cost", task_id=str(i), prompt="p", result="r")))
    row(
        "distill, asyncio", 2000, repeat_on(loop, lambda i: ash.distill("cost", task_id=str(i), prompt="p", result="r"))
    )
    row("redis-py: the recipe's enqueue", 2000, repeat(lambda i: enqueue(db, i)))
    row("redis.asyncio: the recipe's enqueue", 2000, repeat_on(loop, lambda i: enqueue(adb, i)))

    before, options = resident_kib(), arguments.client_options({"redis_url": url})
    opened = [ctypes.c_void_p() for _ in range(200)]
    for one in opened:
        lib.stillhouse_open(options, one)
    print(f"200 clients of C, idle: {resident_kib() - before} KiB")
    before, many = resident_kib(), [Stillhouse(redis_url=url) for _ in range(100)]
    print(f"100 clients, each of two of C, idle: {resident_kib() - before} KiB")
    for i, one in enumerate(many):
        one.distill("cost", task_id=str(i), prompt="p", result="r")
    print(f"100 clients, connected: {resident_kib() - before} KiB")
    for one in opened:
        lib.stillhouse_close(one)
    for one in (*many, sh, forgetful):
        one.close()
    for close in (ash.close, adb.aclose):
        loop.run_until_complete(close())
    loop.close()


def main():
    with tempfile.TemporaryDirectory() as folder:
        fleet = Fleet(pathlib.Path(folder))
        try:
            measure(fleet)
        finally:
            fleet.end()


main()
