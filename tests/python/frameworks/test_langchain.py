"""LangChain and LangGraph themselves: chains, a graph, models of the test's that fail and stream."""

import asyncio
import copy
import logging
import pickle
import uuid
from typing import Annotated, Any, TypedDict

import pytest
from conftest import BOUNDED
from stillhouse import InvalidError, UnreachableError
from support import ODD, PAST, QUESTION, Clock, clients, lessons, loop_goes_on, teach

pytest.importorskip("langchain_core", reason="pip has no langchain-core")
from langchain_core.language_models import BaseChatModel, FakeListLLM
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, convert_to_openai_messages
from langchain_core.output_parsers import StrOutputParser
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.prompts import ChatPromptTemplate, FewShotPromptTemplate, PromptTemplate
from langchain_core.runnables import RunnableLambda
from langchain_core.tools import tool
from stillhouse.langchain import StillhouseCallbackHandler, StillhouseExampleSelector, with_examples

SYSTEM = ("system", "Be brief.")


class Model(BaseChatModel):
    """Keeps what it is asked; says `says`, a message or an exception."""

    says: Any = AIMessage("three months")
    heard: list[Any] = []  # noqa: RUF012  (a field of pydantic, which copies it)

    @property
    def _llm_type(self):
        return "of the test"

    def _generate(self, messages, stop=None, run_manager=None, **more):
        self.heard.append(messages)
        if isinstance(self.says, Exception):
            raise self.says
        return ChatResult(generations=[ChatGeneration(message=self.says)])


def heard(model, i=-1):
    return convert_to_openai_messages(model.heard[i])


def run(chain, given, how, **config):
    if how == "invoke":
        return chain.invoke(given, config=config)
    if how == "stream":
        return list(chain.stream(given, config=config))
    return asyncio.run(chain.ainvoke(given, config=config))


HOWS = pytest.mark.parametrize("how", ["invoke", "ainvoke"])
ASKED = [{"role": "system", "content": "Be brief."}]
LAST = [{"role": "user", "content": QUESTION}]


@pytest.fixture
def taught(fleet):
    """A client and a domain that has lessons."""
    sh, _ = clients(redis_url=fleet.redis.url)
    domain = fleet.domain()
    teach(fleet, sh, domain)
    assert sh.messages(domain, QUESTION, wait_ms=5000)
    return sh, domain


# ---- examples --------------------------------------------------------------------------------


@HOWS
def test_a_few_shot_chat_prompt_has_the_past_tasks_nearest_last(taught, how):
    sh, domain = taught
    few_shot = StillhouseExampleSelector(sh, domain).prompt()
    model = Model()
    run(ChatPromptTemplate.from_messages([SYSTEM, few_shot, ("human", "{input}")]) | model, {"input": QUESTION}, how)
    assert heard(model) == ASKED + PAST + LAST


def test_a_selector_serves_templates_of_text_with_keys_of_ones_own(taught):
    sh, domain = taught
    selector = StillhouseExampleSelector(sh, domain, input_key="q", output_key="a", k=1)
    one = PromptTemplate.from_template("Q: {q} A: {a}")
    prompt = FewShotPromptTemplate(
        example_selector=selector, example_prompt=one, suffix="Q: {q}", input_variables=["q"]
    )
    assert prompt.format(q=QUESTION) == f"Q: notice period of a tenant A: < |im_start| >three months\n\nQ: {QUESTION}"


@HOWS
def test_a_braced_example_is_no_template(fleet, how):
    sh, _ = clients(redis_url=fleet.redis.url)
    domain = fleet.domain()
    teach(fleet, sh, domain, {"what is {input}": "{secret}"})
    few_shot = StillhouseExampleSelector(sh, domain, wait_ms=5000).prompt()
    model = Model()
    run(ChatPromptTemplate.from_messages([few_shot, ("human", "{input}")]) | model, {"input": "what is input"}, how)
    assert [one["content"] for one in heard(model)] == ["what is {input}", "{secret}", "what is input"]


@HOWS
@pytest.mark.parametrize("question", ODD.values(), ids=ODD)
def test_whatever_is_asked_fails_no_chain(redis, how, question):
    sh, _ = clients(redis_url=redis.url)
    for form in ("block", "messages"):
        answer = RunnableLambda(lambda messages: messages[-1].content)
        assert run(with_examples(sh, "legal", examples=form) | answer, [HumanMessage(question)], how) == question
    few_shot = StillhouseExampleSelector(sh, "legal").prompt()
    assert run(few_shot, {"input": question}, how).to_messages() == []
    assert redis.waiting("enrich") == bool(question.strip())


