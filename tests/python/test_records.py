"""What executions taught, for the learning store: said by hand, and left by blocks and functions."""

import asyncio
import os
import pathlib
import re
import typing

import msgpack
import pytest
from conftest import PATIENT
from stillhouse import AsyncStillhouse, InvalidError, RecordFields, RecordKind, Stillhouse

SOURCE = pathlib.Path(os.environ["STILLHOUSE_TEST_SOURCE"])
TYPES = {"TEXT": str, "ID": str, "INTEGER": int, "NUMBER": float, "TRUTH": bool}


def kinds_def():
    return (SOURCE / "common/jobs/kinds.def").read_text()


def fields_of_the_contract():
    """Name -> type, least, most and the kinds that have it, of the table that C is made of."""
    row = r'^JOB_FIELD\(record_body, (\w+), (\w+), [^,]+, (\d+), (\d+), "", "([^"]*)"\)'
    rows = re.findall(row, kinds_def(), re.MULTILINE)
    every = {name: (kind, int(least), int(most), kinds.split()) for name, kind, least, most, kinds in rows}
    return {name: row for name, row in every.items() if name not in ("task_id", "at_ms")}


FIELDS = fields_of_the_contract()


def records(redis):
    """The bodies of the records that wait."""
    entries = redis.db.xrange("sh:{record}:jobs:low")
    return [msgpack.unpackb(fields[b"body"]) for _, fields in entries]


@pytest.fixture
def sh(redis):
    with Stillhouse(**PATIENT, redis_url=redis.url, record=True) as client:
        yield client


def test_a_part_has_what_was_said_and_nothing_else(redis, sh):
    job = sh.record(
        "legal",
        kind="outcome",
        task_id="t-1",
        at_ms=1700000000000,
        success=True,
        duration_seconds=3,
        model=None,
        metadata={"room": "blue"},
    )
    assert not job.kept
    assert records(redis) == [
        {
            "kind": "outcome",
            "task_id": "t-1",
            "at_ms": 1700000000000,
            "success": True,
            "duration_seconds": 3.0,
            "metadata": {"room": "blue"},
        }
    ]


def test_feedback_is_a_part_and_says_something(redis, sh):
    sh.feedback("legal", "t-1", rating=4, accepted=True, comment="good", type="review", user="ann")
    (said,) = records(redis)
    assert (said["kind"], said["user_rating"], said["user_accepted"]) == ("feedback", 4, True)
    assert (said["comment"], said["feedback_type"], said["user"]) == ("good", "review", "ann")
    with pytest.raises(InvalidError, match="rating, accepted or comment"):
        sh.feedback("legal", "t-1")


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"kind": "outcom"}, 'kind "outcom": expected one of routing'),
        ({"kind": "outcome", "sucess": True}, 'field "sucess": expected one that kind "outcome" has'),
        ({"kind": "outcome", "success": 1}, 'field "success": expected true or false, found 1'),
        ({"kind": "feedback", "user_rating": 4.0}, '"user_rating": expected a whole number, found the float 4'),
        ({"kind": "policy", "maturity": "a\0"}, r"field 'maturity' 'a\\x00': expected text without NUL"),
        ({"kind": "outcome", "actual_cost": float("nan")}, "field 'actual_cost' nan: expected a finite"),
        ({"kind": "outcome", "quality_score": -1}, '"quality_score": expected a number from 0 to 100'),
        ({"kind": "feedback", "user_rating": 6}, "from 1 to 5, found 6"),
        ({"kind": "outcome", "model": []}, "field 'model'"),
        ({"kind": "outcome", "at_ms": -1}, "at_ms -1: expected 1 to"),
        ({"kind": "outcome", "task_id": None}, '"task_id" is missing'),
    ],
)
def test_a_wrong_part_is_refused_by_field_and_what_was_expected(redis, sh, fields, text):
    with pytest.raises(InvalidError, match=text):
        sh.record("legal", **{"task_id": "t-1", **fields})
    assert records(redis) == []


