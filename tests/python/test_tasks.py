"""Blocks and decorated functions: examples before, a lesson after, nothing where it raised."""

import asyncio
import hashlib
import logging

import msgpack
import pytest
from conftest import PATIENT
from stillhouse import AsyncStillhouse, InvalidError, Messages, Prompt, Stillhouse


def lessons(redis):
    """The bodies of the distillations that wait."""
    entries = redis.db.xrange("sh:{distill}:jobs")
    return [msgpack.unpackb(fields[b"body"]) for _, fields in entries]


@pytest.fixture
def sh(redis):
    with Stillhouse(**PATIENT, redis_url=redis.url) as client:
        yield client


def test_a_block_hands_in_its_answer(redis, sh):
    with sh.task("legal", "t-1", query="q", model="m", metadata={"a": 1}) as t:
        assert t.messages() == []
        assert redis.waiting("distill") == 0
        t.done("wrong")
        t.done("right", quality=0.5, metadata={"b": 2})
        assert redis.waiting("distill") == 0
    (lesson,) = lessons(redis)
    assert (lesson["task_id"], lesson["prompt"], lesson["result"]) == ("t-1", "q", "right")
    assert (lesson["quality"], lesson["model"]) == (0.5, "m")
    assert lesson["metadata"] == {"a": 1, "b": 2, **told(t.messages())}
    assert t.job is not None
    assert sh.stats().tasks_learned == 1


def test_a_block_that_raises_hands_in_nothing(redis, sh):
    with pytest.raises(KeyError), sh.task("legal", "t-1", query="q") as t:
        t.done("answer")
        raise KeyError
    assert redis.waiting("distill") == 0
    assert sh.stats().tasks_raised == 1


def test_a_block_without_an_answer_hands_in_nothing(redis, sh):
    with sh.task("legal", "t-1", query="q"):
        pass
    assert redis.waiting("distill") == 0
    assert sh.stats().tasks_unanswered == 1


def test_a_bad_answer_is_refused_where_it_is_said(sh):
    with sh.task("legal", "t-1", query="q") as t:
        with pytest.raises(InvalidError, match="answer 5: expected str"):
            t.done(5)
        with pytest.raises(InvalidError, match="quality 7"):
            t.done("a", quality=7)


def test_a_lesson_that_cannot_be_handed_in_fails_no_task(sh, own_redis, caplog):
    with Stillhouse(redis_url="redis://127.0.0.1:1/0") as away:
        with away.task("legal", "t-1", query="q") as t:
            t.done("answer")
        assert "cannot connect" in str(t.error)
        assert away.stats().tasks_lost == 1
    with sh.task("legal", "t-2", query="q") as t:
        t.done("a" * 300000)
    assert isinstance(t.error, InvalidError)
    levels = [record.levelno for record in caplog.records if "nothing is learnt" in record.message]
    assert levels == [logging.WARNING, logging.ERROR]


def test_the_form_is_the_settings_and_an_argument_wins(redis, monkeypatch):
    monkeypatch.setenv("STILLHOUSE_EXAMPLES", "messages")
    with Stillhouse(**PATIENT, redis_url=redis.url) as sh:
        assert isinstance(sh.task("legal", "t", query="q").examples, Messages)
        assert isinstance(sh.task("legal", "t", query="q", examples="block").examples, Prompt)
    with Stillhouse(**PATIENT, redis_url=redis.url, examples="block") as sh:
        assert isinstance(sh.task("legal", "t", query="q").examples, Prompt)


def told(prompt):
    return {"arm": prompt.kind, "prompt_id": prompt.id}


def test_a_lesson_names_the_prompt_that_was_asked_for_last_if_any(redis, sh):
    with sh.task("legal", "none", query="q") as t:
        t.done("a")
    with sh.task("legal", "both", query="q") as t:
        t.messages()
        block = t.prompt("")
        t.done("a")
    with sh.task("legal", "own", query="q") as t:
        t.messages()
        t.done("a", metadata={"arm": "mine"})
    with sh.task("legal", "full", query="q", metadata={str(i): i for i in range(63)}) as t:
        t.messages()
        t.done("a")
    none, both, own, full = (one.get("metadata", {}) for one in lessons(redis))
    assert none == {}
    assert both == told(block)
    assert own["arm"] == "mine"
    assert len(full) == 63


def test_all_prompts_of_a_task_are_held_out_or_none(fleet):
    # tests/contract/vectors/holdouts.json knows who is; a domain of the fleet's is another one each time
    with Stillhouse(**PATIENT, redis_url=fleet.redis.url, holdout="50%") as sh:
        domain = fleet.domain()
        sh.distill(domain, task_id="1", prompt="notice period", result="three months")
        fleet.settle()
        kinds = set()
        for i in range(40):
            number = int(hashlib.sha256(f"{domain}\0t-{i}".encode()).hexdigest()[:8], 16)
            t = sh.task(domain, f"t-{i}", query="notice periods", wait_ms=5000)
            kind = "holdout" if number * 2 < 2**32 else "enriched"
            assert t.messages().kind == t.prompt("").kind == kind
            assert (t.messages() == []) == (t.prompt("base") == "base") == (kind == "holdout")
            kinds.add(kind)
        assert kinds == {"holdout", "enriched"}
        assert sh.stats().holdout + sh.stats().enriched == 80
        assert sh.stats().holdout % 2 == 0