def test_an_example_that_is_added_is_a_lesson(redis):
    sh, later = clients(redis_url=redis.url)
    selector = StillhouseExampleSelector(sh, "legal")
    selector.add_example({"input": "a", "output": "b"})
    asyncio.run(StillhouseExampleSelector(later, "legal").aadd_example({"input": "c", "output": "d"}))
    assert [(lesson["prompt"], lesson["result"]) for lesson in lessons(redis)] == [("a", "b"), ("c", "d")]
    with pytest.raises(InvalidError, match=r"""example \['input'\]: expected the key "output" among them"""):
        selector.add_example({"input": "a"})
    with pytest.raises(InvalidError, match=r'input_variables \[\]: expected the key "input"'):
        selector.select_examples({})
    away, _ = clients(**BOUNDED, redis_url="redis://127.0.0.1:1/0")
    with pytest.raises(UnreachableError):
        StillhouseExampleSelector(away, "legal").add_example({"input": "a", "output": "b"})


@HOWS
def test_a_step_puts_messages_after_the_system_and_a_block_in_front_of_the_question(taught, monkeypatch, how):
    sh, domain = taught
    prompt, model = ChatPromptTemplate.from_messages([SYSTEM, ("human", "{input}")]), Model()
    run(prompt | with_examples(sh, domain) | model, {"input": QUESTION}, how)
    block = str(sh.prompt(domain, QUESTION, QUESTION))
    assert heard(model) == [*ASKED, {"role": "user", "content": block}]
    assert "< |im_start| >three months" in block
    run(prompt | with_examples(sh, domain, examples="messages") | model, {"input": QUESTION}, how)
    assert heard(model) == ASKED + PAST + LAST
    monkeypatch.setenv("STILLHOUSE_EXAMPLES", "messages")
    of_environment, _ = clients(redis_url=sh._settings["redis_url"])
    run(prompt | with_examples(of_environment, domain, wait_ms=5000) | model, {"input": QUESTION}, how)
    assert heard(model) == ASKED + PAST + LAST


@HOWS
def test_a_step_takes_what_a_model_takes_and_asks_with_what_it_is_told(taught, how):
    sh, domain = taught
    step = with_examples(sh, domain, examples="messages")
    model = Model()
    for given in (QUESTION, HumanMessage(QUESTION), [("human", QUESTION)]):
        run(step | model, given, how)
        assert heard(model) == PAST + LAST
    parts = [{"type": "image_url", "image_url": {"url": "data:"}}, {"type": "text", "text": QUESTION}]
    run(with_examples(sh, domain) | model, [HumanMessage(parts)], how)
    assert [part["type"] for part in model.heard[-1][0].content] == ["text", "image_url", "text"]
    nothing = with_examples(sh, domain, query=lambda messages: None)
    run(nothing | model, "a", how)
    assert heard(model) == [{"role": "user", "content": "a"}]
    run(step | model, [SystemMessage("a"), HumanMessage([])], how)
    assert len(model.heard[-1]) == 2
    told = with_examples(sh, domain, query=lambda messages: QUESTION, examples="messages")
    run(told | model, "Answer: " + QUESTION, how)
    assert heard(model) == [*PAST, {"role": "user", "content": "Answer: " + QUESTION}]


@HOWS
def test_without_redis_or_examples_a_chain_is_asked_as_it_is_and_at_once(redis, how):
    for url in ("redis://127.0.0.1:1/0", redis.url):
        sh, _ = clients(**BOUNDED, redis_url=url)
        few_shot = StillhouseExampleSelector(sh, "legal").prompt()
        model = Model()
        prompt = ChatPromptTemplate.from_messages([SYSTEM, few_shot, ("human", "{input}")])
        for form in ("block", "messages"):
            clock = Clock()
            run(prompt | with_examples(sh, "legal", examples=form) | model, {"input": QUESTION}, how)
            clock.check(calls=2)
            assert heard(model) == ASKED + LAST


