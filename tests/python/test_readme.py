"""The programs of producer/python/README.md, as they stand there, against a fleet."""

import asyncio
import functools
import os
import pathlib
import re

import msgpack
import pytest
import stillhouse
from conftest import PATIENT

README = pathlib.Path(os.environ["STILLHOUSE_TEST_SOURCE"]) / "producer/python/README.md"


def blocks():
    return re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)


@pytest.fixture(autouse=True)
def patient(monkeypatch):
    """The page's clients wait for a busy machine."""
    for kind in (stillhouse.Stillhouse, stillhouse.AsyncStillhouse):
        monkeypatch.setattr(stillhouse, kind.__name__, functools.partial(kind, **PATIENT))


def test_the_page_ends_with_a_stored_lesson_and_an_enriched_answer(fleet, monkeypatch, capsys):
    monkeypatch.setenv("STILLHOUSE_REDIS_URL", fleet.redis.url)
    learn, ask = blocks()[:2]
    names = {"run": lambda messages: "three months"}
    exec(learn, names)
    fleet.settle()
    exec(ask, names)
    out = capsys.readouterr().out
    assert "three months" in out
    assert out.rstrip().endswith("enriched 1")


def test_the_page_records_what_an_execution_taught(redis, monkeypatch):
    monkeypatch.setenv("STILLHOUSE_REDIS_URL", redis.url)
    exec(blocks()[3], {"run": lambda messages: "three months", "Stillhouse": stillhouse.Stillhouse})
    said = [msgpack.unpackb(fields[b"body"]) for _, fields in redis.db.xrange("sh:{record}:jobs:low")]
    assert [(part["kind"], part["task_id"]) for part in said] == [
        ("outcome", "t-21"),
        ("routing", "t-21"),
        ("feedback", "t-21"),
    ]
    assert (said[0]["success"], said[0]["tokens_in"], said[0]["quality_score"]) == (True, 812, 90.0)
    assert len(blocks()) == 4


def test_the_same_page_with_asyncio(fleet, monkeypatch, capsys):
    monkeypatch.setenv("STILLHOUSE_REDIS_URL", fleet.redis.url)

    async def run(messages):
        return "three months"

    names = {"run": run}
    exec(blocks()[2], names)
    asyncio.run(names["learn"]())
    fleet.settle()
    asyncio.run(names["ask"]())
    out = capsys.readouterr().out
    assert "three months" in out
    assert out.rstrip().endswith("enriched 1")
