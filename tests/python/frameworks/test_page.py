"""The programs of producer/python/README.md for other packages, as they stand there."""

import os
import pathlib
import re

import pytest
from model_server import ANSWER, ModelServer
from stillhouse import Stillhouse
from support import QUESTION, clients, lessons

README = pathlib.Path(os.environ["STILLHOUSE_TEST_SOURCE"]) / "producer/python/README.md"


def run_block(package, names):
    """The one that imports stillhouse.<package>."""
    pages = re.findall(r"```py\n(.*?)```", README.read_text(), re.DOTALL)
    (program,) = (one for one in pages if f"from stillhouse.{package} import" in one)
    exec(program, names)
    return names


def learnt(redis):
    return [(lesson["prompt"], lesson["result"]) for lesson in lessons(redis)]


@pytest.fixture
def sh(redis) -> Stillhouse:
    return clients(redis_url=redis.url)[0]


def test_the_page_for_openai_learns_from_an_answer(redis, sh):
    openai = pytest.importorskip("openai", reason="pip has no openai")
    server = ModelServer()
    try:
        client = openai.OpenAI(base_url=server.url + "/v1", api_key="k", max_retries=0)
        run_block("openai", {"sh": sh, "client": client, "MODEL": "m"})["ask"](QUESTION)
    finally:
        server.close()
    assert server.requests[0]["messages"][-1] == {"role": "user", "content": QUESTION}
    assert learnt(redis) == [(QUESTION, ANSWER)]


def test_the_page_for_langchain_learns_from_a_chain(redis, sh):
    models = pytest.importorskip("langchain_core.language_models", reason="pip has no langchain-core")
    from langchain_core.prompts import ChatPromptTemplate

    prompt = ChatPromptTemplate.from_messages([("human", "{input}")])
    model = models.FakeListChatModel(responses=[ANSWER])
    names = run_block("langchain", {"sh": sh, "prompt": prompt, "model": model, "question": QUESTION})
    assert learnt(redis) == [(QUESTION, ANSWER)]
    assert names["few_shot"].invoke({"input": QUESTION}).to_messages() == []


def test_the_page_for_dspy_learns_from_a_prediction(redis, sh):
    dspy = pytest.importorskip("dspy", reason="pip has no dspy")
    from dspy.utils.dummies import DummyLM

    with dspy.context(lm=DummyLM([{"answer": ANSWER}])):
        run_block("dspy", {"sh": sh, "dspy": dspy})["ask"](question=QUESTION)
    assert learnt(redis) == [(QUESTION, ANSWER)]


def test_the_page_for_llama_index_retrieves(sh):
    pytest.importorskip("llama_index.core", reason="pip has no llama-index-core")
    assert run_block("llama_index", {"sh": sh, "question": QUESTION})["nodes"] == []
    assert sh.stats().fallback == 1
