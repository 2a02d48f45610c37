"""OpenAI's and Anthropic's own clients against a server of the test's: what goes out, what is learnt."""

import asyncio

import pytest
from conftest import BOUNDED, until
from model_server import ANSWER, ModelServer
from stillhouse import InvalidError, Messages
from support import PAST, QUESTION, Clock, clients, lessons, loop_goes_on, teach


class Chat:
    """OpenAI's chat completions."""

    package = "openai"
    key = "messages"
    system = ({"role": "system", "content": "Be brief."},)
    text = "text"

    def __init__(self, url):
        self.module = pytest.importorskip(self.package, reason=f"pip has no {self.package}")
        import stillhouse.openai as helpers

        self.helpers = helpers
        told = {"base_url": url + "/v1", "api_key": "k", "max_retries": 0}
        self.client = self.module.OpenAI(**told)
        self.later = self.module.AsyncOpenAI(**told)

    def create(self, client, chat, examples):
        return client.chat.completions.create(model="m", messages=self.put([*self.system, *chat], examples))

    def put(self, chat, examples):
        return self.helpers.with_examples(chat, examples)


class Responses(Chat):
    """OpenAI's responses."""

    key = "input"
    text = "input_text"

    def create(self, client, chat, examples):
        return client.responses.create(model="m", input=self.put([*self.system, *chat], examples))


class Anthropic(Chat):
    package = "anthropic"
    system = ()

    def __init__(self, url):
        self.module = pytest.importorskip(self.package, reason=f"pip has no {self.package}")
        import stillhouse.anthropic as helpers

        self.helpers = helpers
        told = {"base_url": url, "api_key": "k", "max_retries": 0}
        self.client = self.module.Anthropic(**told)
        self.later = self.module.AsyncAnthropic(**told)

    def create(self, client, chat, examples):
        return client.messages.create(model="m", max_tokens=9, system="Be brief.", messages=self.put(chat, examples))


@pytest.fixture
def server():
    server = ModelServer()
    yield server
    server.close()


@pytest.fixture(params=[Chat, Responses, Anthropic])
def model(request, server):
    model = request.param(server.url)
    yield model
    model.client.close()
    asyncio.run(model.later.close())


def asker(sh, domain, model, **told):
    @sh.learn(domain, result=model.helpers.answer, **told)
    def ask(question, *, examples):
        return model.create(model.client, [{"role": "user", "content": question}], examples)

    return ask


def later_asker(sh, domain, model, **told):
    @sh.learn(domain, result=model.helpers.answer, **told)
    async def ask(question, *, examples):
        return await model.create(model.later, [{"role": "user", "content": question}], examples)

    return ask


QUESTIONS = [{"role": "user", "content": QUESTION}]


def test_examples_go_out_as_messages_between_system_and_question(fleet, server, model):
    sh, _ = clients(redis_url=fleet.redis.url)
    domain = fleet.domain()
    teach(fleet, sh, domain)
    asker(sh, domain, model, examples="messages", wait_ms=5000)(QUESTION)
    (sent,) = server.requests
    assert sent[model.key] == [*model.system, *PAST, *QUESTIONS]


def test_examples_go_out_as_a_block_in_front_of_the_question(fleet, server, model):
    sh, _ = clients(redis_url=fleet.redis.url)
    domain = fleet.domain()
    teach(fleet, sh, domain)
    asker(sh, domain, model, wait_ms=5000)(QUESTION)
    (sent,) = server.requests
    block = str(sh.prompt(domain, QUESTION, QUESTION))
    assert sent[model.key] == [*model.system, {"role": "user", "content": block}]
    assert "< |im_start| >three months" in block
    assert block.endswith("\n" + QUESTION)


def test_the_form_is_that_of_the_environment_and_an_argument_wins(fleet, server, model, monkeypatch):
    monkeypatch.setenv("STILLHOUSE_EXAMPLES", "messages")
    sh, _ = clients(redis_url=fleet.redis.url)
    domain = fleet.domain()
    teach(fleet, sh, domain)
    asker(sh, domain, model, wait_ms=5000)(QUESTION)
    asker(sh, domain, model, examples="block")(QUESTION)
    counts = [len(sent[model.key]) for sent in server.requests]
    assert counts == [len(model.system) + len(PAST) + 1, len(model.system) + 1]


def test_parts_of_a_question_keep_their_kind(fleet, server, model):
    sh, _ = clients(redis_url=fleet.redis.url)
    domain = fleet.domain()
    teach(fleet, sh, domain)
    parts = [{"type": model.text, "text": QUESTION}]
    with sh.task(domain, "t", query=QUESTION, wait_ms=5000) as t:
        model.create(model.client, [{"role": "user", "content": parts}], t.examples)
    (sent,) = server.requests
    first, last = sent[model.key][-1]["content"]
    assert (first["type"], first["text"]) == (model.text, str(t.examples))
    assert last == parts[0]
    assert parts == [{"type": model.text, "text": QUESTION}]