def test_a_redis_that_hangs_keeps_no_chain_waiting_and_no_loop(own_redis):
    _, later = clients(**BOUNDED, redis_url=own_redis.url)
    model = Model()
    chain = with_examples(later, "legal") | model
    handler = StillhouseCallbackHandler(later, "legal")

    async def main():
        await chain.ainvoke("first: what is made once is made", config={"callbacks": [handler]})
        own_redis.stop()
        clock = Clock()
        async with loop_goes_on():
            asked = (chain.ainvoke(f"{QUESTION} {i}", config={"callbacks": [handler]}) for i in range(4))
            await asyncio.gather(*asked)
        clock.check(calls=4)

    try:
        asyncio.run(main())
    finally:
        own_redis.go_on()
    assert heard(model)[-1]["content"].startswith(QUESTION)
    assert later.stats().tasks_lost == 4


# ---- learning --------------------------------------------------------------------------------


def handler_of(redis, **told):
    sh, _ = clients(redis_url=redis.url)
    return sh, StillhouseCallbackHandler(sh, "legal", **told)


@pytest.mark.parametrize("how", ["invoke", "ainvoke", "stream"])
def test_a_chain_hands_in_what_it_was_asked_and_what_came_out(redis, how):
    sh, handler = handler_of(redis, quality=0.5, model="m", metadata={"a": 1})
    prompt = ChatPromptTemplate.from_messages([SYSTEM, ("human", "Answer this: {input}")])
    chain = prompt | Model() | StrOutputParser() | RunnableLambda(lambda text: text + "!")
    run(chain, {"input": QUESTION}, how, callbacks=[handler])
    (lesson,) = lessons(redis)
    assert (lesson["prompt"], lesson["result"]) == (QUESTION, "three months!")
    assert (lesson["quality"], lesson["model"], lesson["metadata"]) == (0.5, "m", {"a": 1})
    assert sh.stats().tasks_learned == 1


@HOWS
def test_the_id_of_the_run_is_that_of_the_task(redis, how):
    _, handler = handler_of(redis)
    run_id = uuid.uuid4()
    run(Model(), QUESTION, how, callbacks=[handler], run_id=run_id)
    assert [lesson["task_id"] for lesson in lessons(redis)] == [str(run_id)]


@HOWS
@pytest.mark.parametrize("form", ["block", "messages"])
def test_a_model_hands_in_the_question_without_the_examples(taught, redis, how, form):
    sh, domain = taught
    _, handler = handler_of(redis)
    model = Model()
    run(with_examples(sh, domain, examples=form) | model.with_config(callbacks=[handler]), QUESTION, how)
    assert heard(model) != LAST
    assert [(lesson["prompt"], lesson["result"]) for lesson in lessons(redis)] == [(QUESTION, "three months")]


@HOWS
def test_a_chain_that_raises_hands_in_nothing_and_is_counted(redis, how):
    sh, handler = handler_of(redis)
    broken = Model(says=RuntimeError("broken"))
    for chain in (broken, with_examples(sh, "legal") | broken, Model() | RunnableLambda(lambda message: 1 / 0)):
        with pytest.raises((RuntimeError, ZeroDivisionError)):
            run(chain, QUESTION, how, callbacks=[handler])
    assert lessons(redis) == []
    assert (sh.stats().tasks_raised, sh.stats().tasks_learned) == (3, 0)
    assert handler._runs == {}


def attempts(model):
    """As a model, and as a chain around one."""
    return [model, RunnableLambda(lambda given: given) | model | StrOutputParser()]


FALLBACKS = pytest.mark.parametrize("how", ["invoke", "ainvoke", "stream", "astream", "batch", "abatch"])


def run_any(chain, given, how, handler):
    config = {"callbacks": [handler]}
    if how == "batch":
        return chain.batch([given], config=config)
    if how == "abatch":
        return asyncio.run(chain.abatch([given], config=config))
    if how == "astream":

        async def all_of():
            return [chunk async for chunk in chain.astream(given, config=config)]

        return asyncio.run(all_of())
    return run(chain, given, how, **config)


@FALLBACKS
def test_an_answer_after_a_fallback_is_one_lesson_and_the_failed_attempt_no_task(redis, how):
    broken = Model(says=RuntimeError("broken"))
    for first, second in zip(attempts(broken), attempts(Model())):
        sh, handler = handler_of(redis)
        before = len(lessons(redis))
        run_any(first.with_fallbacks([first, second]), QUESTION, how, handler)
        (lesson,) = lessons(redis)[before:]
        assert (lesson["prompt"], lesson["result"]) == (QUESTION, "three months")
        run_any(second.with_fallbacks([first]), QUESTION, how, handler)
        assert len(lessons(redis)) == before + 2
        assert (sh.stats().tasks_learned, sh.stats().tasks_raised, sh.stats().tasks_lost) == (2, 0, 0)
        assert handler._runs == {}


