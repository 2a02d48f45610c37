"""What calls give back: a Prompt is a str and Messages a list, so that they go where a model's input goes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from . import _library as c
from .errors import Status

Kind = Literal["enriched", "stale", "fallback", "holdout"]
KINDS: tuple[Kind, ...] = ("enriched", "stale", "fallback", "holdout")
STATUSES = tuple(Status)


class Prompt(str):
    """The prompt for a task: the examples and the base prompt, or the base prompt as it was given.

    kind: "enriched"; "stale", from a result older than the domain's last change; "fallback", the base
    prompt; "holdout", the same though examples were there (STILLHOUSE_HOLDOUT). examples: how many stand
    in it. id: a UUIDv7 of this call. status: of a fallback, OK where an answer had no examples
    (there are none, or Chroma or the embedder was away), NOT_FOUND where they are on their way, else what
    went wrong, and `reason` its text.
    """

    __slots__ = ("examples", "id", "kind", "reason", "status")

    examples: int
    id: str
    kind: Kind
    reason: str
    status: Status

    def __reduce__(self) -> tuple[Any, ...]:
        return prompt_of, (str(self), self.kind, self.examples, self.id, self.status, self.reason)


class Messages(list[dict[str, str]]):
    """Examples as chat messages, user and assistant by turns, the nearest last; or none.

    They stand between a system message and the question. The attributes are those of a Prompt, and
    distances: how far each example is from the query, in the order of the messages and so the least
    last; the cosine distance of Example.distance.
    """

    __slots__ = ("distances", "examples", "id", "kind", "reason", "status")

    distances: tuple[float, ...]
    examples: int
    id: str
    kind: Kind
    reason: str
    status: Status

    def __reduce__(self) -> tuple[Any, ...]:
        told = (self.kind, self.examples, self.id, self.status, self.reason, self.distances)
        return messages_of, (list(self), *told)


Answer = TypeVar("Answer", Prompt, Messages)


def _told(answer: Answer, kind: Kind, examples: int, id: str, status: Status, reason: str) -> Answer:
    answer.kind = kind
    answer.examples = examples
    answer.id = id
    answer.status = status
    answer.reason = reason
    return answer


def prompt_of(text: str, kind: Kind, examples: int, id: str, status: Status, reason: str = "") -> Prompt:
    return _told(Prompt(text), kind, examples, id, status, reason)


def messages_of(
    each: Iterable[dict[str, str]],
    kind: Kind,
    examples: int,
    id: str,
    status: Status,
    reason: str = "",
    distances: tuple[float, ...] = (),
) -> Messages:
    messages = _told(Messages(each), kind, examples, id, status, reason)
    messages.distances = distances
    return messages


class JobId(str):
    """The id that stands for a job: its own, or that of the same enrichment already outstanding.

    kept: Redis did not take it, the outbox did, and `reason` says why; it is sent later.
    """

    __slots__ = ("kept", "reason")

    kept: bool
    reason: str

    def __reduce__(self) -> tuple[Any, ...]:
        return job_id_of, (str(self), self.kept, self.reason)


def job_id_of(id: str, kept: bool, reason: str) -> JobId:
    job = JobId(id)
    job.kept = kept
    job.reason = reason
    return job


@dataclass(frozen=True)
class Example:
    """One past task, or an indexed document, which has no `prompt` and `result` of its own.

    distance: the cosine distance to the query, 0 (same direction) to 2 (opposite).
    """

    id: str
    text: str
    prompt: str | None
    result: str | None
    distance: float
    metadata: dict[str, str | int | float | bool]


@dataclass(frozen=True)
class Result:
    """The result of an enrichment. error: why the job ended without one; None = it did not."""

    domain: str
    query_hash: str
    created_unix_ms: int
    epoch: int
    stale: bool
    examples: tuple[Example, ...]
    few_shot: str
    error: str | None


@dataclass(frozen=True)
class Stats:
    """What one client did since it was made, in all its threads; in a child of fork(), since then."""

    enriched: int  # prompts and messages, by kind
    stale: int
    fallback: int
    holdout: int
    jobs: int  # in a queue
    kept: int  # in the outbox
    sent: int  # from the outbox
    put_aside: int  # from the outbox: damaged, or refused for good
    tasks_learned: int  # blocks and decorated functions whose answer was handed in
    tasks_raised: int  # that raised: nothing was sent
    tasks_unanswered: int  # that ended without done(), or with None
    tasks_lost: int  # whose answer neither a queue nor an outbox took
    clients: int  # C clients: as many as calls were under way at once


def take_result(pointer: Any) -> Result:
    raw = pointer.contents
    return Result(
        domain=c.text_of(raw.domain),
        query_hash=c.text_of(raw.query_hash),
        created_unix_ms=raw.created_unix_ms,
        epoch=raw.epoch,
        stale=raw.stale,
        examples=tuple(_example(pointer, i) for i in range(raw.count)),
        few_shot=c.text_of(raw.few_shot),
        error=None if raw.error is None else c.text_of(raw.error),
    )


def _example(pointer: Any, i: int) -> Example:
    raw = pointer.contents.examples[i]
    prompt = c.lib.stillhouse_example_prompt(pointer, i)
    result = c.lib.stillhouse_example_result(pointer, i)
    return Example(
        id=c.text_of(raw.id),
        text=c.text_of(raw.text),
        prompt=None if prompt is None else c.text_of(prompt),
        result=None if result is None else c.text_of(result),
        distance=raw.distance,
        metadata={c.text_of(pair.key): _value(pair) for pair in raw.metadata[: raw.metadata_count]},
    )


def _value(pair: c.Meta) -> str | int | float | bool:
    values: tuple[Any, ...] = (pair.string, pair.integer, pair.number, pair.boolean)
    value: str | int | float | bool | bytes = values[pair.type]
    return c.text_of(value) if isinstance(value, bytes) else value
