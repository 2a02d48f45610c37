"""DSPy itself: predictors with demos of past tasks, and what is learnt from their predictions."""

import asyncio
import copy

import pytest
from conftest import BOUNDED
from stillhouse import InvalidError
from support import ODD, PAST, QUESTION, Clock, clients, lessons, loop_goes_on, teach

pydantic = pytest.importorskip("pydantic", reason="pip has no pydantic")
dspy = pytest.importorskip("dspy", reason="pip has no dspy")
from dspy.utils.dummies import DummyLM  # noqa: E402
from stillhouse.dspy import Learning, demos  # noqa: E402

DEMOS = [(PAST[0]["content"], PAST[1]["content"]), (PAST[2]["content"], PAST[3]["content"])]


@pytest.fixture
def lm():
    lm = DummyLM([{"answer": "three months", "reasoning": "r"}] * 20)
    with dspy.context(lm=lm):
        yield lm


def run(module, how, **inputs):
    return module(**inputs) if how == "call" else asyncio.run(module.acall(**inputs))


HOWS = pytest.mark.parametrize("how", ["call", "acall"])


@HOWS
def test_a_predictor_is_asked_with_demos_nearest_last_and_teaches(fleet, lm, how):
    sh, _ = clients(redis_url=fleet.redis.url)
    domain = fleet.domain()
    teach(fleet, sh, domain)
    assert sh.messages(domain, QUESTION, wait_ms=5000)
    ask = Learning(dspy.Predict("question -> answer"), sh, domain, quality=1)
    assert run(ask, how, question=QUESTION).answer == "three months"
    roles = [message["role"] for message in lm.history[-1]["messages"]]
    assert roles == ["system", "user", "assistant", "user", "assistant", "user"]
    contents = [message["content"] for message in lm.history[-1]["messages"][1:5]]
    for content, past in zip(contents, PAST):
        assert past["content"] in content
    assert sh.stats().tasks_learned == 1


def test_messages_become_demos_with_inputs_and_labels(fleet):
    sh, _ = clients(redis_url=fleet.redis.url)
    domain = fleet.domain()
    teach(fleet, sh, domain)
    made = demos(sh.messages(domain, QUESTION, wait_ms=5000), "q", "a")
    assert [(one.q, one.a) for one in made] == DEMOS
    assert [one.inputs().toDict() for one in made] == [{"q": asked} for asked, _ in DEMOS]


@HOWS
def test_the_demos_of_an_optimizer_stay_and_a_copy_shares_the_client(redis, lm, how):
    sh, _ = clients(redis_url=redis.url)
    ask = Learning(dspy.ChainOfThought("question -> answer"), sh, "legal")
    ask.module.predict.demos = [dspy.Example(question="a", reasoning="b", answer="c")]
    copied = copy.deepcopy(ask)
    run(copied, how, question=QUESTION)
    assert len(lm.history[-1]["messages"]) == 4
    (lesson,) = lessons(redis)
    assert (lesson["prompt"], lesson["result"]) == (QUESTION, "three months")
    assert sh.stats().tasks_learned == 1


@HOWS
def test_a_prediction_that_raises_hands_in_nothing(redis, how):
    sh, _ = clients(redis_url=redis.url)

    class Broken(DummyLM):
        def forward(self, *given, **more):
            raise ConnectionResetError("broken")

    with dspy.context(lm=Broken([])), pytest.raises(Exception, match="broken"):  # which, DSPy says
        run(Learning(dspy.Predict("question -> answer"), sh, "legal"), how, question=QUESTION)
    assert lessons(redis) == []
    assert sh.stats().tasks_raised == 1


def test_redis_away_or_hung_fails_no_prediction_and_stops_no_loop(own_redis, lm):
    sh, later = clients(**BOUNDED, redis_url=own_redis.url)
    ask = Learning(dspy.Predict("question -> answer"), later, "legal")

    async def main():
        await ask.acall(question="first: what is made once is made")
        own_redis.stop()
        clock = Clock()
        async with loop_goes_on(0.3):  # DSPy itself works on the loop
            await asyncio.gather(*(ask.acall(question=f"{QUESTION} {i}") for i in range(3)))
        clock.check(calls=3)

    try:
        asyncio.run(main())
        assert Learning(dspy.Predict("question -> answer"), sh, "legal")(question=QUESTION).answer == "three months"
    finally:
        own_redis.go_on()
    assert later.stats().tasks_lost == 3