def test_the_types_of_the_package_are_those_of_the_contract():
    typed = {name: typing.get_args(of)[0] for name, of in typing.get_type_hints(RecordFields).items()}
    assert typed == {name: TYPES[kind] for name, (kind, *_) in FIELDS.items()}
    (words,) = re.findall(r'^JOB_WORD\(record_body, kind, REQUIRED, "(.*)"\)', kinds_def(), re.MULTILINE)
    assert list(typing.get_args(RecordKind)) == words.split()


@pytest.mark.parametrize("name", FIELDS)
def test_each_field_is_taken_and_refused_with_its_value_and_what_was_expected(redis, sh, name):
    kind, least, most, kinds = FIELDS[name]
    of = (kinds or ["policy"])[0]
    good = {"TEXT": "text", "ID": "p-1", "INTEGER": most, "NUMBER": float(most), "TRUTH": False}[kind]
    sh.record("legal", kind=of, task_id=None if of == "policy" else "t-1", **{name: good})
    (said,) = records(redis)
    assert said[name] == good
    wrong = {
        "TEXT": [(True, "text, found true"), (0.5, "text, found the float 0.5"), (10**9, "text, found 10{9}")],
        "ID": [(1, "text, found 1"), ("x" * 257, "1 to 256 bytes, found 257")],
        "INTEGER": [("1", 'a whole number, found the string "1"'), (0.5, "a whole number, found the float 0.5")],
        "NUMBER": [("1", 'a number, found the string "1"'), (True, "a number, found true")],
        "TRUTH": [(1, "true or false, found 1"), ("yes", 'true or false, found the string "yes"')],
    }[kind]
    if kind == "TEXT":
        wrong.append(("x" * (most + 1), f"at most {most} bytes, found {most + 1}"))
    elif most > 0:
        bounds = f"from {least} to {most}, found "
        wrong += [(most + 1, bounds), (least - 1, f"{bounds}{least - 1}$")]
    for value, text in wrong:
        with pytest.raises(InvalidError, match=f'field "{name}": expected .*{text}'):
            sh.record("legal", kind=of, task_id=None if of == "policy" else "t-1", **{name: value})
    other = next((one for one in typing.get_args(RecordKind) if kinds and one not in kinds), None)
    if other is not None:
        with pytest.raises(InvalidError, match=f'field "{name}": expected one that kind "{other}" has'):
            sh.record("legal", kind=other, task_id="t-1", **{name: good})
    assert len(records(redis)) == 1


def test_a_block_leaves_how_it_ended(redis, sh):
    with sh.task("legal", "t-1", query="q", model="m") as t:
        asked = t.messages()
        t.done("answer", quality=0.5)
    with pytest.raises(KeyError), sh.task("legal", "t-2", query="q") as t:
        t.done("answer")
        raise KeyError
    good, bad = records(redis)
    assert (good["task_id"], good["success"], good["quality_score"]) == ("t-1", True, 50.0)
    assert (good["model"], good["arm"], good["prompt_id"]) == ("m", "fallback", asked.id)
    assert 0 < good["duration_seconds"] < 60
    assert (bad["task_id"], bad["success"], bad["error_type"]) == ("t-2", False, "KeyError")
    assert redis.waiting("distill") == 1


def test_a_block_says_more_of_its_outcome(redis, sh):
    with sh.task("legal", "t-1", query="q", model="m") as t:
        t.outcome(tokens_in=812, actual_cost=0.004, model=None)
        t.outcome(actual_cost=0.005, quality_score=70)
        t.done("answer", quality=0.5)
    with pytest.raises(KeyError), sh.task("legal", "t-2", query="q") as t:
        t.outcome(success=True, error_type="no such key")
        raise KeyError
    with sh.task("legal", "t-3", query="q") as t:
        t.outcome(success=False, error_type="refused")
    with pytest.raises(InvalidError, match=r"field 'tokens_in' \[\]: expected str, int, float or bool, got list"):
        sh.task("legal", "t-4", query="q").outcome(tokens_in=[])
    good, bad, none = records(redis)
    assert (good["tokens_in"], good["actual_cost"], good["model"], good["quality_score"]) == (812, 0.005, "m", 70.0)
    assert good["success"] is True
    assert (bad["success"], bad["error_type"]) == (False, "no such key")
    assert (none["success"], none["error_type"]) == (False, "refused")


