"""Tasks through a client, to be told what became of them:  fault_calls.py sync|asyncio URL OUTBOX MAX_BACKLOG

On standard input: "run MS" (a prompt and a lesson each 5 ms; answered by a line of JSON) and "flush MS"
(answered by 1 where nothing is left, else 0). Statuses are those of stillhouse.h, of prompts 0 = enriched.
"""

import asyncio
import collections
import json
import sys
import time

from stillhouse import AsyncStillhouse, Status, Stillhouse, StillhouseError

PAUSE = 0.005


class Call:
    def __init__(self):
        self.longest_ms, self.counts = 0.0, collections.Counter()

    def note(self, begin, status):
        self.longest_ms = max(self.longest_ms, (time.perf_counter() - begin) * 1000)
        self.counts[int(status)] += 1


class Tasks:
    def __init__(self, client):
        self.client, self.serial = client, 0

    def next(self):
        """(the query, the lesson) of the next task."""
        name = str(self.serial)
        self.serial += 1
        query = "notice periods" if self.serial % 2 == 0 else name
        return query, {"task_id": name, "prompt": "p", "result": "r"}

    def is_flushed(self, ms):
        try:
            return int(self.flush(ms) == 0)
        except StillhouseError:
            return 0

    def report(self, prompts, jobs):
        return json.dumps({"prompts": vars(prompts), "jobs": vars(jobs), "kept": self.client.stats().kept})


def became(job):
    return Status.KEPT if job.kept else Status.OK


class SyncTasks(Tasks):
    def run(self, for_ms):
        prompts, jobs, end = Call(), Call(), time.monotonic() + for_ms / 1000
        while time.monotonic() < end:
            query, lesson = self.next()
            begin = time.perf_counter()
            prompts.note(begin, self.client.prompt("legal", query, "base").status)
            begin = time.perf_counter()
            try:
                jobs.note(begin, became(self.client.distill("other", **lesson)))
            except StillhouseError as error:
                jobs.note(begin, error.status)
            time.sleep(PAUSE)
        return self.report(prompts, jobs)

    def flush(self, ms):
        return self.client.flush(ms)


class AsyncTasks(Tasks):
    def __init__(self, client):
        super().__init__(client)
        self.loop = asyncio.new_event_loop()

    async def work(self, for_ms):
        prompts, jobs, end = Call(), Call(), time.monotonic() + for_ms / 1000
        while time.monotonic() < end:
            query, lesson = self.next()
            begin = time.perf_counter()
            prompts.note(begin, (await self.client.prompt("legal", query, "base")).status)
            begin = time.perf_counter()
            try:
                jobs.note(begin, became(await self.client.distill("other", **lesson)))
            except StillhouseError as error:
                jobs.note(begin, error.status)
            await asyncio.sleep(PAUSE)
        return self.report(prompts, jobs)

    def run(self, for_ms):
        return self.loop.run_until_complete(self.work(for_ms))

    def flush(self, ms):
        return self.loop.run_until_complete(self.client.flush(ms))


def main():
    kind, url, outbox, max_backlog = sys.argv[1:]
    settings = {"redis_url": url, "outbox": outbox, "max_backlog": int(max_backlog), "retry_ms": 200}
    tasks = SyncTasks(Stillhouse(**settings)) if kind == "sync" else AsyncTasks(AsyncStillhouse(**settings))
    for line in sys.stdin:
        command, number = line.split()
        print({"run": tasks.run, "flush": tasks.is_flushed}[command](int(number)), flush=True)


main()
