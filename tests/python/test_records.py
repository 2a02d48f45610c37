"""What executions taught, for the learning store: said by hand, and left by blocks and functions."""

import asyncio

import msgpack
import pytest
from conftest import PATIENT
from stillhouse import AsyncStillhouse, InvalidError, Stillhouse


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
        ({"kind": "outcome", "success": 1}, 'field "success": expected true or false'),
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


def test_the_same_awaited(redis):
    async def all_of_it():
        async with AsyncStillhouse(**PATIENT, redis_url=redis.url, record=True) as sh:
            await sh.record("legal", kind="policy", strictness="high", metadata={"a": 1})
            await sh.feedback("legal", "t-1", accepted=False)
            async with sh.task("legal", "t-2", query="q") as t:
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
    assert (good["task_id"], good["success"]) == ("t-2", True)
    assert (bad["task_id"], bad["error_type"]) == ("t-3", "KeyError")