def test_a_block_that_is_interrupted_or_has_no_answer_leaves_none(redis, sh):
    with sh.task("legal", "t-1", query="q"):
        pass
    with pytest.raises(KeyboardInterrupt), sh.task("legal", "t-2", query="q"):
        raise KeyboardInterrupt
    assert records(redis) == []


def test_a_client_that_was_not_asked_leaves_none(redis):
    with Stillhouse(**PATIENT, redis_url=redis.url) as sh:
        with sh.task("legal", "t-1", query="q") as t:
            t.done("answer")
        with pytest.raises(InvalidError, match="record 'yes': expected bool"):
            Stillhouse(record="yes")
    assert records(redis) == []


def test_a_function_leaves_how_it_ended(redis, sh):
    @sh.learn("legal")
    def answer(question, *, examples):
        if question == "hard":
            raise ValueError("too hard")
        return "done"

    assert answer("easy") == "done"
    with pytest.raises(ValueError, match="too hard"):
        answer("hard")
    good, bad = records(redis)
    assert (good["success"], bad["success"], bad["error_type"]) == (True, False, "ValueError")


def test_an_outcome_that_nobody_takes_fails_no_block():
    with Stillhouse(redis_url="redis://127.0.0.1:1/0", record=True) as sh:
        with sh.task("legal", "t-1", query="q") as t:
            t.done("answer")
        assert t.error is not None


def test_an_outcome_that_is_refused_fails_no_block_and_is_said(redis, caplog):
    async def awaited():
        async with AsyncStillhouse(redis_url=redis.url, record=True) as sh:
            async with sh.task("No domain", "t-1", query="q") as t:
                t.done("answer")
            async with sh.task("No domain", "t-1", query="q"):
                raise KeyError

    with Stillhouse(redis_url=redis.url, record=True) as sh:
        with sh.task("No domain", "t-1", query="q") as t:
            t.done("answer")
        with pytest.raises(KeyError), sh.task("No domain", "t-1", query="q"):
            raise KeyError
    with pytest.raises(KeyError):
        asyncio.run(awaited())
    said = [one.getMessage() for one in caplog.records if "no outcome of task t-1" in one.getMessage()]
    assert len(said) == 4
    assert all('domain "No domain": expected' in one for one in said)
    assert records(redis) == []


def test_the_same_awaited(redis):
    async def all_of_it():
        async with AsyncStillhouse(**PATIENT, redis_url=redis.url, record=True) as sh:
            await sh.record("legal", kind="policy", strictness="high", metadata={"a": 1})
            await sh.feedback("legal", "t-1", accepted=False)
            async with sh.task("legal", "t-2", query="q") as t:
                t.outcome(tokens_out=95)
                t.done("answer")
            with pytest.raises(KeyError):
                async with sh.task("legal", "t-3", query="q"):
                    raise KeyError
            task = sh.task("legal", "t-4", query="q")
            with pytest.raises(asyncio.CancelledError):
                async with task:
                    raise asyncio.CancelledError

    asyncio.run(all_of_it())
    policy, feedback, good, bad = records(redis)
    assert (policy["kind"], policy["strictness"]) == ("policy", "high")
    assert feedback["user_accepted"] is False
    assert (good["task_id"], good["success"], good["tokens_out"]) == ("t-2", True, 95)
    assert (bad["task_id"], bad["error_type"]) == ("t-3", "KeyError")