@FALLBACKS
def test_attempts_that_all_fail_are_one_task_that_raised(redis, how):
    for broken in attempts(Model(says=RuntimeError("broken"))):
        sh, handler = handler_of(redis)
        with pytest.raises(RuntimeError, match="broken"):
            run_any(broken.with_fallbacks([broken]), QUESTION, how, handler)
        assert (sh.stats().tasks_learned, sh.stats().tasks_raised, sh.stats().tasks_lost) == (0, 1, 0)
        assert handler._runs == {}
    assert lessons(redis) == []


CALL = AIMessage("", tool_calls=[{"name": "look", "args": {}, "id": "1"}])


@HOWS
@pytest.mark.parametrize(
    "says",
    [
        CALL,
        AIMessage(""),
        AIMessage("three mon", response_metadata={"finish_reason": "length"}),
        AIMessage("three mon", response_metadata={"stop_reason": "max_tokens"}),
    ],
)
def test_an_answer_that_is_none_yet_teaches_nothing(redis, how, says):
    sh, handler = handler_of(redis)
    run(Model(says=says), QUESTION, how, callbacks=[handler])
    assert lessons(redis) == []
    assert sh.stats().tasks_unanswered == 1


@HOWS
def test_a_batch_teaches_a_lesson_a_question(redis, how):
    _, handler = handler_of(redis)
    config = {"callbacks": [handler]}
    for chain in (Model(), FakeListLLM(responses=["three months"])):
        if how == "invoke":
            chain.batch(["a", "b"], config=config)
        else:
            asyncio.run(chain.abatch(["a", "b"], config=config))
    assert sorted(lesson["prompt"] for lesson in lessons(redis)) == ["a", "a", "b", "b"]
    assert {lesson["result"] for lesson in lessons(redis)} == {"three months"}


@HOWS
def test_a_tool_teaches_nothing_nor_does_the_model_in_it(redis, how):
    _, handler = handler_of(redis)

    @tool
    def look(question: str) -> str:
        """Looks."""
        return Model().invoke(question).content

    run(look, {"question": QUESTION}, how, callbacks=[handler])
    assert lessons(redis) == []
    assert handler._runs == {}


def test_a_lesson_that_cannot_be_made_fails_no_chain_and_is_said(redis, caplog):
    caplog.set_level(logging.WARNING)
    sh, handler = handler_of(redis)
    chain = RunnableLambda(lambda given: "answer")
    config = {"callbacks": [handler]}
    assert chain.invoke({"a": "b", "c": "d"}, config=config) == "answer"
    assert "input of a run ['a', 'c']: expected one text or messages, or `query` to choose" in caplog.text
    assert chain.invoke(5, config=config) == "answer"
    assert chain.invoke("a\0b", config=config) == "answer"
    assert RunnableLambda(lambda given: 5).invoke("a", config=config) == 5
    assert "output of a run 5: expected" in caplog.text
    assert lessons(redis) == []
    assert sh.stats().tasks_lost == 4
    told = StillhouseCallbackHandler(sh, "legal", query=lambda given: given["a"], result=lambda said: said["x"]["y"])
    RunnableLambda(lambda given: {"x": {"y": "z"}}).invoke({"a": "b", "c": "d"}, config={"callbacks": [told]})
    assert [(lesson["prompt"], lesson["result"]) for lesson in lessons(redis)] == [("b", "z")]


@pytest.mark.parametrize("again", [lambda one: pickle.loads(pickle.dumps(one)), copy.copy, copy.deepcopy])
def test_a_pickled_or_copied_handler_teaches_by_itself(redis, again):
    _, handler = handler_of(redis, quality=0.5, model="m")
    other = again(handler)
    run(Model(), QUESTION, "invoke", callbacks=[other])
    (lesson,) = lessons(redis)
    assert (lesson["prompt"], lesson["quality"], lesson["model"]) == (QUESTION, 0.5, "m")
    assert other._client.stats().tasks_learned == 1
    assert other._runs == handler._runs == {}


