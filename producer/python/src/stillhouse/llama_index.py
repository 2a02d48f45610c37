"""Stillhouse in LlamaIndex: the past tasks of a domain as a retriever.

    from stillhouse.llama_index import StillhouseRetriever

    nodes = StillhouseRetriever(sh, "legal").retrieve("notice period for tenants")

What learns from answers is task() and learn(), as everywhere.
"""

from __future__ import annotations

from ._frameworks import Client, both, needs, pairs
from .results import Messages

try:
    from llama_index.core.retrievers import BaseRetriever
    from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode
except ImportError as error:
    raise needs("llama-index", error) from error

__all__ = ["StillhouseRetriever"]


class StillhouseRetriever(BaseRetriever):
    """The k nearest past tasks, the nearest first; none, and no exception, where there is an outage.

    A node's text is the question, a line's end and the answer, and its metadata has them apart as
    "question" and "answer", which no prompt shows. Both are those of messages(): bounded, control tokens
    of chat templates broken, nothing that cannot be seen. Indexed documents are no tasks and are left
    out. score: the cosine similarity of question and query, 1 less the distance that messages() say: 1
    (same direction) to -1 (opposite), as a SimilarityPostprocessor expects it. Bounded as messages();
    aretrieve() blocks no event loop.
    """

    def __init__(self, client: Client, domain: str, *, k: int = 3, wait_ms: int = 0) -> None:
        super().__init__()
        self._sync, self._async = both(client)
        self._sync.task(domain, "", query="", k=k, wait_ms=wait_ms)  # refuses now what is wrong
        self._domain, self._k, self._wait_ms = domain, k, wait_ms

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return _nodes(self._sync.messages(self._domain, query_bundle.query_str, self._k, wait_ms=self._wait_ms))

    async def _aretrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        query = query_bundle.query_str
        return _nodes(await self._async.messages(self._domain, query, self._k, wait_ms=self._wait_ms))


def _nodes(examples: Messages) -> list[NodeWithScore]:
    nearest_last = zip(pairs(examples), examples.distances)
    return [NodeWithScore(node=_node(*halves), score=1 - away) for halves, away in reversed(list(nearest_last))]


def _node(asked: str, said: str) -> TextNode:
    halves = {"question": asked, "answer": said}
    return TextNode(
        text=f"{asked}\n{said}",
        metadata=halves,
        excluded_llm_metadata_keys=list(halves),
        excluded_embed_metadata_keys=list(halves),
    )