@HOWS
@pytest.mark.parametrize("odd", sorted(ODD.keys() - {"half a character"}))  # which DSPy itself refuses
def test_whatever_is_asked_fails_no_prediction(redis, lm, how, odd):
    question = ODD[odd]
    sh, _ = clients(redis_url=redis.url)
    ask = Learning(dspy.Predict("question -> answer"), sh, "legal")
    assert run(ask, how, question=question).answer == "three months"
    assert len(lessons(redis)) == bool(question.strip())


class Form(pydantic.BaseModel):
    tags: list[str]
    count: int = 0


TYPED = {  # a signature's type, what is asked with, and how it reads
    "list[str]": (["a", "ü"], '["a", "ü"]'),
    "dict[str, int]": ({"a": 1}, '{"a": 1}'),
    "dspy.Code": (dspy.Code(code="x = 1"), "x = 1"),
    "bool": (True, "true"),
    "float": (0.5, "0.5"),
    "Optional[str]": ("5", "5"),
    "Form": (Form(tags=["a"]), '{"tags": ["a"], "count": 0}'),
}


@HOWS
@pytest.mark.parametrize("kind", TYPED)
def test_a_field_of_another_type_is_asked_and_learnt_as_json_and_has_its_type_in_a_demo(fleet, redis, how, kind):
    value, text = TYPED[kind]
    signature = dspy.Signature(f"question: {kind} -> answer: {kind}", custom_types={"Form": Form})

    class Said(dspy.Predict):
        """Answers with what it is asked, and keeps its demos."""

        def forward(self, **given):
            self.given = given["demos"]
            return dspy.Prediction(answer=given["question"])

        async def aforward(self, **given):
            return self.forward(**given)

    sh, _ = clients(redis_url=redis.url)
    run(Learning(Said(signature), sh, "legal"), how, question=value)
    (lesson,) = lessons(redis)
    assert (lesson["prompt"], lesson["result"]) == (text, text)

    sh, _ = clients(redis_url=fleet.redis.url)
    domain = fleet.domain()
    other = "no such type {"
    teach(fleet, sh, domain, {text: text, other: other})
    ask = Said(signature)
    run(Learning(ask, sh, domain, wait_ms=5000), how, question=value)
    both = [(one.question, one.answer) for one in ask.given]
    assert (value, value) in both
    if kind != "dspy.Code":  # which any text is
        assert (other, other) in both


@HOWS
def test_a_field_that_is_none_or_beyond_json_fails_no_prediction(redis, lm, how):
    sh, _ = clients(redis_url=redis.url)
    ask = Learning(dspy.Predict("question: Any -> answer"), sh, "legal")
    circle = []
    circle.append(circle)
    for question in (None, circle, b"\xff", object()):
        assert run(ask, how, question=question).answer == "three months"
    assert [lesson["prompt"][:8] for lesson in lessons(redis)] == ["[[...]]", "b'\\xff'", "<object "]
    with pytest.raises(InvalidError, match="expected text or data, got Image"):
        run(ask, how, question=dspy.Image("https://example.org/a.png"))


def test_what_does_not_fit_is_refused_with_what_was_expected(redis, lm):
    sh, _ = clients(redis_url=redis.url)
    with pytest.raises(InvalidError, match="input None: expected one of context, question"):
        Learning(dspy.Predict("context, question -> answer"), sh, "legal")
    with pytest.raises(InvalidError, match="output 'b': expected one of answer"):
        Learning(dspy.Predict("question -> answer"), sh, "legal", output="b")
    with pytest.raises(InvalidError, match="one with one predictor, got 0"):
        Learning(dspy.Module(), sh, "legal")
    with pytest.raises(InvalidError, match='expected "question" among them'):
        Learning(dspy.Predict("question -> answer"), sh, "legal")()