def test_of_a_run_that_is_under_way_the_original_hands_in_and_no_copy(redis):
    _, handler = handler_of(redis)
    inner = Model()

    def within(question):
        other = pickle.loads(pickle.dumps(handler))
        return inner.invoke(question, config={"callbacks": [other]}).content + "!"

    run(RunnableLambda(within), QUESTION, "invoke", callbacks=[handler])
    assert [lesson["result"] for lesson in lessons(redis)] == ["three months!"]


def test_what_is_wrong_with_a_handler_is_refused_when_it_is_made(redis):
    with pytest.raises(InvalidError, match="domain 5: expected str"):
        handler_of(redis)[1].__class__(clients(redis_url=redis.url)[0], 5)
    with pytest.raises(InvalidError, match="client 5: expected Stillhouse or AsyncStillhouse"):
        StillhouseCallbackHandler(5, "legal")
    with pytest.raises(InvalidError, match='examples \'lines\': expected "block" or "messages"'):
        with_examples(clients(redis_url=redis.url)[0], "legal", examples="lines")


# ---- a graph ---------------------------------------------------------------------------------


def graph_of(step, model, handler=None, **compiled):
    graph = pytest.importorskip("langgraph.graph", reason="pip has no langgraph")

    class State(TypedDict):
        messages: Annotated[list, graph.add_messages]

    def answer(state):
        return {"messages": [(step | model).invoke(state["messages"])]}

    async def answer_later(state):
        return {"messages": [await (step | model).ainvoke(state["messages"])]}

    builder = graph.StateGraph(State)
    builder.add_node("answer", RunnableLambda(answer, answer_later))
    builder.add_edge(graph.START, "answer")
    builder.add_edge("answer", graph.END)
    return builder.compile(**compiled)


@HOWS
@pytest.mark.parametrize("form", ["block", "messages"])
def test_a_graph_asks_with_examples_and_learns_once(taught, redis, how, form):
    sh, domain = taught
    learning, handler = handler_of(redis)
    model = Model()
    graph = graph_of(with_examples(sh, domain, examples=form), model)
    state = run(graph, {"messages": [SYSTEM, ("human", QUESTION)]}, how, callbacks=[handler])
    block = str(sh.prompt(domain, QUESTION, QUESTION))
    wanted = {"messages": ASKED + PAST + LAST, "block": [*ASKED, {"role": "user", "content": block}]}
    assert heard(model) == wanted[form]
    assert [message.text for message in state["messages"]] == ["Be brief.", QUESTION, "three months"]
    assert [(lesson["prompt"], lesson["result"]) for lesson in lessons(redis)] == [(QUESTION, "three months")]
    assert learning.stats().tasks_learned == 1
    assert handler._runs == {}


@HOWS
def test_a_graph_that_raises_hands_in_nothing(redis, how):
    sh, handler = handler_of(redis)
    graph = graph_of(with_examples(sh, "legal"), Model(says=RuntimeError("broken")))
    with pytest.raises(RuntimeError, match="broken"):
        run(graph, {"messages": [("human", QUESTION)]}, how, callbacks=[handler])
    assert lessons(redis) == []
    assert sh.stats().tasks_raised == 1


def test_a_graph_that_waits_for_a_human_teaches_when_it_has_gone_on(redis):
    graph = pytest.importorskip("langgraph.graph", reason="pip has no langgraph")
    from langgraph.checkpoint.memory import InMemorySaver
    from langgraph.types import Command, interrupt

    sh, handler = handler_of(redis)

    class State(TypedDict):
        messages: Annotated[list, graph.add_messages]

    builder = graph.StateGraph(State)
    builder.add_node("ask", lambda state: {"messages": [AIMessage(interrupt("may I?"))]})
    builder.add_edge(graph.START, "ask")
    compiled = builder.compile(checkpointer=InMemorySaver())
    config = {"callbacks": [handler], "configurable": {"thread_id": "1"}}
    compiled.invoke({"messages": [("human", QUESTION)]}, config=config)
    assert lessons(redis) == []
    compiled.invoke(Command(resume="yes"), config=config)
    assert [(lesson["prompt"], lesson["result"]) for lesson in lessons(redis)] == [(QUESTION, "yes")]
    assert (sh.stats().tasks_learned, sh.stats().tasks_raised, sh.stats().tasks_lost) == (1, 0, 0)