def test_a_task_asks_once_for_its_examples(redis, sh):
    t = sh.task("legal", "t", query="q")
    assert t.messages() is t.messages()
    assert t.prompt("a") == "a"
    assert t.prompt("b") == "b"
    assert t.examples == ""
    assert sh.stats().fallback == 2


def test_a_block_of_examples_goes_before_a_prompt(fleet):
    with Stillhouse(**PATIENT, redis_url=fleet.redis.url) as sh:
        domain = fleet.domain()
        sh.distill(domain, task_id="1", prompt="notice period", result="three months")
        fleet.settle()
        t = sh.task(domain, "t", query="notice periods of tenants", wait_ms=5000)
        prompt = t.prompt("base")
        assert prompt.kind == "enriched"
        assert prompt == t.examples + "base" == sh.prompt(domain, "notice periods of tenants", "base")


def test_a_function_learns_from_what_it_returns(redis, sh):
    @sh.learn("legal", query=lambda q, n: q, task_id=lambda q, n: f"t-{n}", quality=lambda a: len(a) / 10)
    def answer(q, n, *, examples):
        """Answers."""
        assert examples == ""
        return q.upper()

    assert answer("abc", n=3) == "ABC"
    assert answer.__doc__ == "Answers."
    (lesson,) = lessons(redis)
    assert (lesson["task_id"], lesson["prompt"], lesson["result"]) == ("t-3", "abc", "ABC")
    assert lesson["quality"] == 0.3


def test_a_function_without_functions_for_it_gives_its_first_argument_and_a_new_id(redis, sh):
    @sh.learn("legal", result=lambda pair: pair[0], examples="messages")
    def answer(q, *, examples):
        assert examples == []
        return q + "!", 1

    assert answer("a") == ("a!", 1)
    answer("a")
    one, two = lessons(redis)
    assert (one["prompt"], one["result"]) == ("a", "a!")
    assert one["task_id"] != two["task_id"]


def test_a_function_that_raises_or_says_none_teaches_nothing(redis, sh):
    @sh.learn("legal")
    def answer(q, *, examples):
        return {"none": None}[q]

    assert answer("none") is None
    with pytest.raises(KeyError):
        answer("other")
    assert redis.waiting("distill") == 0
    assert (sh.stats().tasks_unanswered, sh.stats().tasks_raised) == (1, 1)


@pytest.mark.parametrize(
    ("answer", "told", "reason"),
    [
        (5, {}, "answer 5: expected str"),
        ("a\0b", {}, "answer"),
        ("a", {"quality": 7}, "quality 7"),
        ("a", {"result": lambda a: a["text"]}, "TypeError"),
    ],
)
def test_an_answer_that_teaches_nothing_fails_no_function(redis, sh, caplog, answer, told, reason):
    @sh.learn("legal", **told)
    def function(q, *, examples):
        return answer

    assert function("q") == answer
    assert redis.waiting("distill") == 0
    stats = sh.stats()
    assert (stats.tasks_lost, stats.tasks_raised, stats.tasks_unanswered) == (1, 0, 0)
    assert reason in caplog.text


def test_a_method_learns_like_a_function(redis, sh):
    class Agent:
        @sh.learn("legal", query=lambda self, q: q)
        def answer(self, q, *, examples):
            return f"{q}?"

    assert Agent().answer("a") == "a?"
    assert lessons(redis)[0]["prompt"] == "a"


def test_what_cannot_learn_is_refused_when_it_is_decorated(sh):
    with pytest.raises(InvalidError, match='takes "examples" by keyword'):
        sh.learn("legal")(lambda q: q)

    with pytest.raises(InvalidError, match="got a generator"):

        @sh.learn("legal")
        def generate(q, *, examples):
            yield q


@pytest.mark.parametrize("kind", [Stillhouse, AsyncStillhouse])
def test_both_clients_decorate_both_kinds_of_function(redis, kind):
    sh = kind(**PATIENT, redis_url=redis.url)

    @sh.learn("legal")
    def answer(q, *, examples):
        return q + "1"

    @sh.learn("legal")
    async def answer_later(q, *, examples):
        await asyncio.sleep(0)
        return q + "2"

    assert answer("a") == "a1"
    assert asyncio.run(answer_later("a")) == "a2"
    assert {lesson["result"] for lesson in lessons(redis)} == {"a1", "a2"}
    assert sh.stats().tasks_learned == 2


def test_an_async_block_does_the_same(redis):
    async def main():
        async with AsyncStillhouse(**PATIENT, redis_url=redis.url) as sh:
            async with sh.task("legal", "t-1", query="q") as t:
                assert await t.messages() == []
                assert await t.examples == ""
                assert await t.prompt("base") == "base"
                t.done("answer")
            assert t.job is not None
            with pytest.raises(KeyError):
                async with sh.task("legal", "t-2", query="q") as t:
                    t.done("answer")
                    raise KeyError
            return sh.stats()

    stats = asyncio.run(main())
    assert (stats.tasks_learned, stats.tasks_raised) == (1, 1)
    assert [lesson["task_id"] for lesson in lessons(redis)] == ["t-1"]


def test_a_cancelled_block_hands_in_nothing(redis):
    async def main():
        async with AsyncStillhouse(**PATIENT, redis_url=redis.url) as sh:

            async def work():
                async with sh.task("legal", "t-1", query="q") as t:
                    t.done("answer")
                    await asyncio.sleep(60)

            task = asyncio.ensure_future(work())
            await asyncio.sleep(0.05)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            return sh.stats().tasks_raised

    assert asyncio.run(main()) == 1
    assert redis.waiting("distill") == 0
