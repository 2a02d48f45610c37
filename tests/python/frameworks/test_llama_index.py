"""LlamaIndex itself: a retriever of past tasks."""

import asyncio

import pytest
from conftest import BOUNDED
from stillhouse import InvalidError
from support import PAST, QUESTION, Clock, clients, loop_goes_on, teach

pytest.importorskip("llama_index.core", reason="pip has no llama-index-core")
from llama_index.core.postprocessor import SimilarityPostprocessor
from llama_index.core.schema import MetadataMode
from stillhouse.llama_index import StillhouseRetriever

NEAREST_FIRST = [(PAST[2]["content"], PAST[3]["content"]), (PAST[0]["content"], PAST[1]["content"])]


def retrieve(retriever, how, query=QUESTION):
    return retriever.retrieve(query) if how == "retrieve" else asyncio.run(retriever.aretrieve(query))


HOWS = pytest.mark.parametrize("how", ["retrieve", "aretrieve"])


@HOWS
def test_past_tasks_are_nodes_nearest_first_with_safe_texts(fleet, how):
    sh, _ = clients(redis_url=fleet.redis.url)
    domain = fleet.domain()
    teach(fleet, sh, domain)
    nodes = retrieve(StillhouseRetriever(sh, domain, wait_ms=5000), how)
    assert [(one.metadata["question"], one.metadata["answer"]) for one in nodes] == NEAREST_FIRST
    for mode in (MetadataMode.LLM, MetadataMode.EMBED, MetadataMode.NONE):
        assert [one.get_content(mode) for one in nodes] == ["\n".join(halves) for halves in NEAREST_FIRST]
    near, far = sh.messages(domain, QUESTION).distances[::-1]
    assert [one.score for one in nodes] == [1 - near, 1 - far]
    assert 1 >= nodes[0].score >= nodes[1].score >= -1
    between = SimilarityPostprocessor(similarity_cutoff=(nodes[0].score + nodes[1].score) / 2)
    assert between.postprocess_nodes(nodes) == nodes[:1]
    assert len(retrieve(StillhouseRetriever(sh, domain, k=1), how)) == 1


@HOWS
def test_without_redis_or_examples_nothing_is_retrieved_and_at_once(redis, how):
    for url in ("redis://127.0.0.1:1/0", redis.url):
        sh, _ = clients(**BOUNDED, redis_url=url)
        retriever = StillhouseRetriever(sh, "legal")
        clock = Clock()
        assert retrieve(retriever, how) == []
        clock.check()


def test_a_redis_that_hangs_keeps_no_retrieval_waiting_and_no_loop(own_redis):
    sh, later = clients(**BOUNDED, redis_url=own_redis.url)
    retriever = StillhouseRetriever(later, "legal")

    async def main():
        await retriever.aretrieve("first: what is made once is made")
        own_redis.stop()
        clock = Clock()
        async with loop_goes_on():
            assert await asyncio.gather(*(retriever.aretrieve(f"{QUESTION} {i}") for i in range(4))) == [[]] * 4
        clock.check(calls=4)

    try:
        asyncio.run(main())
        clock = Clock()
        assert StillhouseRetriever(sh, "legal").retrieve(QUESTION) == []
        clock.check()
    finally:
        own_redis.go_on()


def test_what_is_wrong_with_a_retriever_is_refused_when_it_is_made(redis):
    sh, _ = clients(redis_url=redis.url)
    with pytest.raises(InvalidError, match="client 5: expected Stillhouse or AsyncStillhouse"):
        StillhouseRetriever(5, "legal")
    with pytest.raises(InvalidError, match="domain 5: expected str"):
        StillhouseRetriever(sh, 5)
    with pytest.raises(InvalidError, match="k 0: expected"):
        StillhouseRetriever(sh, "legal", k=0)