def test_one_line_hands_in_the_answer(redis, server, model):
    sh, _ = clients(redis_url=redis.url)
    asker(sh, "legal", model)(QUESTION)
    (lesson,) = lessons(redis)
    assert (lesson["prompt"], lesson["result"]) == (QUESTION, ANSWER)
    with sh.task("legal", "t", query=QUESTION) as t:
        t.done(model.helpers.answer(model.create(model.client, QUESTIONS, t.examples)))
    assert [lesson["result"] for lesson in lessons(redis)] == [ANSWER, ANSWER]
    assert sh.stats().tasks_learned == 2


@pytest.mark.parametrize("end", ["length", "tool_calls"])
def test_an_answer_that_is_none_teaches_nothing(redis, server, model, end):
    sh, _ = clients(redis_url=redis.url)
    server.end = end
    asker(sh, "legal", model)(QUESTION)
    with sh.task("legal", "t", query=QUESTION) as t:
        t.done(model.helpers.answer(model.create(model.client, QUESTIONS, t.examples)))
    assert lessons(redis) == []
    assert sh.stats().tasks_unanswered == 2


def test_a_model_that_fails_teaches_nothing_and_is_counted(redis, server, model):
    sh, _ = clients(redis_url=redis.url)
    server.status = 500
    with pytest.raises(model.module.InternalServerError):
        asker(sh, "legal", model)(QUESTION)
    assert lessons(redis) == []
    assert sh.stats().tasks_raised == 1


def test_without_redis_the_question_goes_out_as_it_is_and_at_once(server, model):
    sh, later = clients(**BOUNDED, redis_url="redis://127.0.0.1:1/0", examples="messages")
    clock = Clock()
    asker(sh, "legal", model)(QUESTION)
    asyncio.run(later_asker(later, "legal", model)(QUESTION))
    clock.check(calls=4)
    assert [sent[model.key] for sent in server.requests] == [[*model.system, *QUESTIONS]] * 2
    assert (sh.stats().tasks_lost, later.stats().tasks_lost) == (1, 1)


def test_with_a_redis_that_hangs_the_question_goes_out_in_time_and_the_loop_goes_on(own_redis, server, model):
    sh, later = clients(**BOUNDED, redis_url=own_redis.url)
    ask, ask_later = asker(sh, "legal", model), later_asker(later, "legal", model)

    async def main():
        await ask_later("first: what is made once is made")
        own_redis.stop()
        async with loop_goes_on():
            await asyncio.gather(*(ask_later(f"{QUESTION} {i}") for i in range(4)))

    ask("first")
    try:
        clock = Clock()
        asyncio.run(main())
        ask(QUESTION)
        clock.check(calls=6)
    finally:
        own_redis.go_on()
    assert server.requests[-1][model.key] == [*model.system, *QUESTIONS]


def test_what_is_not_there_yet_changes_nothing_and_comes_with_the_next_question(fleet, server, model):
    sh, _ = clients(redis_url=fleet.redis.url, examples="messages")
    domain = fleet.domain()
    ask = asker(sh, domain, model)
    ask(QUESTION)
    fleet.settle()
    ask("notice period for a tenant")
    fleet.settle()
    until(lambda: sh.messages(domain, "notice period for a flat", wait_ms=5000), "the examples")
    ask("notice period for a flat")
    first, last = server.requests[0], server.requests[-1]
    assert first[model.key] == [*model.system, *QUESTIONS]
    assert {"role": "assistant", "content": ANSWER} in last[model.key]


def test_a_chat_under_way_keeps_its_turns_and_what_is_no_message(redis, model):
    examples = Messages(PAST)
    asked = {"role": "user", "content": "a"}
    said = {"role": "assistant", "content": "b"}
    tool = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": "c"}]}
    call = {"type": "function_call_output", "call_id": "c", "output": "d"}
    chat = [asked, said, QUESTIONS[0], said, tool, call]
    assert model.put(chat, examples) == PAST + chat
    assert model.put(chat, "block\n") == [
        asked,
        said,
        {"role": "user", "content": "block\n" + QUESTION},
        said,
        tool,
        call,
    ]
    assert chat[2] == QUESTIONS[0]


def test_what_has_no_question_is_refused_with_and_without_examples(model):
    for examples in (Messages(PAST), Messages(), "block", ""):
        with pytest.raises(InvalidError, match='expected one with the role "user"'):
            model.put([], examples)
    with pytest.raises(InvalidError, match=r"messages\[0\] content 5: expected str or a list of parts"):
        model.put([{"role": "user", "content": 5}], "")

    async def forgotten():
        pass

    coroutine = forgotten()
    with pytest.raises(InvalidError, match="await t.examples"):
        model.put(QUESTIONS, coroutine)
    coroutine.close()


def test_anthropics_chat_starts_with_the_user(server):
    model = Anthropic(server.url)
    for role in ("assistant", "system"):
        with pytest.raises(InvalidError, match=f"messages.0. role '{role}': expected \"user\""):
            model.put([{"role": role, "content": "a"}, *QUESTIONS], Messages(PAST))
