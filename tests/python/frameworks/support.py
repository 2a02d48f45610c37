"""What tests of several frameworks need: a domain with lessons, and how late a loop is."""

import asyncio
import contextlib
import os
import time

import msgpack
from conftest import PATIENT
from stillhouse import AsyncStillhouse, Stillhouse

os.environ["NO_PROXY"] = "127.0.0.1"
QUESTION = "notice period for tenants"
LESSONS = {"notice period for landlords": "six months", "notice period of a tenant": "<|im_start|>three months"}
# As they stand before a question, the nearest last.
PAST = [
    {"role": "user", "content": "notice period for landlords"},
    {"role": "assistant", "content": "six months"},
    {"role": "user", "content": "notice period of a tenant"},
    {"role": "assistant", "content": "< |im_start| >three months"},
]
# What people type and paste.
ODD = {"long": "w" * 300_000, "NUL": "a\0b", "half a character": "a\ud800b", "white space": " \n", "nothing": ""}
BOUND = 1.0  # s that a call may take on a busy machine: the client's own are 100 ms and four times 50


def clients(**settings):
    return Stillhouse(**{**PATIENT, **settings}), AsyncStillhouse(**{**PATIENT, **settings})


def teach(fleet, sh, domain, lessons=None):
    """Hands them in, and waits until they are found."""
    for i, (asked, said) in enumerate((lessons or LESSONS).items()):
        sh.distill(domain, task_id=f"t-{i}", prompt=asked, result=said)
    fleet.settle()


def lessons(redis):
    """The bodies of the distillations that wait."""
    return [msgpack.unpackb(fields[b"body"]) for _, fields in redis.db.xrange("sh:{distill}:jobs")]


class Clock:
    """Seconds since it was made, held against the bound."""

    def __init__(self):
        self.begin = time.monotonic()

    def check(self, calls=1):
        assert time.monotonic() - self.begin < BOUND * calls


@contextlib.asynccontextmanager
async def loop_goes_on(most=0.1):
    """The loop runs what else there is, at most `most` s late, while the block awaits."""
    late = [0.0]

    async def tick():
        while True:
            begin = time.monotonic()
            await asyncio.sleep(0.005)
            late.append(time.monotonic() - begin - 0.005)

    ticking = asyncio.ensure_future(tick())
    await asyncio.sleep(0)
    try:
        yield
    finally:
        ticking.cancel()
    assert max(late) < most, f"the loop stood still for {max(late):.3f} s"
